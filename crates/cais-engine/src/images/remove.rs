//! Images taken away: with a name, with the last one, or because nobody needs them.

use super::{find, full_name, in_use, in_use_after_starts, note_id, open};
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::prune::PruneFilter;
use cais_image::store::{self, GcOptions, Image};
use cais_image::{ContentStore, Digest};

/// Something that is gone.
#[derive(Debug)]
pub enum Removed {
    /// A name.
    Untagged(String),
    /// An image, by its id, or a layer that no image has any more, by its ChainID: the digest
    /// of it and all below (image-spec, config.md).
    Deleted(Digest),
}

/// The ChainIDs of layers on each other, the lowest first.
fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        chain.push(match chain.last() {
            None => diff_id.clone(),
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
        });
    }
    chain
}

/// How many layers two images have in common, from the lowest.
fn shared(one: &[Digest], other: &[Digest]) -> usize {
    one.iter()
        .zip(other)
        .take_while(|(one, other)| one == other)
        .count()
}

/// Notes and tells what is gone of an image: one event for each name and one for the image.
/// `left` are all images that were there.
fn tell(
    (engine, store): (&Engine, &ContentStore),
    image: &Image,
    removed: store::Removed,
    left: &mut Vec<Image>,
) -> Vec<Removed> {
    let mut gone = Vec::new();
    for name in removed.untagged {
        note_id(engine, store, &image.id, "untag");
        gone.push(Removed::Untagged(name));
    }
    if removed.deleted.is_some() {
        note_id(engine, store, &image.id, "delete");
        gone.push(Removed::Deleted(image.id.clone()));
        left.retain(|other| other.manifest.digest != image.manifest.digest);
        let kept = left.iter().map(|other| shared(&image.diff_ids, &other.diff_ids));
        let layers = chain_ids(&image.diff_ids)
            .into_iter()
            .skip(kept.max().unwrap_or(0));
        gone.extend(layers.rev().map(Removed::Deleted));
    }
    gone
}

/// Takes a name away, and the image with its last one. What nobody needs any more is removed
/// from the disk.
///
/// # Errors
/// Where there is no such image, or a container is made of it.
pub fn remove(engine: &Engine, text: &str, force: bool) -> Result<Vec<Removed>> {
    let store = open(engine)?;
    let in_use = in_use(engine)?;
    let image = find(&store, text)?;
    let action = || EngineError::image(format!("remove the image {text}"));
    let name = full_name(text).ok().filter(|name| image.names.contains(name));
    let mut all = store.images().map_err(action())?;
    let same = all
        .iter()
        .find(|other| other.manifest.digest == image.manifest.digest);
    let names = same.map_or(0, |image| image.names.len());
    if name.is_none() && names > 1 && !force {
        return Err(EngineError::Invalid(format!(
            "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
            image.id.hex().get(..12).unwrap_or("")
        )));
    }
    let removed = match name {
        Some(name) => store.remove_name(&name, &in_use),
        None => store.remove_image(&image.manifest.digest, &in_use),
    }
    .map_err(action())?;
    let gone = tell((engine, &store), &image, removed, &mut all);
    collect(engine, &store)?;
    Ok(gone)
}

/// Removes images without a name, or with `all` every image that no container is made of, and
/// what belongs to none; of the images only those that `filter` takes. Returns what is gone and
/// the bytes that came free.
///
/// # Errors
/// Where the store cannot be read.
pub fn prune(engine: &Engine, all: bool, filter: &PruneFilter) -> Result<(Vec<Removed>, u64)> {
    let store = open(engine)?;
    let in_use = in_use(engine)?;
    let action = || EngineError::image("remove images that are not used");
    let mut left = store.images().map_err(action())?;
    let mut candidates = left.clone();
    candidates.retain(|image| {
        (all || image.names.is_empty())
            && !in_use.contains(&image.manifest.digest)
            && is_taken(&store, image, filter)
    });
    let mut gone = Vec::new();
    for image in &candidates {
        let removed = store
            .remove_image(&image.manifest.digest, &in_use)
            .map_err(action())?;
        gone.extend(tell((engine, &store), image, removed, &mut left));
    }
    let freed = collect(engine, &store)?;
    Ok((gone, freed))
}

/// Whether the filter takes an image. One whose configuration cannot be read has no labels.
fn is_taken(store: &ContentStore, image: &Image, filter: &PruneFilter) -> bool {
    if filter.labels.is_empty() && filter.without.is_empty() {
        return filter.takes(image.created.as_deref(), &[]);
    }
    let labels = store
        .config(&image.id)
        .map(|config| config.config.labels)
        .unwrap_or_default();
    let labels = labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    filter.takes(image.created.as_deref(), &labels)
}

/// Removes from the disk what no image and no container needs. Returns the bytes that came
/// free.
fn collect(engine: &Engine, store: &ContentStore) -> Result<u64> {
    let report = store
        .collect(GcOptions::default(), &|| in_use_after_starts(engine))
        .map_err(EngineError::image("remove what no image needs"))?;
    Ok(report.freed.apparent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_as_docker_has_them() {
        let digests = |all: &[&str]| -> Vec<Digest> {
            let full = all.iter().map(|hex| format!("sha256:{hex}"));
            full.map(|text| text.parse().unwrap()).collect()
        };
        let (first, second) = (
            "e773af9f4b724e94c8be1cd9da2837108b82d4f4b6cf4352fce3b96e6e5c5819",
            "5bd0c8404fafd25d7c1e18586bc7b77cfd6d9b3eabd98922f77fa211f898a500",
        );
        let diff_ids = digests(&[first, second]);
        // What `docker rmi` said of an image with these layers.
        let chain = "44294fd2eff6f5f0841aecea02ab3020c9b353b04627b8eef4d89bc72ea17ea0";
        assert_eq!(chain_ids(&diff_ids), digests(&[first, chain]));
        assert_eq!(shared(&diff_ids, &digests(&[first])), 1);
        assert_eq!(shared(&diff_ids, &digests(&[second, second])), 0);
    }
}
