//! `cais rm`.

use super::{engine, sweep};
use crate::failure::Failure;
use crate::output::print;
use cais::cli::RmArgs;
use cais_engine::EngineError;
use cais_engine::remove::remove;

pub(crate) fn rm(args: &RmArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    sweep(&engine);
    let mut code = 0;
    for name in &args.containers {
        match remove(&engine.store, name, args.force, args.volumes) {
            Ok(()) => print(&format!("{name}\n"))?,
            // Not there is what was wanted; it is said all the same.
            Err(error @ EngineError::NoSuchContainer(_)) if args.force => {
                Failure::from(error).show();
            }
            Err(error) => code = Failure::from(error).show(),
        }
    }
    Ok(code)
}
