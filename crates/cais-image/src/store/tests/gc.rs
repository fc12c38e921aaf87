//! What a collection removes, and what it must not.

use super::*;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn only_what_nothing_holds_goes() {
    let test = TestStore::new();
    let store = &test.store;
    let tagged = test.image(Some("a"), &["base", "a"]);
    let dangling = test.image(None, &["base", "b"]);
    let used = test.image(Some("c"), &["base", "c"]);
    let gone = test.image(Some("d"), &["base", "d"]);
    for name in ["c", "d"] {
        store.remove_name(name, &[]).unwrap();
    }
    let lease = store.lease().unwrap();
    let leased = store.put(&lease, "t/x", b"leased").unwrap();
    let in_use = [used.config.clone(), used.manifest.digest.clone()];
    let options = GcOptions {
        dry_run: true,
        ..GcOptions::default()
    };
    let told = store.collect(options, &|| Ok(in_use.to_vec())).unwrap();
    let done = test.collect(&in_use);
    assert_eq!(told, done);
    let mut blobs: Vec<_> = done.blobs.into_iter().map(|(digest, _)| digest).collect();
    blobs.sort();
    let mut expected = vec![gone.diff_ids[1].clone(), gone.config, gone.manifest.digest];
    expected.sort();
    assert_eq!(blobs, expected);
    assert_eq!(done.layers.len(), 1);
    assert_eq!(store.layer_state(&gone.diff_ids[1]).unwrap(), LayerState::Absent);
    for record in [&tagged, &dangling, &used] {
        assert!(store.has_blob(&record.manifest).unwrap());
        for diff_id in &record.diff_ids {
            assert_eq!(store.layer_state(diff_id).unwrap(), LayerState::Complete);
        }
    }
    assert!(store.has_blob(&leased).unwrap());
    assert!(!store.drop_blob(&store.lease().unwrap(), &leased.digest).unwrap());
    assert!(store.drop_blob(&lease, &leased.digest).unwrap());
    assert_eq!(store.check(false, &[]).unwrap(), []);
    // An image that is held loses its name and nothing else, until it is let go.
    let image = store.resolve("a").unwrap();
    store.hold(&lease, &image).unwrap();
    store.remove_name("a", &[]).unwrap();
    assert_eq!(test.collect(&in_use).layers, []);
    assert_eq!(store.missing_for_test(&tagged), []);
    drop(lease);
    assert_eq!(test.collect(&in_use).layers.len(), 1);
}

#[test]
fn an_index_holds_what_there_is_of_it() {
    let test = TestStore::new();
    let store = &test.store;
    let (one, two) = (test.image(None, &["one"]), test.image(None, &["two"]));
    let missing = descriptor(b"of another platform");
    let lease = store.lease().unwrap();
    let index = crate::manifest::Index {
        schema_version: 2,
        manifests: vec![one.manifest.clone(), two.manifest.clone(), missing],
        ..Default::default()
    };
    let bytes = cais_json::to_vec(&index).unwrap();
    let index = store.put(&lease, MediaType::INDEX, &bytes).unwrap();
    store.tag("multi", &index, &one.manifest).unwrap();
    store.remove_image(&two.manifest.digest, &[]).unwrap();
    drop(lease);
    assert_eq!(test.collect(&[]).blobs, []);
    assert_eq!(store.check(false, &[]).unwrap(), []);
    store.remove_name("multi", &[]).unwrap();
    assert_eq!(test.collect(&[]).blobs.len(), 7);
}

#[test]
fn what_killed_processes_left_is_swept() {
    let test = TestStore::new();
    let left = [
        "staging/sha256-00/diff/file",
        "staging/trash-1-0/diff/file",
        "ingest/part-sha256-00",
        "ingest/tmp-1-0",
        "locks/sha256-00",
        "leases/gc-1-0",
        // A process that is gone, one that has another start, a lease that was closed.
        "leases/lease.5.pid-2147483646-0-0",
        "leases/lease.5.pid-1-0-0",
    ];
    let blob = test.store.put(&test.store.lease().unwrap(), "t/x", b"x").unwrap();
    for path in left {
        let path = test.base.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{}\n", blob.digest)).unwrap();
    }
    // What somebody works on.
    let lease = test.store.lease().unwrap();
    let ingest = missing(test.store.ingest(&lease, &descriptor(b"y")).unwrap());
    let staging = test.store.stage_layer().unwrap();
    let unnamed = test.store.ingest_unnamed().unwrap();
    let report = test.collect(&[]);
    assert_eq!((report.blobs.len(), report.leftovers), (1, left.len()));
    let count = |directory| test.names_in(directory).len();
    assert_eq!(
        (count("staging"), count("ingest"), count("locks"), count("leases")),
        (1, 2, 0, 1)
    );
    drop((ingest, staging, unnamed, lease));
    assert_eq!(test.collect(&[]).leftovers, 0);
    // A read-only directory in a layer is no obstacle.
    let directory = test.base.join("staging/layer/diff");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("file"), "").unwrap();
    fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
    assert_eq!(test.collect(&[]).leftovers, 1);
    // A blob that was cut off waits for its time.
    fs::write(test.base.join("ingest/part-sha256-01"), "x").unwrap();
    let report = test
        .store
        .collect(GcOptions::default(), &|| Ok(Vec::new()))
        .unwrap();
    assert_eq!((report.leftovers, count("ingest")), (0, 1));
}

