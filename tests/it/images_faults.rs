//! Pulls from a registry that makes mistakes: what the user reads, what is left, and that
//! nothing is fetched twice.

use crate::mock_registry::{Answer, Layer, MANIFEST, Mock, archive, digest, filter};
use crate::support::{Done, TestEnv, eventually};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::{Arc, Condvar, Mutex};

/// How many files and directories there are in a directory of the store.
fn count(env: &TestEnv, name: &str) -> usize {
    fs::read_dir(env.path("data").join(name)).map_or(0, |entries| entries.flatten().count())
}

/// Nothing is wrong with the store.
pub(crate) fn assert_sound(env: &TestEnv) {
    let done = env.cais(&["system", "check"]);
    assert_eq!((done.code, done.stdout.as_str()), (0, ""), "{}", done.stderr);
}

/// Nothing came in.
fn assert_empty(env: &TestEnv) {
    for name in ["images", "layers/sha256", "staging", "leases", "locks"] {
        assert_eq!(count(env, name), 0, "{name}");
    }
}

fn three_layers() -> [Layer; 3] {
    [
        Layer::random("one", 10_000),
        Layer::random("two", 3_000_000),
        Layer::random("three", 20_000),
    ]
}

#[test]
fn killed_in_the_middle_it_goes_on_where_it_was() {
    let (env, mock) = (TestEnv::new(), Mock::new());
    let layers = three_layers();
    mock.put_image("team/pier", "1", &layers);
    let (big, length) = (digest(&layers[1].blob), 1_000_000);
    let (path, blob) = (format!("/blobs/{big}"), layers[1].blob.clone());
    mock.fault(move |asked, _| {
        asked.path.ends_with(&path).then(|| Answer {
            stall: Some(length),
            ..Answer::new(200, blob.clone())
        })
    });
    let name = format!("{}/team/pier:1", mock.address);
    let mut child = env
        .command(&["pull", "-q", &name])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let partial = env
        .path("data/ingest")
        .join(format!("part-{}", big.replace(':', "-")));
    eventually("the other layers are there, and a part of this one", || {
        // And nobody works on those any more.
        let working = ["ingest", "staging", "locks"].map(|name| count(&env, name));
        count(&env, "layers/sha256") == 2
            && fs::metadata(&partial).is_ok_and(|data| data.len() == length as u64)
            && working == [1, 1, 0]
    });
    child.kill().unwrap();
    child.wait().unwrap();
    mock.heal();
    assert_eq!(env.ok(&["images", "-q"]), "");
    env.ok(&["pull", "-q", &name]);
    let asked = mock.asked();
    let blobs: Vec<_> = asked
        .iter()
        .filter(|asked| asked.is_get_blob())
        .map(|asked| (asked.path.rsplit('/').next().unwrap(), asked.header("range")))
        .collect();
    let range = format!("bytes={length}-{}", layers[1].blob.len() - 1);
    assert_eq!(
        blobs,
        [(big.as_str(), Some(range.as_str()))],
        "only what was missing"
    );
    assert_sound(&env);
    // And nothing at all the next time.
    mock.heal();
    env.ok(&["pull", "-q", &name]);
    assert!(mock.asked().iter().all(|asked| !asked.is_get_blob()));
}

