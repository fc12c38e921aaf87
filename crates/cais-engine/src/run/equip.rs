//! What a container has beside its program: interfaces, names, health probes. Each has its
//! own module; here stands only when it comes and goes.
//!
//! 1. [`connect`]: the first process exists and waits, in namespaces of its own where it
//!    has them (`/proc/PID/ns/net`); the program does not run yet. What is taken here is
//!    recorded in the [`RunState`] first, so that a sweep gives it back.
//! 2. [`attendants`]: what the monitor looks after from then on ([`crate::monitor::attendant`]).
//!    The program still waits, so that sockets are there before it asks. A monitor that
//!    takes over from one that was killed calls it again.
//! 3. [`disconnect`]: the program has ended. It goes by the state alone, because a sweep
//!    calls it too, and doing it again does nothing.

use crate::error::Result;
use crate::id::ContainerId;
use crate::monitor::attendant::Attendant;
use crate::record::Record;
use crate::resolver;
use crate::state::RunState;
use crate::store::Store;

/// Gives the container what it needs before its program runs. `state.init` is its first
/// process. Whoever takes something notes it in `state` and writes it ([`RunState::write`])
/// before taking it.
///
/// # Errors
/// The start fails with it, and [`disconnect`] is called.
pub(crate) fn connect(store: &Store, record: &Record, _state: &mut RunState) -> Result<()> {
    resolver::announce(store, record)
}

/// What the monitor is to look after while the program runs. `state.init` is the first
/// process, in whose namespaces sockets can be made.
///
/// # Errors
/// The start fails with it.
pub(crate) fn attendants(
    store: &Store,
    record: &Record,
    state: &RunState,
) -> Result<Vec<Box<dyn Attendant>>> {
    Ok(resolver::attendant(store, record, state)?.into_iter().collect())
}

/// Gives back what [`connect`] took.
///
/// # Errors
/// What could not be given back: the state stays then, and the next sweep tries again.
pub(crate) fn disconnect(store: &Store, id: &ContainerId, _state: &RunState) -> Result<()> {
    resolver::withdraw(store, id)
}
