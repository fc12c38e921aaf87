//! The store as its users see it: many at once, some of them killed.

mod gc;
mod images;

use super::*;
use crate::descriptor::{Descriptor, MediaType};
use crate::manifest::{ImageConfig, ImageManifest};
use std::fs;
use std::io::{Read, Write};

/// A store in a directory that goes away.
pub(crate) struct TestStore {
    pub(crate) store: ContentStore,
    base: PathBuf,
}

impl TestStore {
    pub(crate) fn new() -> Self {
        let base = std::env::temp_dir().join(files::unique("cais-store-test"));
        let store = ContentStore::open(&base).unwrap();
        Self { store, base }
    }

    /// Puts in an image with a layer for each text, blobs and unpacked, and names it.
    pub(crate) fn image(&self, name: Option<&str>, layers: &[&str]) -> Record {
        let store = &self.store;
        let lease = store.lease().unwrap();
        let mut config = ImageConfig {
            architecture: "amd64".to_owned(),
            os: "linux".to_owned(),
            ..ImageConfig::default()
        };
        let mut descriptors = Vec::new();
        for text in layers {
            let layer = store.put(&lease, MediaType::LAYER, text.as_bytes()).unwrap();
            self.layer(&lease, text);
            config.rootfs.diff_ids.push(layer.digest.clone());
            descriptors.push(layer);
        }
        let bytes = cais_json::to_vec(&config).unwrap();
        let config = store.put(&lease, MediaType::CONFIG, &bytes).unwrap();
        let manifest = ImageManifest {
            schema_version: 2,
            media_type: Some(MediaType::MANIFEST.to_owned()),
            artifact_type: None,
            config,
            layers: descriptors,
            subject: None,
            annotations: std::collections::BTreeMap::default(),
            other: cais_json::Map::default(),
        };
        let bytes = cais_json::to_vec(&manifest).unwrap();
        let manifest = store.put(&lease, MediaType::MANIFEST, &bytes).unwrap();
        match name {
            Some(name) => store.tag(name, &manifest, &manifest).unwrap(),
            None => store.keep_nameless(&manifest, &manifest).unwrap(),
        }
    }

    /// Unpacks a layer whose only file has this text.
    pub(crate) fn layer(&self, lease: &Lease, text: &str) -> Digest {
        let diff_id = Digest::of(text.as_bytes());
        if let LayerClaim::Missing(staging) = self.store.claim_layer(lease, &diff_id).unwrap() {
            fs::write(staging.diff().join("file"), text).unwrap();
            let meta = LayerMeta {
                size: text.len() as u64,
                ..LayerMeta::default()
            };
            self.store.commit_layer(lease, staging, &diff_id, &meta).unwrap();
        }
        diff_id
    }

    pub(crate) fn collect(&self, in_use: &[Digest]) -> GcReport {
        let options = GcOptions {
            keep_partials: std::time::Duration::ZERO,
            ..GcOptions::default()
        };
        self.store.collect(options, &|| Ok(in_use.to_vec())).unwrap()
    }

    fn names_in(&self, directory: &str) -> Vec<String> {
        files::read_names(&self.base.join(directory)).unwrap()
    }
}

impl Drop for TestStore {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.base).unwrap_or_default();
    }
}

fn missing(claim: Claim) -> Box<Ingest> {
    match claim {
        Claim::Missing(ingest) => ingest,
        Claim::Present(_) => panic!("present"),
    }
}

fn descriptor(bytes: &[u8]) -> Descriptor {
    Descriptor::new("t/x", Digest::of(bytes), bytes.len() as u64)
}

