//! `push`: images to registries.

use super::import::{rebuild_layer, unnamed_file};
use super::remote::{TransferOptions, parse_name, pass_warnings};
use super::watch::{Step, Watch};
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use cais_image::manifest::Manifest;
use cais_image::registry::{Endpoint, RegistryError, Started};
use cais_image::store::{Image, LayerMeta};
use cais_image::{ContentStore, Descriptor, Digest, Hasher, MediaType, Reference};
use cais_order::InOrder;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// How many layers are given at once.
const AT_ONCE: usize = 4;

/// What a push did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The tag.
    pub tag: String,
    /// The digest that the image has there.
    pub digest: Digest,
    /// The size of the manifest.
    pub size: usize,
}

/// How layers are compressed whose blobs are gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LayerCompression {
    /// Every client reads it.
    #[default]
    Gzip,
    /// Faster and smaller; only OCI manifests have it.
    Zstd,
}

/// Gives all images of a repository to its registry.
///
/// # Errors
/// Where there is none; as [`push`].
pub fn push_all_tags(
    engine: &Engine,
    text: &str,
    options: &TransferOptions,
    compression: LayerCompression,
    watch: &dyn Watch,
) -> Result<Vec<Pushed>> {
    let reference: Reference = text
        .parse()
        .map_err(|error: cais_image::reference::BadReference| EngineError::Invalid(error.to_string()))?;
    if reference.tag.is_some() || reference.digest.is_some() {
        return Err(EngineError::Invalid(
            "tag can't be used with --all-tags/-a".to_owned(),
        ));
    }
    let store = super::open(engine)?;
    let images = store.images().map_err(EngineError::image("list the images"))?;
    let names = images.iter().flat_map(|image| &image.names);
    let own = names.filter(|name| {
        let named = name.parse::<Reference>();
        named.is_ok_and(|named| named.name() == reference.name() && named.tag.is_some())
    });
    let mut own: Vec<&String> = own.collect();
    own.order();
    if own.is_empty() {
        return Err(EngineError::Invalid(format!(
            "an image does not exist locally with the tag: {}",
            reference.familiar_name()
        )));
    }
    own.into_iter()
        .map(|name| push(engine, name, options, compression, watch))
        .collect()
}

/// Gives an image to its registry.
///
/// # Errors
/// Where there is no such image, or the registry refuses.
pub fn push(
    engine: &Engine,
    text: &str,
    options: &TransferOptions,
    compression: LayerCompression,
    watch: &dyn Watch,
) -> Result<Pushed> {
    let reference = parse_name(text)?;
    let store = super::open(engine)?;
    let image = super::find(&store, &reference.to_string())?;
    let lease = store.lease().map_err(EngineError::image("take a lease"))?;
    store
        .hold(&lease, &image)
        .map_err(EngineError::image("hold the image"))?;
    let remote = options.to_write(&reference)?;
    let action = || EngineError::registry(format!("push {}", reference.familiar()));
    watch.line(&format!("The push refers to repository [{}]", reference.name()));
    let bytes = store
        .read_blob(&image.manifest.digest)
        .map_err(EngineError::image("read the manifest"))?;
    let Manifest::Image(manifest) = store
        .manifest(&image.manifest)
        .map_err(EngineError::image("read the manifest"))?
    else {
        return Err(EngineError::Invalid(
            "an index cannot be pushed: `cais copy` does it".to_owned(),
        ));
    };
    let giver = Giver {
        to: remote.own(),
        store: &store,
        name: &reference,
        // Docker's manifests know no zstd.
        compression: match image.manifest.media_type.as_str() {
            MediaType::DOCKER_MANIFEST => LayerCompression::Gzip,
            _ => compression,
        },
        watch,
    };
    let layers = giver.layers(&manifest.layers, &image)?;
    giver.config(&manifest.config)?;
    let bytes = with_layers(&bytes, &manifest.layers, &layers)?;
    let stored = remote
        .own()
        .registry
        .put_manifest(
            &remote.own().repository,
            &reference.target(),
            &image.manifest.media_type,
            &bytes,
        )
        .map_err(action())?;
    pass_warnings(&remote, watch);
    super::note_transfer(engine, &store, &reference, "push");
    Ok(Pushed {
        tag: reference.target().to_string(),
        digest: stored.digest,
        size: bytes.len(),
    })
}

