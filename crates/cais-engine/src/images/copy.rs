//! `copy`: an image from any place to any other, byte for byte and without being unpacked.

use super::import::{Taker, plan_entries, rebuild_blob};
use super::remote::{TransferOptions, parse_name, pass_warnings};
use super::watch::{Watch, WatchedSink};
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use cais_image::formats::{
    DockerArchiveSink, Entry, Location, OciArchiveSink, OciDirectorySink, RegistrySink, RegistrySource, Sink,
    Source, SpoolOptions, StoreSource, copy, open_path, read_document,
};
use cais_image::manifest::{Manifest, parse_manifest};
use cais_image::platform::Platform;
use cais_image::registry::Remote;
use cais_image::{Descriptor, Digest, MediaType, Reference};
use std::fs::File;
use std::path::Path;

/// How to copy.
#[derive(Debug)]
pub struct CopyOptions {
    /// How to speak to the registry that it comes from.
    pub from: TransferOptions,
    /// How to speak to the registry that it goes to.
    pub to: TransferOptions,
    /// Only the image for this machine; all that an index has unless given.
    pub platform: Option<Platform>,
    /// Whether what refers to it (signatures, lists of contents) goes along.
    pub referrers: bool,
}

/// Copies an image. Returns the digest that it has at both places; an archive of Docker's may
/// give it another.
///
/// # Errors
/// Where there is no such image, or it cannot be written.
pub fn copy_image(
    engine: &Engine,
    from: &Location,
    to: &Location,
    options: &CopyOptions,
    watch: &dyn Watch,
) -> Result<Digest> {
    let copier = Copier {
        engine,
        to,
        options,
        watch,
    };
    match from {
        Location::Registry(name) => copier.copy_registry(name),
        Location::Store(name) => copier.copy_store(name),
        Location::OciDirectory(path, name)
        | Location::OciArchive(path, name)
        | Location::DockerArchive(path, name) => copier.copy_path(path, name.as_deref()),
        Location::Path(path) => copier.copy_path(path, None),
    }
}

/// Where blobs may be mounted from, if it goes to the same registry.
struct Origin<'a> {
    remote: &'a Remote,
    reference: &'a Reference,
}

struct Copier<'a> {
    engine: &'a Engine,
    to: &'a Location,
    options: &'a CopyOptions,
    watch: &'a dyn Watch,
}

fn failed() -> impl FnOnce(cais_image::formats::FormatError) -> EngineError {
    EngineError::image_format("copy the image")
}

