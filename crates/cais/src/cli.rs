//! The command line, defined once. One file for each larger command; the small ones
//! stand here.

pub mod config;
pub mod exec;
pub mod fixed;
mod flags;
mod groups;
pub mod health;
pub mod image;
pub mod life;
pub mod network;
pub mod pack;
mod parse;
pub mod registry;
pub mod run;
pub mod system;
pub mod views;
pub mod volume;

pub use config::{ConfigCommand, ConfigShowArgs};
pub use exec::ExecArgs;
pub use image::{
    ExportArgs, HistoryArgs, ImageCommand, ImageMountArgs, ImagesArgs, ImportArgs, LoadArgs, RmiArgs,
    SaveArgs, TagArgs, UntagArgs,
};
pub use life::{AttachArgs, EventsArgs, RenameArgs, RestartArgs, UpdateArgs, WaitArgs};
pub use network::{NetworkCommand, NetworkConnectArgs, NetworkCreateArgs, NetworkListArgs, NetworkPruneArgs};
pub use pack::PackArgs;
pub use parse::{command, command_path, parse};
pub use registry::{
    CopyArgs, LoginArgs, LogoutArgs, ManifestCommand, ManifestInspectArgs, PullArgs, PushArgs, RegistryArgs,
};
pub use run::RunArgs;
pub use system::{
    ContainerCommand, ImagePruneArgs, PruneArgs, SystemCheckArgs, SystemCommand, SystemDfArgs,
    SystemInstallArgs, SystemPruneArgs,
};
pub use views::{FormatArgs, InspectArgs, InspectKindArgs, PortArgs, StatsArgs, TopArgs};
pub use volume::{
    VolumeCommand, VolumeCreateArgs, VolumeInspectArgs, VolumeListArgs, VolumePruneArgs, VolumeRemoveArgs,
};

use clap::{Args, Parser, Subcommand};

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
    /// Make a new container without starting it
    Create(Box<RunArgs>),
    /// List containers
    Ps(PsArgs),
    /// Start stopped containers
    Start(StartArgs),
    /// Stop running containers
    Stop(StopArgs),
    /// Send a signal to running containers
    Kill(KillArgs),
    /// Wait until containers stop and print their exit codes
    Wait(WaitArgs),
    /// Stop containers and start them again
    Restart(RestartArgs),
    /// Let all processes of containers stand still
    Pause(NamesArgs),
    /// Let them go on
    Unpause(NamesArgs),
    /// Give a container another name
    Rename(RenameArgs),
    /// Change limits, restart policy and labels of containers
    Update(UpdateArgs),
    /// Watch a running container
    Attach(AttachArgs),
    /// Show what happens, or happened
    Events(EventsArgs),
    /// Remove containers
    Rm(RmArgs),
    /// Show everything known about containers and images as JSON
    Inspect(InspectArgs),
    /// Show the processes of a container
    Top(TopArgs),
    /// Show what containers use of CPU, memory, network and disks
    Stats(StatsArgs),
    /// Show the published ports of a container
    Port(PortArgs),
    /// Show the output of containers
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
    /// Copy an image from any place to any other, untouched
    Copy(Box<CopyArgs>),
    /// Look at manifests in registries
    #[command(subcommand)]
    Manifest(ManifestCommand),
    /// Make an image of an archive of files
    Import(ImportArgs),
    /// Give out the files of a container as an archive
    Export(ExportArgs),
    /// Take names away from an image
    Untag(UntagArgs),
    /// Manage volumes
    #[command(subcommand)]
    Volume(VolumeCommand),
    /// Take in images from an archive: docker save's, an OCI archive, or an OCI layout
    Load(LoadArgs),
    /// Give out images as one archive
    Save(SaveArgs),
    /// Make an image out of this machine's own programs, with only what they need
    Pack(Box<PackArgs>),
    /// Give an image a further name
    Tag(TagArgs),
    /// Remove images
    Rmi(RmiArgs),
    /// Show how the layers of an image were made
    History(HistoryArgs),
    /// Look at and clean up images
    #[command(subcommand)]
    Image(ImageCommand),
    /// Work with containers: the commands above, and those that have no name of their own
    #[command(subcommand)]
    Container(ContainerCommand),
    /// Make, look at and remove networks
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Look at and clean up everything
    #[command(subcommand)]
    System(SystemCommand),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show what this kernel can do, and what cais does without it
    Doctor(DoctorArgs),
    /// Show the machine and what is on it
    Info(FormatArgs),
    /// Show the version
    Version(FormatArgs),
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
#[allow(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct PsArgs {
    /// Show all containers, not only those that run
    #[arg(short, long)]
    pub all: bool,
    /// Show only ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Show the last N containers that were made, whatever they are doing
    #[arg(short = 'n', long, value_name = "N", value_parser = parse::parse_number::<i64>)]
    pub last: Option<i64>,
    /// Show the container that was made last, whatever it is doing
    #[arg(short, long)]
    pub latest: bool,
    /// Show how much each has written
    #[arg(short, long)]
    pub size: bool,
    /// Do not shorten ids, commands and mounts
    #[arg(long)]
    pub no_trunc: bool,
    /// Only what is so: id, name, label, exited, status, ancestor, before, since, volume,
    /// network, publish, expose, health, is-task
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = parse::parse_filter)]
    pub filter: Vec<String>,
    /// Form of the output: "table", "table TEMPLATE", "json" (one object a line), or a Go
    /// template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// `cais start`.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// Show the output and wait for the end
    #[arg(short, long)]
    pub attach: bool,
    /// Pass standard input on
    #[arg(short, long)]
    pub interactive: bool,
    /// Keys that leave a terminal, e.g. ctrl-p,ctrl-q
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// Names or ids of containers
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// `cais stop`.
#[derive(Debug, Args)]
pub struct StopArgs {
    /// Seconds to wait before the container is killed; -1 waits for ever
    #[arg(
        short,
        long,
        visible_alias = "timeout",
        value_name = "SECONDS", value_parser = parse::parse_number::<i64>)]
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
    /// Remove a link instead of a container: there are none that could be removed, see --link
    /// of `run`
    #[arg(short, long)]
    pub link: bool,
    /// Remove the volumes that are the container's own
    #[arg(short, long)]
    pub volumes: bool,
    /// Names or ids of containers
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// `cais logs`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct LogsArgs {
    /// Go on with what is written from now on
    #[arg(short, long)]
    pub follow: bool,
    /// Only lines of this moment and later: RFC 3339, seconds since 1970, or 10m for ten
    /// minutes ago
    #[arg(long, value_name = "MOMENT")]
    pub since: Option<String>,
    /// Only lines before this moment
    #[arg(long, value_name = "MOMENT")]
    pub until: Option<String>,
    /// Show when each line was written
    #[arg(short, long)]
    pub timestamps: bool,
    /// Show the labels and variables that --log-opt notes with each line
    #[arg(long)]
    pub details: bool,
    /// Number of lines from the end, or "all"
    #[arg(short = 'n', long, value_name = "N", default_value = "all")]
    pub tail: String,
    /// Names or ids of containers
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// `cais doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
