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
    /// Output form: "json" prints one object a line
    #[arg(long, value_name = "FORMAT", value_parser = ["json", "table"])]
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
    /// Do not print what was loaded
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

/// `cais rmi`.
#[derive(Debug, Args)]
pub struct RmiArgs {
    /// One that is not there is no error
    #[arg(short, long)]
    pub force: bool,
    /// Names or ids of images
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}

/// `cais history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Do not shorten
    #[arg(long)]
    pub no_trunc: bool,
    /// Name or id of the image
    #[arg(value_name = "IMAGE")]
    pub image: String,
}

/// `cais image …`.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Show everything known about images as JSON
    Inspect(InspectKindArgs),
    /// Remove images without a name, or with --all every image that no container is made of
    Prune(super::SystemPruneArgs),
    /// List images
    Ls(ImagesArgs),
    /// Remove images
    Rm(RmiArgs),
}
