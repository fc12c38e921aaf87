//! `pull` and `push`: images from and to registries.

use super::growing::Growing;
use super::import::{rebuild_layer, unnamed_file};
use super::unpack::{Unpacker, unpack};
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use cais_image::manifest::{ImageManifest, Manifest, parse_manifest};
use cais_image::platform::Platform;
use cais_image::reference::{BadReference, Target};
use cais_image::registry::{Credentials, Options, Registry};
use cais_image::store::{Claim, Lease};
use cais_image::{ContentStore, Descriptor, Digest, Hasher, MediaType, Reference};
use std::fs::File;
use std::io::{Read, Seek, Write};

/// How to speak to the registry, and for which machine.
#[derive(Debug, Clone, Default)]
pub struct TransferOptions {
    /// Who asks.
    pub credentials: Option<Credentials>,
    /// Whether to do without TLS.
    pub insecure: bool,
    /// The machine that an image of several is wanted for; this one unless given.
    pub platform: Option<Platform>,
}

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

fn parse_name(text: &str) -> Result<Reference> {
    let reference: Reference = text
        .parse()
        .map_err(|error: BadReference| EngineError::Invalid(error.to_string()))?;
    Ok(reference.or_latest())
}

fn connect(reference: &Reference, options: &TransferOptions) -> Result<Registry> {
    let options = Options {
        credentials: options.credentials.clone(),
        insecure: options.insecure,
        ..Options::default()
    };
    Registry::new(&reference.registry, options)
        .map_err(EngineError::registry(format!("speak to {}", reference.registry)))
}

/// Fetches an image and unpacks it. `tell` hears of each layer that is done.
///
/// # Errors
/// Where the registry has no such image, or what it sends is not what it says.
pub fn pull(
    engine: &Engine,
    text: &str,
    options: &TransferOptions,
    tell: &(dyn Fn(&Descriptor) + Sync),
) -> Result<Pulled> {
    engine.store.ensure()?;
    let reference = parse_name(text)?;
    let name = reference.to_string();
    let registry = connect(&reference, options)?;
    let repository = &reference.repository;
    let action = || EngineError::registry(format!("pull {}", reference.familiar()));
    let store = super::open(engine)?;
    let lease = store.lease().map_err(EngineError::image("take a lease"))?;
    let fetched = registry
        .fetch_manifest(repository, &reference.target())
        .map_err(action())?;
    let target = fetched.descriptor.clone();
    if let Some(record) = store
        .record(&name)
        .map_err(EngineError::image("look for the image"))?
        && record.target.digest == target.digest
        && options.platform.is_none()
        && let Ok(image) = super::find(&store, &name)
        && store.is_unpacked(&image).unwrap_or(false)
    {
        return Ok(Pulled {
            name,
            digest: target.digest,
            up_to_date: true,
        });
    }
    let put = |descriptor: &Descriptor, bytes: &[u8]| {
        store
            .put(&lease, &descriptor.media_type, bytes)
            .map_err(EngineError::image("keep a manifest"))
    };
    put(&target, &fetched.bytes)?;
    let (descriptor, manifest) = choose(&registry, repository, options, fetched, &put)?;
    let from = (&registry, repository.as_str());
    let kept = Growing::default();
    fetch_blob(from, &store, &lease, &manifest.config, &kept)?;
    let config = store
        .config(&manifest.config.digest)
        .map_err(EngineError::image("read the image's configuration"))?;
    let unpacker = Unpacker {
        store: &store,
        lease: &lease,
        rootless: engine.rootless,
        fetch: Some(&|blob, growing| fetch_blob(from, &store, &lease, blob, growing)),
        done: tell,
    };
    unpack(&unpacker, &manifest, &config.rootfs.diff_ids)?;
    store
        .tag(&name, &target, &descriptor)
        .map_err(EngineError::image("name the image"))?;
    store.sync().map_err(EngineError::image("sync the image"))?;
    Ok(Pulled {
        name,
        digest: target.digest,
        up_to_date: false,
    })
}

