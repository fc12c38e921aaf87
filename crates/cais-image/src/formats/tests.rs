//! Every form read and written, by way of each other; and archives that somebody hostile
//! made.

mod archives;

use super::*;
use crate::descriptor::MediaType;
use crate::digest::Digest;
use crate::manifest::{ImageManifest, Manifest, parse_manifest};
use crate::store::{ContentStore, unique};
use std::fs;
use std::io::{Seek, Write};
use std::path::PathBuf;

/// A directory that goes away.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new() -> Self {
        let path = std::env::temp_dir().join(unique("cais-formats-test"));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn spool(&self) -> SpoolOptions {
        SpoolOptions::new(&self.0)
    }

    pub(super) fn file(&self, bytes: &[u8]) -> File {
        let mut file = self.spool().file().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    pub(super) fn open(&self, bytes: &[u8]) -> Result<Box<dyn Source>> {
        open_archive(self.file(bytes), &self.spool())
    }

    pub(super) fn refusal(&self, bytes: &[u8]) -> String {
        self.open(bytes).map(|_| ()).unwrap_err().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

/// An entry of an archive: kind, name, link or content.
pub(super) type Made<'a> = (u8, &'a str, &'a [u8]);

pub(super) fn tar_of(entries: &[Made]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, name, content) in entries {
        let mut header = tar::Header::new_gnu();
        let is_link = matches!(kind, b'1' | b'2');
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        if is_link {
            header.as_mut_bytes()[157..157 + content.len()].copy_from_slice(content);
        }
        header.set_entry_type(tar::EntryType::new(*kind));
        header.set_mode(0o644);
        header.set_size(if is_link { 0 } else { content.len() as u64 });
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        if !is_link {
            bytes.extend_from_slice(content);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn config_of(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let config = cais_json::json!({"architecture": "amd64", "os": "linux",
        "config": {"Healthcheck": {"Test": ["NONE"]}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    // With spaces: the bytes are what counts.
    cais_json::to_vec(&config).unwrap()
}

/// A source in memory: an image with a gzip layer, a plain one and a zstd one.
struct Memory {
    blobs: Vec<(Digest, Vec<u8>)>,
    entry: Entry,
}

impl Memory {
    fn new(names: &[&str]) -> Self {
        let mut memory = Self {
            blobs: Vec::new(),
            entry: Entry {
                names: names.iter().map(|name| (*name).to_owned()).collect(),
                target: Descriptor::new("", Digest::of(b""), 0),
            },
        };
        let plain: Vec<Vec<u8>> = (0..3)
            .map(|number| tar_of(&[(b'0', "file", &[number; 700])]))
            .collect();
        let layers = vec![
            memory.add(MediaType::LAYER_GZIP, gzip(&plain[0])),
            memory.add(MediaType::LAYER, plain[1].clone()),
            memory.add(
                MediaType::LAYER_ZSTD,
                zstd::encode_all(plain[2].as_slice(), 3).unwrap(),
            ),
        ];
        let config = config_of(&[&plain[0], &plain[1], &plain[2]]);
        let config = memory.add(MediaType::CONFIG, config);
        let manifest = cais_json::json!({"schemaVersion": 2, "mediaType": MediaType::MANIFEST,
            "config": config, "layers": layers, "x-unknown": 1});
        let manifest = cais_json::to_vec(&manifest).unwrap();
        memory.entry.target = memory.add(MediaType::MANIFEST, manifest);
        memory
    }

    fn add(&mut self, media_type: &str, bytes: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::new(media_type, Digest::of(&bytes), bytes.len() as u64);
        self.blobs.push((descriptor.digest.clone(), bytes));
        descriptor
    }

    /// Puts an index before it, with a manifest that is missing and an attestation.
    fn with_index(mut self) -> Self {
        let missing = Descriptor::new(MediaType::MANIFEST, Digest::of(b"missing"), 7);
        let other = self.add("application/x-unknown", b"not known".to_vec());
        let index = cais_json::json!({"schemaVersion": 2, "mediaType": MediaType::INDEX,
            "manifests": [missing, other, self.entry.target]});
        self.entry.target = self.add(MediaType::INDEX, cais_json::to_vec(&index).unwrap());
        self
    }
}

impl Source for Memory {
    fn manifests(&self) -> Result<Vec<Entry>> {
        Ok(vec![self.entry.clone()])
    }

    fn has(&self, blob: &Descriptor) -> Result<bool> {
        Ok(self.blobs.iter().any(|(digest, _)| *digest == blob.digest))
    }

    fn blob(&self, blob: &Descriptor) -> Result<Box<dyn Read + '_>> {
        let found = self.blobs.iter().find(|(digest, _)| *digest == blob.digest);
        let (_, bytes) = found.ok_or_else(|| FormatError::NoBlob(blob.digest.clone()))?;
        Ok(Box::new(bytes.as_slice()))
    }
}

pub(super) fn image_of(source: &dyn Source, target: &Descriptor) -> ImageManifest {
    let bytes = read_document(source, target).unwrap();
    match parse_manifest(&bytes, Some(&target.media_type)).unwrap() {
        Manifest::Image(image) => *image,
        Manifest::Index(_) => panic!("an index"),
    }
}

#[test]
fn an_image_goes_through_every_form_untouched() {
    let scratch = Scratch::new();
    for memory in [
        Memory::new(&["reg.example/a:1", "b"]),
        Memory::new(&[]).with_index(),
    ] {
        // Memory → directory → archive → store → archive.
        let path = scratch.0.join(unique("layout"));
        let mut directory = OciDirectorySink::open(&path).unwrap();
        copy(&memory, &mut directory, &memory.entry).unwrap();
        directory.finish().unwrap();
        let directory = open_path(&path, &scratch.spool()).unwrap();
        assert_eq!(
            directory.manifests().unwrap(),
            std::slice::from_ref(&memory.entry)
        );
        let to_archive = |source: &dyn Source| {
            let mut bytes = Vec::new();
            let mut archive = OciArchiveSink::new(&mut bytes);
            copy(source, &mut archive, &memory.entry).unwrap();
            archive.finish().unwrap();
            bytes
        };
        let first = to_archive(directory.as_ref());
        let archive = scratch.open(&first).unwrap();
        assert_eq!(archive.manifests().unwrap(), std::slice::from_ref(&memory.entry));
        let store = ContentStore::open(&scratch.0.join(unique("store"))).unwrap();
        let lease = store.lease().unwrap();
        let mut sink = StoreSink::new(&store, &lease, None);
        let copied = copy(archive.as_ref(), &mut sink, &memory.entry).unwrap();
        assert_eq!(copied.written.len(), memory.blobs.len());
        sink.finish().unwrap();
        assert_eq!(sink.records()[0].target, memory.entry.target);
        assert_eq!(sink.records()[0].platform.architecture, "amd64");
        let again = copy(archive.as_ref(), &mut sink, &memory.entry).unwrap();
        assert_eq!(
            (again.written.len(), again.present.len()),
            (0, memory.blobs.len())
        );
        let source = StoreSource::new(&store, vec![memory.entry.clone()], None);
        assert_eq!(to_archive(&source), first);
        // Through a compressed archive too.
        let zipped = scratch.open(&gzip(&first)).unwrap();
        assert_eq!(to_archive(zipped.as_ref()), first);
    }
}

#[test]
fn a_layout_that_is_there_is_added_to() {
    let scratch = Scratch::new();
    let path = scratch.0.join("layout");
    let (one, two) = (Memory::new(&["a", "b"]), Memory::new(&["b"]).with_index());
    for memory in [&one, &two, &two] {
        let mut sink = OciDirectorySink::open(&path).unwrap();
        copy(memory, &mut sink, &memory.entry).unwrap();
        sink.finish().unwrap();
    }
    let entries = open_path(&path, &scratch.spool()).unwrap().manifests().unwrap();
    let names: Vec<_> = entries.iter().map(|entry| entry.names.clone()).collect();
    assert_eq!(names, [["a"], ["b"]]);
    assert_eq!(entries[1].target, two.entry.target);
    fs::write(scratch.0.join("junk"), "").unwrap();
    assert!(
        OciDirectorySink::open(&scratch.0).is_err(),
        "not empty and no layout"
    );
}

#[test]
fn wrong_blobs_are_not_copied() {
    let scratch = Scratch::new();
    for (number, bytes, message) in [
        (1, b"short".as_slice(), "lacks its last"),
        (1, &[0; 5000], "longer"),
        (1, &[0; 2560], "has the content of"),
        (3, b"{}", "lacks its last"),
        (4, b"{}", "lacks its last"),
    ] {
        let mut memory = Memory::new(&["a"]);
        memory.blobs[number].1 = bytes.to_vec();
        let mut bytes = Vec::new();
        let mut archive = OciArchiveSink::new(&mut bytes);
        let error = copy(&memory, &mut archive, &memory.entry).unwrap_err();
        let store = ContentStore::open(&scratch.0.join(unique("store"))).unwrap();
        let lease = store.lease().unwrap();
        let into_store = copy(&memory, &mut StoreSink::new(&store, &lease, None), &memory.entry);
        let docker = copy(
            &memory,
            &mut DockerArchiveSink::new(Vec::new(), scratch.spool()),
            &memory.entry,
        );
        for error in [error, into_store.unwrap_err(), docker.unwrap_err()] {
            assert!(error.to_string().contains(message), "{number}: {error}");
        }
    }
    // What is compressed is verified to its last byte.
    let mut memory = Memory::new(&["a"]);
    memory.blobs[0].1.push(0);
    let mut sink = DockerArchiveSink::new(Vec::new(), scratch.spool());
    assert!(copy(&memory, &mut sink, &memory.entry).is_err());
}

#[test]
fn a_manifest_that_is_huge_is_not_read() {
    let mut memory = Memory::new(&["a"]);
    memory.entry.target.size = 5 << 30;
    let mut sink = OciArchiveSink::new(Vec::new());
    let error = copy(&memory, &mut sink, &memory.entry).unwrap_err();
    assert!(matches!(error, FormatError::TooBig { .. }));
}

#[test]
fn docker_archives_are_both_layouts() {
    let scratch = Scratch::new();
    let memory = Memory::new(&["docker.io/library/a:1", "docker.io/library/a@sha256:00"]);
    let mut bytes = Vec::new();
    let mut sink = DockerArchiveSink::new(&mut bytes, scratch.spool());
    copy(&memory, &mut sink, &memory.entry).unwrap();
    sink.finish().unwrap();
    // As an OCI layout.
    let layout = scratch.open(&bytes).unwrap();
    let entries = layout.manifests().unwrap();
    assert_eq!(entries[0].names, ["docker.io/library/a:1"]);
    // As Docker's.
    let archive = Archive::open(scratch.file(&bytes), &scratch.spool()).unwrap();
    let docker = DockerArchive::open(archive).unwrap();
    let of_docker = docker.manifests().unwrap();
    assert_eq!(of_docker[0].names, ["docker.io/library/a:1"]);
    let config = |source: &dyn Source, entry: &Entry| image_of(source, &entry.target).config.digest;
    let expected = image_of(&memory, &memory.entry.target).config.digest;
    assert_eq!(config(layout.as_ref(), &entries[0]), expected);
    assert_eq!(config(&docker, &of_docker[0]), expected);
    for (source, entry) in [
        (layout.as_ref(), &entries[0]),
        (&docker as &dyn Source, &of_docker[0]),
    ] {
        let image = image_of(source, &entry.target);
        let parsed = crate::manifest::parse_config(&read_document(source, &image.config).unwrap()).unwrap();
        let digests: Vec<_> = image.layers.iter().map(|layer| layer.digest.clone()).collect();
        assert_eq!(digests, parsed.rootfs.diff_ids);
        let mut sink = OciArchiveSink::new(Vec::new());
        copy(source, &mut sink, entry).unwrap();
    }
}

#[test]
fn a_layer_that_was_dropped_is_made_again() {
    let scratch = Scratch::new();
    let memory = Memory::new(&["a"]);
    let store = ContentStore::open(&scratch.0.join("store")).unwrap();
    let lease = store.lease().unwrap();
    copy(&memory, &mut StoreSink::new(&store, &lease, None), &memory.entry).unwrap();
    let layer = image_of(&memory, &memory.entry.target).layers[0].clone();
    assert!(store.drop_blob(&lease, &layer.digest).unwrap());
    let to_archive = |source: &StoreSource| copy(source, &mut OciArchiveSink::new(Vec::new()), &memory.entry);
    let entries = vec![memory.entry.clone()];
    let without = StoreSource::new(&store, entries.clone(), None);
    assert!(matches!(to_archive(&without), Err(FormatError::NoBlob(digest)) if digest == layer.digest));
    let good = memory.blobs[0].1.clone();
    for (bytes, is_good) in [(good.clone(), true), (vec![0; good.len()], false)] {
        let rebuild = |blob: &Descriptor| -> Result<Option<Box<dyn Read>>> {
            assert_eq!(blob.digest, layer.digest);
            Ok(Some(Box::new(std::io::Cursor::new(bytes.clone()))))
        };
        let source = StoreSource::new(&store, entries.clone(), Some(&rebuild));
        assert_eq!(to_archive(&source).is_ok(), is_good);
    }
}
