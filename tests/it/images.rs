//! Images from archives and layouts: loaded, run, named, given out, removed.

use crate::support::{TestEnv, make_rootfs};
use crate::within;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = within::output(Command::new(program).args(arguments));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn digest(path: &Path) -> String {
    let text = run("sha256sum", &[path.to_str().unwrap()]);
    text.split_whitespace().next().unwrap().to_owned()
}

/// An OCI layout that is filled blob by blob.
pub(crate) struct Layout {
    pub(crate) path: PathBuf,
}

impl Layout {
    pub(crate) fn new(path: PathBuf) -> Self {
        fs::create_dir_all(path.join("blobs/sha256")).unwrap();
        fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { path }
    }

    /// Takes a file in; returns its descriptor.
    pub(crate) fn blob(&self, media_type: &str, file: &Path) -> Value {
        let hex = digest(file);
        let size = fs::metadata(file).unwrap().len();
        fs::rename(file, self.path.join("blobs/sha256").join(&hex)).unwrap();
        json!({ "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": size })
    }

    fn document(&self, media_type: &str, value: &Value) -> Value {
        let file = self.path.join("document");
        fs::write(&file, value.to_string()).unwrap();
        self.blob(media_type, &file)
    }

    /// A layer of a directory, in gzip; its descriptor and its diff_id.
    pub(crate) fn layer(&self, directory: &Path) -> (Value, String) {
        let archive = self.path.join("layer.tar");
        let (from, to) = (directory.to_str().unwrap(), archive.to_str().unwrap());
        // With extended attributes, which tar writes in PAX form.
        let attributes = ["--xattrs", "--xattrs-include=*"];
        let words = ["--sort=name", "-C", from, "-cf", to, "."];
        run("tar", &[&attributes[..], &words].concat());
        self.archive(&archive)
    }

    /// A layer of an archive that is there.
    pub(crate) fn archive(&self, archive: &Path) -> (Value, String) {
        let to = archive.to_str().unwrap();
        let diff_id = format!("sha256:{}", digest(archive));
        run("gzip", &["-n", "-6", to]);
        let media_type = "application/vnd.oci.image.layer.v1.tar+gzip";
        (self.blob(media_type, &archive.with_extension("tar.gz")), diff_id)
    }

    pub(crate) fn finish(&self, layers: &[(Value, String)], config: &Value, name: &str) {
        let diff_ids: Vec<&String> = layers.iter().map(|(_, diff_id)| diff_id).collect();
        let config = json!({
            "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }, "os": "linux",
            "config": config, "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": [{ "created_by": "made by a test" }, { "created_by": "and changed" }]
        });
        let config = self.document("application/vnd.oci.image.config.v1+json", &config);
        let layers: Vec<&Value> = layers.iter().map(|(blob, _)| blob).collect();
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers });
        let mut manifest = self.document(media_type, &manifest);
        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        fs::write(self.path.join("index.json"), index.to_string()).unwrap();
    }
}

/// Gives a file an attribute of its user, and the capability to bind low ports (capabilities(7),
/// "File capabilities").
fn add_attributes(file: &Path) {
    let none = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(file, "user.note", b"two\0parts", none).unwrap();
    let mut capability = [0; 20];
    capability[..8].copy_from_slice(&[1, 0, 0, 2, 0, 4, 0, 0]);
    rustix::fs::setxattr(file, "security.capability", &capability, none).unwrap();
}

/// An image of two layers: busybox, and one that adds, changes and hides.
pub(crate) fn make_image(env: &TestEnv) -> Layout {
    let layout = Layout::new(env.path("layout"));
    let (below, above) = (env.path("below"), env.path("above"));
    make_rootfs(&below);
    fs::write(below.join("etc/old"), "old").unwrap();
    fs::create_dir_all(above.join("etc")).unwrap();
    fs::write(above.join("etc/new"), "new").unwrap();
    fs::write(above.join("etc/.wh.old"), "").unwrap();
    add_attributes(&above.join("etc/new"));
    let layers = [layout.layer(&below), layout.layer(&above)];
    let config = json!({
        "Env": ["PATH=/bin", "A=from-image"], "WorkingDir": "/etc", "User": "ana", "StopSignal": "SIGUSR1",
        "Entrypoint": ["sh", "-c"], "Cmd": ["echo $A; pwd; id -un; cat new; ls old 2>/dev/null || echo hidden"],
        "Labels": { "port": "quay" }
    });
    layout.finish(&layers, &config, "quay.io/team/pier:1");
    layout
}

