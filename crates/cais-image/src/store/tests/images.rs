//! Names, ids, removal, usage, check.

use super::*;
use std::process::Command;

fn names(store: &ContentStore) -> Vec<Vec<String>> {
    store
        .images()
        .unwrap()
        .into_iter()
        .map(|image| image.names)
        .collect()
}

#[test]
fn names_come_and_go() {
    let test = TestStore::new();
    let store = &test.store;
    let one = test.image(Some("docker.io/library/a:1"), &["base", "one"]);
    assert_eq!((one.platform.os.as_str(), one.size), ("linux", Some(7)));
    store
        .tag("docker.io/library/a:2", &one.target, &one.manifest)
        .unwrap();
    assert_eq!(names(store), [["docker.io/library/a:1", "docker.io/library/a:2"]]);
    // A name that moves leaves an image that has another one as it is.
    let two = test.image(Some("docker.io/library/a:1"), &["base", "two"]);
    assert_eq!((names(store).len(), store.dangling().unwrap().len()), (2, 0));
    // And one that has none is dangling.
    store
        .tag("docker.io/library/a:2", &two.target, &two.manifest)
        .unwrap();
    let dangling = store.dangling().unwrap();
    assert_eq!(dangling[0].manifest, one.manifest);
    assert_eq!(dangling.len(), 1);
    // Named again, it is not.
    store.tag("b", &one.target, &one.manifest).unwrap();
    assert!(store.dangling().unwrap().is_empty());
    assert!(store.untag("b").unwrap() && !store.untag("b").unwrap());
    assert_eq!(store.dangling().unwrap().len(), 1);
    // The index says the same.
    let index: cais_json::Value =
        cais_json::from_slice(&fs::read(store.oci().join("index.json")).unwrap()).unwrap();
    let named: Vec<_> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            entry["annotations"][index::REF_NAME]
                .as_str()
                .unwrap_or("")
                .to_owned()
        })
        .collect();
    assert_eq!(named, ["", "docker.io/library/a:1", "docker.io/library/a:2"]);
    assert!(matches!(
        store.tag("a\n", &one.target, &one.manifest),
        Err(StoreError::BadName(_))
    ));
    let gone = descriptor(b"gone");
    assert!(matches!(store.tag("a", &gone, &gone), Err(StoreError::NoBlob(_))));
}

#[test]
fn images_are_found_by_names_and_ids() {
    let test = TestStore::new();
    let store = &test.store;
    let one = test.image(Some("docker.io/library/a:1"), &["one"]);
    let two = test.image(Some("docker.io/library/a:2"), &["two"]);
    let by_digest = format!("docker.io/library/a@{}", one.manifest.digest);
    for text in [
        "docker.io/library/a:1",
        one.config.as_str(),
        one.config.hex(),
        &one.config.hex()[..12],
        &one.config.as_str()[..20],
        one.manifest.digest.as_str(),
        &by_digest,
    ] {
        assert_eq!(store.resolve(text).unwrap().manifest, one.manifest, "{text}");
    }
    let wrong = format!("docker.io/library/b@{}", one.manifest.digest);
    for text in ["a:1", "zz", "", "sha256:", "/", "..", &wrong, &"0".repeat(65)] {
        assert!(
            matches!(store.resolve(text), Err(StoreError::NoImage(_))),
            "{text}"
        );
    }
    // Every digit is the first one of some image, if there are enough of them.
    for number in 0..40 {
        test.image(Some(&format!("n{number}")), &[&format!("layer {number}")]);
    }
    let first = &two.config.hex()[..1];
    assert!(matches!(store.resolve(first), Err(StoreError::AmbiguousId { images, .. }) if images.len() > 1));
    // A name wins.
    store.tag(one.config.hex(), &two.target, &two.manifest).unwrap();
    assert_eq!(store.resolve(one.config.hex()).unwrap().manifest, two.manifest);
}

#[test]
fn what_is_used_is_not_removed() {
    let test = TestStore::new();
    let store = &test.store;
    let one = test.image(Some("a"), &["one"]);
    store.tag("b", &one.target, &one.manifest).unwrap();
    for in_use in [&one.manifest.digest, &one.config] {
        let in_use = [in_use.clone()];
        let removed = store.remove_image(&one.manifest.digest, &in_use);
        assert!(matches!(removed, Err(StoreError::InUse(_))));
    }
    let in_use = [one.config.clone()];
    let removed = store.remove_name("a", &in_use).unwrap();
    assert_eq!((removed.untagged, removed.deleted), (vec!["a".to_owned()], None));
    assert!(matches!(
        store.remove_name("b", &in_use),
        Err(StoreError::InUse(_))
    ));
    assert!(matches!(store.remove_name("a", &[]), Err(StoreError::NoImage(_))));
    store.tag("c", &one.target, &one.manifest).unwrap();
    let removed = store.remove_image(&one.manifest.digest, &[]).unwrap();
    assert_eq!(removed.untagged, ["b", "c"]);
    assert!(store.images().unwrap().is_empty());
    assert!(matches!(
        store.remove_image(&one.manifest.digest, &[]),
        Err(StoreError::NoImage(_))
    ));
}

