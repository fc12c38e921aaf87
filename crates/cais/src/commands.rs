//! The commands: one file each.

pub(crate) mod archive;
pub(crate) mod boot;
pub(crate) mod config;
pub(crate) mod copy;
pub(crate) mod diff;
pub(crate) mod disk;
pub(crate) mod doctor;
mod egress;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod history;
pub(crate) mod image;
pub(crate) mod images;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod life;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod network;
pub(crate) mod pack;
pub(crate) mod port;
mod ports;
pub(crate) mod prune;
pub(crate) mod ps;
pub(crate) mod rm;
pub(crate) mod run;
mod run_options;
pub(crate) mod start;
pub(crate) mod stats;
pub(crate) mod stop;
pub(crate) mod top;
pub(crate) mod transfer;
pub(crate) mod volume;

use crate::failure::Failure;
use crate::output::{print, print_error, program};
use cais_engine::engine::Engine;
use cais_engine::error::EngineError;
use cais_engine::sweep::Sweep;
use cais_runtime::create::Timing;

/// The engine of this user.
fn engine() -> Result<Engine, Failure> {
    Ok(Engine::new(|name| std::env::var(name).ok())?)
}

/// The engine for commands that make processes, whose failures have Docker's code.
fn privileged_engine() -> Result<Engine, Failure> {
    engine().map_err(|failure| failure.code(125))
}

/// Removes what killed commands left behind.
fn sweep(engine: &Engine) {
    if let Err(error) = Sweep::of(&engine.store, false).finish() {
        tell_of_sweep(&error);
    }
}

/// The same before a start: of many containers only some are looked through.
fn sweep_in_passing(engine: &Engine) {
    if let Err(error) = Sweep::of(&engine.store, true).finish() {
        tell_of_sweep(&error);
    }
}

/// What cannot be removed now is tried again by the next command, and told here, but it stops
/// nothing.
fn tell_of_sweep(error: &EngineError) {
    print_error(&format!(
        "{}: warning: {}\n",
        program(),
        cais_engine::run::chain(error)
    ));
}

/// The keys by which a terminal is left, as Docker's.
const DETACH_KEYS: &str = "ctrl-p,ctrl-q";

/// The keys by which the user leaves a terminal: given here, configured, or Docker's.
fn detach_keys(engine: &Engine, given: Option<&String>) -> Result<Vec<u8>, Failure> {
    let configured = engine.config.detach_keys.value.as_ref();
    let keys = given.or(configured).map_or(DETACH_KEYS, String::as_str);
    Ok(cais_engine::options::process::parse_detach_keys(keys)?)
}

/// Whether what a program of a terminal would read comes from one.
fn has_terminal() -> bool {
    rustix::termios::isatty(std::io::stdin())
}

/// Does something with each of several containers; all are tried. Prints each that was
/// done.
fn for_each(
    containers: &[String],
    mut action: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let mut code = 0;
    for container in containers {
        match action(container) {
            Ok(()) => print(&format!("{container}\n"))?,
            Err(failure) => code = failure.show(),
        }
    }
    Ok(code)
}

/// What `--timings` prints.
fn show_timings(timings: &[Timing]) {
    let total: f64 = timings
        .iter()
        .filter(|timing| !timing.in_stub)
        .map(|timing| timing.took.as_secs_f64())
        .sum();
    for timing in timings {
        let indent = if timing.in_stub { "    init: " } else { "" };
        print_error(&format!(
            "{:>9.3} ms  {indent}{}\n",
            timing.took.as_secs_f64() * 1e3,
            timing.name
        ));
    }
    print_error(&format!(
        "{:>9.3} ms  in all (what init does runs beside)\n",
        total * 1e3
    ));
}
