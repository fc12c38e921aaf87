//! `cais stop` and `cais kill`.

use super::{engine, for_each};
use crate::failure::Failure;
use cais::cli::{KillArgs, StopArgs};
use cais_engine::options::signal::parse_signal_number;
use cais_engine::stop;

pub(crate) fn stop(args: &StopArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let signal = args.signal.as_deref().map(number).transpose()?;
    let timeout = args.time.map(stop::seconds);
    // All are asked first and waited for then.
    let ask = |name: &String| stop::ask(&engine.store, name, signal, timeout);
    let mut asked = args.containers.iter().map(ask).collect::<Vec<_>>().into_iter();
    for_each(&args.containers, |_name| {
        match asked.next().transpose()?.flatten() {
            Some(ending) => Ok(ending.finish(&engine.store)?),
            None => Ok(()),
        }
    })
}

pub(crate) fn kill(args: &KillArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    // Docker's daemon takes an empty one as if none had been given.
    let named = Some(args.signal.as_str()).filter(|text| !text.is_empty());
    let signal = number(named.unwrap_or("KILL"))?;
    for_each(&args.containers, |name| {
        Ok(stop::kill(&engine.store, name, signal)?)
    })
}

pub(super) fn number(text: &str) -> Result<i32, Failure> {
    parse_signal_number(text).ok_or_else(|| {
        Failure::new(format!(
            "{text:?} is not a signal: give a name such as TERM, or a number"
        ))
    })
}
