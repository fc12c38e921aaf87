//! The commands about everything at once.

use super::InspectKindArgs;
use clap::{Args, Subcommand};

/// `cais system …`.
#[derive(Debug, Subcommand)]
pub enum SystemCommand {
    /// Remove stopped containers, images that nothing uses, and what else is left over
    Prune(SystemPruneArgs),
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
    #[arg(long, value_name = "KEY=VALUE")]
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
    /// Only what is so: until=MOMENT, label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
}
