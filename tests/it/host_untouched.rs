//! What happens in a container of the image `host` does not happen to the host.

use crate::support::TestEnv;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A hash of names, kinds, owners, sizes and times of a tree, and of the contents below /etc.
fn hash_tree(path: &Path, skip: &Path, hasher: &mut DefaultHasher) {
    let Ok(entries) = fs::read_dir(path) else { return };
    let mut entries: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for entry in entries.iter().filter(|entry| *entry != skip) {
        let Ok(data) = fs::symlink_metadata(entry) else {
            continue;
        };
        entry.hash(hasher);
        (
            data.mode(),
            data.uid(),
            data.gid(),
            data.size(),
            data.mtime(),
            data.mtime_nsec(),
        )
            .hash(hasher);
        if data.is_dir() {
            hash_tree(entry, skip, hasher);
        } else if data.is_file() && entry.starts_with("/etc") {
            fs::read(entry).unwrap_or_default().hash(hasher);
        }
    }
}

fn hash_host() -> u64 {
    let mut hasher = DefaultHasher::new();
    for path in ["/etc", "/usr", "/opt", "/var/lib/dpkg"] {
        hash_tree(Path::new(path), Path::new("/var/tmp"), &mut hasher);
    }
    hasher.finish()
}

#[test]
fn deleting_everything_inside_leaves_the_host_as_it_was() {
    let env = TestEnv::new();
    let before = hash_host();
    let script = "rm -rf /usr/share /var/lib/dpkg /etc/*; touch /etc/new /usr/new; chmod 777 /opt; ls /etc";
    let done = env.sh(&[], script);
    assert!(done.stdout.contains("new"), "{}", done.stderr);
    assert_eq!(hash_host(), before);
}

#[test]
fn diff_lists_and_rm_forgets() {
    let env = TestEnv::new();
    env.ok(&[
        "run",
        "--name",
        "changer",
        "host",
        "sh",
        "-c",
        "rm -r /usr/share/doc; echo x > /etc/new; chmod 700 /opt; mkdir -p /srv/a/b",
    ]);
    let diff = env.ok(&["diff", "changer"]);
    for line in ["D /usr/share/doc", "A /etc/new", "C /etc", "C /opt", "A /srv/a/b"] {
        assert!(diff.lines().any(|known| known == line), "{line} in\n{diff}");
    }
    assert!(
        !diff.contains("/etc/hostname") && !diff.contains("/proc"),
        "{diff}"
    );
    // Changes stay over a restart.
    assert_eq!(env.ok(&["start", "-a", "changer"]), "");
    env.ok(&["rm", "changer"]);
    assert_eq!(env.cais(&["diff", "changer"]).code, 1);
}
