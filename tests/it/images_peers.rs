//! Images between cais, a registry, skopeo and umoci, each way, compared entry by entry.

use crate::engines_support::ok;
use crate::images::make_image;
use crate::support::{TestEnv, eventually};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Debian's registry on a free port.
pub(crate) struct Registry {
    process: Child,
    pub(crate) address: String,
}

impl Registry {
    pub(crate) fn new(env: &TestEnv) -> Self {
        Self::start(env, "registry", "", "")
    }

    /// With TLS by a certificate of an authority of its own, whose file is returned, and the
    /// user ana with the password secret.
    pub(crate) fn guarded(env: &TestEnv) -> (Self, std::path::PathBuf) {
        let file = |name: &str| env.path(name).to_str().unwrap().to_owned();
        let (ca, ca_key, key, request, certificate, extensions) = (
            file("ca.pem"),
            file("ca.key"),
            file("server.key"),
            file("server.csr"),
            file("server.pem"),
            file("extensions"),
        );
        fs::write(
            &extensions,
            "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n",
        )
        .unwrap();
        let new_key = ["-newkey", "rsa:2048", "-nodes"];
        let words = [
            &["openssl", "req", "-x509"],
            &new_key[..],
            &[
                "-days", "3650", "-subj", "/CN=test", "-keyout", &ca_key, "-out", &ca,
            ],
        ];
        ok(&words.concat());
        let words = [
            &["openssl", "req"],
            &new_key[..],
            &["-subj", "/CN=localhost", "-keyout", &key, "-out", &request],
        ];
        ok(&words.concat());
        ok(&[
            "openssl",
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-days",
            "3650",
            "-extfile",
            &extensions,
            "-out",
            &certificate,
        ]);
        let users = file("htpasswd");
        fs::write(
            &users,
            "ana:$2y$05$0FkKqStNtANvhjU8atHeseioeGFT/uDirv.yyv.HxT6K3g.CXeP5q\n",
        )
        .unwrap();
        let auth = format!("auth: {{htpasswd: {{realm: test, path: {users}}}}}\n");
        let tls = format!(", tls: {{certificate: {certificate}, key: {key}}}");
        let mut registry = Self::start(env, "guarded", &auth, &tls);
        registry.address = registry.address.replace("127.0.0.1", "localhost");
        (registry, ca.into())
    }

    fn start(env: &TestEnv, name: &str, auth: &str, tls: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let address = format!("127.0.0.1:{port}");
        let config = env.path(&format!("{name}.yml"));
        let data = env.path(name);
        fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n{auth}http: {{addr: \"{address}\"{tls}}}\n",
                data.display()
            ),
        )
        .unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed");
        eventually("the registry answers", || {
            std::net::TcpStream::connect(&address).is_ok()
        });
        Self { process, address }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().unwrap_or_default();
        drop(self.process.wait());
    }
}

