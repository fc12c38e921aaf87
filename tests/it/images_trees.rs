//! Images as trees: import, export, mounts, and the volumes that take files from them; and the
//! way through other engines and back.

use crate::engines_support::{Bench, ok};
use crate::images::{Layout, make_image, run};
use crate::images_peers::{entries, tree_of};
use crate::support::{TestEnv, make_rootfs};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

#[test]
fn a_tree_goes_in_and_out() {
    let env = TestEnv::new();
    let tree = env.path("tree");
    make_rootfs(&tree);
    fs::write(tree.join("etc/set-uid"), "x").unwrap();
    chown(tree.join("etc/set-uid"), Some(1000), Some(77)).unwrap();
    fs::set_permissions(tree.join("etc/set-uid"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::hard_link(tree.join("etc/passwd"), tree.join("etc/linked")).unwrap();
    let path = |name: &str| env.path(name).to_str().unwrap().to_owned();
    let (archive, exported, unpacked) = (path("tree.tar"), path("out.tar"), env.path("unpacked"));
    ok(&[
        "tar",
        "--format=posix",
        "-C",
        tree.to_str().unwrap(),
        "-cf",
        &archive,
        ".",
    ]);
    let id = env.ok(&[
        "import",
        "-c",
        "CMD [\"/bin/sh\", \"-c\", \"echo $WORD; pwd\"]",
        "-c",
        "ENV WORD=hello",
        "-c",
        "WORKDIR /etc",
        "-m",
        "a note",
        &archive,
        "my/tree:1",
    ]);
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(env.ok(&["run", "--rm", "my/tree:1"]), "hello\n/etc\n");
    assert!(env.ok(&["history", "my/tree:1"]).contains("a note"));
    let done = env.cais(&["import", "-c", "RUN x", &archive]);
    assert!(done.code == 1 && done.stderr.contains("RUN"), "{}", done.stderr);
    env.ok(&[
        "run",
        "--name",
        "changed",
        "my/tree:1",
        "/bin/sh",
        "-c",
        "echo x > /etc/new; rm /etc/group",
    ]);
    env.ok(&["export", "-o", &exported, "changed"]);
    fs::create_dir_all(&unpacked).unwrap();
    ok(&[
        "tar",
        "-C",
        unpacked.to_str().unwrap(),
        "--same-owner",
        "-xpf",
        &exported,
    ]);
    assert!(!unpacked.join("etc/group").exists());
    assert_eq!(fs::read_to_string(unpacked.join("etc/new")).unwrap(), "x\n");
    let owned = fs::metadata(unpacked.join("etc/set-uid")).unwrap();
    assert_eq!(
        (owned.uid(), owned.gid(), owned.mode() & 0o7777),
        (1000, 77, 0o4711)
    );
    let links = ["etc/passwd", "etc/linked"].map(|name| fs::metadata(unpacked.join(name)).unwrap().ino());
    assert_eq!(links[0], links[1]);
    // Where everybody can look at it; it cannot go meanwhile.
    let mounted = env.ok(&["image", "mount", "my/tree:1"]);
    let listed = |root: &std::path::Path| {
        let mut listed = entries(root);
        listed
            .retain(|line| !line.starts_with("proc") && !line.starts_with("sys") && !line.starts_with("dev"));
        listed
    };
    assert_eq!(listed(std::path::Path::new(mounted.trim_end())), listed(&tree));
    env.ok(&["rm", "changed"]);
    assert_eq!(env.cais(&["rmi", "my/tree:1"]).code, 1);
    env.ok(&["image", "unmount", "my/tree:1"]);
    env.ok(&["untag", "my/tree:1"]);
    assert!(env.ok(&["images", "-f", "dangling=true"]).contains("<none>"));
    env.ok(&["image", "prune", "-f"]);
}

/// An image with volumes, some of which lead out of it (CVE-2022-23648): to the directory
/// that is returned.
fn image_with_volumes(env: &TestEnv) -> std::path::PathBuf {
    let layout = Layout::new(env.path("layout"));
    let below = env.path("below");
    make_rootfs(&below);
    let canary = env.path("canary");
    fs::create_dir_all(&canary).unwrap();
    fs::write(canary.join("secret"), "secret").unwrap();
    fs::create_dir_all(below.join("data/deep")).unwrap();
    fs::write(below.join("data/deep/file"), "from-image").unwrap();
    chown(below.join("data"), Some(1000), Some(1000)).unwrap();
    fs::set_permissions(below.join("data"), fs::Permissions::from_mode(0o750)).unwrap();
    symlink(&canary, below.join("link")).unwrap();
    let inside = below.join(canary.strip_prefix("/").unwrap());
    fs::create_dir_all(&inside).unwrap();
    fs::write(inside.join("inside"), "").unwrap();
    let layers = [layout.layer(&below)];
    // A path that climbs, and one that leads out by a link (CVE-2022-23648).
    let config =
        json!({"Cmd": ["ls", "/data"], "Volumes": {"/data": {}, "/../../opt/x": {}, "/link": {}, "/..": {}}});
    layout.finish(&layers, &config, "quay.io/team/data:1");
    env.ok(&["load", "-i", layout.path.to_str().unwrap()]);
    canary
}

#[test]
fn volumes_take_what_the_image_has() {
    let env = TestEnv::new();
    let canary = image_with_volumes(&env);
    let image = "quay.io/team/data:1";
    let sh = |flags: &[&str], script: &str| {
        let words = [&["run", "--rm"], flags, &[image, "sh", "-c", script]].concat();
        env.cais(&words)
    };
    let done = sh(
        &[],
        "cat /data/deep/file; stat -c ' %u %a' /data; ls /link; ls -d /opt/x",
    );
    assert_eq!(
        done.stdout, "from-image 1000 750\ninside\n/opt/x\n",
        "{}",
        done.stderr
    );
    assert_eq!(fs::read_dir(&canary).unwrap().count(), 1);
    // What was the container's own went with it.
    assert_eq!(env.ok(&["volume", "ls", "-q"]), "");
    // A named one stays, and is filled once.
    assert_eq!(
        sh(
            &["-v", "kept:/data"],
            "echo changed > /data/deep/file; echo more > /data/new"
        )
        .code,
        0
    );
    assert_eq!(
        sh(
            &["-v", "kept:/data:ro"],
            "cat /data/deep/file /data/new; touch /data/x || echo no"
        )
        .stdout,
        "changed\nmore\nno\n"
    );
    assert_eq!(
        sh(&["--mount", "src=bare,dst=/data,volume-nocopy"], "ls /data").stdout,
        ""
    );
    assert_eq!(env.ok(&["volume", "ls", "-q"]), "bare\nkept\n");
    let data = env.ok(&["volume", "inspect", "-f", "{{.Mountpoint}}", "kept"]);
    assert_eq!(fs::metadata(data.trim_end()).unwrap().uid(), 1000);
    // In use until the container goes; its own go with it where that is asked for.
    env.ok(&["create", "--name", "holder", "-v", "kept:/data", image]);
    let done = env.cais(&["volume", "rm", "kept"]);
    assert!(
        done.code == 1 && done.stderr.contains("in use"),
        "{}",
        done.stderr
    );
    assert_eq!(
        sh(
            &["--volumes-from", "holder:ro"],
            "cat /data/new; touch /data/x || echo no"
        )
        .stdout,
        "more\nno\n"
    );
    env.ok(&["rm", "-v", "holder"]);
    assert_eq!(
        env.ok(&["volume", "ls", "-q", "-f", "dangling=true"]),
        "bare\nkept\n"
    );
    env.ok(&["volume", "rm", "kept", "bare"]);
    assert_eq!(env.ok(&["volume", "prune", "-f"]), "Total reclaimed space: 0B\n");
    let done = env.cais(&["volume", "create", "a/b"]);
    assert!(
        done.code == 1 && done.stderr.contains("invalid characters"),
        "{}",
        done.stderr
    );
}

#[test]
#[ignore = "needs Debian's podman: `cargo xtask test` installs it and runs this"]
fn by_podman_and_back() {
    let env = TestEnv::new();
    let layout = make_image(&env);
    let image = "quay.io/team/pier:1";
    env.ok(&["load", "-i", layout.path.to_str().unwrap()]);
    let ours = tree_of(&env, image);
    let path = |name: &str| env.path(name).to_str().unwrap().to_owned();
    let (there, back) = (path("there.tar"), path("back.tar"));
    let (root, state) = (path("podman"), path("podman-run"));
    let podman = |words: &[&str]| {
        let own = [
            "podman",
            "--root",
            &root,
            "--runroot",
            &state,
            "--storage-driver",
            "vfs",
        ];
        ok(&[&own[..], words].concat())
    };
    let id = env.ok(&["image", "inspect", "-f", "{{.Id}}", image]);
    env.ok(&["save", "-o", &there, image]);
    podman(&["load", "-q", "-i", &there]);
    let theirs = podman(&["image", "inspect", "-f", "{{.Id}}", image]);
    assert_eq!(format!("sha256:{}", theirs.trim()), id.trim());
    for format in ["docker-archive", "oci-archive"] {
        env.ok(&["rmi", image]);
        podman(&["save", "-q", "--format", format, "-o", &back, image]);
        env.ok(&["load", "-i", &back]);
        assert_eq!(tree_of(&env, image), ours, "{format}");
        assert_eq!(
            env.ok(&["run", "--rm", image]),
            "from-image\n/etc\nana\nnewhidden\n"
        );
        fs::remove_file(&back).unwrap();
    }
    podman(&["rmi", "-f", image]);
}

#[test]
#[ignore = "needs Debian's docker.io: `cargo xtask test` installs it and runs this"]
fn by_docker_and_back() {
    let env = TestEnv::new();
    let layout = make_image(&env);
    let image = "quay.io/team/pier:1";
    env.ok(&["load", "-i", layout.path.to_str().unwrap()]);
    let (id, ours) = (
        env.ok(&["image", "inspect", "-f", "{{.Id}}", image]),
        tree_of(&env, image),
    );
    let mut bench = Bench::new("images");
    let host = bench.start_docker(&[], &[]);
    let docker = |words: &[&str]| run("docker", &[&["-H", &host], words].concat());
    let (there, back) = (bench.path("there.tar"), bench.path("back.tar"));
    env.ok(&["save", "-o", &there, image]);
    docker(&["load", "-q", "-i", &there]);
    assert_eq!(docker(&["image", "inspect", "-f", "{{.Id}}", image]), id);
    docker(&["save", "-o", &back, image]);
    env.ok(&["rmi", image]);
    env.ok(&["load", "-i", &back]);
    assert_eq!(env.ok(&["image", "inspect", "-f", "{{.Id}}", image]), id);
    assert_eq!(tree_of(&env, image), ours);
    // And out again: what was in Docker's archive is as good as ours.
    env.ok(&["save", "-o", &there, image]);
    docker(&["rmi", "-f", image]);
    docker(&["load", "-q", "-i", &there]);
    assert_eq!(docker(&["image", "inspect", "-f", "{{.Id}}", image]), id);
}

/// An image's names are taken away, by whichever of them it is found.
#[test]
fn names_are_taken_away() {
    let env = TestEnv::new();
    let tree = env.path("tree.tar");
    fs::write(&tree, crate::mock_registry::archive(&[("file", b'0', b"x")])).unwrap();
    env.ok(&["import", tree.to_str().unwrap(), "tree:1"]);
    for tag in ["tree:2", "tree:3"] {
        env.ok(&["tag", "tree:1", tag]);
    }
    env.ok(&["untag", "tree:1", "tree:2"]);
    let tags = || env.ok(&["images", "--format", "{{.Tag}}"]);
    assert_eq!(tags(), "1\n3\n");
    let other = env.cais(&["untag", "tree:1", "tree:2"]);
    assert!(
        other.code == 1 && other.stderr.contains("has no name"),
        "{}",
        other.stderr
    );
    env.ok(&["untag", "tree:3"]);
    assert_eq!(tags(), "<none>\n");
    env.ok(&["image", "prune", "-f"]);
}

/// Images go while containers of them start: a container that starts has all its files.
#[test]
fn what_starts_keeps_its_image() {
    let env = TestEnv::new();
    let root = env.path("root");
    make_rootfs(&root);
    let (tree, archive) = (env.path("root.tar"), env.path("box.tar"));
    let (tree, archive) = (tree.to_str().unwrap(), archive.to_str().unwrap());
    crate::images::run("tar", &["-C", root.to_str().unwrap(), "-cf", tree, "."]);
    env.ok(&["import", "-c", "CMD true", tree, "box"]);
    env.ok(&["save", "-o", archive, "box"]);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
    let again = |words: &[&str]| {
        let mut said = Vec::new();
        while std::time::Instant::now() < until {
            said.push(env.cais(words));
        }
        said
    };
    let run = ["run", "--rm", "--pull", "never", "box"];
    let others = [vec!["image", "prune", "-af"], vec!["rmi", "box"]];
    std::thread::scope(|scope| {
        for words in &others {
            scope.spawn(|| again(words));
        }
        // Names are given last, so whoever takes them away disturbs no load.
        let loads = [0, 1].map(|_| scope.spawn(|| again(&["load", "-q", "-i", archive])));
        let starts = [0, 1].map(|_| scope.spawn(|| again(&run)));
        for done in starts.into_iter().flat_map(|start| start.join().unwrap()) {
            let is_refused = done.stderr.contains("no such image");
            assert!(done.code == 0 || is_refused, "{}", done.stderr);
        }
        for done in loads.into_iter().flat_map(|load| load.join().unwrap()) {
            assert_eq!(done.code, 0, "{}", done.stderr);
        }
    });
    env.ok(&["load", "-q", "-i", archive]);
    env.ok(&run);
    env.ok(&["image", "prune", "-af"]);
    assert_eq!(env.ok(&["system", "check"]), "");
}
