//! Registries as they are configured: logins, TLS, mirrors; images copied from place to place.

use crate::engines_support::ok;
use crate::images::{Layout, make_image, run};
use crate::images_peers::Registry;
use crate::support::{Done, TestEnv};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// A command with a home of the test's own, and nothing of the machine's configuration.
fn command(env: &TestEnv, words: &[&str]) -> Command {
    let mut command = env.command(words);
    let home = env.path("home");
    fs::create_dir_all(&home).unwrap();
    for name in [
        "DOCKER_CONFIG",
        "REGISTRY_AUTH_FILE",
        "XDG_RUNTIME_DIR",
        "XDG_CONFIG_HOME",
    ] {
        command.env_remove(name);
    }
    let empty = env.path("empty.conf");
    if !empty.exists() {
        fs::write(&empty, "").unwrap();
    }
    command
        .env("HOME", &home)
        .env("CONTAINERS_REGISTRIES_CONF", &empty);
    command
}

fn cais(env: &TestEnv, words: &[&str]) -> Done {
    Done::of(command(env, words))
}

fn cais_ok(env: &TestEnv, words: &[&str]) -> String {
    let done = cais(env, words);
    assert_eq!(done.code, 0, "cais {words:?}: {}", done.stderr);
    done.stdout
}

fn with_input(env: &TestEnv, words: &[&str], input: &str) -> Done {
    let mut child = command(env, words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Done::end_of(child)
}

fn read_json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// With an authority in certs.d nobody else vouches for a registry, not even on this
/// machine. Returns the directory of its authority.
fn another_authority(env: &TestEnv, address: &str, name: &str) -> std::path::PathBuf {
    let certs = env.path("home").join(".config/containers/certs.d").join(address);
    fs::create_dir_all(&certs).unwrap();
    let (other, key) = (certs.join("ca.crt"), env.path("other.key"));
    let (other, key) = (other.to_str().unwrap(), key.to_str().unwrap());
    ok(&[
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=other",
        "-keyout",
        key,
        "-out",
        other,
    ]);
    let done = cais(env, &["push", name]);
    assert!(
        done.code == 1 && done.stderr.contains("certificate"),
        "{}",
        done.stderr
    );
    certs
}

#[test]
#[ignore = "needs Debian's docker-registry, skopeo and openssl: `cargo xtask test` installs them and runs this"]
fn logins_over_tls() {
    let env = TestEnv::new();
    let (registry, authority) = Registry::guarded(&env);
    let address = registry.address.as_str();
    let name = format!("{address}/team/pier:1");
    let layout = make_image(&env);
    cais_ok(&env, &["load", "-i", layout.path.to_str().unwrap()]);
    cais_ok(&env, &["tag", "quay.io/team/pier:1", &name]);
    let certs = another_authority(&env, address, &name);
    fs::copy(&authority, certs.join("ca.crt")).unwrap();
    let done = cais(&env, &["push", &name]);
    assert!(
        done.code == 1 && done.stderr.contains("log in"),
        "{}",
        done.stderr
    );
    // A wrong password is refused and not kept.
    let login = ["login", "-u", "ana", "--password-stdin", address];
    let done = with_input(&env, &login, "wrong\n");
    assert!(
        done.code == 1 && done.stderr.contains("unauthorized") | done.stderr.contains("UNAUTHORIZED"),
        "{}",
        done.stderr
    );
    let config = env.path("home").join(".docker/config.json");
    assert!(!config.exists());
    let done = with_input(&env, &login, "secret\n");
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "Login Succeeded\n"),
        "{}",
        done.stderr
    );
    assert!(done.stderr.contains("stored unencrypted"), "{}", done.stderr);
    assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(read_json(&config)["auths"][address]["auth"], "YW5hOnNlY3JldA==");
    assert_eq!(cais_ok(&env, &["login", "--get-login", address]), "ana\n");
    // There and back, and by another tool with the same file.
    let pushed = cais_ok(&env, &["push", &name]);
    assert!(pushed.contains("1: digest: sha256:"), "{pushed}");
    let again = cais_ok(&env, &["push", &name]);
    assert!(again.contains("Layer already exists"), "{again}");
    let certs_of_skopeo = format!("--cert-dir={}", certs.display());
    let auth = format!("--authfile={}", config.display());
    let listed = ok(&[
        "skopeo",
        "list-tags",
        &certs_of_skopeo,
        &auth,
        &format!("docker://{address}/team/pier"),
    ]);
    assert!(listed.contains("\"1\""), "{listed}");
    // A further repository takes the layers from this one.
    let other = format!("{address}/other/pier:2");
    cais_ok(&env, &["tag", &name, &other]);
    assert!(cais_ok(&env, &["push", &other]).contains("Mounted"));
    cais_ok(&env, &["rmi", "-f", "quay.io/team/pier:1", &name, &other]);
    cais_ok(
        &env,
        &["pull", "-q", "--all-tags", &format!("{address}/team/pier")],
    );
    assert_eq!(
        cais_ok(&env, &["run", "--rm", &other]),
        "from-image\n/etc\nana\nnewhidden\n"
    );
    assert_eq!(
        cais_ok(&env, &["logout", address]),
        format!("Removing login credentials for {address}\n")
    );
    assert_eq!(
        cais_ok(&env, &["logout", address]),
        format!("Not logged in to {address}\n")
    );
    assert_eq!(cais(&env, &["pull", &name]).code, 1);
    cais_ok(&env, &["pull", "-q", "--creds", "ana:secret", &name]);
}