/// The extended attributes of a file, but for those that overlayfs keeps for itself.
fn attributes(path: &Path) -> String {
    let mut names = [0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap();
    let names = String::from_utf8_lossy(&names[..length]).into_owned();
    let mut all: Vec<String> = names
        .split_terminator('\0')
        .filter(|name| !name.contains(".overlay."))
        .map(|name| {
            let mut value = [0; 4096];
            let length = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
            format!("{name}={:?}", &value[..length])
        })
        .collect();
    all.sort();
    all.join(",")
}

/// Every entry of a tree: path, kind, mode, owner, size, link, time, extended attributes.
pub(crate) fn entries(root: &Path) -> Vec<String> {
    let format = "%P|%y|%m|%U:%G|%s|%l|%T@\\n";
    let listed = ok(&[
        "find",
        root.to_str().unwrap(),
        "-xdev",
        "-mindepth",
        "1",
        "-printf",
        format,
    ]);
    let mut lines: Vec<String> = listed
        .lines()
        // The size of a directory is the file system's own affair; places of mounts are ours.
        .map(|line| {
            let mut fields: Vec<&str> = line.split('|').collect();
            if fields.get(1) == Some(&"d") {
                fields[4] = "";
            }
            let attributes = attributes(&root.join(fields[0]));
            fields.push(&attributes);
            fields.join("|")
        })
        .filter(|line| {
            let path = line.split('|').next().unwrap_or("");
            !["proc", "sys", "dev"]
                .iter()
                .any(|own| path == *own || path.starts_with(&format!("{own}/")))
                && !["etc|", "etc/hosts", "etc/hostname", "etc/resolv.conf"]
                    .iter()
                    .any(|own| line.starts_with(own))
        })
        .collect();
    lines.sort();
    lines
}

/// The tree of an image as a container of cais has it.
pub(crate) fn tree_of(env: &TestEnv, image: &str) -> Vec<String> {
    env.ok(&[
        "run",
        "-d",
        "--name",
        "tree",
        "--userns",
        "host",
        "-u",
        "0",
        image,
        "sleep 100",
    ]);
    let pid = env.field("tree", "Pid");
    let tree = entries(Path::new(&format!("/proc/{pid}/root/")));
    env.ok(&["rm", "-f", "tree"]);
    tree
}

#[test]
#[ignore = "needs Debian's docker-registry, skopeo and umoci: `cargo xtask test` installs them and runs this"]
fn there_and_back_by_a_registry() {
    let env = TestEnv::new();
    let registry = Registry::new(&env);
    let layout = make_image(&env);
    env.ok(&["load", "-i", layout.path.to_str().unwrap()]);
    let name = format!("{}/team/pier:1", registry.address);
    env.ok(&["tag", "quay.io/team/pier:1", &name]);
    let ours = tree_of(&env, &name);
    let both = |line: &String| line.contains("user.note=") && line.contains("security.capability=");
    assert!(ours.iter().any(both), "{ours:?}");
    assert!(env.ok(&["push", &name]).contains("digest: sha256:"));
    env.ok(&["rmi", &name]);
    env.ok(&["rmi", "quay.io/team/pier:1"]);
    // Ours to theirs.
    let copied = env.path("copied");
    let (from, to) = (format!("docker://{name}"), format!("oci:{}:1", copied.display()));
    ok(&["skopeo", "copy", "-q", "--src-tls-verify=false", &from, &to]);
    let unpacked = env.path("unpacked");
    ok(&[
        "umoci",
        "unpack",
        "--image",
        &format!("{}:1", copied.display()),
        unpacked.to_str().unwrap(),
    ]);
    assert_eq!(entries(&unpacked.join("rootfs")), ours);
    // Theirs to ours, in every form.
    for (tag, flags) in [
        ("gzip", &["--format", "oci"][..]),
        ("zstd", &["--format", "oci", "--dest-compress-format", "zstd"]),
        ("schema2", &["--format", "v2s2"]),
    ] {
        let target = format!("{}/theirs:{tag}", registry.address);
        let destination = format!("docker://{target}");
        let words = [
            &["skopeo", "copy", "-q", "--dest-tls-verify=false"],
            flags,
            &[to.as_str(), destination.as_str()],
        ]
        .concat();
        ok(&words);
        let text = env.ok(&["run", "--rm", &target]);
        assert_eq!(text, "from-image\n/etc\nana\nnewhidden\n", "{tag}");
        assert_eq!(tree_of(&env, &target), ours, "{tag}");
        let again = env.ok(&["pull", &target]);
        assert!(again.contains("Image is up to date"), "{again}");
        env.ok(&["rmi", &target]);
    }
}

/// The reference tool reads what we write, in both forms of a layout.
#[test]
#[ignore = "needs Debian's oci-image-tool: `cargo xtask test` installs it and runs this"]
fn the_reference_tool_finds_our_layouts_valid() {
    let env = TestEnv::new();
    let layout = make_image(&env);
    env.ok(&["load", "-i", layout.path.to_str().unwrap()]);
    let path = |name: &str| env.path(name).to_str().unwrap().to_owned();
    let (copied, archive, unpacked) = (path("copied"), path("archive.tar"), path("archive"));
    env.ok(&["copy", "cais:quay.io/team/pier:1", &format!("oci:{copied}:1")]);
    let name = "quay.io/team/pier:1";
    env.ok(&["save", "--format", "oci-archive", "-o", &archive, name]);
    fs::create_dir_all(&unpacked).unwrap();
    ok(&["tar", "-C", &unpacked, "-xf", &archive]);
    for directory in [&copied, &unpacked] {
        let said = ok(&["oci-image-tool", "validate", "--type", "image", directory]);
        assert!(said.contains("Validation succeeded"), "{said}");
    }
}

#[test]
#[ignore = "needs Debian's docker-registry: `cargo xtask test` installs it and runs this"]
fn what_a_registry_does_not_have() {
    let env = TestEnv::new();
    let registry = Registry::new(&env);
    let name = format!("{}/no/such:1", registry.address);
    let done = env.cais(&["pull", &name]);
    assert!(
        done.code == 1 && done.stderr.contains("no manifest"),
        "{}",
        done.stderr
    );
    let done = env.cais(&["run", "--rm", &name]);
    assert_eq!(done.code, 125);
    let done = env.cais(&["run", "--pull", "never", "--rm", &name]);
    assert!(
        done.code == 125 && done.stderr.contains("no such image"),
        "{}",
        done.stderr
    );
    let closed = env.cais(&["pull", "127.0.0.1:1/x"]);
    assert!(
        closed.code == 1 && closed.stderr.contains("refused"),
        "{}",
        closed.stderr
    );
}
