//! The commands about images.

use super::InspectKindArgs;
use clap::{Args, Subcommand};

/// `cais images`.
#[derive(Debug, Args)]
pub struct ImagesArgs {
    /// Show images without a name too
    #[arg(short, long)]
    pub all: bool,
    /// Show only ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Do not shorten ids
    #[arg(long)]
    pub no_trunc: bool,
    /// Show digests
    #[arg(long)]
    pub digests: bool,
    /// Only images that are so: dangling=true, label=KEY[=VALUE], before=IMAGE, since=IMAGE, reference=PATTERN
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = super::parse::parse_filter)]
    pub filter: Vec<String>,
    /// Output form: table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Only images of this repository, or with this name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub name: Option<String>,
}

/// `cais load`.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// The archive or layout; standard input unless given
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<String>,
    /// The machine that an image of several is wanted for
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// Do not show the progress
    #[arg(short, long)]
    pub quiet: bool,
}

/// `cais save`.
#[derive(Debug, Args)]
pub struct SaveArgs {
    /// The file to write; standard output unless given
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<String>,
    /// Form of the archive
    #[arg(long, value_name = "FORMAT", value_parser = ["docker-archive", "oci-archive"], default_value = "docker-archive")]
    pub format: String,
    /// Names or ids of images
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}

/// `cais tag`.
#[derive(Debug, Args)]
pub struct TagArgs {
    /// Name or id of the image
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// The further name
    #[arg(value_name = "NAME[:TAG]")]
    pub name: String,
}

/// `cais untag`.
#[derive(Debug, Args)]
pub struct UntagArgs {
    /// Name or id of the image
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// The names to take away; all of them unless given
    #[arg(value_name = "NAME[:TAG]")]
    pub names: Vec<String>,
}

/// `cais rmi`.
#[derive(Debug, Args)]
pub struct RmiArgs {
    /// Remove an image with several names by its id; one that is not there is no error
    #[arg(short, long)]
    pub force: bool,
    /// Leave parents without a name alone: images have none here
    #[arg(long)]
    pub no_prune: bool,
    /// Names or ids of images
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}

/// `cais history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Output form: table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Show times and sizes for people
    #[arg(short = 'H', long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set, hide_possible_values = true)]
    pub human: bool,
    /// Show only ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Do not shorten
    #[arg(long)]
    pub no_trunc: bool,
    /// Name or id of the image
    #[arg(value_name = "IMAGE")]
    pub image: String,
}

/// `cais import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Change the configuration: an instruction of a Dockerfile
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,
    /// A word on it, for its history
    #[arg(
        short,
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub message: String,
    /// The machine that it is for
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// The archive: a file, an address, or - for standard input
    #[arg(value_name = "FILE|URL|-")]
    pub source: String,
    /// The image's name
    #[arg(value_name = "NAME[:TAG]")]
    pub name: Option<String>,
}

/// `cais export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The file to write; standard output unless given
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<String>,
    /// Name or id of the container
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// `cais image mount` and `unmount`.
#[derive(Debug, Args)]
pub struct ImageMountArgs {
    /// All that are mounted (with unmount)
    #[arg(short, long)]
    pub all: bool,
    /// Though somebody is in it (with unmount)
    #[arg(short, long)]
    pub force: bool,
    /// Names or ids of images; what is mounted is listed unless given
    #[arg(value_name = "IMAGE")]
    pub images: Vec<String>,
}

/// `cais image …`: those that have no shorter name. The others are the commands themselves.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Show everything known about images as JSON
    Inspect(InspectKindArgs),
    /// Mount images where their files can be looked at
    Mount(ImageMountArgs),
    /// Remove images without a name, or with --all every image that no container is made of
    Prune(super::ImagePruneArgs),
    /// Unmount images
    #[command(alias = "umount")]
    Unmount(ImageMountArgs),
}
