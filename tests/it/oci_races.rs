//! Attacks by somebody who changes the tree while a container is made in it, and by what the
//! image has at the places of terminals, settings and hooks.

use crate::oci_support::{Bundle, Racer};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a race is run, where the machine is fast enough.
const ROUNDS: u32 = 600;
/// And how long at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// A volume that two containers share. In it `place` and `link` change places all the time:
/// a directory, and a way out.
struct Shared {
    volume: PathBuf,
    canary: PathBuf,
    before: Vec<String>,
    racer: Option<Racer>,
}

impl Shared {
    fn new(bundle: &Bundle, out: impl Fn(&Path) -> PathBuf) -> Self {
        let (volume, canary) = (bundle.path("volume"), bundle.path("canary"));
        fs::create_dir_all(volume.join("place/below")).unwrap();
        fs::write(volume.join("place/secret"), "inside").unwrap();
        fs::create_dir_all(canary.join("below")).unwrap();
        fs::write(canary.join("secret"), "outside").unwrap();
        symlink(out(&canary), volume.join("link")).unwrap();
        let (place, link) = (volume.join("place"), volume.join("link"));
        // As a process of another container does it.
        let racer = Racer::new(move || {
            renameat_with(CWD, &place, CWD, &link, RenameFlags::EXCHANGE).unwrap();
        });
        let before = list(&canary);
        Self {
            volume,
            canary,
            before,
            racer: Some(racer),
        }
    }

    /// Starts containers until there were enough; returns what each printed and how many
    /// were refused.
    fn start_many(&self, bundle: &Bundle) -> (Vec<String>, u32) {
        bundle.save();
        let (begin, mut printed, mut refused) = (Instant::now(), Vec::new(), 0);
        for _ in 0..ROUNDS {
            // On a slow machine it takes longer until there were enough.
            if begin.elapsed() > PATIENCE && printed.len() > 20 {
                break;
            }
            let done = bundle.oci(&["run", bundle.id()]);
            if done.code == 0 {
                printed.push(done.stdout);
            } else {
                refused += 1;
            }
        }
        assert!(printed.len() > 20, "{refused} refused, {} not", printed.len());
        (printed, refused)
    }

    /// Outside nothing was made, changed or covered.
    fn check(mut self) {
        self.racer = None;
        assert_eq!(list(&self.canary), self.before);
        let secret = fs::read_to_string(self.canary.join("secret")).unwrap();
        assert_eq!(secret, "outside");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains("canary"), "{mounts}");
    }
}

/// All paths below a directory.
fn list(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        found.push(entry.path().display().to_string());
        if entry.file_type().unwrap().is_dir() {
            found.extend(list(&entry.path()));
        }
    }
    found.sort();
    found
}

/// Prints what is mounted where, and what the two names show.
const LOOK: &str = "while read a b c d place rest; do echo mount $place; done < /proc/self/mountinfo; \
                    cat /vol/*/secret /vol/secret /*/secret 2>/dev/null; true";

/// No mount outside the places of the configuration, nothing of the outside.
fn check_look(printed: &[String], places: &[&str]) {
    for text in printed {
        for line in text.lines() {
            if let Some(place) = line.strip_prefix("mount ") {
                let known = ["/dev", "/proc", "/sys"].iter().chain(places);
                let known = known
                    .copied()
                    .any(|known| place == "/" || place.starts_with(known));
                assert!(known, "{place} in\n{text}");
            } else {
                assert_ne!(line, "outside", "{text}");
            }
        }
    }
}

/// A naive runtime checks the path of a mount and then mounts by the path: with a link in
/// between, over the host's tree, and so the host's tree into the container
/// (CVE-2021-30465).
#[test]
fn cve_2021_30465_the_place_of_a_mount_is_swapped_for_a_link() {
    for out in ["absolute", "relative"] {
        let mut bundle = Bundle::new();
        let shared = Shared::new(&bundle, |canary| match out {
            "absolute" => canary.to_owned(),
            _ => "../../../../../../../../".into(),
        });
        bundle.volume(&shared.volume, "/vol");
        let payload = bundle.path("payload");
        fs::create_dir_all(&payload).unwrap();
        bundle.volume(&payload, "/vol/place/below");
        bundle.mount(json!({ "destination": "/vol/place", "type": "tmpfs", "source": "tmpfs" }));
        bundle.sh(LOOK);
        let (printed, _) = shared.start_many(&bundle);
        // Where the link led it was followed inside the root, and only there.
        let inside = format!("{}", shared.canary.display());
        check_look(&printed, &["/vol", "/below", &inside]);
        shared.check();
    }
}