#[test]
fn a_damaged_record_stops_it() {
    let test = TestStore::new();
    test.image(Some("a"), &["a"]);
    fs::write(test.base.join("images/b"), "{").unwrap();
    let collected = test.store.collect(GcOptions::default(), &|| Ok(Vec::new()));
    assert!(matches!(collected, Err(StoreError::Damaged { .. })));
    assert_eq!(test.store.layers().unwrap().len(), 1);
    test.store.check(true, &[]).unwrap();
    assert_eq!(test.collect(&[]).layers, []);
}

/// Does something while two collections run all the time.
fn beside_collections(test: &TestStore, work: impl FnOnce()) {
    /// Ends them also where the work fails.
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = Done(&done);
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    test.collect(&[]);
                }
            });
        }
        work();
        drop(over);
    });
}

/// Pulls, names and removes: what is named and what is leased is always whole.
#[test]
fn collections_beside_pulls() {
    let test = TestStore::new();
    let pull = |number: usize| {
        for round in 0..40 {
            let name = format!("n{number}");
            // The layers are the same for all, so that they come and go.
            let record = test.image(Some(&name), &["base", &format!("layer {}", round % 3)]);
            assert_eq!(test.store.missing_for_test(&record), [], "{name} {round}");
            if round % 2 == 0 {
                let copy = format!("copy{number}");
                test.store.tag(&copy, &record.target, &record.manifest).unwrap();
                test.store.remove_name(&name, &[]).unwrap();
                assert_eq!(test.store.missing_for_test(&record), [], "{copy} {round}");
            }
        }
    };
    beside_collections(&test, || {
        std::thread::scope(|scope| {
            for number in 0..3 {
                scope.spawn(move || pull(number));
            }
        });
    });
    test.collect(&[]);
    let findings = test.store.check(false, &[]).unwrap();
    assert_eq!(findings, []);
}

/// An image that loses its name while a collection reads the names is kept as a dangling one.
#[test]
fn collections_beside_names_that_move() {
    let test = TestStore::new();
    let [one, other] = ["one", "other"].map(|text| test.image(None, &[text]));
    beside_collections(&test, || {
        for round in 0..200 {
            let record = if round % 2 == 0 { &one } else { &other };
            test.store.tag("n", &record.target, &record.manifest).unwrap();
            if round % 5 == 0 {
                assert!(test.store.untag("n").unwrap());
            }
        }
    });
    for record in [&one, &other] {
        assert_eq!(test.store.missing_for_test(record), []);
    }
}

/// Two who move the last two names of an image at once: neither has seen it without any.
#[test]
fn the_last_two_names_move_at_once() {
    let test = TestStore::new();
    let [one, other] = ["one", "other"].map(|text| test.image(None, &[text]));
    for round in 0..100 {
        for name in ["a", "b"] {
            test.store.tag(name, &one.target, &one.manifest).unwrap();
        }
        std::thread::scope(|scope| {
            for name in ["a", "b"] {
                let (store, other) = (&test.store, &other);
                scope.spawn(move || match round % 2 {
                    0 => drop(store.tag(name, &other.target, &other.manifest).unwrap()),
                    _ => assert!(store.untag(name).unwrap()),
                });
            }
        });
        test.collect(&[]);
        assert_eq!(test.store.missing_for_test(&one), [], "{round}");
        let kept = test.store.images().unwrap();
        assert!(
            kept.iter()
                .any(|image| image.manifest.digest == one.manifest.digest && image.names.is_empty()),
            "{round}: {kept:?}"
        );
    }
}

/// What the next test kills: says each step, and goes on for ever.
#[test]
#[ignore = "a part of the next test"]
fn victim() {
    let Some(base) = std::env::var_os("CAIS_TEST_VICTIM") else {
        return;
    };
    let base = PathBuf::from(base);
    let test = std::mem::ManuallyDrop::new(TestStore {
        store: ContentStore::open(&base).unwrap(),
        base,
    });
    for round in 0.. {
        test.image(
            Some(&format!("n{}", round % 2)),
            &["base", &format!("layer {}", round % 5)],
        );
        println!("made");
        if round % 3 == 0 {
            test.store.remove_name("n0", &[]).unwrap();
        }
        test.collect(&[]);
        println!("collected");
    }
}

#[test]
fn killed_anywhere_it_stays_whole() {
    use std::io::BufRead;
    let test = TestStore::new();
    for round in 0..30_usize {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "store::tests::gc::victim"])
            .env("CAIS_TEST_VICTIM", &test.base)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // It runs on while its lines are read, so that the place is another each time.
        let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let steps = lines
            .map_while(|line| line.ok())
            .filter(|line| line.ends_with("made"));
        assert_eq!(steps.take(1 + round % 4).count(), 1 + round % 4);
        child.kill().unwrap();
        child.wait().unwrap();
        // Names that are there are whole, without any repair.
        for finding in test.store.check(false, &[]).unwrap() {
            assert!(
                matches!(finding.problem, Problem::Leftovers(_) | Problem::StaleIndex),
                "{round}: {finding:?}"
            );
        }
        test.image(Some("after"), &["base", "after"]);
    }
    test.collect(&[]);
    assert_eq!(test.store.check(false, &[]).unwrap(), []);
}
