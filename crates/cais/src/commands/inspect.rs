//! `cais inspect`: what is known of a container, as JSON. The keys are Docker's as far
//! as they go; a later version gives all of them.

use super::engine;
use crate::failure::Failure;
use crate::output::print;
use cais::cli::NamesArgs;
use cais_engine::engine::Engine;
use cais_engine::list;
use cais_engine::log;
use cais_engine::state::{Container, Status};
use serde_json::{Value, json};

/// What Docker writes for a moment that has not come.
const NEVER: &str = "0001-01-01T00:00:00Z";

pub(crate) fn inspect(args: &NamesArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let mut found = Vec::new();
    let mut code = 0;
    for name in &args.containers {
        match list::container(&engine.store, name) {
            Ok(container) => found.push(describe(&engine, &container)),
            Err(error) => code = Failure::from(error).show(),
        }
    }
    let text = serde_json::to_string_pretty(&Value::Array(found)).unwrap_or_default();
    print(&format!("{text}\n"))?;
    Ok(code)
}

fn describe(engine: &Engine, container: &Container) -> Value {
    let record = &container.record;
    let options = &record.options;
    let directory = engine.store.container(&record.id);
    let words: Vec<&String> = options
        .entrypoint
        .iter()
        .flatten()
        .chain(&options.command)
        .collect();
    let labels: serde_json::Map<String, Value> = options
        .labels
        .iter()
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    json!({
        "Id": record.id.as_str(),
        "Name": format!("/{}", record.name),
        "Created": record.created,
        "Path": words.first(),
        "Args": words.get(1..).unwrap_or(&[]),
        "Image": container.image_text(),
        "State": describe_state(container),
        "LogPath": log::path(&directory),
        "GraphDriver": { "Name": "overlay", "Data": { "UpperDir": directory.join("upper"), "WorkDir": directory.join("work") } },
        "Config": {
            "Hostname": options.hostname.as_deref().unwrap_or(record.id.short()),
            "Domainname": options.domainname,
            "User": options.user,
            "Tty": options.tty,
            "OpenStdin": options.interactive,
            "Env": options.env,
            "Cmd": options.command,
            "Entrypoint": options.entrypoint,
            "WorkingDir": options.workdir,
            "Labels": labels,
            "StopSignal": options.stop_signal,
        },
        "HostConfig": {
            "AutoRemove": options.remove,
            "Privileged": options.security.privileged,
            "ReadonlyRootfs": options.read_only,
            "Init": options.init,
            "CapAdd": options.security.cap_add,
            "CapDrop": options.security.cap_drop,
            "Memory": options.limits.memory.unwrap_or(0),
            "MemorySwap": options.limits.memory_swap.unwrap_or(0),
            "NanoCpus": options.limits.nano_cpus.unwrap_or(0),
            "PidsLimit": options.limits.pids,
            "CgroupParent": options.limits.cgroup_parent.as_deref().unwrap_or(""),
        },
        "Cais": {
            "Bundle": directory,
            "Options": options,
            "Cgroup": container.state.as_ref().map(|state| &state.cgroup),
            "MonitorPid": container.state.as_ref().map(|state| state.monitor.pid),
        },
    })
}

fn describe_state(container: &Container) -> Value {
    let exit = match &container.status {
        Status::Exited(exit) | Status::Restarting(exit) => exit.clone(),
        _ => cais_engine::record::Exit::default(),
    };
    let moment = |text: &str| {
        if text.is_empty() {
            NEVER.to_owned()
        } else {
            text.to_owned()
        }
    };
    let (pid, started) = match &container.status {
        Status::Running { init, started } | Status::Paused { init, started } => (init.pid, started.clone()),
        _ => (0, moment(&exit.started)),
    };
    json!({
        "Status": container.state_word(),
        "Running": container.is_running(),
        "Paused": matches!(container.status, Status::Paused { .. }),
        "Restarting": matches!(container.status, Status::Restarting(_)),
        "OOMKilled": exit.oom_killed,
        "Dead": false,
        "Pid": pid,
        "ExitCode": exit.code.map_or(if exit.error.is_empty() { 0 } else { -1 }, i32::from),
        "Error": exit.error,
        "StartedAt": started,
        "FinishedAt": moment(&exit.finished),
    })
}