/// A naive runtime makes the missing directories and files of a mount's place, and device
/// nodes, by path: on the host, where a parent is swapped for a link (CVE-2024-45310).
#[test]
fn cve_2024_45310_missing_places_are_made_inside() {
    let mut bundle = Bundle::new();
    let shared = Shared::new(&bundle, Path::to_owned);
    bundle.volume(&shared.volume, "/vol");
    let file = bundle.path("file");
    fs::write(&file, "file").unwrap();
    let directory = bundle.path("directory");
    fs::create_dir(&directory).unwrap();
    // Each start makes them anew: the racer's own names stay.
    let (first, second) = (shared.volume.join("place"), shared.volume.join("link"));
    let cleaner = Racer::new(move || {
        for name in ["new", "file", "node", "deep"] {
            for parent in [&first, &second] {
                // The directory is one of the two; behind the link nothing may appear.
                if fs::symlink_metadata(parent).is_ok_and(|data| data.is_dir()) {
                    rustix::fs::unlink(parent.join(name)).unwrap_or_default();
                    rustix::fs::rmdir(parent.join(name)).unwrap_or_default();
                }
            }
        }
    });
    // That could go wrong the same way, were it the canary's: it has other names.
    bundle.volume(&directory, "/vol/place/new");
    bundle.volume(&file, "/vol/place/file");
    bundle.mount(json!({ "destination": "/vol/place/deep/a/b", "type": "tmpfs", "source": "tmpfs" }));
    bundle.config["linux"]["devices"] =
        json!([{ "path": "/vol/place/node", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666 }]);
    bundle.config["process"]["cwd"] = json!("/vol/place/deep/cwd");
    bundle.sh(LOOK);
    bundle.save();
    let begin = Instant::now();
    for _ in 0..ROUNDS {
        bundle.oci(&["run", bundle.id()]);
        if begin.elapsed() > PATIENCE {
            break;
        }
    }
    drop(cleaner);
    shared.check();
}

/// A naive runtime hides a path by name: swapped for a link, something else is hidden, or the
/// host's file is bound where it can be written (CVE-2025-31133 by way of a race).
#[test]
fn hidden_and_read_only_paths_are_swapped_for_links() {
    let mut bundle = Bundle::new();
    let shared = Shared::new(&bundle, Path::to_owned);
    bundle.volume(&shared.volume, "/vol");
    bundle.config["linux"]["maskedPaths"] = json!(["/vol/place/secret", "/proc/kcore"]);
    bundle.config["linux"]["readonlyPaths"] = json!(["/vol/place/below", "/proc/sys"]);
    bundle.sh(&format!(
        "{LOOK}; echo evil 2>/dev/null > /proc/kcore; cat /proc/kcore; \
         echo evil 2>/dev/null > /proc/sys/kernel/core_pattern && echo written"
    ));
    bundle.config["process"]["args"][2] = json!(format!(
        "{}; true",
        bundle.config["process"]["args"][2].as_str().unwrap()
    ));
    let pattern = fs::read("/proc/sys/kernel/core_pattern").unwrap();
    let (printed, _) = shared.start_many(&bundle);
    check_look(&printed, &["/vol"]);
    for text in &printed {
        assert!(!text.contains("evil") && !text.contains("written"), "{text}");
    }
    assert_eq!(fs::read("/proc/sys/kernel/core_pattern").unwrap(), pattern);
    shared.check();
}

/// The image's own tree is raced too: `dev` and a place in the root change between a
/// directory and a link out of it.
#[test]
fn the_root_itself_is_raced() {
    let mut bundle = Bundle::new();
    let canary = bundle.path("canary");
    fs::create_dir(&canary).unwrap();
    for place in ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev"] {
        bundle.unmount(place);
    }
    symlink(&canary, bundle.rootfs("link")).unwrap();
    let (dev, link) = (bundle.rootfs("dev"), bundle.rootfs("link"));
    let racer = Racer::new(move || {
        renameat_with(CWD, &dev, CWD, &link, RenameFlags::EXCHANGE).unwrap();
    });
    bundle.save();
    let begin = Instant::now();
    for _ in 0..ROUNDS {
        bundle.oci(&["run", bundle.id()]);
        if begin.elapsed() > PATIENCE {
            break;
        }
    }
    drop(racer);
    assert_eq!(list(&canary), Vec::<String>::new());
}

/// Runs the container with a terminal. The socket's listener never reads: what counts is
/// whether the program ran.
fn with_terminal(bundle: &Bundle) -> crate::support::Done {
    let socket = bundle.path("console.sock");
    fs::remove_file(&socket).unwrap_or_default();
    let _listener = UnixListener::bind(&socket).unwrap();
    bundle.save();
    let done = bundle.oci(&[
        "create",
        "--console-socket",
        socket.to_str().unwrap(),
        bundle.id(),
    ]);
    bundle.oci(&["delete", "--force", bundle.id()]);
    done
}