#[test]
fn an_image_is_loaded_run_and_given_out_again() {
    let env = TestEnv::new();
    let layout = make_image(&env);
    let path = layout.path.to_str().unwrap();
    assert_eq!(
        env.ok(&["load", "-i", path]),
        "Loaded image: quay.io/team/pier:1\n"
    );
    let image = "quay.io/team/pier:1";
    assert_eq!(
        env.ok(&["run", "--rm", image]),
        "from-image\n/etc\nana\nnewhidden\n"
    );
    assert_eq!(
        env.ok(&[
            "run",
            "--rm",
            "-u",
            "0",
            "-e",
            "A=mine",
            "-w",
            "/",
            image,
            "echo $A; pwd; id -u"
        ]),
        "mine\n/\n0\n"
    );
    assert_eq!(
        env.ok(&["run", "--rm", "--entrypoint", "id", image, "-u"]),
        "1000\n"
    );
    let listed = env.ok(&["images"]);
    assert!(listed.contains("quay.io/team/pier   1 "), "{listed}");
    assert!(env.ok(&["history", image]).contains("and changed"));
    assert!(
        env.ok(&["image", "inspect", image])
            .contains("\"port\": \"quay\"")
    );

    // The blobs of the layers are gone by now: what was in them comes out, bit for bit, and
    // the image is the same one.
    let archive = env.path("saved.tar");
    env.ok(&[
        "save",
        "--format",
        "oci-archive",
        "-o",
        archive.to_str().unwrap(),
        image,
    ]);
    let saved = env.path("saved");
    fs::create_dir(&saved).unwrap();
    run(
        "tar",
        &["-C", saved.to_str().unwrap(), "-xf", archive.to_str().unwrap()],
    );
    let id = env.ok(&["images", "-q", "--no-trunc"]);
    let config = fs::read(saved.join("blobs/sha256").join(&id.trim()["sha256:".len()..])).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    for diff_id in config["rootfs"]["diff_ids"].as_array().unwrap() {
        let hex = &diff_id.as_str().unwrap()["sha256:".len()..];
        assert_eq!(digest(&saved.join("blobs/sha256").join(hex)), hex);
    }

    what_a_container_is_made_of_stays(&env, image);
}

fn what_a_container_is_made_of_stays(env: &TestEnv, image: &str) {
    env.ok(&["run", "-d", "--name", "holder", image, "sleep 100"]);
    let changed = env.ok(&[
        "exec",
        "-u",
        "0",
        "holder",
        "sh",
        "-c",
        "rm /etc/new; echo x >/etc/mine",
    ]);
    assert_eq!(changed, "");
    let diff = env.ok(&["diff", "holder"]);
    assert!(
        diff.contains("D /etc/new") && diff.contains("A /etc/mine"),
        "{diff}"
    );
    env.ok(&["tag", image, "second"]);
    assert_eq!(env.ok(&["rmi", "second"]), "Untagged: second:latest\n");
    assert_ne!(env.cais(&["rmi", image]).code, 0);
    env.ok(&["rm", "-f", "holder"]);
    assert!(env.ok(&["rmi", image]).contains("Deleted: sha256:"));
    assert!(
        fs::read_dir(env.path("data/layers/sha256"))
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn what_is_no_image_leaves_nothing() {
    let env = TestEnv::new();
    let done = env.cais(&["run", "--rm", "--pull", "never", "no-such-image", "true"]);
    assert!(
        done.code == 125 && done.stderr.contains("no such image"),
        "{}",
        done.stderr
    );
    let file = env.path("file");
    fs::write(&file, "this is no archive").unwrap();
    assert_ne!(env.cais(&["load", "-i", file.to_str().unwrap()]).code, 0);
    let layout = make_image(&env);
    // One bit of a layer is another.
    let largest = fs::read_dir(layout.path.join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&largest, bytes).unwrap();
    let done = env.cais(&["load", "-i", layout.path.to_str().unwrap()]);
    assert!(
        done.code != 0 && done.stderr.contains("sha256:"),
        "{}",
        done.stderr
    );
    assert_eq!(env.ok(&["images", "-q"]), "");
}
