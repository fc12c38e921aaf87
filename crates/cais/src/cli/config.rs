//! `cais config`.

use clap::{Args, Subcommand};

/// `cais config …`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show every setting, its value, and where the value comes from
    Show(ConfigShowArgs),
}

/// `cais config show`.
#[derive(Debug, Args)]
pub struct ConfigShowArgs {
    /// Form of the output: "table", "table TEMPLATE", "json", or a Go template with .Key,
    /// .Value, .Origin, .Variable, .Description
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}
