//! The command line, defined once. One file for each larger command; the small ones
//! stand here.

pub mod exec;
pub mod image;
pub mod registry;
pub mod run;

pub use exec::ExecArgs;
pub use image::{HistoryArgs, ImageCommand, ImagesArgs, LoadArgs, RmiArgs, SaveArgs, TagArgs};
pub use registry::{LoginArgs, LogoutArgs, PullArgs, PushArgs, RegistryArgs};
pub use run::RunArgs;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;

/// Run programs in containers: their own processes, network, files and users, under
/// limits. No daemon.
#[derive(Debug, Parser)]
#[command(
    name = "cais",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a command in a new container
    Run(Box<RunArgs>),
    /// Run a command in a running container
    Exec(ExecArgs),
    /// List containers
    Ps(PsArgs),
    /// Start stopped containers
    Start(StartArgs),
    /// Stop running containers
    Stop(StopArgs),
    /// Send a signal to running containers
    Kill(KillArgs),
    /// Wait until containers stop and print their exit codes
    Wait(NamesArgs),
    /// Remove containers
    Rm(RmArgs),
    /// Show everything known about containers as JSON
    Inspect(NamesArgs),
    /// Show the output of a container
    Logs(LogsArgs),
    /// Show what changed in a container's file system (A added, C changed, D deleted)
    Diff(NameArgs),
    /// List images
    Images(ImagesArgs),
    /// Fetch an image from a registry
    Pull(PullArgs),
    /// Give an image to a registry
    Push(PushArgs),
    /// Log in to a registry
    Login(LoginArgs),
    /// Log out from a registry
    Logout(LogoutArgs),
    /// Take in images from an archive: docker save's, an OCI archive, or an OCI layout
    Load(LoadArgs),
    /// Give out images as one archive
    Save(SaveArgs),
    /// Give an image a further name
    Tag(TagArgs),
    /// Remove images
    Rmi(RmiArgs),
    /// Show how the layers of an image were made
    History(HistoryArgs),
    /// Look at and clean up images
    #[command(subcommand)]
    Image(ImageCommand),
    /// Show what this kernel can do, and what cais does without it
    Doctor(DoctorArgs),
    /// Show the version
    Version,
}

/// Arguments of commands that take one container.
#[derive(Debug, Args)]
pub struct NameArgs {
    /// Name or id of the container
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// Arguments of commands that take several containers.
#[derive(Debug, Args)]
pub struct NamesArgs {
    /// Names or ids of containers
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// `cais ps`.
#[derive(Debug, Args)]
pub struct PsArgs {
    /// Show all containers, not only those that run
    #[arg(short, long)]
    pub all: bool,
    /// Show only ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Do not shorten ids and commands
    #[arg(long)]
    pub no_trunc: bool,
    /// Output form: "json" prints one object a line
    #[arg(long, value_name = "FORMAT", value_parser = ["json", "table"])]
    pub format: Option<String>,
}

/// `cais start`.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// Show the output and wait for the end
    #[arg(short, long)]
    pub attach: bool,
    /// Pass standard input on (with --attach)
    #[arg(short, long)]
    pub interactive: bool,
    /// Names or ids of containers
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// `cais stop`.
#[derive(Debug, Args)]
pub struct StopArgs {
    /// Seconds to wait before the container is killed; -1 waits for ever
    #[arg(short, long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub time: Option<i64>,
    /// Signal to send instead of the container's own stop signal
    #[arg(short, long)]
    pub signal: Option<String>,
    /// Names or ids of containers
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// `cais kill`.
#[derive(Debug, Args)]
pub struct KillArgs {
    /// Signal to send
    #[arg(short, long, default_value = "KILL")]
    pub signal: String,
    /// Names or ids of containers
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// `cais rm`.
#[derive(Debug, Args)]
pub struct RmArgs {
    /// Kill a container that runs; one that is not there is no error
    #[arg(short, long)]
    pub force: bool,
    /// Names or ids of containers
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// `cais logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Go on with what is written from now on
    #[arg(short, long)]
    pub follow: bool,
    /// Show when each line was written
    #[arg(short, long)]
    pub timestamps: bool,
    /// Number of lines from the end, or "all"
    #[arg(short = 'n', long, value_name = "N", default_value = "all")]
    pub tail: String,
    /// Name or id of the container
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// `cais doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Parses a command line. Only the command that is used is built: the whole tree is
/// needed for help and for mistakes alone, and building it takes longer than a mount.
///
/// # Errors
/// What clap says: a mistake, or the text of `--help` and `--version`.
pub fn parse(arguments: Vec<OsString>) -> Result<Cli, clap::Error> {
    match arguments.get(1).and_then(|name| name.to_str()) {
        Some("run") => parse_one::<RunArgs>("run", &arguments).map(|args| Command::Run(Box::new(args))),
        Some("exec") => parse_one::<ExecArgs>("exec", &arguments).map(Command::Exec),
        Some("ps") => parse_one::<PsArgs>("ps", &arguments).map(Command::Ps),
        _ => return Cli::try_parse_from(arguments),
    }
    .map(|command| Cli { command })
}

fn parse_one<T: Args + FromArgMatches>(name: &'static str, arguments: &[OsString]) -> Result<T, clap::Error> {
    let command = clap::Command::new(name)
        .bin_name(format!("cais {name}"))
        .max_term_width(100);
    let command = T::augment_args(command)
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true);
    let matches = command
        .clone()
        .try_get_matches_from(arguments.get(1..).unwrap_or(&[]));
    match matches {
        Ok(matches) => T::from_arg_matches(&matches),
        // The whole tree knows the commands' own texts.
        Err(_) => Err(match Cli::try_parse_from(arguments) {
            Err(error) => error,
            Ok(_) => clap::Error::new(clap::error::ErrorKind::Format).with_cmd(&command),
        }),
    }
}

/// The whole tree, for man pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(text: &str) -> Result<Cli, clap::Error> {
        parse(text.split(' ').map(OsString::from).collect())
    }

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn everything_after_the_image_belongs_to_the_command() {
        let Command::Run(args) = parse_words("cais run --rm -it -e A=b host ls --rm -l")
            .unwrap()
            .command
        else {
            panic!("not a run");
        };
        assert!(args.rm && args.interactive && args.tty);
        assert_eq!(args.words, ["host", "ls", "--rm", "-l"]);
        let Command::Exec(args) = parse_words("cais exec -it web sh -c x").unwrap().command else {
            panic!("not an exec")
        };
        assert_eq!((args.container.as_str(), args.command.len()), ("web", 3));
    }

    #[test]
    fn flags_repeat_as_with_docker() {
        let Command::Run(args) =
            parse_words("cais run --name a --name b -v /a:/b -v /c:/d --rm=false host true")
                .unwrap()
                .command
        else {
            panic!("not a run");
        };
        assert_eq!(args.name.as_deref(), Some("b"));
        assert_eq!(args.volume.len(), 2);
        assert!(!args.rm);
    }

    #[test]
    fn mistakes_are_errors() {
        for bad in ["cais run --bogus host", "cais bogus", "cais exec", "cais rm"] {
            assert!(parse_words(bad).is_err(), "{bad}");
        }
    }
}
