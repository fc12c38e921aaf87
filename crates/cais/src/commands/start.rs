//! `cais start`.

use super::{detach_keys, for_each, privileged_engine, sweep};
use crate::failure::Failure;
use cais::cli::StartArgs;
use cais_engine::engine::Engine;
use cais_engine::list;
use cais_engine::run::{Manner, Outcome, start_again};

pub(crate) fn start(args: &StartArgs) -> Result<u8, Failure> {
    let engine = privileged_engine()?;
    sweep(&engine);
    if !args.attach && !args.interactive {
        return for_each(&args.containers, |name| {
            start_one(&engine, name, &background()).map(drop)
        });
    }
    let [name] = args.containers.as_slice() else {
        return Err(Failure::new("--attach and --interactive take one container").code(1));
    };
    let keys = detach_keys(&engine, args.detach_keys.as_ref())?;
    let record = list::container(&engine.store, name)?.record;
    let manner = Manner {
        detach: false,
        interactive: args.interactive && record.options.interactive,
        shows: [true, true],
        sig_proxy: true,
        detach_keys: keys,
        timings: None,
        sweeps: None,
        farewell: None,
    };
    match start_one(&engine, name, &manner)? {
        Some(Outcome::Ended(code)) => Ok(code),
        Some(Outcome::Detached) => Ok(0),
        None => super::life::attach_to(&engine, name, args.interactive, manner.detach_keys),
    }
}

fn background() -> Manner {
    Manner {
        detach: true,
        interactive: false,
        shows: [true, true],
        sig_proxy: true,
        detach_keys: Vec::new(),
        timings: None,
        sweeps: None,
        farewell: None,
    }
}

/// Starts one container; one that runs already is no error, as with Docker.
fn start_one(engine: &Engine, name: &str, manner: &Manner) -> Result<Option<Outcome>, Failure> {
    let container = list::container(&engine.store, name)?;
    if container.is_running() {
        return Ok(None);
    }
    // Docker: 1, whatever it is that fails; 125 to 127 are those of `run`.
    Ok(Some(start_again(engine, &container.record.id, manner)?))
}
