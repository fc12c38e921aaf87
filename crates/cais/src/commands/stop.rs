//! `cais stop`, `cais kill` and `cais wait`.

use super::{engine, for_each};
use crate::failure::Failure;
use crate::output::print;
use cais::cli::{KillArgs, NamesArgs, StopArgs};
use cais_engine::options::signal::parse_signal_number;
use cais_engine::stop::{self, await_cleanup};
use cais_engine::{list, names};
use std::time::Duration;

pub(crate) fn stop(args: &StopArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let signal = args.signal.as_deref().map(number).transpose()?;
    // A negative time waits as long as it takes.
    let timeout = args
        .time
        .map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::from(u32::MAX))));
    for_each(&args.containers, |name| {
        Ok(stop::stop(&engine.store, name, signal, timeout)?)
    })
}

pub(crate) fn kill(args: &KillArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let signal = number(&args.signal)?;
    for_each(&args.containers, |name| {
        Ok(stop::kill(&engine.store, name, signal)?)
    })
}

pub(crate) fn wait(args: &NamesArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let mut failed = 0;
    for name in &args.containers {
        let waited = names::find(&engine.store, name).and_then(|id| {
            let exit = await_cleanup(&engine.store, &id, None)?;
            Ok(exit.and_then(|exit| exit.code))
        });
        match waited {
            Ok(Some(code)) => print(&format!("{code}\n"))?,
            // Never started, or removed at its end: Docker says 0 for the first.
            Ok(None) if list::container(&engine.store, name).is_ok() => print("0\n")?,
            Ok(None) => print("unknown\n")?,
            Err(error) => failed = Failure::from(error).show(),
        }
    }
    Ok(failed)
}

fn number(text: &str) -> Result<i32, Failure> {
    parse_signal_number(text).ok_or_else(|| {
        Failure::new(format!(
            "{text:?} is not a signal: give a name such as TERM, or a number"
        ))
    })
}
