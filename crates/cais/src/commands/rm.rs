//! `cais rm`.

use super::{engine, for_each, sweep};
use crate::failure::Failure;
use cais::cli::RmArgs;
use cais_engine::EngineError;
use cais_engine::remove::remove;

pub(crate) fn rm(args: &RmArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    sweep(&engine);
    for_each(&args.containers, |name| {
        match remove(&engine.store, name, args.force, args.volumes) {
            Err(EngineError::NoSuchContainer(_)) if args.force => Ok(()),
            other => Ok(other?),
        }
    })
}
