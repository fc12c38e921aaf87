//! The commands that show things.

use clap::Args;

/// `cais inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Form of the output: "json", or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Show how much containers have written
    #[arg(short, long)]
    pub size: bool,
    /// Only things of this kind: container, image, network or volume
    #[arg(long = "type", value_name = "KIND")]
    pub kind: Option<String>,
    /// Names or ids
    #[arg(value_name = "NAME|ID", required = true)]
    pub names: Vec<String>,
}

/// `cais container inspect` and `cais image inspect`.
#[derive(Debug, Args)]
pub struct InspectKindArgs {
    /// Form of the output: "json", or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Show how much containers have written
    #[arg(short, long)]
    pub size: bool,
    /// Names or ids
    #[arg(value_name = "NAME|ID", required = true)]
    pub names: Vec<String>,
}

/// `cais top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Name or id of the container
    #[arg(value_name = "CONTAINER")]
    pub container: String,
    /// Options of ps(1): -ef, aux, -o LIST, -eo LIST
    #[arg(
        value_name = "PS OPTIONS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub options: Vec<String>,
}

/// `cais stats`.
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// Show all containers, not only those that run
    #[arg(short, long)]
    pub all: bool,
    /// Show it once, and not again and again
    #[arg(long)]
    pub no_stream: bool,
    /// Do not shorten ids
    #[arg(long)]
    pub no_trunc: bool,
    /// Form of the output: "table", "table TEMPLATE", "json", or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Names or ids of containers; all that run without any
    #[arg(value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// Show the published ports of a container, or change them while it runs.
///
/// `cais port CONTAINER [PORT[/PROTOCOL]]` lists them; `cais port add CONTAINER PORTS…`
/// publishes further ones, in the form of `run --publish`; `cais port rm CONTAINER PORTS…`
/// takes them back.
#[derive(Debug, Args)]
pub struct PortArgs {
    /// Name or id of the container
    #[arg(value_name = "[add|rm] CONTAINER")]
    pub container: String,
    /// A port of the container
    #[arg(value_name = "PORT[/PROTOCOL]")]
    pub port: Option<String>,
    /// The ports to publish or take back
    #[arg(value_name = "PORTS")]
    pub mappings: Vec<String>,
}

/// `cais info` and `cais version`.
#[derive(Debug, Args)]
pub struct FormatArgs {
    /// Form of the output: "json", or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
}
