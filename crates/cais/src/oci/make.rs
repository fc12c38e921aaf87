//! `create`, `run`, `start`, `delete`, `kill`, `pause`, `resume`.

use super::foreground;
use super::{Call, Failed, Outcome};
use cais_runtime::container::create::{CreateOptions, Created, create as create_container};
use cais_runtime::container::{delete as deleting, signal, start as starting};
use rustix::fd::OwnedFd;
use std::path::PathBuf;

pub(super) fn options(call: &Call) -> Result<CreateOptions, Failed> {
    Ok(CreateOptions {
        bundle: call.path("bundle").unwrap_or_else(|| PathBuf::from(".")),
        console_socket: call.path("console-socket"),
        pidfd_socket: call.path("pidfd-socket"),
        pid_file: call.path("pid-file"),
        preserve_fds: call.preserve_fds()?,
        listen_fds: super::listen_fds(),
        notify: notify_socket().is_some(),
        no_pivot: call.given.has("no-pivot"),
        no_new_keyring: call.given.has("no-new-keyring"),
        hold: false,
        foreground: false,
    })
}

/// The socket of a caller that waits for the program to be ready (sd_notify(3)).
fn notify_socket() -> Option<String> {
    std::env::var("NOTIFY_SOCKET")
        .ok()
        .filter(|socket| !socket.is_empty())
}

pub(super) fn warn(call: &Call, created: &Created) {
    let pid = created.process.pid.as_raw_nonzero();
    call.log.debug(&format!(
        "container {} has the first process {pid}",
        created.state.id
    ));
    for warning in &created.warnings {
        call.log.warn(warning);
    }
}

pub(super) fn create(call: &Call) -> Outcome {
    let options = CreateOptions {
        hold: true,
        ..options(call)?
    };
    let created = create_container(&call.runtime, call.id()?, &options)?;
    warn(call, &created);
    Ok(0)
}

pub(super) fn start(call: &Call) -> Outcome {
    let notify = notify_socket();
    for problem in starting::start(&call.runtime, call.id()?, notify.as_deref())? {
        call.log.warn(&super::log::describe(&problem));
    }
    Ok(0)
}

pub(super) fn run(call: &Call) -> Outcome {
    let id = call.id()?;
    let detach = call.given.has("detach");
    let options = CreateOptions {
        foreground: !detach,
        // The socket of the program must be there before it runs.
        hold: notify_socket().is_some(),
        ..options(call)?
    };
    become_subreaper(call, detach);
    let signals = if detach {
        None
    } else {
        Some(foreground::take_signals()?)
    };
    let created = create_container(&call.runtime, id, &options)?;
    warn(call, &created);
    let problems = match notify_socket() {
        Some(host) => starting::start(&call.runtime, id, Some(&host))?,
        None => starting::run_poststart(&created.state),
    };
    for problem in problems {
        call.log.warn(&super::log::describe(&problem));
    }
    match signals {
        Some(signals) => wait(call, id, created, &signals),
        None => Ok(0),
    }
}

/// Waits for the end of a container, and deletes it.
pub(super) fn wait(call: &Call, id: &str, created: Created, signals: &OwnedFd) -> Outcome {
    let code = foreground::wait(&created.process.pidfd, created.terminal, signals);
    if !call.given.has("keep") {
        remove(call, id, true)?;
    }
    code
}

/// What the container leaves behind comes to a process that waits, and is reaped with it.
pub(super) fn become_subreaper(call: &Call, detach: bool) {
    if !detach && !call.given.has("no-subreaper") {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap_or_default();
    }
}

fn remove(call: &Call, id: &str, force: bool) -> Result<(), Failed> {
    for problem in deleting::delete(&call.runtime, id, force)? {
        call.log.warn(&super::log::describe(&problem));
    }
    Ok(())
}

pub(super) fn delete(call: &Call) -> Outcome {
    remove(call, call.id()?, call.given.has("force"))?;
    Ok(0)
}

pub(super) fn kill(call: &Call) -> Outcome {
    let (id, name) = match call.given.rest.as_slice() {
        [id] => (id, "SIGTERM"),
        [id, name] => (id, name.as_str()),
        _ => return Err(Failed::usage("kill takes a container id and a signal")),
    };
    let signal_number =
        signal::parse_signal(name).ok_or_else(|| Failed::usage(format!("unknown signal {name:?}")))?;
    signal::kill(&call.runtime, id, signal_number, call.given.has("all"))?;
    Ok(0)
}

pub(super) fn pause(call: &Call) -> Outcome {
    signal::pause(&call.runtime, call.id()?)?;
    Ok(0)
}

pub(super) fn resume(call: &Call) -> Outcome {
    signal::resume(&call.runtime, call.id()?)?;
    Ok(0)
}
