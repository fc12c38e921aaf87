//! `pull`: images from registries and their mirrors.

use super::growing::Growing;
use super::remote::{TransferOptions, pass_warnings};
use super::unpack::{Unpacker, unpack};
use super::watch::{Step, Watch};
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use cais_image::manifest::{ImageManifest, Manifest, parse_manifest};
use cais_image::platform::Platform;
use cais_image::registry::{Endpoint, FetchedManifest, RegistryError, Remote};
use cais_image::store::{Claim, Ingest, Lease};
use cais_image::{ContentStore, Descriptor, Digest, Reference};
use std::io::Read;

/// What a pull did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The full name.
    pub name: String,
    /// What the name points at in the registry.
    pub digest: Digest,
    /// Whether it was all there before.
    pub up_to_date: bool,
}

/// Fetches an image and unpacks it. A short name that may be in several registries is looked
/// for in each.
///
/// # Errors
/// Where the registry has no such image, or what it sends is not what it says.
pub fn pull(engine: &Engine, text: &str, options: &TransferOptions, watch: &dyn Watch) -> Result<Pulled> {
    engine.store.ensure()?;
    let mut names = options.resolve(text)?.into_iter().peekable();
    while let Some(reference) = names.next() {
        match pull_one(engine, &reference, options, watch) {
            Err(error @ EngineError::Registry { .. }) if names.peek().is_some() => {
                watch.warning(&crate::run::chain(&error));
            }
            other => return other,
        }
    }
    Err(EngineError::Invalid(format!("{text:?} names no image")))
}

/// Fetches all images of a repository, each by its tag.
///
/// # Errors
/// Where the tags cannot be listed; as [`pull`].
pub fn pull_all_tags(
    engine: &Engine,
    text: &str,
    options: &TransferOptions,
    watch: &dyn Watch,
) -> Result<Vec<Pulled>> {
    engine.store.ensure()?;
    let names = options.config.resolve(text).map_err(super::remote::configured)?;
    let Some(name) = names.into_iter().next() else {
        return Ok(Vec::new());
    };
    if name.tag.is_some() || name.digest.is_some() {
        return Err(EngineError::Invalid(
            "a tag or digest can't be used with --all-tags/-a".to_owned(),
        ));
    }
    let remote = options.to_read(&name)?;
    let tags = remote
        .each(|endpoint| endpoint.registry.tags(&endpoint.repository))
        .map_err(EngineError::registry(format!(
            "list the tags of {}",
            name.familiar_name()
        )))?;
    let pull_tag = |tag: String| {
        let reference = Reference {
            tag: Some(tag),
            ..name.clone()
        };
        pull_one(engine, &reference, options, watch)
    };
    tags.into_iter().map(pull_tag).collect()
}

fn pull_one(
    engine: &Engine,
    reference: &Reference,
    options: &TransferOptions,
    watch: &dyn Watch,
) -> Result<Pulled> {
    let name = reference.to_string();
    let remote = options.to_read(reference)?;
    let store = super::open(engine)?;
    let lease = store.lease().map_err(EngineError::image("take a lease"))?;
    let action = || EngineError::registry(format!("pull {}", reference.familiar()));
    watch.line(&format!(
        "{}: Pulling from {}",
        reference.target(),
        reference.repository
    ));
    if let Some(digest) = is_current(&store, &remote, reference, options)? {
        pass_warnings(&remote, watch);
        super::note_transfer(engine, &store, reference, "pull");
        return Ok(Pulled {
            name,
            digest,
            up_to_date: true,
        });
    }
    let fetched = remote.fetch_manifest(&reference.target()).map_err(action())?;
    let target = fetched.descriptor.clone();
    let put = |descriptor: &Descriptor, bytes: &[u8]| {
        store
            .put(&lease, &descriptor.media_type, bytes)
            .map_err(EngineError::image("keep a manifest"))
    };
    put(&target, &fetched.bytes)?;
    let (descriptor, manifest) = choose(&remote, options.platform.as_ref(), fetched, &put)?;
    let fetcher = Fetcher {
        remote: &remote,
        store: &store,
        lease: &lease,
        watch,
    };
    fetcher.fetch(&manifest.config, &Growing::default(), false)?;
    let config = store
        .config(&manifest.config.digest)
        .map_err(EngineError::image("read the image's configuration"))?;
    let unpacker = Unpacker {
        store: &store,
        lease: &lease,
        rootless: engine.rootless,
        fetch: Some(&|blob, growing| fetcher.fetch(blob, growing, true)),
        watch,
        source: Some(&reference.name()),
    };
    unpack(&unpacker, &manifest, &config.rootfs.diff_ids)?;
    store
        .tag(&name, &target, &descriptor)
        .map_err(EngineError::image("name the image"))?;
    store.sync().map_err(EngineError::image("sync the image"))?;
    drop(lease);
    super::note_transfer(engine, &store, reference, "pull");
    let kept = crate::budget::keep_budget(engine, &[descriptor.digest])?;
    kept.messages().iter().for_each(|message| watch.warning(message));
    pass_warnings(&remote, watch);
    Ok(Pulled {
        name,
        digest: target.digest,
        up_to_date: false,
    })
}

