//! The way out of an ordinary user's networks: pasta(1), which makes the interface `uplink`,
//! passes on by sockets of the host's, and ends with the keeper of the namespaces.

use super::home::open_namespace;
use crate::rootless;
use crate::run::chain;
use cais_sys::clone::namespace;
use cais_sys::process::{Forked, exit_now, fork};
use rustix::fd::AsFd;
use rustix::mount::{MountFlags, mount, mount_bind};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// What pasta is told: addresses that nobody else has, so that the host's own can be reached;
/// no ports, since the monitors keep them; not the host's loopback addresses.
const PASTA: &str = "--quiet --config-net --mtu 65520 --ns-ifname uplink \
     --address 10.0.2.100 --netmask 24 --gateway 10.0.2.2 \
     --address fd63:6169:73::2 --gateway fd63:6169:73::1 --no-map-gw \
     --tcp-ports none --udp-ports none --tcp-ns none --udp-ns none";

/// The file in which pasta writes its id.
const UPLINK_PID: &str = ".home-uplink";
/// Where pasta may find a network namespace, and where it may write its id, by the AppArmor
/// profile of Debian's package.
const PLACE: &str = "/run/user/0/netns";
const TOLD_PID: &str = "/tmp/pid";

/// Starts pasta. The error is what the user is told: networks work among themselves without.
pub(super) fn connect(directory: &Path, keeper: i32) -> Result<(), String> {
    let without = "containers reach each other, but nothing outside";
    if !rootless::has_helper("pasta") {
        return Err(format!(
            "pasta is not installed (Debian's package: passt): {without}"
        ));
    }
    let by_process = |command: &mut Command| {
        command
            .arg("--pid")
            .arg(directory.join(UPLINK_PID))
            .arg(keeper.to_string());
    };
    match run(by_process) {
        Err(said) if !connect_by_path(directory, keeper) => Err(format!(
            "pasta cannot connect this user's networks to the host: {said}: {without}"
        )),
        _ => Ok(()),
    }
}

/// Runs pasta until it is in the background; the error is what it says.
fn run(more: impl FnOnce(&mut Command)) -> Result<(), String> {
    let mut command = Command::new("pasta");
    command.args(PASTA.split_ascii_whitespace()).stdin(Stdio::null());
    more(&mut command);
    let output = command
        .output()
        .map_err(|error| format!("cannot execute pasta: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().rfind(|line| !line.contains("syslog"));
    Err(said.unwrap_or("it does not say why").to_owned())
}

/// Starts pasta where the profile of Debian's package confines it: it may look at no process,
/// so it is started in the user namespace and finds the network namespace at [`PLACE`], in a
/// mount namespace of its own. Tells whether it runs.
fn connect_by_path(directory: &Path, keeper: i32) -> bool {
    let child = match fork() {
        Ok(Forked::Child) => exit_now(u8::from(run_within(directory, keeper).is_err())),
        Ok(Forked::Parent(child)) => child,
        Err(_) => return false,
    };
    let ended = rustix::io::retry_on_intr(|| waitpid(Some(child), WaitOptions::empty()));
    let status = ended.ok().flatten().and_then(|(_, status)| status.exit_status());
    if status != Some(0) {
        std::fs::remove_file(directory.join(UPLINK_PID)).unwrap_or_default();
    }
    status == Some(0)
}

/// In the new process: [`connect_by_path`].
fn run_within(directory: &Path, keeper: i32) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let network = format!("/proc/{keeper}/ns/net");
    let user =
        open_namespace(Path::new(&format!("/proc/{keeper}/ns/user"))).map_err(|error| chain(&error))?;
    // Later another directory is mounted above it.
    let mut noted = File::create(directory.join(UPLINK_PID)).map_err(failed)?;
    let place = format!("{PLACE}/{keeper}");
    cais_sys::namespace::enter(user.as_fd(), 0)
        .and_then(|()| cais_sys::namespace::leave(u32::try_from(namespace::MOUNT).unwrap_or(0)))
        .and_then(|()| mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), None))
        .and_then(|()| mount("tmpfs", "/tmp", "tmpfs", MountFlags::empty(), None))
        .map_err(|errno| errno.to_string())?;
    std::fs::create_dir_all(PLACE).map_err(failed)?;
    File::create(&place).map_err(failed)?;
    mount_bind(&*network, &*place).map_err(|errno| errno.to_string())?;
    run(|command| {
        command.args(["--pid", TOLD_PID, "--netns-only", "--netns", &place]);
    })?;
    let mut pid = String::new();
    File::open(TOLD_PID)
        .and_then(|mut told| told.read_to_string(&mut pid))
        .and_then(|_| noted.write_all(pid.as_bytes()))
        .map_err(failed)
}

/// Ends the pasta of a keeper: not all versions see by themselves that it is gone.
pub(super) fn disconnect(directory: &Path, keeper: i32) {
    let path = directory.join(UPLINK_PID);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) else {
        return;
    };
    // Its last argument has the keeper's id: no other process has this one's id by now.
    let arguments = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    let endings = [
        format!("{UPLINK_PID}\0{keeper}\0"),
        format!("--netns\0{PLACE}/{keeper}\0"),
    ];
    if endings
        .iter()
        .any(|ending| arguments.ends_with(ending.as_bytes()))
    {
        // One that has just ended is no error.
        kill_process(pid, Signal::TERM).unwrap_or_default();
    }
    std::fs::remove_file(&path).unwrap_or_default();
}
