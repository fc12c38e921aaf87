//! `cais exec`.

use clap::Args;

/// Run a command in a running container.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// Keep standard input open
    #[arg(short, long)]
    pub interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Do not wait for the command
    #[arg(short, long)]
    pub detach: bool,
    /// Keys that leave a terminal, e.g. ctrl-p,ctrl-q
    #[arg(long, value_name = "KEYS", overrides_with = "detach_keys")]
    pub detach_keys: Option<String>,
    /// User, optionally with group: NAME|UID[:GROUP|GID]
    #[arg(short, long, value_name = "USER", overrides_with = "user")]
    pub user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR", overrides_with = "workdir")]
    pub workdir: Option<String>,
    /// Set an environment variable: KEY=VALUE, or KEY for this shell's value
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<String>,
    /// Give the command all capabilities, and no system call filter
    #[arg(long)]
    pub privileged: bool,
    /// Print what each step of the start cost
    #[arg(long)]
    pub timings: bool,
    /// The container, the command and its arguments
    #[arg(value_names = ["CONTAINER", "COMMAND"], required = true, num_args = 2.., trailing_var_arg = true)]
    pub words: Vec<String>,
}