impl Copier<'_> {
    fn copy_registry(&self, name: &str) -> Result<Digest> {
        let mut names = self.options.from.resolve(name)?.into_iter().peekable();
        while let Some(reference) = names.next() {
            let remote = self.options.from.to_read(&reference)?;
            let source = RegistrySource::new(&remote, &reference);
            let entries = match source.manifests() {
                Err(_not_there) if names.peek().is_some() => continue,
                other => other.map_err(failed())?,
            };
            let entry = select(entries, None)?;
            let origin = Origin {
                remote: &remote,
                reference: &reference,
            };
            let copied = self.give(&source, entry, Some(&origin));
            pass_warnings(&remote, self.watch);
            return copied;
        }
        Err(EngineError::Invalid(format!("{name:?} names no image")))
    }

    fn copy_store(&self, name: &str) -> Result<Digest> {
        let store = super::open(self.engine)?;
        let lease = store.lease().map_err(EngineError::image("take a lease"))?;
        let (entries, documents, _ids) = plan_entries(&store, &lease, &[name.to_owned()])?;
        let rebuild = |blob: &Descriptor| rebuild_blob(&store, &documents, blob);
        let source = StoreSource::new(&store, entries.clone(), Some(&rebuild));
        self.give(&source, select(entries, None)?, None)
    }

    fn copy_path(&self, path: &Path, name: Option<&str>) -> Result<Digest> {
        let source = open_path(path, &self.spool()).map_err(failed())?;
        let entry = select(source.manifests().map_err(failed())?, name)?;
        self.give(&*source, entry, None)
    }

    fn spool(&self) -> SpoolOptions {
        SpoolOptions::new(&std::env::temp_dir())
    }

    /// Chooses what is wanted of it, and gives it to where it goes.
    fn give(&self, source: &dyn Source, entry: Entry, origin: Option<&Origin<'_>>) -> Result<Digest> {
        let mut entry = entry;
        if let Some(platform) = &self.options.platform {
            entry.target = choose(source, entry.target, platform)?;
        }
        match self.to {
            Location::Registry(name) => self.to_registry(source, entry, name, origin),
            Location::Store(name) => self.to_store(source, entry, name),
            Location::OciDirectory(path, name) => {
                let mut sink = OciDirectorySink::open(path).map_err(failed())?;
                self.move_into(source, &mut sink, &named(entry, name.as_deref()), origin)
            }
            Location::Path(path) if path.is_dir() => {
                let mut sink = OciDirectorySink::open(path).map_err(failed())?;
                self.move_into(source, &mut sink, &named(entry, None), origin)
            }
            Location::OciArchive(path, name) => self.to_file(path, |file| {
                let mut sink = OciArchiveSink::new(file);
                self.move_into(source, &mut sink, &named(entry, name.as_deref()), origin)
            }),
            Location::DockerArchive(path, name) => self.to_file(path, |file| {
                let names = match name {
                    Some(name) => vec![super::full_name(name)?],
                    None => full_names(&entry.names),
                };
                let entry = Entry { names, ..entry };
                let mut sink = DockerArchiveSink::new(file, self.spool());
                self.move_into(source, &mut sink, &entry, origin)
            }),
            Location::Path(path) => Err(EngineError::Invalid(format!(
                "{}: write oci:, oci-archive: or docker-archive: before a path that is to be made",
                path.display()
            ))),
        }
    }

    /// An archive is written anew, and not there at all where that fails.
    fn to_file(&self, path: &Path, write: impl FnOnce(File) -> Result<Digest>) -> Result<Digest> {
        let make = EngineError::store(format!("make {}", path.display()));
        let written = write(File::create_new(path).map_err(make)?);
        if written.is_err() {
            std::fs::remove_file(path).unwrap_or_default();
        }
        written
    }

    fn to_registry(
        &self,
        source: &dyn Source,
        entry: Entry,
        name: &str,
        origin: Option<&Origin<'_>>,
    ) -> Result<Digest> {
        let reference = parse_name(name)?;
        if reference
            .digest
            .as_ref()
            .is_some_and(|digest| *digest != entry.target.digest)
        {
            return Err(EngineError::Invalid(format!(
                "{name} has another digest than the image, which is {}",
                entry.target.digest
            )));
        }
        let remote = self.options.to.to_write(&reference)?;
        let mount = origin.filter(|origin| {
            origin.reference.registry == reference.registry
                && origin.reference.repository != reference.repository
        });
        let from = mount.map(|origin| origin.reference.repository.clone());
        let mut sink = RegistrySink::new(remote.own(), from);
        let names = vec![reference.to_string()];
        let copied = self.move_into(source, &mut sink, &Entry { names, ..entry }, origin);
        pass_warnings(&remote, self.watch);
        copied
    }

    fn to_store(&self, source: &dyn Source, entry: Entry, name: &str) -> Result<Digest> {
        self.engine.store.ensure()?;
        let store = super::open(self.engine)?;
        let lease = store.lease().map_err(EngineError::image("take a lease"))?;
        let names = match name {
            "" => full_names(&entry.names),
            name => vec![super::full_name(name)?],
        };
        let entry = Entry { names, ..entry };
        let taker = Taker {
            engine: self.engine,
            store: &store,
            lease: &lease,
            platform: self.options.platform.clone().unwrap_or_else(Platform::own),
        };
        taker.take(source, &entry, self.watch)?;
        store.sync().map_err(EngineError::image("sync the images"))?;
        Ok(entry.target.digest)
    }

    fn move_into(
        &self,
        source: &dyn Source,
        sink: &mut dyn Sink,
        entry: &Entry,
        origin: Option<&Origin<'_>>,
    ) -> Result<Digest> {
        let mut sink = WatchedSink::new(sink, self.watch, true);
        copy(source, &mut sink, entry).map_err(failed())?;
        if self.options.referrers {
            let origin = origin.ok_or_else(|| {
                EngineError::Invalid("--referrers: only a registry tells what refers to an image".to_owned())
            })?;
            for target in referrers(origin.remote, &entry.target.digest)? {
                let names = Vec::new();
                copy(source, &mut sink, &Entry { names, target }).map_err(failed())?;
            }
        }
        sink.finish().map_err(failed())?;
        Ok(entry.target.digest.clone())
    }
}

