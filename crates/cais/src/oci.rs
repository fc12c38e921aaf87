//! The personality `cais-runtime`: an OCI runtime with runc's command line, under whichever
//! of the names of OCI runtimes this executable is called.

mod arguments;
mod criu;
mod exec;
mod foreground;
mod listing;
mod log;
mod make;
mod resources;

use arguments::{GLOBAL, Given, VERBS, Verb};
use cais_runtime::checkpoint::Checkpoints;
use cais_runtime::container::{Runtime, RuntimeError};
use log::Log;
use std::path::{Path, PathBuf};

/// Whether the executable is called by the name of an OCI runtime.
pub(crate) fn is_runtime(name: &str) -> bool {
    matches!(name, "cais-runtime" | "runc" | "crun")
}

/// What a command failed with: a text, and the exit code.
pub(super) struct Failed {
    text: String,
    code: u8,
}

impl Failed {
    fn usage(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            code: 1,
        }
    }

    /// The same failure with another exit code.
    fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }
}

impl From<RuntimeError> for Failed {
    fn from(error: RuntimeError) -> Self {
        Self::usage(log::describe(&error))
    }
}

impl From<crate::failure::Failure> for Failed {
    fn from(failure: crate::failure::Failure) -> Self {
        Self::usage(failure.text())
    }
}

type Outcome = Result<u8, Failed>;

/// One call of the runtime.
struct Call {
    given: Given,
    runtime: Runtime,
    log: Log,
}

/// Runs the command. `words` are the arguments after the program's name.
pub(crate) fn main(program: &str, words: &[String]) -> u8 {
    let global = match arguments::parse(GLOBAL, words, false) {
        Ok(global) => global,
        Err(text) => return log::fail(program, &text, 1),
    };
    if global.has("version") {
        return print_version(program);
    }
    let Some((name, rest)) = global
        .rest
        .split_first()
        .map(|(name, rest)| (name.clone(), rest.to_vec()))
    else {
        return print(&arguments::help(program, None));
    };
    if global.has("help") || name == "help" {
        return print(&arguments::help(program, None));
    }
    let Some(verb) = VERBS.iter().find(|verb| verb.name == name) else {
        return log::fail(
            program,
            &format!("no such command: {name:?}; try {program} --help"),
            1,
        );
    };
    let log = match Log::new(
        global.value("log"),
        global.value("log-format"),
        global.has("debug"),
    ) {
        Ok(log) => log,
        Err(text) => return log::fail(program, &text, 1),
    };
    let given = match arguments::parse(verb.flags, &rest, !verb.takes_command) {
        Ok(given) => given,
        Err(text) => return log.fail(program, verb.name, &text, 1),
    };
    if given.has("help") {
        return print(&arguments::help(program, Some(verb)));
    }
    let runtime = match make_runtime(&global) {
        Ok(runtime) => runtime,
        Err(text) => return log.fail(program, verb.name, &text, 1),
    };
    let call = Call { given, runtime, log };
    match carry_out(&call, verb) {
        Ok(code) => code,
        Err(failed) => call.log.fail(program, verb.name, &failed.text, failed.code),
    }
}

fn carry_out(call: &Call, verb: &Verb) -> Outcome {
    // By a pointer, so that they do not become one function with one large frame.
    let command: fn(&Call) -> Outcome = match verb.name {
        "create" => make::create,
        "run" => make::run,
        "start" => make::start,
        "delete" => make::delete,
        "kill" => make::kill,
        "pause" => make::pause,
        "resume" => make::resume,
        "exec" => exec::exec,
        "state" => listing::state,
        "list" => listing::list,
        "ps" => listing::ps,
        "spec" => listing::spec,
        "features" => |_| listing::features(),
        "update" => resources::update,
        "events" => resources::events,
        "checkpoint" => criu::checkpoint,
        "restore" => criu::restore,
        other => return Err(Failed::usage(format!("no such command: {other:?}"))),
    };
    command(call)
}

impl Call {
    /// The one argument: the container's id.
    fn id(&self) -> Result<&str, Failed> {
        match self.given.rest.as_slice() {
            [id] => Ok(id),
            [] => Err(Failed::usage("container id cannot be empty: give one argument")),
            more => Err(Failed::usage(format!(
                "one argument is wanted, the container id, and not {}",
                more.len()
            ))),
        }
    }

    /// A path that was given.
    fn path(&self, name: &str) -> Option<PathBuf> {
        self.given
            .value(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    }

    /// Descriptors that the program keeps: `--preserve-fds`, and those of socket activation
    /// (sd_listen_fds(3)).
    fn preserve_fds(&self) -> Result<u32, Failed> {
        let asked = self.given.value("preserve-fds").unwrap_or("0");
        let asked: u32 = asked
            .parse()
            .map_err(|_bad| Failed::usage(format!("--preserve-fds {asked}: not a number")))?;
        Ok(asked + listen_fds())
    }
}

/// How many descriptors of socket activation this process was given.
fn listen_fds() -> u32 {
    std::env::var("LISTEN_FDS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(0)
}

fn make_runtime(global: &Given) -> Result<Runtime, String> {
    let is_root = rustix::process::geteuid().is_root();
    let rootless = match global.value("rootless") {
        None | Some("auto" | "") => !is_root,
        Some("true") => true,
        Some("false") => false,
        Some(other) => return Err(format!("--rootless {other}: true, false or auto")),
    };
    // An ordinary user, or the root of a user namespace that has no more rights outside.
    let confined = rootless || !cais_linux::process::userns::is_initial();
    let base = match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(directory) if confined && !directory.is_empty() => PathBuf::from(directory),
        _ if is_root => PathBuf::from("/run"),
        _ => Path::new("/tmp").join(format!("cais-{}", rustix::process::geteuid().as_raw())),
    };
    let (systemd, no_cgroups) = match global.value("cgroup-manager") {
        None | Some("cgroupfs") => (global.has("systemd-cgroup"), false),
        Some("systemd") => (true, false),
        Some("disabled") => (false, true),
        Some(other) => return Err(format!("--cgroup-manager {other}: cgroupfs, systemd or disabled")),
    };
    Ok(Runtime {
        root: global
            .value("root")
            .map_or_else(|| base.join("cais-runtime"), PathBuf::from),
        seccomp_cache: base.join("cais/seccomp"),
        systemd,
        no_cgroups,
        criu: PathBuf::from(
            global
                .value("criu")
                .filter(|path| !path.is_empty())
                .unwrap_or("criu"),
        ),
        rootless: rootless && !is_root,
        confined,
        checkpoints: Checkpoints::new(std::env::var("CAIS_TEST_KILL").ok().as_deref()),
    })
}

/// containerd reads the first word and the lines `commit:` and `spec:`.
fn print_version(program: &str) -> u8 {
    let name = if program == "crun" { "crun" } else { "runc" };
    print(&format!(
        "{name} version {}\ncommit: cais\nspec: {}\n",
        env!("CARGO_PKG_VERSION"),
        cais_runtime::spec::VERSION
    ))
}

fn print(text: &str) -> u8 {
    match crate::output::print(text) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}
