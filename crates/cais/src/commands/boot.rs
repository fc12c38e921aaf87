//! `cais system install`, and what its unit calls: `start-all` and `stop-all`.

use super::{privileged_engine, sweep};
use crate::failure::Failure;
use crate::output::print;
use cais::cli::SystemInstallArgs;
use cais_engine::boot;
use cais_engine::service::Service;
use std::path::Path;

pub(crate) fn install(args: &SystemInstallArgs) -> Result<u8, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::new(format!("cannot tell where this executable lies: {error}")))?;
    let installed = boot::install(Path::new(&args.root), &program)?;
    let path = installed.path.display();
    print(&if installed.is_unit {
        format!(
            "{path}\nIt takes effect at the next boot, or with: systemctl daemon-reload && systemctl start cais\n"
        )
    } else {
        format!("{path}\nThere is no systemd here: have your init system call it with start and stop\n")
    })?;
    Ok(0)
}

pub(crate) fn start_all() -> Result<u8, Failure> {
    let mut engine = privileged_engine()?;
    // What the manager gave is for the unit, and not for one of its containers.
    engine.service = Service::default();
    sweep(&engine);
    let boot::StartedAll { started, failed } = boot::start_all(&engine)?;
    for name in started {
        print(&format!("{name}\n"))?;
    }
    let mut code = 0;
    for (name, error) in failed {
        let failure = Failure::from(error);
        code = Failure::new(format!("container {name}: {}", failure.text())).show();
    }
    Ok(code)
}

pub(crate) fn stop_all() -> Result<u8, Failure> {
    let engine = privileged_engine()?;
    boot::stop_all(&engine)?;
    Ok(0)
}