#[test]
fn a_blob_that_is_cut_off_is_taken_up_again() {
    let test = TestStore::new();
    let bytes: Vec<u8> = (0..700_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let wanted = descriptor(&bytes);
    let lease = test.store.lease().unwrap();
    let mut first = missing(test.store.ingest(&lease, &wanted).unwrap());
    first.write_all(&bytes[..400_000]).unwrap();
    assert!(test.store.try_ingest(&lease, &wanted).unwrap().is_none(), "busy");
    drop(first);
    let mut second = missing(test.store.ingest(&lease, &wanted).unwrap());
    assert_eq!(second.offset(), 400_000);
    second.append(&bytes[400_000..]).unwrap();
    let mut read = Vec::new();
    second.finish().unwrap().read_to_end(&mut read).unwrap();
    assert_eq!(read, bytes);
    assert!(matches!(
        test.store.ingest(&lease, &wanted).unwrap(),
        Claim::Present(_)
    ));
    assert!(test.names_in("ingest").is_empty() && test.names_in("locks").is_empty());
}

#[test]
fn the_state_of_the_hash_is_kept_for_this_boot() {
    let test = TestStore::new();
    let bytes: Vec<u8> = (0..500_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let wanted = descriptor(&bytes);
    let lease = test.store.lease().unwrap();
    let mut first = missing(test.store.ingest(&lease, &wanted).unwrap());
    first.append(&bytes[..300_001]).unwrap();
    drop(first);
    let name = test.names_in("ingest").remove(0);
    let partial = test.base.join("ingest").join(name);
    let mut value = [0u8; 1024];
    let Ok(length) = rustix::fs::getxattr(&partial, "user.cais.hash", &mut value[..]) else {
        // A file system without attributes: all is hashed again.
        return;
    };
    let value = &value[..length];
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert!(value.starts_with(format!("{} 300001\n", boot.trim()).as_bytes()));
    // What the state has seen is not read again: bytes that changed since are not noticed by
    // the hash. That is why it counts in this boot only.
    let mut changed = bytes.clone();
    changed[0] ^= 1;
    fs::write(&partial, &changed[..300_001]).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&partial, "user.cais.hash", value, flags).unwrap();
    let mut second = missing(test.store.ingest(&lease, &wanted).unwrap());
    second.append(&bytes[300_001..]).unwrap();
    assert_eq!(second.digest_so_far(), wanted.digest);
    drop(second);
    // After another boot everything is.
    let other = [b"another-boot ", &value[boot.trim().len() + 1..]].concat();
    fs::write(&partial, &changed[..300_001]).unwrap();
    rustix::fs::setxattr(&partial, "user.cais.hash", &other, flags).unwrap();
    let mut third = missing(test.store.ingest(&lease, &wanted).unwrap());
    third.append(&bytes[300_001..]).unwrap();
    assert!(matches!(third.finish(), Err(StoreError::DigestMismatch { .. })));
}

#[test]
fn wrong_blobs_do_not_get_in() {
    let test = TestStore::new();
    let wanted = descriptor(b"hello");
    let lease = test.store.lease().unwrap();
    let ingest = || missing(test.store.ingest(&lease, &wanted).unwrap());
    // Too long: refused at once. What was there before is kept.
    let mut one = ingest();
    one.append(b"hell").unwrap();
    assert!(matches!(
        one.append(b"o!"),
        Err(StoreError::SizeMismatch { found: 6, .. })
    ));
    drop(one);
    // Too short: kept.
    let two = ingest();
    assert_eq!(two.offset(), 4);
    assert!(matches!(
        two.finish(),
        Err(StoreError::SizeMismatch { found: 4, .. })
    ));
    // Wrong, with a part from before: said so, and not kept.
    let mut three = ingest();
    three.append(b"x").unwrap();
    assert!(matches!(
        three.finish(),
        Err(StoreError::DigestMismatch { resumed: true, .. })
    ));
    let mut four = ingest();
    assert_eq!(four.offset(), 0);
    four.append(b"hullo").unwrap();
    assert!(matches!(
        four.finish(),
        Err(StoreError::DigestMismatch { resumed: false, .. })
    ));
    assert!(!test.store.has_blob(&wanted).unwrap());
    // A partial file that is longer than the blob can be is begun again.
    fs::write(
        test.base
            .join("ingest")
            .join(format!("part-sha256-{}", wanted.digest.hex())),
        "too long",
    )
    .unwrap();
    let mut five = ingest();
    assert_eq!(five.offset(), 0);
    five.append(b"hello").unwrap();
    drop(five.finish().unwrap());
    // A blob that a power cut has emptied is no blob.
    fs::write(test.store.blob_path(&wanted.digest), "").unwrap();
    assert!(!test.store.has_blob(&wanted).unwrap());
    assert!(matches!(
        test.store.read_blob(&wanted.digest),
        Err(StoreError::DigestMismatch { .. })
    ));
    test.store.put(&lease, "t/x", b"hello").unwrap();
    assert_eq!(test.store.read_blob(&wanted.digest).unwrap(), b"hello");
}

#[test]
fn eight_at_once_write_a_blob_once() {
    let test = TestStore::new();
    let bytes = vec![7_u8; 300_000];
    for wanted in [descriptor(&bytes), descriptor(b"")] {
        let written = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let lease = test.store.lease().unwrap();
                    if let Claim::Missing(mut ingest) = test.store.ingest(&lease, &wanted).unwrap() {
                        written.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        let length = usize::try_from(ingest.size()).unwrap();
                        for chunk in bytes[..length].chunks(1000) {
                            ingest.append(chunk).unwrap();
                        }
                        drop(ingest.finish().unwrap());
                    }
                    assert!(test.store.has_blob(&wanted).unwrap());
                });
            }
        });
        assert_eq!(written.into_inner(), 1);
    }
    assert!(test.names_in("ingest").is_empty() && test.names_in("leases").is_empty());
}

