//! `cais rm`.

use super::{engine, for_each, sweep};
use crate::failure::Failure;
use crate::output::print;
use cais::cli::RmArgs;
use cais_engine::engine::Engine;
use cais_engine::remove::{Removal, remove_all};
use cais_engine::{EngineError, list};

pub(crate) fn rm(args: &RmArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    sweep(&engine);
    if args.link {
        return for_each(&args.containers, |name| Err(refuse_link(&engine, name)));
    }
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

/// Why there is no such link to remove, in Docker's words.
fn refuse_link(engine: &Engine, name: &str) -> Failure {
    match list::container(&engine.store, name.trim_start_matches('/')) {
        Ok(_) => Failure::new("Conflict, cannot remove the default name of the container"),
        Err(error) => Failure::from(error),
    }
}
