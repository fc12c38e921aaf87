//! `cais rm`.

use super::{engine, sweep};
use crate::failure::Failure;
use crate::output::print;
use cais::cli::RmArgs;
use cais_engine::EngineError;
use cais_engine::remove::{Removal, remove_all};

pub(crate) fn rm(args: &RmArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    sweep(&engine);
    let how = Removal {
        force: args.force,
        volumes: args.volumes,
    };
    let mut code = 0;
    let mut printed = Ok(());
    remove_all(
        &engine.store,
        &args.containers,
        how,
        &mut |name, removed| match removed {
            Ok(()) if printed.is_ok() => printed = print(&format!("{name}\n")),
            Ok(()) => {}
            // Not there is what was wanted; it is said all the same.
            Err(error @ EngineError::NoSuchContainer(_)) if args.force => {
                Failure::from(error).show();
            }
            Err(error) => code = Failure::from(error).show(),
        },
    );
    printed.map(|()| code)
}