/// The manifest with these layers; untouched where they are its own.
fn with_layers(bytes: &[u8], own: &[Descriptor], layers: &[Descriptor]) -> Result<Vec<u8>> {
    if own == layers {
        return Ok(bytes.to_vec());
    }
    let mut value: cais_json::Value = cais_json::from_slice(bytes)
        .map_err(|error| EngineError::Invalid(format!("the manifest: {error}")))?;
    for (index, (own, layer)) in own.iter().zip(layers).enumerate() {
        if own != layer {
            value["layers"][index] = cais_json::json!(layer);
        }
    }
    Ok(value.to_string().into_bytes())
}

/// A layer that is to be given.
struct Job<'a> {
    blob: &'a Descriptor,
    diff_id: &'a Digest,
    /// What it is kept by.
    place: &'a Digest,
}

/// Gives the parts of an image to a registry.
struct Giver<'a> {
    to: &'a Endpoint,
    store: &'a ContentStore,
    name: &'a Reference,
    compression: LayerCompression,
    watch: &'a dyn Watch,
}

impl Giver<'_> {
    /// All layers, several at once.
    fn layers(&self, blobs: &[Descriptor], image: &Image) -> Result<Vec<Descriptor>> {
        let places = self
            .store
            .find_layers(&image.diff_ids)
            .map_err(EngineError::image("find the layers of the image"))?;
        let layers = image.diff_ids.iter().zip(&places);
        let jobs: Vec<Job<'_>> = blobs
            .iter()
            .zip(layers)
            .map(|(blob, (diff_id, place))| Job {
                blob,
                diff_id,
                place: place.as_ref().unwrap_or(diff_id),
            })
            .collect();
        let done: Mutex<Vec<Option<Descriptor>>> = Mutex::new(vec![None; jobs.len()]);
        let next = AtomicUsize::new(0);
        let work = || -> Result<()> {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(job) = jobs.get(index) else {
                    return Ok(());
                };
                let given = self.layer(job)?;
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(place) = done.get_mut(index) {
                    *place = Some(given);
                }
            }
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..AT_ONCE.min(jobs.len())).map(|_| scope.spawn(work)).collect();
            threads
                .into_iter()
                .map(|thread| {
                    let bug =
                        |_panic| EngineError::Invalid("a layer was not pushed: this is a bug in cais".into());
                    thread.join().map_err(bug)?
                })
                .collect::<Result<Vec<()>>>()
        })?;
        let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(done.into_iter().flatten().collect())
    }

    /// One layer, unless the registry has it in a form that is known here. Where its blob is
    /// gone it is compressed anew: the same layer in another blob.
    fn layer(&self, job: &Job<'_>) -> Result<Descriptor> {
        let Job { blob, diff_id, place } = *job;
        let meta = self
            .store
            .layer_meta(place)
            .map_err(EngineError::image("read what is known of a layer"))?;
        let sources = self.elsewhere(meta.as_ref());
        let others = meta.iter().flat_map(|meta| &meta.blobs);
        let others = others.filter(|other| other.digest != blob.digest && self.suits(other, blob));
        for known in [blob].into_iter().chain(others) {
            if let Some(step) = self.has(known, &sources)? {
                self.watch.blob(blob, step);
                let known = known.clone();
                self.note(meta.as_ref(), place, &known)?;
                return Ok(known);
            }
        }
        let kept = self
            .store
            .open_blob(&blob.digest)
            .map_err(EngineError::image("open the blob of a layer"))?;
        // It is shown under one name, whatever its form is in the end.
        let mut shown = blob.clone();
        let (given, file) = match kept {
            Some(file) => (blob.clone(), file),
            None => {
                self.watch.blob(blob, Step::Preparing);
                compress(self.store, blob, diff_id, self.compression)?
            }
        };
        shown.size = given.size;
        match self.has(&given, &[])? {
            Some(step) => self.watch.blob(&shown, step),
            None => self.give(&given, &shown, file)?,
        }
        self.note(meta.as_ref(), place, &given)?;
        Ok(given)
    }

    /// Whether another form of a layer may stand in the same manifest.
    fn suits(&self, other: &Descriptor, blob: &Descriptor) -> bool {
        let is_docker = |one: &Descriptor| one.media_type.contains("docker");
        is_docker(other) == is_docker(blob)
            && (other.media_type.contains("zstd") == (self.compression == LayerCompression::Zstd))
    }

    fn config(&self, blob: &Descriptor) -> Result<()> {
        if self.has(blob, &[])?.is_some() {
            return Ok(());
        }
        let bytes = self
            .store
            .read_blob(&blob.digest)
            .map_err(EngineError::image("read the configuration"))?;
        self.to
            .registry
            .push_blob(&self.to.repository, blob, &mut io::Cursor::new(bytes))
            .map_err(self.failed(blob))
    }

    fn failed(&self, blob: &Descriptor) -> impl FnOnce(RegistryError) -> EngineError {
        EngineError::registry(format!("push {} of {}", blob.digest, self.name.familiar()))
    }

    /// Whether the registry has a blob, or takes it from another of its repositories.
    fn has(&self, blob: &Descriptor, sources: &[String]) -> Result<Option<Step>> {
        let Endpoint {
            registry, repository, ..
        } = self.to;
        let there = registry.head_blob(repository, &blob.digest);
        if there.map_err(self.failed(blob))?.is_some() {
            return Ok(Some(Step::Known));
        }
        for from in sources {
            match registry.mount_blob(repository, &blob.digest, Some(from)) {
                Ok(Started::Mounted) => return Ok(Some(Step::Mounted)),
                // It has no such blob there.
                Ok(Started::Upload(upload)) => upload.cancel().unwrap_or_default(),
                // We may not read there: the blob is given.
                Err(RegistryError::Auth { .. } | RegistryError::Refused { .. }) => {}
                Err(error) => return Err(self.failed(blob)(error)),
            }
        }
        Ok(None)
    }

    /// Other repositories of this registry that have, or had, a form of the layer.
    fn elsewhere(&self, meta: Option<&LayerMeta>) -> Vec<String> {
        /// More are not tried: each is a request.
        const MOST: usize = 3;
        let sources = meta.iter().flat_map(|meta| &meta.sources);
        let own = sources.filter_map(|source| source.parse::<Reference>().ok());
        let own = own.filter(|source| {
            source.registry == self.name.registry && source.repository != self.name.repository
        });
        own.map(|source| source.repository).take(MOST).collect()
    }

    /// Notes where the layer is now, and in which form.
    fn note(&self, meta: Option<&LayerMeta>, place: &Digest, blob: &Descriptor) -> Result<()> {
        let Some(before) = meta else { return Ok(()) };
        let mut meta = before.clone();
        if !meta.blobs.iter().any(|known| known.digest == blob.digest) {
            meta.blobs.push(blob.clone());
        }
        let name = self.name.name();
        if !meta.sources.contains(&name) {
            meta.sources.push(name);
        }
        if meta == *before {
            return Ok(());
        }
        self.store
            .set_layer_meta(place, &meta)
            .map_err(EngineError::image("note where a layer is"))
    }

    fn give(&self, blob: &Descriptor, shown: &Descriptor, file: File) -> Result<()> {
        let mut content = Counted {
            inner: file,
            blob: shown,
            watch: self.watch,
            done: 0,
        };
        self.to
            .registry
            .push_blob(&self.to.repository, blob, &mut content)
            .map_err(self.failed(blob))?;
        self.watch.blob(shown, Step::Pushed);
        Ok(())
    }
}