/// runc bound `/dev/pts/N` to `/dev/console` by name, without a look at what either was: an
/// image, or a process with the same /dev, decides (CVE-2025-52565).
#[test]
fn cve_2025_52565_hostile_places_of_terminals() {
    let mut bundle = Bundle::new();
    bundle.config["process"]["terminal"] = json!(true);
    let canary = bundle.path("canary");
    fs::write(&canary, "canary").unwrap();
    assert_eq!(with_terminal(&bundle).code, 0, "the usual one works");
    let place = bundle.rootfs("dev");
    // No devpts at all: what the image has there is no terminal.
    for mount in ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev"] {
        bundle.unmount(mount);
    }
    fs::create_dir(place.join("pts")).unwrap();
    let ptmx = place.join("pts/ptmx");
    assert_eq!(with_terminal(&bundle).code, 1);
    fs::write(&ptmx, "file").unwrap();
    assert_eq!(with_terminal(&bundle).code, 1);
    for target in [
        canary.to_str().unwrap(),
        "../../../../canary",
        "/dev/zero",
        "/bin/sh",
    ] {
        fs::remove_file(&ptmx).unwrap();
        symlink(target, &ptmx).unwrap();
        assert_eq!(with_terminal(&bundle).code, 1, "{target}");
    }
    fs::remove_dir_all(place.join("pts")).unwrap();
    // A devpts, and a link where the console goes.
    bundle.mount(json!({
        "destination": "/dev/pts", "type": "devpts", "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    }));
    for target in [canary.to_str().unwrap(), "../../../canary", "/etc/passwd"] {
        symlink(target, place.join("console")).unwrap();
        let done = with_terminal(&bundle);
        assert!(
            done.code == 1 && done.stderr.contains("/dev/console"),
            "{target}: {done:?}"
        );
        fs::remove_file(place.join("console")).unwrap();
    }
    assert_eq!(fs::read_to_string(&canary).unwrap(), "canary");
    bundle.assert_nothing_is_left("terminals");
}

/// Later the container's own root may have put anything at /dev/pts: an `exec -t` must not
/// take it for a terminal, nor may the label or the settings be written to what lies over
/// /proc (CVE-2025-52881).
#[test]
fn cve_2025_52565_exec_finds_something_else_at_dev_pts() {
    let mut bundle = Bundle::new();
    let sets = json!(["CAP_SYS_ADMIN", "CAP_MKNOD", "CAP_DAC_OVERRIDE"]);
    bundle.config["process"]["capabilities"] =
        json!({ "bounding": sets, "effective": sets, "permitted": sets });
    bundle.sh("sleep 1000");
    bundle.start();
    assert_eq!(bundle.exec(&["-t"], &["tty"]).code, 0);
    let prepare = "mount -t tmpfs x /dev/pts && mount -t tmpfs y /proc && mkdir -p /proc/self/attr";
    assert_eq!(bundle.exec(&[], &["sh", "-c", prepare]).code, 0);
    for make in ["touch", "mkfifo", "mkdir", "ln -s /dev/zero", "ln -s ptmx2"] {
        let line = format!("rm -rf /dev/pts/ptmx; {make} /dev/pts/ptmx");
        assert_eq!(bundle.exec(&[], &["sh", "-c", &line]).code, 0);
        let done = bundle.exec(&["-t"], &["echo", "ran"]);
        assert!(
            done.code == 255 && !done.stdout.contains("ran"),
            "{make}: {done:?}"
        );
    }
    for node in ["1 5", "1 3", "5 2", "5 0"] {
        let line = format!("rm -rf /dev/pts/ptmx; mknod /dev/pts/ptmx c {node}");
        assert_eq!(bundle.exec(&[], &["sh", "-c", &line]).code, 0);
        let done = bundle.exec(&["-t"], &["echo", "ran"]);
        assert!(
            done.code == 255 && !done.stdout.contains("ran"),
            "{node}: {done:?}"
        );
    }
    // Without a terminal nothing of that matters.
    assert_eq!(bundle.exec(&[], &["echo", "ran"]).stdout, "ran\n");
}

/// What a configuration sets is its own namespaces'. A naive runtime looks at the beginning
/// of the name, and opens `/proc/sys/NAME` in a tree that mounts may have changed
/// (CVE-2025-52881).
#[test]
fn cve_2025_52881_settings_reach_nothing_else() {
    let mut bundle = Bundle::new();
    let setting = Path::new("/proc/sys/fs/lease-break-time");
    let before = fs::read_to_string(setting).unwrap();
    for name in [
        "fs.lease-break-time",
        "fs/lease-break-time",
        "net/../fs/lease-break-time",
        "net.ipv4/../../fs/lease-break-time",
        "net/./../fs/lease-break-time",
        "net/ipv4/conf/../../../../sysrq-trigger",
        "../sysrq-trigger",
        "kernel.hostname/../../fs/lease-break-time",
        "/fs/lease-break-time",
        "net//../fs/lease-break-time",
    ] {
        bundle.config["linux"]["sysctl"] = json!({ name: "h" });
        let harmless = name.contains("lease");
        if harmless {
            bundle.config["linux"]["sysctl"] = json!({ name: "44" });
        }
        let done = bundle.run();
        let after = fs::read_to_string(setting).unwrap();
        fs::write(setting, &before).unwrap();
        assert_eq!(after, before, "{name}");
        assert!(
            done.code == 1 && done.stderr.contains("linux.sysctl"),
            "{name}: {}",
            done.stderr
        );
    }
    // A volume over /proc/sys, as an engine may ask for it, takes no settings.
    let volume = bundle.path("volume");
    let canary = bundle.path("canary");
    fs::create_dir_all(volume.join("net/ipv4")).unwrap();
    fs::write(&canary, "canary").unwrap();
    symlink(&canary, volume.join("net/ipv4/ip_forward")).unwrap();
    bundle.volume(&volume, "/proc/sys");
    bundle.volume(&canary, "/etc/passwd");
    bundle.config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
    bundle.config["linux"]["readonlyPaths"] = json!([]);
    bundle.sh("readlink /proc/sys/net/ipv4/ip_forward; cat /proc/net/snmp | grep Ip: | grep -v Forw");
    let done = bundle.run();
    assert!(done.stdout.contains("\nIp: 1 "), "forwarding is on: {done:?}");
    assert_eq!(fs::read_to_string(&canary).unwrap(), "canary");
}

/// A hook of NVIDIA's inherited the container's environment, and with it the container's
/// LD_PRELOAD, as root of the host (CVE-2025-23266).
#[test]
fn cve_2025_23266_hooks_have_an_environment_of_their_own() {
    let mut bundle = Bundle::new();
    let out = bundle.path("out");
    fs::create_dir(&out).unwrap();
    bundle.volume(&out, "/out");
    let variables = bundle.config["process"]["env"].as_array_mut().unwrap();
    variables.push(json!("LD_PRELOAD=/evil.so"));
    let names = [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ];
    for name in names {
        let file = if name == "startContainer" {
            PathBuf::from("/out").join(name)
        } else {
            out.join(name)
        };
        bundle.config["hooks"][name] = json!([{
            "path": "/bin/busybox", "args": ["busybox", "cp", "/proc/self/environ", file], "env": ["OWN=1"]
        }]);
    }
    bundle.sh("sleep 1000");
    bundle.save();
    for words in [
        &["create", bundle.id()][..],
        &["start", bundle.id()],
        &["delete", "--force", bundle.id()],
    ] {
        let mut command = bundle.command(words);
        command.env("HOST_SECRET", "secret");
        let done = bundle.finish(command);
        assert_eq!(done.code, 0, "{words:?}: {}", done.stderr);
    }
    for name in names {
        let seen = fs::read(out.join(name)).unwrap_or_default();
        assert_eq!(String::from_utf8_lossy(&seen), "OWN=1\0", "{name}");
    }
    // An empty one is empty.
    bundle.config["hooks"] = json!({ "createRuntime": [{
        "path": "/bin/busybox", "args": ["busybox", "cp", "/proc/self/environ", out.join("empty")]
    }] });
    assert_ne!(bundle.config["hooks"], Value::Null);
    bundle.sh("true");
    assert_eq!(bundle.run().code, 0);
    assert_eq!(fs::read(out.join("empty")).unwrap(), b"");
}

/// crun wrote a file for libkrun by its path in the root, through whatever link was there
/// (CVE-2025-24965). There is no such file here: what a runtime has to say about a container
/// stands in its own directory, and nothing of ours is written by a path of the image's.
#[test]
fn cve_2025_24965_no_file_of_the_runtime_is_written_into_the_root() {
    let mut bundle = Bundle::new();
    let canary = bundle.path("canary");
    fs::write(&canary, "outside").unwrap();
    for name in [".krun_config.json", ".cais-file", "config.json"] {
        symlink(&canary, bundle.rootfs(name)).unwrap();
    }
    let names = |bundle: &Bundle| {
        let mut names: Vec<_> = fs::read_dir(bundle.rootfs(""))
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        names.sort();
        names
    };
    let before = names(&bundle);
    bundle.sh("true");
    assert_eq!(bundle.run().code, 0);
    assert_eq!(names(&bundle), before);
    assert_eq!(fs::read_to_string(&canary).unwrap(), "outside");
}