#[test]
fn two_pulls_of_one_image_share_the_work() {
    let (env, mock) = (TestEnv::new(), Mock::new());
    let layers = three_layers();
    mock.put_image("team/pier", "1", &layers);
    let blobs: Vec<_> = layers
        .iter()
        .map(|layer| (digest(&layer.blob), layer.blob.clone()))
        .collect();
    mock.fault(move |asked, _| {
        let found = blobs.iter().find(|(digest, _)| asked.path.ends_with(digest))?;
        Some(Answer {
            drip: Some(4096),
            ..Answer::new(200, found.1.clone())
        })
    });
    let name = format!("{}/team/pier:1", mock.address);
    let pulls: Vec<_> = (0..4)
        .map(|_| {
            env.command(&["pull", "-q", &name])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for pull in pulls {
        let done = Done::end_of(pull);
        assert_eq!(done.code, 0, "{}", done.stderr);
    }
    let asked = mock.asked();
    for layer in &layers {
        let wanted = digest(&layer.blob);
        let times = asked
            .iter()
            .filter(|asked| asked.is_get_blob() && asked.path.ends_with(&wanted))
            .count();
        assert_eq!(times, 1, "{wanted}");
    }
    assert_sound(&env);
}

/// No lock is held while bytes move: whatever else is done with images meanwhile does not
/// wait, and what the pull has got is not taken from it.
#[test]
fn nothing_waits_for_a_pull() {
    let (env, mock) = (TestEnv::new(), Mock::new());
    let layers = three_layers();
    mock.put_image("team/slow", "1", &layers);
    mock.put_image(
        "team/other",
        "1",
        &[layers[0].clone(), Layer::random("four", 5000)],
    );
    let path = format!("/blobs/{}", digest(&layers[1].blob));
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let (closed, blob) = (Arc::clone(&gate), layers[1].blob.clone());
    mock.fault(move |asked, _| {
        if asked.path.ends_with(&path) {
            let (open, changed) = &*closed;
            drop(changed.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
            return Some(Answer::new(200, blob.clone()));
        }
        None
    });
    let name = |repository: &str| format!("{}/team/{repository}:1", mock.address);
    let pull = env
        .command(&["pull", "-q", &name("slow")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("the others are there", || count(&env, "layers/sha256") == 2);
    env.ok(&["pull", "-q", &name("other")]);
    env.ok(&["tag", &name("other"), "team/further:1"]);
    env.ok(&["images"]);
    let file = env.path("other.tar").to_str().unwrap().to_owned();
    env.ok(&["save", "-o", &file, &name("other")]);
    env.ok(&["rmi", &name("other")]);
    env.ok(&["rmi", "team/further:1"]);
    env.ok(&["image", "prune", "-af"]);
    assert_eq!(count(&env, "layers/sha256"), 2, "those of the pull");
    env.ok(&["run", "--rm", "host", "true"]);
    env.ok(&["system", "df"]);
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    let done = Done::end_of(pull);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let asked = mock.asked();
    let times = |layer: &Layer| {
        asked
            .iter()
            .filter(|asked| asked.is_get_blob() && asked.path.ends_with(&digest(&layer.blob)))
            .count()
    };
    assert_eq!(layers.each_ref().map(times), [1, 1, 1]);
    assert_sound(&env);
}

#[test]
fn what_is_wrong_leaves_nothing_and_says_so() {
    let (env, mock) = (TestEnv::new(), Mock::new());
    let layers = three_layers();
    let (manifest, config) = mock.put_image("team/pier", "1", &layers);
    let name = format!("{}/team/pier:1", mock.address);
    let big = digest(&layers[1].blob);
    // Wrong bytes of a layer, of the configuration; a layer that is not there.
    for (wanted, said) in [(&big, "not sha256:"), (&config, "not sha256:")] {
        let path = format!("/blobs/{wanted}");
        let mut blob = mock.blob(wanted).unwrap();
        blob[100] ^= 1;
        mock.fault(move |asked, _| {
            asked
                .path
                .ends_with(&path)
                .then(|| Answer::new(200, blob.clone()))
        });
        let done = env.cais(&["pull", &name]);
        assert!(
            done.code == 1 && done.stderr.contains(said) && done.stderr.contains(wanted.as_str()),
            "{}",
            done.stderr
        );
        assert_eq!(count(&env, "images"), 0);
        env.ok(&["image", "prune", "-f"]);
        assert_empty(&env);
        assert_eq!(count(&env, "ingest"), 0, "what is wrong is not kept");
    }
    let path = format!("/blobs/{big}");
    mock.fault(move |asked, _| asked.path.ends_with(&path).then(|| Answer::new(404, "")));
    let done = env.cais(&["pull", &name]);
    assert!(
        done.code == 1 && done.stderr.contains("has no blob"),
        "{}",
        done.stderr
    );
    // A document that is none, under the right name.
    let path = format!("/manifests/{manifest}");
    mock.fault(move |asked, _| {
        asked
            .path
            .ends_with(&path)
            .then(|| Answer::new(200, "{}").with("content-type", MANIFEST))
    });
    let by_digest = format!("{}/team/pier@{manifest}", mock.address);
    let done = env.cais(&["pull", &by_digest]);
    assert!(
        done.code == 1 && done.stderr.contains(&manifest),
        "{}",
        done.stderr
    );
    env.ok(&["image", "prune", "-f"]);
    assert_empty(&env);
    // What was there is fetched no second time.
    mock.heal();
    env.ok(&["pull", "-q", &name]);
    assert_sound(&env);
}

/// What an image's documents say of each other must be so.
#[test]
fn images_that_contradict_themselves() {
    let (env, mock) = (TestEnv::new(), Mock::new());
    let [small, _, other] = three_layers();
    let lies = Layer {
        diff_id: other.diff_id.clone(),
        ..small.clone()
    };
    mock.put_image("team/lies", "1", &[lies]);
    let media_type = "application/vnd.oci.image.config.v1+json";
    let config =
        json!({ "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [] } });
    let config = config.to_string().into_bytes();
    let descriptor = |bytes: &[u8], kind: &str| json!({ "mediaType": kind, "digest": mock.put_blob(bytes), "size": bytes.len() });
    let layer = descriptor(&small.blob, "application/vnd.oci.image.layer.v1.tar+gzip");
    let with = |config: serde_json::Value, layers: serde_json::Value| {
        json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers }).to_string()
    };
    let put = |tag: &str, manifest: String| {
        mock.put_manifest("team/lies", tag, MANIFEST, manifest.as_bytes());
    };
    put("count", with(descriptor(&config, media_type), json!([layer])));
    // CVE-2024-3727, CVE-2014-9358: a digest is no path.
    for (tag, digest) in [
        ("path", "sha256:../../../../etc/passwd"),
        ("short", "sha256:00"),
        ("upper", &"sha256:AB".repeat(32)),
    ] {
        let mut bad = layer.clone();
        bad["digest"] = json!(digest);
        put(tag, with(descriptor(&config, media_type), json!([bad])));
    }
    let mut negative = layer.clone();
    negative["size"] = json!(-1);
    put(
        "negative",
        with(descriptor(&config, media_type), json!([negative])),
    );
    let mut huge = descriptor(&config, media_type);
    huge["size"] = json!(5_000_000_000_u64);
    put("huge", with(huge, json!([])));
    for (tag, said) in [
        ("1", "the image's configuration says"),
        ("count", "1 layers"),
        ("path", "digest"),
        ("short", "digest"),
        ("upper", "digest"),
        ("negative", "size"),
        ("huge", "bytes"),
    ] {
        let done = env.cais(&["pull", &format!("{}/team/lies:{tag}", mock.address)]);
        assert!(
            done.code == 1 && done.stderr.contains(said),
            "{tag}: {}",
            done.stderr
        );
        env.ok(&["image", "prune", "-f"]);
        assert_empty(&env);
    }
}

/// Layers that want out: refused with the name of the entry, the tree beside unchanged,
/// nothing left. What each shape is stands in cais-image/src/layer/tests/hostile.rs.
#[test]
fn hostile_layers() {
    let (env, mock) = (TestEnv::new(), Mock::new());
    let canary = env.path("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("file"), "alive").unwrap();
    fs::set_permissions(&canary, fs::Permissions::from_mode(0o711)).unwrap();
    let to = canary.to_str().unwrap().as_bytes();
    let up = "../".repeat(12);
    let up_to = format!("{up}{}", &canary.to_str().unwrap()[1..]);
    let bomb = filter("sh", &["-c", "head -c 300000000 /dev/zero"], b"");
    // Refused: the entry that the error names.
    let refused: [(&str, Vec<u8>, &str); 6] = [
        ("dots", archive(&[(&format!("{up}etc/x"), b'0', b"x")]), "etc/x"),
        ("hard-link", archive(&[("link", b'1', up_to.as_bytes())]), "link"),
        ("root-link", archive(&[(".", b'2', to)]), "."),
        ("whiteout", archive(&[("d/.wh..", b'0', b"")]), "d/.wh.."),
        ("device", archive(&[("zero", b'3', b"")]), "zero"),
        (
            "truncated",
            archive(&[("file", b'0', &[1; 2000])])[..1500].to_vec(),
            "file",
        ),
    ];
    for (what, archive, entry) in refused {
        mock.put_image("team/hostile", what, &[Layer::new(&archive)]);
        let done = env.cais(&["pull", &format!("{}/team/hostile:{what}", mock.address)]);
        assert_eq!(done.code, 1, "{what}");
        assert!(
            done.stderr.contains(&format!("entry {entry:?}")) || done.stderr.contains(entry),
            "{what}: {}",
            done.stderr
        );
        env.ok(&["image", "prune", "-f"]);
        assert_empty(&env);
    }
    // Taken in, and harmless.
    let harmless = [
        (
            "symlink",
            archive(&[("out", b'2', to), ("out/file", b'0', b"dead")]),
        ),
        (
            "relative",
            archive(&[
                ("out", b'2', up_to.as_bytes()),
                ("out/file", b'0', b"dead"),
                ("out", b'5', b""),
            ]),
        ),
        (
            "through",
            archive(&[("out", b'2', to), ("out/.wh.file", b'0', b"")]),
        ),
        (
            "hard",
            archive(&[("out", b'2', to), ("link", b'1', b"out"), ("link", b'0', b"dead")]),
        ),
        ("large", archive(&[("zeros", b'0', &bomb)])),
    ];
    for (what, archive) in harmless {
        mock.put_image("team/hostile", what, &[Layer::new(&archive)]);
        env.ok(&["pull", "-q", &format!("{}/team/hostile:{what}", mock.address)]);
    }
    assert_eq!(fs::read_to_string(canary.join("file")).unwrap(), "alive");
    assert_eq!(fs::read_dir(&canary).unwrap().count(), 1);
    assert_eq!(
        fs::metadata(&canary).unwrap().permissions().mode() & 0o7777,
        0o711
    );
    env.ok(&["image", "prune", "-af"]);
    assert_empty(&env);
}

/// CVE-2024-9676, CVE-2026-47262: the account files of an image are links out of it, pipes or
/// very long. CVE-2024-40635: an id that would wrap to 0.
#[test]
fn account_files_of_an_image() {
    let (env, mock) = (TestEnv::new(), Mock::new());
    let canary = env.path("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("passwd"), "victim:x:0:0::/:/bin/sh\n").unwrap();
    let to = canary.join("passwd").to_str().unwrap().to_owned();
    let long = vec![b'#'; 40_000_000];
    let good = b"victim:x:77:77::/:/bin/sh\n";
    for (what, entries, user, said) in [
        ("link", [("etc/passwd", b'2', to.as_bytes())], "victim", "victim"),
        ("pipe", [("etc/passwd", b'6', b"")], "victim", "passwd"),
        ("long", [("etc/passwd", b'0', &long)], "victim", "passwd"),
        (
            "huge-id",
            [("etc/passwd", b'0', good)],
            "4294967296",
            "4294967296",
        ),
        (
            "huge-group",
            [("etc/passwd", b'0', good)],
            "1:4294967296",
            "4294967296",
        ),
        ("negative", [("etc/passwd", b'0', good)], "-1", "-1"),
    ] {
        let layer = Layer::new(&archive(&entries));
        let config =
            json!({ "Cmd": ["true"], "User": user, "Labels": { "io.containerd.run": "touch /canary" } });
        mock.put_image_for("team/accounts", what, &[layer], &config);
        let done = env.cais(&["run", "--rm", &format!("{}/team/accounts:{what}", mock.address)]);
        assert!(
            done.code == 125 && done.stderr.contains(said),
            "{what}: {} {}",
            done.code,
            done.stderr
        );
    }
    env.ok(&["image", "prune", "-af"]);
}

/// A disk that is full, and grows: the command says so and what was there before stays; with
/// more room it goes on and fetches only what is missing. At every write, and on a file system
/// of a disk: `images_full`.
#[test]
fn a_full_disk() {
    let (env, mock) = (TestEnv::new(), Mock::new());
    let layers = [
        Layer::random("small", 100_000),
        Layer::random("large", 30_000_000),
    ];
    mock.put_image("team/small", "1", &layers[..1]);
    mock.put_image("team/large", "1", &layers);
    let disk = Disk::new(&env, "12m");
    let name = |repository: &str| format!("{}/team/{repository}:1", mock.address);
    env.ok(&["pull", "-q", &name("small")]);
    mock.heal();
    let done = env.cais(&["pull", &name("large")]);
    assert!(
        done.code == 1 && done.stderr.contains("No space left on device"),
        "{}",
        done.stderr
    );
    let first = mock.asked().iter().filter(|asked| asked.is_get_blob()).count();
    // The store stands, and what is in it can be used and removed.
    assert!(env.ok(&["images"]).contains("team/small"));
    let done = env.cais(&["system", "check", "--repair"]);
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert_sound(&env);
    // What is not needed can be removed, which is how there comes to be room again.
    let rest = env.path("data/rest");
    let mut file = fs::File::create(&rest).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    env.ok(&["rmi", &name("small")]);
    assert_eq!(count(&env, "layers/sha256"), 0);
    fs::remove_file(&rest).unwrap();
    env.ok(&["pull", "-q", &name("small")]);
    disk.grow("200m");
    mock.heal();
    env.ok(&["pull", "-q", &name("large")]);
    let asked = mock.asked();
    let blobs: Vec<_> = asked.iter().filter(|asked| asked.is_get_blob()).collect();
    let large = digest(&layers[1].blob);
    assert!(first >= 1);
    assert_eq!(
        blobs
            .iter()
            .filter(|asked| asked.path.ends_with(&digest(&layers[0].blob)))
            .count(),
        0,
        "the small layer was there"
    );
    let of_large: Vec<_> = blobs
        .iter()
        .filter(|asked| asked.path.ends_with(&large))
        .collect();
    assert!(
        of_large.len() == 1 && of_large[0].header("range").is_some(),
        "{of_large:?}"
    );
    assert_sound(&env);
    env.ok(&["rmi", &name("large")]);
    env.ok(&["rmi", &name("small")]);
}

/// A small disk for the data of a test.
struct Disk(std::path::PathBuf);

impl Disk {
    fn new(env: &TestEnv, size: &str) -> Self {
        let path = env.path("data");
        fs::create_dir(&path).unwrap();
        let disk = Self(path);
        disk.mount(&["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "none"]);
        disk
    }

    fn grow(&self, size: &str) {
        self.mount(&["-o", &format!("remount,size={size}")]);
    }

    fn mount(&self, words: &[&str]) {
        let path = self.0.to_str().unwrap();
        crate::images::run("mount", &[words, &[path]].concat());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        crate::images::run("umount", &[self.0.to_str().unwrap()]);
    }
}
