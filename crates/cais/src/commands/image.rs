//! The commands about images that have no file of their own.

use super::inspect::{Kind, inspect_kind};
use super::{engine, for_each};
use crate::failure::Failure;
use crate::output::print;
use cais::cli::{ImageCommand, ImageMountArgs, RmiArgs, TagArgs, UntagArgs};
use cais_engine::EngineError;
use cais_engine::images::{self, Removed};
use cais_image::Reference;

pub(crate) fn image(command: &ImageCommand) -> Result<u8, Failure> {
    match command {
        ImageCommand::Inspect(args) => inspect_kind(args, Kind::Image),
        ImageCommand::Mount(args) => mount(args),
        ImageCommand::Prune(args) => super::prune::prune_images(args),
        ImageCommand::Unmount(args) => unmount(args),
    }
}

/// A full name as users write it.
pub(crate) fn familiar(name: &str) -> String {
    name.parse::<Reference>()
        .map_or_else(|_bad| name.to_owned(), |reference| reference.familiar())
}

pub(crate) fn tag(args: &TagArgs) -> Result<u8, Failure> {
    images::tag(&engine()?, &args.image, &args.name)?;
    Ok(0)
}

pub(crate) fn untag(args: &UntagArgs) -> Result<u8, Failure> {
    images::untag(&engine()?, &args.image, &args.names)?;
    Ok(0)
}

/// What is gone, with the words in front that say how.
pub(super) fn removed_line(gone: &Removed, untagged: &str, deleted: &str) -> String {
    match gone {
        Removed::Untagged(name) => format!("{untagged}: {}", familiar(name)),
        Removed::Deleted(id) => format!("{deleted}: {id}"),
    }
}

fn show_removed(removed: &[Removed]) -> Result<(), Failure> {
    removed
        .iter()
        .try_for_each(|gone| print(&format!("{}\n", removed_line(gone, "Untagged", "Deleted"))))
}

pub(crate) fn remove(args: &RmiArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let mut code = 0;
    for name in &args.images {
        match images::remove(&engine, name, args.force) {
            Ok(removed) => show_removed(&removed)?,
            Err(EngineError::Image { source, .. })
                if args.force && matches!(*source, cais_image::store::StoreError::NoImage(_)) => {}
            Err(error) => code = Failure::from(error).show(),
        }
    }
    Ok(code)
}

fn mount(args: &ImageMountArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    if args.images.is_empty() {
        let store = images::open(&engine)?;
        for mounted in images::mounted_images(&engine)? {
            let image = store.resolve(mounted.manifest.as_str());
            let names = image.map(|image| image.names).unwrap_or_default();
            let name = names.first().map_or("<none>", String::as_str);
            print(&format!("{}\t{}\n", familiar(name), mounted.path.display()))?;
        }
        return Ok(0);
    }
    let mut code = 0;
    for name in &args.images {
        match images::mount_image(&engine, name) {
            Ok(path) => print(&format!("{}\n", path.display()))?,
            Err(error) => code = Failure::from(error).show(),
        }
    }
    Ok(code)
}

fn unmount(args: &ImageMountArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let names = match args.all {
        true => images::mounted_images(&engine)?
            .iter()
            .map(|mounted| mounted.manifest.to_string())
            .collect(),
        false => args.images.clone(),
    };
    if names.is_empty() && !args.all {
        return Err(Failure::new("name the images to unmount, or give --all"));
    }
    for_each(&names, |name| {
        Ok(images::unmount_image(&engine, name, args.force).map(drop)?)
    })
}
