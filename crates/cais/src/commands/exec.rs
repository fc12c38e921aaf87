//! `cais exec`.

use super::run_options::environment;
use super::{detach_keys, has_terminal, privileged_engine, show_timings};
use crate::failure::Failure;
use cais::cli::ExecArgs;
use cais_engine::exec::{ExecOptions, exec as start};
use cais_engine::list;

pub(crate) fn exec(args: &ExecArgs) -> Result<u8, Failure> {
    let engine = privileged_engine()?;
    let [container, command @ ..] = args.words.as_slice() else {
        return Err(Failure::new("a container and a command are needed"));
    };
    if args.tty && args.interactive && !args.detach && !has_terminal() {
        // Docker's order: that there is no such container is said first.
        list::container(&engine.store, container)?;
        return Err(Failure::no_terminal());
    }
    let options = ExecOptions {
        container: container.clone(),
        command: command.to_vec(),
        env: environment(&args.env, &args.env_file)?,
        user: args.user.clone(),
        workdir: args.workdir.clone(),
        interactive: args.interactive,
        tty: args.tty,
        detach: args.detach,
        detach_keys: detach_keys(&engine, args.detach_keys.as_ref())?,
        privileged: args.privileged,
        timings: args.timings.then_some(show_timings),
    };
    if let Some(directory) = options
        .workdir
        .as_ref()
        .filter(|directory| !directory.starts_with('/'))
    {
        return Err(Failure::new(format!("--workdir: {directory:?} is not an absolute path")).code(125));
    }
    let code = start(&engine, &options).map_err(|error| match error {
        // Docker: what is wrong with the container is code 1, with the command 126 and 127.
        cais_engine::EngineError::NoSuchContainer(_)
        | cais_engine::EngineError::NotRunning(_)
        | cais_engine::EngineError::Paused(_) => Failure::from(error),
        other => Failure::of_start(other),
    })?;
    Ok(code.unwrap_or(0))
}
