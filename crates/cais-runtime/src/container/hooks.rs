//! Hooks that run on the host (runtime-spec, "POSIX-platform Hooks"). They get the
//! environment of their own entry and nothing of this process's or the container's
//! (CVE-2025-23266), and the state on standard input.

use super::error::{Result, RuntimeError};
use super::state::{State, Status};
use crate::spec::Hook;
use cais_linux::process::pidfd;
use rustix::fd::AsFd;
use rustix::process::Pid;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How much of what a failed hook wrote is shown, in bytes.
const SHOWN: usize = 4096;

/// Runs hooks in order; the first that fails ends it.
///
/// # Errors
/// [`RuntimeError::Hook`].
pub fn run(kind: &'static str, hooks: &[Hook], state: &State, status: Status) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let text = cais_json::to_string(&state.for_hook(status)).map_err(|error| RuntimeError::Json {
        file: "the state for hooks".into(),
        source: error.into(),
    })?;
    for (index, hook) in hooks.iter().enumerate() {
        run_one(hook, &state.bundle, &text).map_err(|problem| RuntimeError::Hook {
            kind,
            index,
            path: hook.path.clone(),
            problem,
        })?;
    }
    Ok(())
}

/// Runs all hooks whatever they do; the errors are returned.
#[must_use]
pub fn run_all(kind: &'static str, hooks: &[Hook], state: &State, status: Status) -> Vec<RuntimeError> {
    let run_one = |hook: &Hook| run(kind, std::slice::from_ref(hook), state, status).err();
    hooks.iter().filter_map(run_one).collect()
}

fn run_one(hook: &Hook, bundle: &Path, state: &str) -> std::result::Result<(), String> {
    let mut command = Command::new(&hook.path);
    if let Some((name, rest)) = hook.args.split_first() {
        command.arg0(name).args(rest);
    }
    command.env_clear();
    for entry in &hook.env {
        let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
        command.env(key, value);
    }
    let mut child = command
        .current_dir(bundle)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    if let Some(mut input) = child.stdin.take() {
        // A hook that does not read its input is none of ours to judge.
        input.write_all(state.as_bytes()).unwrap_or_default();
    }
    let output = collect(&mut child);
    let timeout = hook
        .timeout
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map(Duration::from_secs);
    if !await_child(&child, timeout)? {
        child.kill().map_err(|error| error.to_string())?;
        child.wait().map_err(|error| error.to_string())?;
        return Err(format!(
            "hook ran past specified timeout of {}s",
            timeout.unwrap_or_default().as_secs_f32()
        ));
    }
    let ended = child.wait().map_err(|error| error.to_string())?;
    if ended.success() {
        return Ok(());
    }
    let how = match (ended.code(), ended.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal: {signal}"),
        (None, None) => "it ended".to_owned(),
    };
    let [out, error] = output.map(|reader| reader.join().unwrap_or_default());
    Err(format!("{how}, stdout: {out}, stderr: {error}"))
}

type Reader = std::thread::JoinHandle<String>;

/// Reads what the hook writes, so that it never waits for room.
fn collect(child: &mut Child) -> [Reader; 2] {
    fn read(source: Option<impl Read + Send + 'static>) -> Reader {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            if let Some(mut source) = source {
                source.read_to_end(&mut text).unwrap_or_default();
            }
            text.truncate(SHOWN);
            String::from_utf8_lossy(&text).trim().to_owned()
        })
    }
    [read(child.stdout.take()), read(child.stderr.take())]
}

/// Waits for the end; false where the time was over before.
fn await_child(child: &Child, timeout: Option<Duration>) -> std::result::Result<bool, String> {
    let pid = Pid::from_raw(child.id().cast_signed()).ok_or("no such process")?;
    let opened = pidfd::open(pid).map_err(|error| error.to_string())?;
    pidfd::await_end(opened.as_fd(), timeout).map_err(|error| error.to_string())
}