#[test]
fn usage_is_what_du_says() {
    let test = TestStore::new();
    let store = &test.store;
    let big = "x".repeat(100_000);
    let one = test.image(Some("a"), &["base", &big]);
    let two = test.image(Some("b"), &["base", "two"]);
    let lease = store.lease().unwrap();
    let loose = test.layer(&lease, "loose");
    // Hard links count once, and so do symbolic links by their own length.
    let diff = store.layer_path(&loose).unwrap().unwrap();
    fs::hard_link(diff.join("file"), diff.join("link")).unwrap();
    std::os::unix::fs::symlink("file", diff.join("symlink")).unwrap();
    let usage = store.usage(std::slice::from_ref(&one.config)).unwrap();
    let mut du = 0;
    for name in ["layers", "oci", "images", "staging", "ingest", "leases", "locks"] {
        let output = Command::new("du")
            .args(["-s", "-B1"])
            .arg(test.base.join(name))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        du += text.split_whitespace().next().unwrap().parse::<u64>().unwrap();
    }
    assert_eq!(usage.total.allocated, du);
    let layer = |diff_id: &Digest| {
        usage
            .layers
            .iter()
            .find(|layer| layer.diff_id == *diff_id)
            .unwrap()
    };
    assert_eq!(
        (layer(&one.diff_ids[0]).images, layer(&one.diff_ids[0]).in_use),
        (2, true)
    );
    assert_eq!(
        (layer(&two.diff_ids[1]).images, layer(&two.diff_ids[1]).in_use),
        (1, false)
    );
    assert_eq!(layer(&loose).images, 0);
    assert_eq!(usage.garbage, layer(&loose).size);
    let image = |name: &str| usage.images.iter().find(|image| image.names == [name]).unwrap();
    assert!(image("a").unique.apparent > 200_000 && image("a").shared.apparent < 1000);
    assert!(image("a").in_use && !image("b").in_use);
    assert_eq!(image("a").shared, image("b").shared);
    // What is freed is what was said.
    let before = usage.total.allocated;
    let report = test.collect(&[]);
    assert_eq!(report.freed.allocated, 0, "the lease holds it");
    drop(lease);
    let report = test.collect(&[]);
    assert_eq!(report.freed, usage.garbage);
    store.remove_name("b", &[]).unwrap();
    let freed = image("b").unique;
    assert_eq!(test.collect(&[]).freed, freed);
    assert!(store.usage(&[]).unwrap().total.allocated < before);
}

#[test]
fn the_check_finds_and_repairs() {
    let test = TestStore::new();
    let store = &test.store;
    let whole = test.image(Some("whole"), &["base"]);
    let bad = test.image(Some("bad"), &["base", "bad"]);
    assert_eq!(store.check(false, &[]).unwrap(), []);
    fs::write(store.blob_path(&bad.diff_ids[1]), "other").unwrap();
    fs::write(store.layer_directory(&bad.diff_ids[1]).join("complete"), "").unwrap();
    fs::write(test.base.join("images/junk"), "").unwrap();
    fs::write(store.oci().join("blobs/sha256/junk"), "").unwrap();
    fs::write(store.oci().join("index.json"), "{}").unwrap();
    fs::create_dir(test.base.join("staging/left")).unwrap();
    let kinds = |findings: &[Finding]| -> Vec<String> {
        let debug = findings.iter().map(|finding| format!("{:?}", finding.problem));
        let mut kinds: Vec<_> = debug
            .map(|text| text.chars().take_while(char::is_ascii_alphanumeric).collect())
            .collect();
        kinds.sort();
        kinds
    };
    let found = store.check(false, &[]).unwrap();
    let all = [
        "BadBlob",
        "BadLayer",
        "BadRecord",
        "Broken",
        "Leftovers",
        "StaleIndex",
        "Stray",
    ];
    assert_eq!(kinds(&found), all);
    assert!(found.iter().all(|finding| !finding.repaired));
    // A manifest of the right size and with other content is a finding and no failure.
    let manifest = store.blob_path(&bad.manifest.digest);
    let good = fs::read(&manifest).unwrap();
    fs::write(&manifest, " ".repeat(good.len())).unwrap();
    assert_eq!(store.check(false, &[]).unwrap().len(), all.len() + 1);
    fs::write(&manifest, good).unwrap();
    // What is used stays.
    let repaired = store.check(true, std::slice::from_ref(&bad.config)).unwrap();
    assert!(repaired.iter().any(|finding| !finding.repaired));
    let broken = store.check(true, &[]).unwrap();
    assert_eq!(kinds(&broken), ["BadLayer"], "{repaired:?}");
    assert_eq!(store.check(true, &[]).unwrap(), []);
    assert_eq!(names(store), [["whole"]]);
    assert!(store.is_unpacked(&store.resolve("whole").unwrap()).unwrap());
    assert_eq!(whole.diff_ids.len(), 1);
}

/// Needs skopeo: `cargo test -p cais-image -- --ignored`.
#[test]
#[ignore = "needs skopeo"]
fn skopeo_reads_the_store() {
    let test = TestStore::new();
    test.image(Some("docker.io/library/a:1"), &["one", "two"]);
    let target = test.base.join("copy");
    let output = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--preserve-digests"])
        .arg(format!(
            "oci:{}:docker.io/library/a:1",
            test.store.oci().display()
        ))
        .arg(format!("oci:{}:a", target.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let blobs = |base: &Path| {
        let mut names = files::read_names(&base.join("blobs/sha256")).unwrap();
        names.sort();
        names
    };
    assert_eq!(blobs(&target), blobs(&test.store.oci()));
}
