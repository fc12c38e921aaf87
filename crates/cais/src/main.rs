//! The `cais` command: the only place with standard output, exit codes and hints.

mod commands;
mod failure;
mod oci;
mod output;
mod progress;
mod usage;

use cais::cli::{self, Command};
use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if let Some(name) = runtime_name(&arguments) {
        let words: Vec<String> = arguments
            .iter()
            .skip(1)
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        return ExitCode::from(oci::main(&name, &words));
    }
    match cli::parse(&arguments) {
        Ok(cli) => finish(run(cli.command)),
        Err(error) => finish(Err(Failure::usage(&error, &arguments))),
    }
}

/// The name under which this executable is called, where it is that of an OCI runtime.
fn runtime_name(arguments: &[std::ffi::OsString]) -> Option<String> {
    let path = std::path::Path::new(arguments.first()?);
    let name = path.file_name()?.to_string_lossy().into_owned();
    oci::is_runtime(&name).then_some(name)
}

fn run(command: Command) -> Result<u8, Failure> {
    match command {
        Command::Run(args) => commands::run::run(&args),
        Command::Exec(args) => commands::exec::exec(&args),
        Command::Ps(args) => commands::ps::ps(&args),
        Command::Start(args) => commands::start::start(&args),
        Command::Stop(args) => commands::stop::stop(&args),
        Command::Kill(args) => commands::stop::kill(&args),
        Command::Wait(args) => commands::life::wait(&args),
        Command::Create(args) => commands::run::create(&args),
        Command::Restart(args) => commands::life::restart(&args),
        Command::Pause(args) => commands::life::pause(&args),
        Command::Unpause(args) => commands::life::unpause(&args),
        Command::Rename(args) => commands::life::rename(&args),
        Command::Update(args) => commands::life::update(&args),
        Command::Events(args) => commands::events::events(&args),
        Command::Attach(args) => commands::life::attach(&args),
        Command::Rm(args) => commands::rm::rm(&args),
        Command::Inspect(args) => commands::inspect::inspect(&args),
        Command::Logs(args) => commands::logs::logs(&args),
        Command::Diff(args) => commands::diff::diff(&args),
        Command::Images(args) => commands::images::list(&args),
        Command::Pull(args) => commands::transfer::pull(&args),
        Command::Push(args) => commands::transfer::push(&args),
        Command::Login(args) => commands::login::login(&args),
        Command::Logout(args) => commands::login::logout(&args),
        Command::Copy(args) => commands::copy::copy(&args),
        Command::Manifest(command) => commands::copy::manifest(&command),
        Command::Import(args) => commands::archive::import(&args),
        Command::Export(args) => commands::archive::export(&args),
        Command::Untag(args) => commands::image::untag(&args),
        Command::Volume(command) => commands::volume::volume(&command),
        Command::Load(args) => commands::archive::load(&args),
        Command::Save(args) => commands::archive::save(&args),
        Command::Pack(args) => commands::pack::pack(&args),
        Command::Tag(args) => commands::image::tag(&args),
        Command::Rmi(args) => commands::image::remove(&args),
        Command::History(args) => commands::history::history(&args),
        Command::Image(command) => commands::image::image(&command),
        Command::Container(command) => commands::prune::container(&command),
        Command::Network(command) => commands::network::network(&command),
        Command::System(command) => commands::prune::system(&command),
        Command::Config(command) => commands::config::config(&command),
        Command::Doctor(args) => commands::doctor::doctor(&args),
        Command::Top(args) => commands::top::top(&args),
        Command::Stats(args) => commands::stats::stats(&args),
        Command::Port(args) => commands::port::port(&args),
        Command::Info(args) => commands::info::info(&args),
        Command::Version(args) => commands::info::version(&args),
    }
}

/// The one place where a failure becomes text and an exit code.
fn finish(result: Result<u8, Failure>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => ExitCode::from(failure.show()),
    }
}
