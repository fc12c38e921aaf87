//! `attach`: watching a container that runs.

use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::events;
use crate::list;
use crate::monitor::door::visit;
use crate::monitor::front::{self, Session, SessionEnd};
use crate::options::LogDriver;
use crate::state::Status;
use crate::stop::open_init;

/// How to attach.
#[derive(Debug, Clone, Default)]
pub struct AttachOptions {
    /// Whether standard input goes to the program.
    pub input: bool,
    /// Whether signals to this command go to the program.
    pub sig_proxy: bool,
    /// The keys by which the user leaves a terminal.
    pub keys: Vec<u8>,
}

/// Shows the output of a running container from now on, until it ends or the user leaves.
/// `None` where the user left.
///
/// # Errors
/// Where it does not run.
pub fn attach(engine: &Engine, name: &str, options: &AttachOptions) -> Result<Option<u8>> {
    let container = list::container(&engine.store, name)?;
    let refuse = |why: &str| Err(EngineError::Invalid(format!("you cannot attach to {why}")));
    match &container.status {
        Status::Running { .. } => {}
        Status::Paused { .. } => return Err(EngineError::Paused(name.to_owned())),
        Status::Restarting(_) => return refuse("a restarting container, wait until it is running"),
        Status::Created | Status::Exited(_) => {
            return refuse("a stopped container, start it first");
        }
    }
    let record = &container.record;
    if record.options.log.driver == LogDriver::Passthrough {
        return refuse("a container whose log driver is passthrough: cais is not in between");
    }
    let Some(state) = &container.state else {
        return Err(EngineError::NotRunning(record.name.clone()));
    };
    let program = open_init(&container)?;
    let monitor = visit(&engine.store, &record.id, &record.name, state.monitor)?;
    let input = options.input && record.options.interactive;
    let signals = options.sig_proxy.then(crate::run::take_signals).transpose()?;
    let terminal = front::introduce(&monitor, input)?;
    if terminal {
        front::send_size(&monitor);
    }
    events::container(&engine.store, record, "attach", &[]);
    let session = Session {
        signals,
        input,
        keys: options.keys.clone(),
        terminal,
        program: Some(program),
    };
    Ok(match front::watch(&monitor, session)? {
        SessionEnd::Exited(code) => Some(code),
        SessionEnd::Detached => {
            events::container(&engine.store, record, "detach", &[]);
            None
        }
    })
}