/// A helper that keeps its logins in files below a directory.
const HELPER: &str = r#"#!/bin/sh
d="$HELPER_STORE"; mkdir -p "$d"; in=$(cat)
case "$1" in
store) server=$(printf %s "$in" | sed 's/.*"ServerURL":"\([^"]*\)".*/\1/'); printf %s "$in" > "$d/$(printf %s "$server" | tr / _)" ;;
get) f="$d/$(printf %s "$in" | tr / _)"; if [ -f "$f" ]; then cat "$f"; else echo "credentials not found in native keychain"; exit 1; fi ;;
erase) rm -f "$d/$(printf %s "$in" | tr / _)" ;;
list) echo '{}' ;;
esac
"#;

#[test]
#[ignore = "needs Debian's docker-registry and openssl: `cargo xtask test` installs them and runs this"]
fn a_program_keeps_the_login() {
    let env = TestEnv::new();
    let (registry, authority) = Registry::guarded(&env);
    let address = registry.address.as_str();
    let home = env.path("home");
    let certs = home.join(".config/containers/certs.d").join(address);
    fs::create_dir_all(&certs).unwrap();
    fs::copy(&authority, certs.join("ca.crt")).unwrap();
    let programs = env.path("programs");
    fs::create_dir_all(&programs).unwrap();
    let helper = programs.join("docker-credential-files");
    fs::write(&helper, HELPER).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(home.join(".docker")).unwrap();
    let config = home.join(".docker/config.json");
    fs::write(&config, r#"{"credsStore": "files", "psFormat": "table"}"#).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let kept = env.path("kept");
    let with_helper = |words: &[&str]| {
        let output = command(&env, words)
            .env("PATH", &path)
            .env("HELPER_STORE", &kept)
            .output();
        Done::from(output.unwrap())
    };
    let done = with_helper(&["login", "-u", "ana", "-p", "secret", address]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(!done.stderr.contains("unencrypted"), "{}", done.stderr);
    assert_eq!(read_json(&kept.join(address))["Secret"], "secret");
    let written = read_json(&config);
    assert_eq!(
        (&written["auths"][address], &written["psFormat"]),
        (&json!({}), &json!("table"))
    );
    let done = with_helper(&["login", address]);
    assert!(
        done.stdout.contains("existing credentials") && done.code == 0,
        "{}",
        done.stderr
    );
    assert_eq!(with_helper(&["logout", address]).code, 0);
    assert!(!kept.join(address).exists());
    // One that is named and not there: what, where, and what to do.
    fs::write(&config, r#"{"credsStore": "nowhere"}"#).unwrap();
    let done = with_helper(&["pull", &format!("{address}/x")]);
    assert!(
        done.code == 1
            && done.stderr.contains("docker-credential-nowhere")
            && done.stderr.contains("config.json"),
        "{}",
        done.stderr
    );
}

#[test]
#[ignore = "needs Debian's docker-registry: `cargo xtask test` installs it and runs this"]
fn mirrors_aliases_and_blocked_registries() {
    let env = TestEnv::new();
    let registry = Registry::new(&env);
    let address = registry.address.as_str();
    let layout = make_image(&env);
    let from = layout.path.to_str().unwrap();
    cais_ok(
        &env,
        &["copy", "-q", from, &format!("docker://{address}/mirrored/pier:1")],
    );
    fs::write(
        env.path("empty.conf"),
        format!(
            "short-name-mode = 'enforcing'\nunqualified-search-registries = ['one.test', 'two.test']\n\
             [aliases]\npier = 'far.test/team/pier'\n\
             [[registry]]\nprefix = 'far.test/team'\nlocation = 'far.test/team'\n\
             [[registry.mirror]]\nlocation = '127.0.0.1:1/nobody'\ninsecure = true\n\
             [[registry.mirror]]\nlocation = '{address}/empty'\ninsecure = true\n\
             [[registry.mirror]]\nlocation = '{address}/mirrored'\ninsecure = true\n\
             [[registry]]\nlocation = 'evil.test'\nblocked = true\n"
        ),
    )
    .unwrap();
    let pulled = cais_ok(&env, &["pull", "far.test/team/pier:1"]);
    assert!(pulled.ends_with("far.test/team/pier:1\n"), "{pulled}");
    // The same by its short name, which is found without asking anybody.
    assert_eq!(
        cais_ok(&env, &["run", "--rm", "--pull", "never", "pier:1"]),
        "from-image\n/etc\nana\nnewhidden\n"
    );
    let done = cais(&env, &["pull", "evil.test/x"]);
    assert!(
        done.code == 1 && done.stderr.contains("blocks evil.test"),
        "{}",
        done.stderr
    );
    let done = cais(&env, &["pull", "unknown"]);
    assert!(
        done.code == 1 && done.stderr.contains("one.test, two.test"),
        "{}",
        done.stderr
    );
    fs::write(env.path("empty.conf"), "[[registry]]\ninsecure = true\n").unwrap();
    let done = cais(&env, &["pull", "x"]);
    assert!(
        done.code == 1 && done.stderr.contains("empty.conf"),
        "{}",
        done.stderr
    );
}

#[test]
#[ignore = "needs Debian's docker-registry, skopeo and umoci: `cargo xtask test` installs them and runs this"]
fn from_place_to_place_untouched() {
    let env = TestEnv::new();
    let registry = Registry::new(&env);
    let address = registry.address.as_str();
    let layout = make_image(&env);
    let path = |name: &str| env.path(name).to_str().unwrap().to_owned();
    let (first, second) = (
        format!("docker://{address}/a/pier:1"),
        format!("docker://{address}/b/pier:2"),
    );
    let steps: [(String, String); 6] = [
        (path("layout"), first.clone()),
        (first.clone(), second.clone()),
        (second, format!("oci:{}:v1", path("out"))),
        (
            format!("oci:{}:v1", path("out")),
            format!("oci-archive:{}", path("out.tar")),
        ),
        (path("out.tar"), "cais:local/pier:3".to_owned()),
        (path("out"), format!("{first}-again")),
    ];
    let index = read_json(&layout.path.join("index.json"));
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    for (from, to) in &steps {
        assert_eq!(
            cais_ok(&env, &["copy", "-q", from, to]),
            format!("{digest}\n"),
            "{from} {to}"
        );
    }
    assert_eq!(
        cais_ok(&env, &["run", "--rm", "local/pier:3"]),
        "from-image\n/etc\nana\nnewhidden\n"
    );
    // Others read what came out.
    assert_eq!(run("umoci", &["ls", "--layout", &path("out")]), "v1\n");
    let inspected = run("skopeo", &["inspect", &format!("oci:{}:v1", path("out"))]);
    assert!(inspected.contains(digest), "{inspected}");
    let docker = format!("docker-archive:{}:my/pier:4", path("docker.tar"));
    cais_ok(&env, &["copy", "-q", "cais:local/pier:3", &docker]);
    let inspected = run("tar", &["-xOf", &path("docker.tar"), "manifest.json"]);
    assert!(inspected.contains("my/pier:4"), "{inspected}");
    run(
        "skopeo",
        &["inspect", &format!("docker-archive:{}", path("docker.tar"))],
    );
    let shown = cais_ok(&env, &["manifest", "inspect", &format!("{address}/a/pier:1")]);
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap()["schemaVersion"], 2);
    // What is there is not written over; what is no place is told.
    assert_eq!(cais(&env, &["copy", "-q", "cais:local/pier:3", &docker]).code, 1);
    let done = cais(&env, &["copy", "containers-storage:x", &docker]);
    assert!(
        done.code == 1 && done.stderr.contains("not supported"),
        "{}",
        done.stderr
    );
    let done = cais(
        &env,
        &["copy", "-q", &format!("oci:{}:none", path("out")), "cais:x"],
    );
    assert!(done.code == 1 && done.stderr.contains("v1"), "{}", done.stderr);
}

#[test]
#[ignore = "needs Debian's docker-registry: `cargo xtask test` installs it and runs this"]
fn what_refers_to_an_image_goes_along() {
    let env = TestEnv::new();
    let registry = Registry::new(&env);
    let address = registry.address.as_str();
    let layout = make_image(&env);
    let image = format!("docker://{address}/team/pier:1");
    cais_ok(&env, &["copy", "-q", layout.path.to_str().unwrap(), &image]);
    let index = read_json(&layout.path.join("index.json"));
    let subject = json!({
        "mediaType": index["manifests"][0]["mediaType"],
        "digest": index["manifests"][0]["digest"],
        "size": index["manifests"][0]["size"],
    });
    // A signature, as such tools keep them: an artifact with the image as its subject. Debian's
    // registry has no referrers API, so the tag stands in for it.
    let artifact = Layout::new(env.path("artifact"));
    let file = env.path("file");
    fs::write(&file, "{}").unwrap();
    let empty = artifact.blob("application/vnd.oci.empty.v1+json", &file);
    fs::write(&file, "signed").unwrap();
    let layer = artifact.blob("application/x.signature", &file);
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    fs::write(
        &file,
        json!({
            "schemaVersion": 2, "mediaType": media_type, "artifactType": "application/x.signature",
            "config": empty, "layers": [layer], "subject": subject,
        })
        .to_string(),
    )
    .unwrap();
    let manifest = artifact.blob(media_type, &file);
    fs::write(
        artifact.path.join("index.json"),
        json!({"schemaVersion": 2, "manifests": [manifest]}).to_string(),
    )
    .unwrap();
    let signature = format!("docker://{address}/team/pier:signature");
    cais_ok(&env, &["copy", "-q", artifact.path.to_str().unwrap(), &signature]);
    let out = format!("oci:{}:1", env.path("out").display());
    cais_ok(&env, &["copy", "-q", "--referrers", &image, &out]);
    let hex = manifest["digest"].as_str().unwrap().replace("sha256:", "");
    assert!(env.path("out/blobs/sha256").join(hex).exists());
    // It is no image, and says so.
    let done = cais(&env, &["pull", &format!("{address}/team/pier:signature")]);
    assert!(
        done.code == 1 && done.stderr.contains("artifact"),
        "{}",
        done.stderr
    );
}
