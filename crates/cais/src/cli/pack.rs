//! `cais pack`.

use clap::Args;

/// `cais pack`.
#[derive(Debug, Args)]
pub struct PackArgs {
    /// Name of the image
    #[arg(short, long, value_name = "NAME[:TAG]")]
    pub tag: Option<String>,
    /// Add a file, or a directory with all that is in it; at another place where one is given
    #[arg(short, long = "file", value_name = "PATH[:PLACE]")]
    pub files: Vec<String>,
    /// Run a command once by a shell, in a container of this machine's own files, and add what
    /// the programs, and those that they start, use meanwhile
    #[arg(long, value_name = "COMMAND")]
    pub trace: Vec<String>,
    /// Leave out what matches; * is any text
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Add all of the programs' Debian packages but documentation, and of packages that these
    /// depend on and that have the same source
    #[arg(long)]
    pub deb: bool,
    /// Add all of a Debian package in the same way
    #[arg(long, value_name = "PACKAGE")]
    pub package: Vec<String>,
    /// Without the configuration that the programs' Debian packages come with
    #[arg(long)]
    pub no_config: bool,
    /// Pack files that look like secrets
    #[arg(long)]
    pub allow_secrets: bool,
    /// Keep set-user-id and set-group-id bits
    #[arg(long)]
    pub keep_setuid: bool,
    /// Keep file capabilities
    #[arg(long)]
    pub keep_capabilities: bool,
    /// Take files from below this directory instead of from the machine
    #[arg(long, value_name = "DIRECTORY", default_value = "/")]
    pub root: String,
    /// What a container runs, with the command as its arguments: a program, or a JSON array
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<String>,
    /// What a container runs instead of the first program: words, or a JSON array
    #[arg(long, value_name = "COMMAND", conflicts_with = "args")]
    pub cmd: Option<String>,
    /// Set a variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// A port at which the program listens
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    pub expose: Vec<String>,
    /// The user that the program runs as
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// The directory in which it starts
    #[arg(short, long, value_name = "DIRECTORY")]
    pub workdir: Option<String>,
    /// A directory for a volume
    #[arg(long, value_name = "DIRECTORY")]
    pub volume: Vec<String>,
    /// A label
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub label: Vec<String>,
    /// The signal that asks the program to end
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<String>,
    /// Print only the image's id
    #[arg(short, long)]
    pub quiet: bool,
    /// Show what would go in, and make nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Output form: "json" prints one object
    #[arg(long, value_name = "FORMAT", value_parser = ["json", "table"], default_value = "table")]
    pub format: String,
    /// Programs: paths, or names that are looked for in PATH
    #[arg(value_name = "PROGRAM", required = true)]
    pub programs: Vec<String>,
    /// The first program's arguments in a container
    #[arg(value_name = "ARGUMENT", last = true)]
    pub args: Vec<String>,
}
