//! The commands about volumes.

use clap::{Args, Subcommand};

/// `cais volume …`.
#[derive(Debug, Subcommand)]
pub enum VolumeCommand {
    /// Make a volume
    Create(VolumeCreateArgs),
    /// Show everything known about volumes as JSON
    Inspect(VolumeInspectArgs),
    /// List volumes
    #[command(alias = "list")]
    Ls(VolumeListArgs),
    /// Remove volumes that no container has: those without a name, with --all every one
    Prune(VolumePruneArgs),
    /// Remove volumes
    #[command(alias = "remove")]
    Rm(VolumeRemoveArgs),
}

/// `cais volume create`.
#[derive(Debug, Args)]
pub struct VolumeCreateArgs {
    /// What keeps it; there is only "local"
    #[arg(short, long, value_name = "DRIVER", value_parser = ["local"], default_value = "local", hide_default_value = true, hide_possible_values = true)]
    pub driver: String,
    /// Label
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Vec<String>,
    /// The name, as Docker's scripts of old write it
    #[arg(long = "name", value_name = "VOLUME", hide = true)]
    pub name_flag: Option<String>,
    /// The name; one is made up unless given
    #[arg(value_name = "VOLUME")]
    pub name: Option<String>,
}

/// `cais volume inspect`.
#[derive(Debug, Args)]
pub struct VolumeInspectArgs {
    /// Output form: json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Names of volumes
    #[arg(value_name = "VOLUME", required = true)]
    pub volumes: Vec<String>,
}

/// `cais volume ls`.
#[derive(Debug, Args)]
pub struct VolumeListArgs {
    /// Only volumes that are so: name=TEXT, label=KEY[=VALUE], dangling=true, driver=local
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = super::parse::parse_filter)]
    pub filter: Vec<String>,
    /// Output form: table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Show only names
    #[arg(short, long)]
    pub quiet: bool,
}

/// `cais volume prune`.
#[derive(Debug, Args)]
pub struct VolumePruneArgs {
    /// Those with a name too
    #[arg(short, long)]
    pub all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Only volumes that are so: label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "KEY=VALUE", value_parser = super::parse::parse_filter)]
    pub filter: Vec<String>,
}

/// `cais volume rm`.
#[derive(Debug, Args)]
pub struct VolumeRemoveArgs {
    /// One that is not there is no error
    #[arg(short, long)]
    pub force: bool,
    /// Names of volumes
    #[arg(value_name = "VOLUME", required = true)]
    pub volumes: Vec<String>,
}
