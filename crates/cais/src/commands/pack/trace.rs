//! `--trace`: commands that are run to see what programs use.

use crate::commands::{privileged_engine, sweep};
use crate::failure::Failure;
use crate::output::print_error;
use cais::cli::PackArgs;
use cais_engine::images;
use cais_engine::options::RunOptions;
use cais_image::manifest::config::ContainerConfig;
use cais_image::pack::{Collected, Reason, Request};
use cais_order::Gather;
use rustix::fs::FileType;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Runs each command, and notes in the request what was used.
pub(super) fn trace_all(
    args: &PackArgs,
    config: &ContainerConfig,
    collected: &Collected,
    request: &mut Request,
) -> Result<(), Failure> {
    if args.root != "/" {
        let text = "--trace runs the machine's own programs: it cannot be used with --root";
        return Err(Failure::new(text).code(125));
    }
    let engine = privileged_engine()?;
    sweep(&engine);
    let programs = counted(collected);
    for command in &args.trace {
        if !args.quiet {
            print_error(&format!("cais: tracing: {command}\n"));
        }
        let options = RunOptions {
            command: ["/bin/sh", "-c", command].map(str::to_owned).to_vec(),
            env: config.env.clone(),
            user: args.user.clone(),
            workdir: args.workdir.clone(),
            ..RunOptions::default()
        };
        let traced = images::trace(&engine, options, programs.clone())?;
        let code = traced.ended.code();
        if code != 0 {
            return Err(Failure::new(format!(
                "--trace: the command ended with {code}, and may not have used all that it needs: {command}\n\
                 if that is well, add `|| true` to it"
            )));
        }
        request.uses.extend(traced.uses);
    }
    Ok(())
}

/// The programs whose uses count: those that were asked for, and what executes them where they
/// are scripts.
fn counted(collected: &Collected) -> BTreeSet<PathBuf> {
    let counts = |reason: &Reason| match reason {
        Reason::Program => true,
        Reason::Interpreter(of) => collected.set.get(of).is_some_and(|item| {
            let asked = |reason: &Reason| *reason == Reason::Program;
            item.reasons.iter().any(asked)
        }),
        _ => false,
    };
    collected
        .set
        .iter()
        .filter(|(_, item)| item.node.kind == FileType::RegularFile)
        .filter(|(_, item)| item.reasons.iter().any(counts))
        .map(|(path, _)| path.clone())
        .into_set()
}
