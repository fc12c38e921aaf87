//! `state`, `list`, `ps`, `spec`, `features`: what there is.

use super::{Call, Failed, Outcome, print};
use cais_json::json;
use cais_runtime::container::state::{OciState, State, Status, list as list_states, probe_status, read};
use cais_runtime::container::{features as known_features, signal, template};
use std::process::Command;

/// Where one of two words is wanted.
fn is_json(call: &Call) -> Result<bool, Failed> {
    match call.given.value("format") {
        None | Some("table") => Ok(false),
        Some("json") => Ok(true),
        Some(other) => Err(Failed::usage(format!(
            "invalid format option {other:?}: table or json"
        ))),
    }
}

fn document(state: &State, status: Status, owner: &str) -> cais_json::Value {
    let state = OciState {
        oci_version: cais_runtime::spec::VERSION,
        id: &state.id,
        status: status.to_string(),
        pid: if status == Status::Stopped { 0 } else { state.pid },
        bundle: &state.bundle,
        rootfs: Some(&state.rootfs),
        created: Some(&state.created),
        annotations: &state.annotations,
        owner: Some(owner),
    };
    // Of strings and numbers: it always becomes JSON.
    cais_json::to_value(&state).unwrap_or_default()
}

fn pretty(value: &cais_json::Value) -> String {
    cais_json::to_string_indented(value, "  ") + "\n"
}

pub(super) fn state(call: &Call) -> Outcome {
    let state = read(&call.runtime, call.id()?)?;
    let status = probe_status(&call.runtime, &state);
    Ok(print(&pretty(&document(&state, status, ""))))
}

pub(super) fn list(call: &Call) -> Outcome {
    let states = list_states(&call.runtime)?;
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let rows: Vec<_> = states
        .iter()
        .map(|state| {
            (
                state,
                probe_status(&call.runtime, state),
                owner(&users, state.owner),
            )
        })
        .collect();
    if call.given.has("quiet") {
        let ids: String = states.iter().map(|state| format!("{}\n", state.id)).collect();
        return Ok(print(&ids));
    }
    if is_json(call)? {
        let all: Vec<_> = rows
            .iter()
            .map(|(state, status, owner)| document(state, *status, owner))
            .collect();
        let text = cais_json::to_string(&all).map_err(|error| Failed::usage(error.to_string()))?;
        return Ok(print(&(text + "\n")));
    }
    let mut text = format!(
        "{:<20}{:<12}{:<12}{:<36}{:<36}{}\n",
        "ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"
    );
    for (state, status, owner) in rows {
        let pid = if status == Status::Stopped { 0 } else { state.pid };
        text.push_str(&format!(
            "{:<20}{:<12}{:<12}{:<36}{:<36}{owner}\n",
            state.id,
            pid,
            status.to_string(),
            state.bundle.display().to_string(),
            state.created
        ));
    }
    Ok(print(&text))
}

/// The name of a user, or `#id`.
fn owner(users: &str, uid: u32) -> String {
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("#{uid}"))
}

pub(super) fn ps(call: &Call) -> Outcome {
    let (id, options) = call
        .given
        .rest
        .split_first()
        .ok_or_else(|| Failed::usage("ps takes a container id"))?;
    let processes = signal::processes(&call.runtime, id)?;
    if is_json(call)? {
        return Ok(print(&format!("{}\n", json!(processes))));
    }
    // ps(1) knows how to show processes; its lines of this container are passed on.
    let default = ["-ef".to_owned()];
    let options = if options.is_empty() { &default[..] } else { options };
    let output = Command::new("ps")
        .args(options)
        .output()
        .map_err(|error| Failed::usage(format!("ps: {error}: install procps, or use --format json")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let head = lines.next().unwrap_or("");
    let column = head
        .split_whitespace()
        .position(|name| name == "PID")
        .ok_or_else(|| Failed::usage("ps: its output has no column PID"))?;
    let ours = |line: &&str| {
        let pid = line
            .split_whitespace()
            .nth(column)
            .and_then(|field| field.parse().ok());
        pid.is_some_and(|pid: i32| processes.contains(&pid))
    };
    let shown: String = lines.filter(ours).map(|line| format!("{line}\n")).collect();
    Ok(print(&format!("{head}\n{shown}")))
}

pub(super) fn spec(call: &Call) -> Outcome {
    let directory = call.path("bundle").unwrap_or_else(|| ".".into());
    let file = directory.join("config.json");
    let rootless = call.given.has("rootless").then(|| {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        (uid.as_raw(), gid.as_raw())
    });
    let text = pretty(&template::template(rootless));
    let mut options = std::fs::OpenOptions::new();
    let opened = options.write(true).create_new(true).open(&file);
    let mut opened = opened.map_err(|error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            Failed::usage(format!("File {} exists. Remove it first", file.display()))
        } else {
            Failed::usage(format!("{}: {error}", file.display()))
        }
    })?;
    std::io::Write::write_all(&mut opened, text.as_bytes())
        .map_err(|error| Failed::usage(format!("{}: {error}", file.display())))?;
    Ok(0)
}

pub(super) fn features() -> Outcome {
    Ok(print(&pretty(&known_features::features())))
}