/// What refers to a manifest, and what refers to that.
fn referrers(remote: &Remote, subject: &Digest) -> Result<Vec<Descriptor>> {
    /// More are not followed.
    const MOST: usize = 1000;
    let mut found: Vec<Descriptor> = Vec::new();
    let mut next = vec![subject.clone()];
    while let Some(subject) = next.pop() {
        let more = remote
            .each(|endpoint| endpoint.registry.referrers(&endpoint.repository, &subject, None))
            .map_err(EngineError::registry(format!("list what refers to {subject}")))?;
        for one in more {
            if found.len() < MOST && !found.iter().any(|known| known.digest == one.digest) {
                next.push(one.digest.clone());
                found.push(one);
            }
        }
    }
    Ok(found)
}

/// The manifest for a machine, through indexes.
fn choose(source: &dyn Source, target: Descriptor, platform: &Platform) -> Result<Descriptor> {
    /// Indexes in each other.
    const DEEPEST: u32 = 8;
    let mut target = target;
    for _ in 0..DEEPEST {
        if !matches!(
            target.media_type.as_str(),
            MediaType::INDEX | MediaType::DOCKER_INDEX
        ) {
            break;
        }
        let bytes = read_document(source, &target).map_err(failed())?;
        let parsed = parse_manifest(&bytes, Some(&target.media_type))
            .map_err(|error| EngineError::Invalid(format!("{}: {error}", target.digest)))?;
        let Manifest::Index(index) = parsed else { break };
        let ranked = platform
            .select(&index.manifests)
            .map_err(|error| EngineError::Invalid(error.to_string()))?;
        let Some(child) = ranked.first() else { break };
        target = (*child).clone();
    }
    Ok(target)
}

/// The one that is meant of what a place has.
fn select(entries: Vec<Entry>, name: Option<&str>) -> Result<Entry> {
    let known: Vec<String> = entries.iter().flat_map(|entry| entry.names.clone()).collect();
    let full = name.and_then(|name| super::full_name(name).ok());
    let is_meant = |entry: &Entry| match name {
        None => true,
        Some(name) => entry
            .names
            .iter()
            .any(|own| own == name || super::full_name(own).is_ok_and(|own| full.as_ref() == Some(&own))),
    };
    let mut meant = entries.into_iter().filter(is_meant);
    match (meant.next(), meant.next()) {
        (Some(entry), None) => Ok(entry),
        (None, _) => Err(EngineError::Invalid(match name {
            Some(name) => format!("there is no {name:?} in it, but: {}", known.join(", ")),
            None => "there is no image in it".to_owned(),
        })),
        (Some(_), Some(_)) => Err(EngineError::Invalid(format!(
            "there are several images in it: name one behind a colon: {}",
            known.join(", ")
        ))),
    }
}

/// With this name alone, or none.
fn named(entry: Entry, name: Option<&str>) -> Entry {
    Entry {
        names: name.map(str::to_owned).into_iter().collect(),
        ..entry
    }
}

fn full_names(names: &[String]) -> Vec<String> {
    names
        .iter()
        .filter_map(|name| super::full_name(name).ok())
        .collect()
}
