//! `cais start`.

use super::run::DETACH_KEYS;
use super::{for_each, privileged_engine, sweep};
use crate::failure::Failure;
use cais::cli::StartArgs;
use cais_engine::engine::Engine;
use cais_engine::list;
use cais_engine::options::process::parse_detach_keys;
use cais_engine::run::{Manner, Outcome, prepare_again, start_again};

pub(crate) fn start(args: &StartArgs) -> Result<u8, Failure> {
    let engine = privileged_engine()?;
    sweep(&engine);
    if !args.attach && !args.interactive {
        return for_each(&args.containers, |name| {
            start_one(&engine, name, &background()?).map(drop)
        });
    }
    let [name] = args.containers.as_slice() else {
        return Err(Failure::new("--attach and --interactive take one container").code(1));
    };
    let keys = parse_detach_keys(args.detach_keys.as_deref().unwrap_or(DETACH_KEYS))?;
    let record = list::container(&engine.store, name)?.record;
    let manner = Manner {
        detach: false,
        interactive: args.interactive && record.options.interactive,
        shows: [true, true],
        sig_proxy: true,
        detach_keys: keys,
        timings: None,
    };
    match start_one(&engine, name, &manner)? {
        Some(Outcome::Ended(code)) => Ok(code),
        Some(Outcome::Detached(_)) => Ok(0),
        None => super::life::attach_to(&engine, name, args.interactive, manner.detach_keys),
    }
}

fn background() -> Result<Manner, Failure> {
    Ok(Manner {
        detach: true,
        interactive: false,
        shows: [true, true],
        sig_proxy: true,
        detach_keys: parse_detach_keys(DETACH_KEYS)?,
        timings: None,
    })
}

/// Starts one container; one that runs already is no error, as with Docker.
fn start_one(engine: &Engine, name: &str, manner: &Manner) -> Result<Option<Outcome>, Failure> {
    let container = list::container(&engine.store, name)?;
    if container.is_running() {
        return Ok(None);
    }
    let prepared = prepare_again(engine, container.record).map_err(Failure::of_start)?;
    start_again(engine, &prepared, manner)
        .map(Some)
        .map_err(Failure::of_start)
}
