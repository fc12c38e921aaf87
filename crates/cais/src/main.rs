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
    const SIGCHLD: u32 = 17;
    // A caller may ignore it; how our programs end is ours to hear.
    cais_sys::signal::reset(SIGCHLD);
    let arguments: Vec<_> = std::env::args_os().collect();
    if let Some(name) = runtime_name(&arguments) {
        let words: Vec<String> = arguments
            .iter()
            .skip(1)
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        return ExitCode::from(oci::main(&name, &words));
    }
    // What is stored has the modes that are asked for there: a mask of 077 would close the root
    // of each container and each image to everybody but root.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
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
        Command::Run(args) => call(commands::run::run, &args),
        Command::Exec(args) => call(commands::exec::exec, &args),
        Command::Ps(args) => call(commands::ps::ps, &args),
        Command::Start(args) => call(commands::start::start, &args),
        Command::Stop(args) => call(commands::stop::stop, &args),
        Command::Kill(args) => call(commands::stop::kill, &args),
        Command::Wait(args) => call(commands::life::wait, &args),
        Command::Create(args) => call(commands::run::create, &args),
        Command::Restart(args) => call(commands::life::restart, &args),
        Command::Pause(args) => call(commands::life::pause, &args),
        Command::Unpause(args) => call(commands::life::unpause, &args),
        Command::Rename(args) => call(commands::life::rename, &args),
        Command::Update(args) => call(commands::life::update, &args),
        Command::Events(args) => call(commands::events::events, &args),
        Command::Attach(args) => call(commands::life::attach, &args),
        Command::Rm(args) => call(commands::rm::rm, &args),
        Command::Inspect(args) => call(commands::inspect::inspect, &args),
        Command::Logs(args) => call(commands::logs::logs, &args),
        Command::Diff(args) => call(commands::diff::diff, &args),
        Command::Images(args) => call(commands::images::list, &args),
        Command::Pull(args) => call(commands::transfer::pull, &args),
        Command::Push(args) => call(commands::transfer::push, &args),
        Command::Login(args) => call(commands::login::login, &args),
        Command::Logout(args) => call(commands::login::logout, &args),
        Command::Copy(args) => call(commands::copy::copy, &args),
        Command::Manifest(command) => call(commands::copy::manifest, &command),
        Command::Import(args) => call(commands::archive::import, &args),
        Command::Export(args) => call(commands::archive::export, &args),
        Command::Untag(args) => call(commands::image::untag, &args),
        Command::Volume(command) => call(commands::volume::volume, &command),
        Command::Load(args) => call(commands::archive::load, &args),
        Command::Save(args) => call(commands::archive::save, &args),
        Command::Pack(args) => call(commands::pack::pack, &args),
        Command::Tag(args) => call(commands::image::tag, &args),
        Command::Rmi(args) => call(commands::image::remove, &args),
        Command::History(args) => call(commands::history::history, &args),
        Command::Image(command) => call(commands::image::image, &command),
        Command::Container(command) => call(commands::prune::container, &command),
        Command::Network(command) => call(commands::network::network, &command),
        Command::System(command) => call(commands::prune::system, &command),
        Command::Config(command) => call(commands::config::config, &command),
        Command::Doctor(args) => call(commands::doctor::doctor, &args),
        Command::Top(args) => call(commands::top::top, &args),
        Command::Stats(args) => call(commands::stats::stats, &args),
        Command::Port(args) => call(commands::port::port, &args),
        Command::Info(args) => call(commands::info::info, &args),
        Command::Version(args) => call(commands::info::version, &args),
    }
}

/// Calls the function of a command. Made a part of the function above, all of them would be one
/// whose frame and whose pages every command pays for.
#[inline(never)]
fn call<A>(command: fn(&A) -> Result<u8, Failure>, arguments: &A) -> Result<u8, Failure> {
    command(arguments)
}

/// The one place where a failure becomes text and an exit code.
fn finish(result: Result<u8, Failure>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => ExitCode::from(failure.show()),
    }
}
