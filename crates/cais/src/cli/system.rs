//! The commands about everything at once.

use super::InspectKindArgs;
use clap::{Args, Subcommand};

/// `cais system …`.
#[derive(Debug, Subcommand)]
pub enum SystemCommand {
    /// Remove stopped containers, images that nothing uses, and what else is left over
    Prune(SystemPruneArgs),
    /// Show what everything takes on the disk, to the byte as du counts
    Df(SystemDfArgs),
    /// Have containers started by their restart policies after a boot: a unit of systemd, or
    /// a script where there is none
    Install(SystemInstallArgs),
    /// Start containers by their restart policies, as after a boot
    #[command(hide = true)]
    StartAll,
    /// End all containers, as before the machine stops: their policies start them again
    #[command(hide = true)]
    StopAll,
    /// Check that everything that is kept is whole
    Check(SystemCheckArgs),
}

/// `cais system install`.
#[derive(Debug, Args)]
pub struct SystemInstallArgs {
    /// The machine's root, for one that is not running
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: String,
}

/// `cais system df`.
#[derive(Debug, Args)]
pub struct SystemDfArgs {
    /// Show each image, layer, container and volume
    #[arg(short, long)]
    pub verbose: bool,
    /// Show bytes and no units
    #[arg(long)]
    pub bytes: bool,
    /// Output form: "table", "table TEMPLATE", "json", or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// `cais system check`.
#[derive(Debug, Args)]
pub struct SystemCheckArgs {
    /// Put right what can be without losing what a user made
    #[arg(long)]
    pub repair: bool,
}

/// `cais container …`: those that have no shorter name. The others are the commands
/// themselves.
#[derive(Debug, Subcommand)]
pub enum ContainerCommand {
    /// Show everything known about containers as JSON
    Inspect(InspectKindArgs),
    /// Remove all stopped containers
    Prune(PruneArgs),
}

/// `cais container prune`.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Only what is so: until=MOMENT, label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "KEY=VALUE", value_parser = super::parse::parse_filter)]
    pub filter: Vec<String>,
}

/// `cais image prune`.
#[derive(Debug, Args)]
pub struct ImagePruneArgs {
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// All images that no container is made of, not only those without a name
    #[arg(short, long)]
    pub all: bool,
    /// Only what is so: until=MOMENT, label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "KEY=VALUE", value_parser = super::parse::parse_filter)]
    pub filter: Vec<String>,
}

/// `cais system prune`.
#[derive(Debug, Args)]
pub struct SystemPruneArgs {
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// All images that no container is made of, not only those without a name
    #[arg(short, long)]
    pub all: bool,
    /// Also volumes without a name of yours that no container has
    #[arg(long)]
    pub volumes: bool,
    /// Only what is so: until=MOMENT, label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "KEY=VALUE", value_parser = super::parse::parse_filter)]
    pub filter: Vec<String>,
}
