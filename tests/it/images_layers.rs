//! Layers that take something from those below, and many of them.

use crate::images::{Layout, run};
use crate::support::{TestEnv, make_rootfs};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// An archive of just these entries, without the directories above them.
fn archive(from: &Path, to: &Path, entries: &[&str]) {
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
    run(
        "tar",
        &[&["-C", from, "--no-recursion", "-cf", to][..], entries].concat(),
    );
}

/// Two bases that differ in what the layer above takes: modes, owners and a file.
fn base(env: &TestEnv, layout: &Layout, name: &str, mode: u32) -> (Value, String) {
    let root = env.path(&format!("base-{name}"));
    make_rootfs(&root);
    fs::create_dir_all(root.join("srv/deep")).unwrap();
    for directory in ["srv", "srv/deep"] {
        fs::set_permissions(root.join(directory), fs::Permissions::from_mode(mode)).unwrap();
        std::os::unix::fs::chown(root.join(directory), Some(77), Some(78)).unwrap();
    }
    fs::write(root.join("srv/data"), name).unwrap();
    fs::set_permissions(root.join("srv/data"), fs::Permissions::from_mode(0o640)).unwrap();
    layout.layer(&root)
}

/// A file in directories that the archive does not describe, and a hard link to a file of
/// another layer.
fn above(env: &TestEnv, layout: &Layout) -> (Value, String) {
    let root = env.path("above");
    fs::create_dir_all(root.join("srv/deep")).unwrap();
    fs::write(root.join("srv/data"), "not this one").unwrap();
    fs::hard_link(root.join("srv/data"), root.join("srv/link")).unwrap();
    fs::write(root.join("srv/deep/file"), "x").unwrap();
    let whole = env.path("whole.tar");
    archive(&root, &whole, &["srv/deep/file", "srv/data", "srv/link"]);
    // Without the file that the link leads to.
    let script = "import sys, tarfile
a, b = tarfile.open(sys.argv[1]), tarfile.open(sys.argv[2], 'w')
for m in a:
    if m.name != 'srv/data':
        b.addfile(m, a.extractfile(m) if m.isreg() else None)
b.close()";
    let cut = env.path("cut.tar");
    run(
        "python3",
        &["-c", script, whole.to_str().unwrap(), cut.to_str().unwrap()],
    );
    layout.archive(&cut)
}

#[test]
fn what_a_layer_takes_from_those_below() {
    let env = TestEnv::new();
    for (name, mode) in [("one", 0o1777), ("two", 0o750)] {
        let layout = Layout::new(env.path(&format!("layout-{name}")));
        let layers = [base(&env, &layout, name, mode), above(&env, &layout)];
        fs::remove_dir_all(env.path("above")).unwrap();
        layout.finish(&layers, &json!({ "Cmd": ["true"] }), &format!("test/{name}:1"));
        env.ok(&["load", "-i", layout.path.to_str().unwrap()]);
    }
    // The same layer on two bases: each has what its own base says.
    for (name, mode) in [("one", "1777"), ("two", "750")] {
        let image = format!("test/{name}:1");
        let script =
            "stat -c '%a %u:%g' /srv /srv/deep; stat -c '%a' /srv/link; cat /srv/link /srv/deep/file";
        let said = env.ok(&[
            "run", "--rm", "-u", "0", "--userns", "host", &image, "sh", "-c", script,
        ]);
        assert_eq!(said, format!("{mode} 77:78\n{mode} 77:78\n640\n{name}x"));
        // And comes out as it went in.
        let (saved, tree) = (env.path("saved.tar"), env.path("saved"));
        env.ok(&[
            "save",
            "--format",
            "oci-archive",
            "-o",
            saved.to_str().unwrap(),
            &image,
        ]);
        fs::create_dir(&tree).unwrap();
        run(
            "tar",
            &["-C", tree.to_str().unwrap(), "-xf", saved.to_str().unwrap()],
        );
        fs::remove_dir_all(&tree).unwrap();
    }
    // What is kept by its place goes with its image, and not with another.
    let layers = || fs::read_dir(env.path("data/layers/sha256")).unwrap().count();
    assert_eq!(layers(), 4);
    env.ok(&["image", "prune", "-af"]);
    assert_eq!(layers(), 0);
}

#[test]
fn a_hard_link_to_nothing() {
    let env = TestEnv::new();
    let layout = Layout::new(env.path("layout"));
    let empty = env.path("empty");
    fs::create_dir_all(&empty).unwrap();
    let layers = [layout.layer(&empty), above(&env, &layout)];
    layout.finish(&layers, &json!({ "Cmd": ["true"] }), "test/broken:1");
    let done = env.cais(&["load", "-i", layout.path.to_str().unwrap()]);
    assert_eq!(done.code, 1);
    let expected = "\"srv/link\" is a hard link to \"srv/data\", which no layer below has";
    assert!(done.stderr.contains(expected), "{}", done.stderr);
}

/// Everything below a layer whose root is opaque is hidden, which overlayfs does not do by
/// itself.
#[test]
fn an_opaque_root_hides_all_below() {
    let env = TestEnv::new();
    let layout = Layout::new(env.path("layout"));
    let (below, above) = (env.path("below"), env.path("above"));
    fs::create_dir_all(below.join("old")).unwrap();
    make_rootfs(&above);
    fs::write(above.join(".wh..wh..opq"), "").unwrap();
    let layers = [layout.layer(&below), layout.layer(&above)];
    layout.finish(&layers, &json!({ "Cmd": ["true"] }), "test/opaque:1");
    env.ok(&["load", "-i", layout.path.to_str().unwrap()]);
    let said = env.ok(&[
        "run",
        "--rm",
        "test/opaque:1",
        "sh",
        "-c",
        "ls -d /old || echo hidden",
    ]);
    assert_eq!(said, "hidden\n");
}

/// Five hundred layers, as many as overlayfs takes.
#[test]
fn five_hundred_layers() {
    let env = TestEnv::new();
    let layout = Layout::new(env.path("layout"));
    let root = env.path("root");
    make_rootfs(&root);
    let mut layers = vec![layout.layer(&root)];
    let step = env.path("step");
    for number in 1..500 {
        fs::create_dir_all(step.join("steps")).unwrap();
        fs::write(step.join(format!("steps/{number}")), "").unwrap();
        fs::write(step.join("last"), number.to_string()).unwrap();
        layers.push(layout.layer(&step));
        fs::remove_dir_all(&step).unwrap();
    }
    layout.finish(&layers, &json!({ "Cmd": ["true"] }), "test/many:1");
    env.ok(&["load", "-i", layout.path.to_str().unwrap()]);
    let script = "cat /last; echo; ls /steps | wc -l";
    for userns in ["host", "auto"] {
        let said = env.ok(&[
            "run",
            "--rm",
            "--userns",
            userns,
            "test/many:1",
            "/bin/busybox",
            "sh",
            "-c",
            script,
        ]);
        assert_eq!(said.replace('\n', " ").trim(), "499 499", "{userns}");
    }
}