/// Whether the name points at what is here already. This is asked by HEAD, which registries
/// that count pulls do not count.
fn is_current(
    store: &ContentStore,
    remote: &Remote,
    reference: &Reference,
    options: &TransferOptions,
) -> Result<Option<Digest>> {
    let name = reference.to_string();
    let Some(record) = store
        .record(&name)
        .map_err(EngineError::image("look for the image"))?
    else {
        return Ok(None);
    };
    let Ok(image) = super::find(store, &name) else {
        return Ok(None);
    };
    let wanted = options.platform.as_ref();
    let is_wanted = wanted.is_none_or(|wanted| wanted.distance(&image.platform).is_some());
    if !is_wanted || !store.is_unpacked(&image).unwrap_or(false) {
        return Ok(None);
    }
    let found = remote
        .head_manifest(&reference.target())
        .map_err(EngineError::registry(format!("pull {}", reference.familiar())))?;
    Ok((found.digest == record.target.digest).then_some(found.digest))
}

/// The manifest for the wanted machine, through indexes.
fn choose(
    remote: &Remote,
    platform: Option<&Platform>,
    mut fetched: FetchedManifest,
    put: &dyn Fn(&Descriptor, &[u8]) -> Result<Descriptor>,
) -> Result<(Descriptor, ImageManifest)> {
    /// Indexes in each other.
    const DEEPEST: u32 = 8;
    for _ in 0..DEEPEST {
        let parsed = parse_manifest(&fetched.bytes, Some(&fetched.descriptor.media_type))
            .map_err(|error| EngineError::Invalid(format!("{}: {error}", fetched.descriptor.digest)))?;
        let index = match parsed {
            Manifest::Image(manifest) => {
                check_kind(&manifest)?;
                return Ok((fetched.descriptor, *manifest));
            }
            Manifest::Index(index) => index,
        };
        let wanted = platform.cloned().unwrap_or_else(Platform::of_processor);
        let ranked = wanted
            .select(&index.manifests)
            .map_err(|error| EngineError::Invalid(error.to_string()))?;
        let Some(child) = ranked.first() else { break };
        fetched = remote
            .fetch_manifest_of(child)
            .map_err(EngineError::registry(format!(
                "fetch the manifest {}",
                child.digest
            )))?;
        put(&fetched.descriptor, &fetched.bytes)?;
    }
    Err(EngineError::Invalid(format!(
        "more than {DEEPEST} indexes in each other"
    )))
}

/// Artifacts are moved by `copy`; only images can be unpacked.
fn check_kind(manifest: &ImageManifest) -> Result<()> {
    use cais_image::MediaType;
    let kind = manifest.config.media_type.as_str();
    if matches!(kind, MediaType::CONFIG | MediaType::DOCKER_CONFIG) {
        return Ok(());
    }
    let kind = manifest.artifact_type.as_deref().unwrap_or(kind);
    Err(EngineError::Invalid(format!(
        "it is no image but an artifact ({kind}): `cais copy` takes it to a directory"
    )))
}

/// Brings blobs into the store.
struct Fetcher<'a> {
    remote: &'a Remote,
    store: &'a ContentStore,
    lease: &'a Lease,
    watch: &'a dyn Watch,
}

impl Fetcher<'_> {
    /// Brings a blob into the store, from where an earlier attempt ended, and lets it be read
    /// meanwhile. What is wrong is asked for at the next place, and once more where an earlier
    /// attempt may have left it wrong.
    fn fetch(&self, blob: &Descriptor, growing: &Growing, is_shown: bool) -> Result<()> {
        let action = || EngineError::image(format!("keep the blob {}", blob.digest));
        let mut ingest = match self.store.ingest(self.lease, blob).map_err(action())? {
            Claim::Present(file) => {
                growing.begin(file, blob.size);
                return Ok(());
            }
            Claim::Missing(ingest) => ingest,
        };
        growing.begin(ingest.reader().map_err(action())?, ingest.offset());
        let watch: &dyn Watch = if is_shown {
            self.watch
        } else {
            &super::watch::Unwatched
        };
        let was_begun = ingest.offset() > 0;
        let mut from = |endpoint: &Endpoint| receive(endpoint, blob, &mut ingest, growing, watch);
        let mut result = self.remote.each(&mut from);
        if was_begun && matches!(result, Err(RegistryError::DigestMismatch { .. })) {
            result = self.remote.each(&mut from);
        }
        result.map_err(|error| match error {
            RegistryError::Source(error) => {
                EngineError::store(format!("keep the blob {}", blob.digest))(error)
            }
            error => EngineError::registry(format!("fetch the blob {}", blob.digest))(error),
        })?;
        watch.blob(blob, Step::Fetched);
        ingest.finish().map(drop).map_err(action())
    }
}

/// Receives what is missing of a blob from one place. What turns out to be wrong at its end is
/// thrown away.
fn receive(
    endpoint: &Endpoint,
    blob: &Descriptor,
    ingest: &mut Ingest,
    growing: &Growing,
    watch: &dyn Watch,
) -> std::result::Result<(), RegistryError> {
    let kept = |error: cais_image::store::StoreError| RegistryError::Source(std::io::Error::other(error));
    // The store hashes it.
    let range = ingest.offset()..blob.size;
    let mut reader = endpoint
        .registry
        .fetch_blob_range(&endpoint.repository, blob, range)?;
    let mut buffer = vec![0u8; 256 * 1024];
    loop {
        let length = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) => return Err(RegistryError::from_io(error).unwrap_or_else(RegistryError::Source)),
        };
        ingest.append(buffer.get(..length).unwrap_or(&[])).map_err(kept)?;
        growing.grown(ingest.offset());
        watch.blob(blob, Step::Fetching(ingest.offset()));
    }
    let actual = ingest.digest_so_far();
    if actual == blob.digest {
        return Ok(());
    }
    ingest.restart().map_err(kept)?;
    growing.begin_anew();
    Err(RegistryError::DigestMismatch {
        what: format!("blob {}@{}", endpoint.repository, blob.digest),
        expected: blob.digest.clone(),
        actual,
    })
}