/// The manifest for the wanted machine, through indexes.
fn choose(
    registry: &Registry,
    repository: &str,
    options: &TransferOptions,
    mut fetched: cais_image::registry::FetchedManifest,
    put: &dyn Fn(&Descriptor, &[u8]) -> Result<Descriptor>,
) -> Result<(Descriptor, ImageManifest)> {
    /// Indexes in each other.
    const DEEPEST: u32 = 8;
    for _ in 0..DEEPEST {
        let parsed = parse_manifest(&fetched.bytes, Some(&fetched.descriptor.media_type))
            .map_err(|error| EngineError::Invalid(format!("{}: {error}", fetched.descriptor.digest)))?;
        let index = match parsed {
            Manifest::Image(manifest) => return Ok((fetched.descriptor, *manifest)),
            Manifest::Index(index) => index,
        };
        let wanted = options.platform.clone().unwrap_or_else(Platform::of_processor);
        let ranked = wanted
            .select(&index.manifests)
            .map_err(|error| EngineError::Invalid(error.to_string()))?;
        let Some(child) = ranked.first() else { break };
        fetched = registry
            .fetch_manifest(repository, &Target::Digest(child.digest.clone()))
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

/// Brings a blob into the store, from where an earlier attempt ended, and lets it be read
/// meanwhile.
fn fetch_blob(
    from: (&Registry, &str),
    store: &ContentStore,
    lease: &Lease,
    blob: &Descriptor,
    growing: &Growing,
) -> Result<()> {
    let (registry, repository) = from;
    let action = || EngineError::image(format!("keep the blob {}", blob.digest));
    let mut ingest = match store.ingest(lease, blob).map_err(action())? {
        Claim::Present(file) => {
            growing.begin(file, blob.size);
            return Ok(());
        }
        Claim::Missing(ingest) => ingest,
    };
    growing.begin(ingest.reader().map_err(action())?, ingest.offset());
    let failed = |error: std::io::Error| match cais_image::registry::RegistryError::from_io(error) {
        Ok(error) => EngineError::registry(format!("fetch the blob {}", blob.digest))(error),
        Err(error) => EngineError::store(format!("fetch the blob {}", blob.digest))(error),
    };
    let mut reader = registry
        .fetch_blob(repository, blob, ingest.offset())
        .map_err(EngineError::registry(format!("fetch the blob {}", blob.digest)))?;
    let mut buffer = vec![0u8; 256 * 1024];
    loop {
        let length = reader.read(&mut buffer).map_err(failed)?;
        if length == 0 {
            break;
        }
        ingest
            .append(buffer.get(..length).unwrap_or(&[]))
            .map_err(action())?;
        growing.grown(ingest.offset());
    }
    ingest.finish().map(drop).map_err(action())
}

/// Gives an image to its registry, and returns the digest that it has there.
///
/// # Errors
/// Where there is no such image, or the registry refuses.
pub fn push(
    engine: &Engine,
    text: &str,
    options: &TransferOptions,
    tell: &(dyn Fn(&Descriptor) + Sync),
) -> Result<Digest> {
    let reference = parse_name(text)?;
    let store = super::open(engine)?;
    let image = super::find(&store, &reference.to_string())?;
    let lease = store.lease().map_err(EngineError::image("take a lease"))?;
    store
        .hold(&lease, &image)
        .map_err(EngineError::image("hold the image"))?;
    let registry = connect(&reference, options)?;
    let repository = &reference.repository;
    let action = || EngineError::registry(format!("push {}", reference.familiar()));
    let bytes = store
        .read_blob(&image.manifest.digest)
        .map_err(EngineError::image("read the manifest"))?;
    let Manifest::Image(manifest) = store
        .manifest(&image.manifest)
        .map_err(EngineError::image("read the manifest"))?
    else {
        return Err(EngineError::Invalid("an index cannot be pushed yet".to_owned()));
    };
    let mut value: serde_json::Value = serde_json::from_slice(&bytes)
        .map_err(|error| EngineError::Invalid(format!("the manifest: {error}")))?;
    let mut changed = false;
    for (index, (blob, diff_id)) in manifest.layers.iter().zip(&image.diff_ids).enumerate() {
        let pushed = push_layer(&registry, repository, &store, blob, diff_id)?;
        tell(&pushed);
        if pushed != *blob {
            value["layers"][index] = serde_json::json!(pushed);
            changed = true;
        }
    }
    if registry
        .head_blob(repository, &manifest.config.digest)
        .map_err(action())?
        .is_none()
    {
        let config = store
            .read_blob(&manifest.config.digest)
            .map_err(EngineError::image("read the configuration"))?;
        registry
            .push_blob(repository, &manifest.config, &mut std::io::Cursor::new(config))
            .map_err(action())?;
    }
    let bytes = if changed {
        value.to_string().into_bytes()
    } else {
        bytes
    };
    registry
        .put_manifest(
            repository,
            &reference.target(),
            &image.manifest.media_type,
            &bytes,
        )
        .map(|stored| stored.digest)
        .map_err(action())
}

/// Gives a layer to the registry, unless it is there. Where its blob is gone it is compressed
/// anew: the same layer in another blob.
fn push_layer(
    registry: &Registry,
    repository: &str,
    store: &ContentStore,
    blob: &Descriptor,
    diff_id: &Digest,
) -> Result<Descriptor> {
    let action = || EngineError::registry(format!("push layer {}", blob.digest));
    if registry
        .head_blob(repository, &blob.digest)
        .map_err(action())?
        .is_some()
    {
        return Ok(blob.clone());
    }
    let kept = store
        .open_blob(&blob.digest)
        .map_err(EngineError::image("open the blob of a layer"))?;
    let (descriptor, mut content) = match kept {
        Some(file) => (blob.clone(), file),
        None => compress(store, blob, diff_id)?,
    };
    if registry
        .head_blob(repository, &descriptor.digest)
        .map_err(action())?
        .is_none()
    {
        registry
            .push_blob(repository, &descriptor, &mut content)
            .map_err(action())?;
    }
    Ok(descriptor)
}

fn compress(store: &ContentStore, blob: &Descriptor, diff_id: &Digest) -> Result<(Descriptor, File)> {
    let failed = || EngineError::image_format(format!("compress layer {diff_id}"));
    let io = |error: std::io::Error| EngineError::store(format!("compress layer {diff_id}"))(error);
    let mut archive = rebuild_layer(store, diff_id).map_err(failed())?.ok_or_else(|| {
        EngineError::Invalid(format!(
            "layer {diff_id} is not there: pull or load the image again"
        ))
    })?;
    let mut encoder = Hashing {
        inner: unnamed_file(store).map_err(failed())?,
        hasher: Hasher::sha256(),
        size: 0,
    };
    cais_image::layer::compress_gzip(&mut archive, &mut encoder).map_err(io)?;
    let Hashing {
        mut inner,
        hasher,
        size,
    } = encoder;
    inner.rewind().map_err(io)?;
    let media_type = if blob.media_type.contains("docker") {
        MediaType::DOCKER_LAYER_GZIP
    } else {
        MediaType::LAYER_GZIP
    };
    Ok((Descriptor::new(media_type, hasher.finish(), size), inner))
}

/// Counts and hashes what is written.
struct Hashing {
    inner: File,
    hasher: Hasher,
    size: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or(&[]));
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