#[test]
fn a_stream_of_unknown_digest() {
    let test = TestStore::new();
    let lease = test.store.lease().unwrap();
    for _ in 0..2 {
        let mut blob = test.store.ingest_unnamed().unwrap();
        blob.write_all(b"some bytes").unwrap();
        let found = test.store.finish_unnamed(&lease, blob, "t/x").unwrap();
        assert_eq!(found, descriptor(b"some bytes"));
        assert!(test.store.has_blob(&found).unwrap());
    }
    drop(test.store.ingest_unnamed().unwrap());
    assert!(test.names_in("ingest").is_empty());
}

#[test]
fn layers_appear_whole_and_once() {
    let test = TestStore::new();
    let store = &test.store;
    let made = std::sync::atomic::AtomicU32::new(0);
    let diff_id = Digest::of(b"x");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let lease = store.lease().unwrap();
                if let LayerClaim::Missing(staging) = store.claim_layer(&lease, &diff_id).unwrap() {
                    made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    fs::write(staging.diff().join("file"), "x").unwrap();
                    store
                        .commit_layer(&lease, staging, &diff_id, &LayerMeta::default())
                        .unwrap();
                }
                assert!(store.layer_path(&diff_id).unwrap().unwrap().join("file").exists());
            });
        }
    });
    assert_eq!(made.into_inner(), 1);
    // One that was staged without a name and is there already is dropped.
    let lease = store.lease().unwrap();
    let staging = store.stage_layer().unwrap();
    let path = store
        .commit_layer(&lease, staging, &diff_id, &LayerMeta::default())
        .unwrap();
    assert!(path.join("file").exists());
    drop(store.stage_layer().unwrap());
    assert!(test.names_in("staging").is_empty());
    assert_eq!(store.layers().unwrap(), [diff_id]);
}

#[test]
fn a_layer_from_before_a_power_cut_does_not_count() {
    let test = TestStore::new();
    let store = &test.store;
    let lease = store.lease().unwrap();
    let (old, synced) = (test.layer(&lease, "old"), test.layer(&lease, "synced"));
    // As after a boot: one was synced, one not.
    let other_boot = r#"{"boot_id":"11111111-2222-3333-4444-555555555555"}"#;
    for diff_id in [&old, &synced] {
        assert_eq!(store.layer_state(diff_id).unwrap(), LayerState::Complete);
        fs::write(store.layer_directory(diff_id).join("complete"), other_boot).unwrap();
        assert_eq!(store.layer_state(diff_id).unwrap(), LayerState::Unsynced);
    }
    store.mark_synced(&synced).unwrap();
    assert_eq!(store.layer_state(&synced).unwrap(), LayerState::Complete);
    assert_eq!(store.layer_path(&old).unwrap(), None);
    // It is made again in its place.
    test.layer(&lease, "old");
    assert_eq!(store.layer_state(&old).unwrap(), LayerState::Complete);
    store.sync().unwrap();
    assert!(store.layer_directory(&old).join("synced").exists());
    for marker in ["", "{}", "\0\0\0"] {
        let half = test.layer(&lease, "half");
        fs::write(store.layer_directory(&half).join("complete"), marker).unwrap();
        assert_eq!(store.layer_state(&half).unwrap(), LayerState::Incomplete);
    }
}

#[test]
fn stores_are_opened_and_refused() {
    let test = TestStore::new();
    let fresh = test.base.join("fresh");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| drop(ContentStore::open(&fresh).unwrap()));
        }
    });
    // A store that is taken away is an error and no endless wait.
    let store = ContentStore::open(&fresh).unwrap();
    fs::remove_dir_all(&fresh).unwrap();
    assert!(store.lease().is_err() && store.sync().is_err() && store.untag("x").is_err());
    assert!(store.stage_layer().is_err() && store.object_lock(&Digest::of(b"")).is_err());
    for (text, is_good) in [
        ("", true),
        (r#"{"imageLayoutVersion":"2.0.0"}"#, false),
        ("x", false),
    ] {
        fs::write(test.store.oci().join("oci-layout"), text).unwrap();
        assert_eq!(ContentStore::open(&test.base).is_ok(), is_good, "{text}");
    }
}
