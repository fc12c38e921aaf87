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

use super::prepare::Prepared;
use crate::checkpoint::Checkpoints;
use crate::engine::Engine;
use crate::error::Result;
use crate::health;
use crate::id::ContainerId;
use crate::monitor::attendant::Attendant;
use crate::network::connect::{self as network, Connected};
use crate::network::hold;
use crate::network::keeping::Keeping;
use crate::record::Record;
use crate::resolver;
use crate::service::Ready;
use crate::state::RunState;
use crate::store::Store;

/// Gives the container what it needs before its program runs. `state.init` is its first
/// process. Whoever takes something notes it in `state` and writes it ([`RunState::write`])
/// before taking it, or in a file of its own.
///
/// # Errors
/// The start fails with it, and [`disconnect`] is called.
pub(crate) fn connect(
    engine: &Engine,
    prepared: &Prepared,
    keeping: &mut Keeping,
    state: &mut RunState,
    checkpoints: &Checkpoints,
) -> Result<Connected> {
    let connected = network::connect(engine, prepared, keeping, state, checkpoints)?;
    hold::hold(&engine.store, &prepared.record, state)?;
    resolver::announce(&engine.store, &prepared.record)?;
    Ok(connected)
}

/// What the monitor is to look after while the program runs. `state.init` is the first
/// process, in whose namespaces sockets can be made. `ready` is what is said when the container
/// is well.
///
/// # Errors
/// The start fails with it.
pub(crate) fn attendants(
    store: &Store,
    record: &Record,
    state: &RunState,
    connected: Connected,
    ready: Option<Ready>,
) -> Result<Vec<Box<dyn Attendant>>> {
    let mut all = crate::network::attend::attendants(store, &record.id, connected)?;
    all.extend(resolver::attendant(store, record, state)?);
    if let Some(keeper) = health::Keeper::of(store, record, state, ready)? {
        all.push(Box::new(keeper));
    }
    Ok(all)
}

/// Gives back what [`connect`] took.
///
/// # Errors
/// What could not be given back: the state stays then, and the next sweep tries again.
pub(crate) fn disconnect(store: &Store, id: &ContainerId, _state: &RunState) -> Result<()> {
    let names = resolver::withdraw(store, id);
    let refused = hold::release(store, id);
    network::disconnect(store, id)?;
    names.and(refused)
}
