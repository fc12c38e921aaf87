//! The commands that speak to registries.

use clap::{Args, Subcommand};

/// How to speak to a registry.
#[derive(Debug, Args)]
pub struct RegistryArgs {
    /// Accept a registry without TLS, or with a certificate that nobody vouches for
    #[arg(long)]
    pub insecure: bool,
    /// User and password for the registry, instead of a login
    #[arg(long, value_name = "USER:PASSWORD")]
    pub creds: Option<String>,
    /// File with logins, instead of Docker's and containers'
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<String>,
    /// How to show the progress: auto, tty, plain, json, quiet
    #[arg(long, value_name = "STYLE", value_parser = ["auto", "tty", "plain", "json", "quiet"], default_value = "auto", hide_possible_values = true)]
    pub progress: String,
    /// Do not verify Docker's content trust, which is not supported here
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set, hide = true)]
    pub disable_content_trust: bool,
}

/// `cais pull`.
#[derive(Debug, Args)]
pub struct PullArgs {
    /// Fetch all images of the repository, each by its tag
    #[arg(short, long)]
    pub all_tags: bool,
    /// The machine that the image is for: os/architecture[/variant]
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// Print only the name
    #[arg(short, long)]
    pub quiet: bool,
    /// How to speak to the registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// The image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub name: String,
}

/// `cais push`.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// Give all images of the repository that are here
    #[arg(short, long)]
    pub all_tags: bool,
    /// Print only the name
    #[arg(short, long)]
    pub quiet: bool,
    /// How layers are compressed that the registry does not have: gzip, zstd
    #[arg(long, value_name = "NAME", value_parser = ["gzip", "zstd"], default_value = "gzip", hide_possible_values = true)]
    pub compression: String,
    /// How to speak to the registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// The image
    #[arg(value_name = "NAME[:TAG]")]
    pub name: String,
}

/// `cais login`.
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// User name
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,
    /// Password; other users of this machine may see it
    #[arg(short, long, value_name = "PASSWORD")]
    pub password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// File to keep the login in, instead of Docker's
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<String>,
    /// Print the user that is logged in
    #[arg(long)]
    pub get_login: bool,
    /// Accept a registry without TLS, or with a certificate that nobody vouches for
    #[arg(long)]
    pub insecure: bool,
    /// The registry; Docker Hub unless given
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,
}

/// `cais logout`.
#[derive(Debug, Args)]
pub struct LogoutArgs {
    /// Forget the logins of all registries
    #[arg(short, long)]
    pub all: bool,
    /// File that the login is kept in, instead of Docker's and containers'
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<String>,
    /// The registry; Docker Hub unless given
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,
}

/// `cais copy`.
#[derive(Debug, Args)]
pub struct CopyArgs {
    /// Only the image for this machine, not all that an index has
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// With what refers to it: signatures, lists of contents
    #[arg(long)]
    pub referrers: bool,
    /// User and password for the registry that it comes from
    #[arg(long, value_name = "USER:PASSWORD")]
    pub src_creds: Option<String>,
    /// User and password for the registry that it goes to
    #[arg(long, value_name = "USER:PASSWORD")]
    pub dest_creds: Option<String>,
    /// Print only the digest
    #[arg(short, long)]
    pub quiet: bool,
    /// How to speak to the registries.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// docker://NAME, cais:NAME, oci:DIR(:NAME), oci-archive:FILE(:NAME), docker-archive:FILE(:NAME), or a path
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// The same, for what is made
    #[arg(value_name = "DESTINATION")]
    pub destination: String,
}

/// `cais manifest …`.
#[derive(Debug, Subcommand)]
pub enum ManifestCommand {
    /// Show the manifest or index that a name points at in its registry
    Inspect(ManifestInspectArgs),
}

/// `cais manifest inspect`.
#[derive(Debug, Args)]
pub struct ManifestInspectArgs {
    /// Show descriptors too, and the manifests of an index in its place
    #[arg(short, long)]
    pub verbose: bool,
    /// How to speak to the registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// The image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub name: String,
}