fn compress(
    store: &ContentStore,
    blob: &Descriptor,
    diff_id: &Digest,
    compression: LayerCompression,
) -> Result<(Descriptor, File)> {
    let failed = || EngineError::image_format(format!("compress layer {diff_id}"));
    let io = |error: io::Error| EngineError::store(format!("compress layer {diff_id}"))(error);
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
    let media_type = match compression {
        LayerCompression::Zstd => {
            cais_image::layer::compress_zstd(&mut archive, &mut encoder).map_err(io)?;
            MediaType::LAYER_ZSTD
        }
        LayerCompression::Gzip => {
            cais_image::layer::compress_gzip(&mut archive, &mut encoder).map_err(io)?;
            match blob.media_type.contains("docker") {
                true => MediaType::DOCKER_LAYER_GZIP,
                false => MediaType::LAYER_GZIP,
            }
        }
    };
    let Hashing {
        mut inner,
        hasher,
        size,
    } = encoder;
    inner.rewind().map_err(io)?;
    Ok((Descriptor::new(media_type, hasher.finish(), size), inner))
}

/// Tells how far it was read.
struct Counted<'a> {
    inner: File,
    blob: &'a Descriptor,
    watch: &'a dyn Watch,
    done: u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(bytes)?;
        self.done += count as u64;
        self.watch.blob(self.blob, Step::Pushing(self.done));
        Ok(count)
    }
}

impl Seek for Counted<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.done = self.inner.seek(to)?;
        Ok(self.done)
    }
}

/// Counts and hashes what is written.
struct Hashing {
    inner: File,
    hasher: Hasher,
    size: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or(&[]));
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
