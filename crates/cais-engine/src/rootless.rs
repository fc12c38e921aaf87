//! What an ordinary user's containers have instead of privilege: the ids that /etc/subuid and
//! /etc/subgid give to the user, a cgroup that was delegated to the user, and a user namespace
//! for work on files that belong to those ids.

use crate::error::{EngineError, Result};
use crate::options::{NetworkMode, RunOptions, UsernsMode};
use cais_linux::SysError;
use cais_linux::cgroups::{Hierarchy, Layout};
use cais_linux::process::{pidfd, stub};
use cais_runtime::spec::IdMapping;
use cais_sys::clone::namespace;
use cais_sys::process::{Forked, exit_now, fork_into};
use rustix::fd::AsFd;
use rustix::process::{Pid, WaitOptions};
use std::io::Read;
use std::path::Path;

/// The files of subordinate ids (subuid(5), subgid(5)).
const SUBUID: &str = "/etc/subuid";
const SUBGID: &str = "/etc/subgid";

/// The maps of users and of groups.
pub type Maps = (Vec<IdMapping>, Vec<IdMapping>);

fn extent(container_id: u32, host_id: u32, size: u32) -> IdMapping {
    IdMapping {
        container_id,
        host_id,
        size,
    }
}

/// Finds the first range of a user in the text of subuid(5): `name-or-number:first:count`.
fn parse_range(text: &str, name: &str, uid: u32) -> Option<(u32, u32)> {
    let uid = uid.to_string();
    let parse = |line: &str| {
        let mut words = line.trim().split(':');
        let owner = words.next()?;
        if owner != name && owner != uid {
            return None;
        }
        let (first, count) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        (count > 0).then_some((first, count))
    };
    text.lines().find_map(parse)
}

/// The map with root as the user itself and the range behind it; or, to keep the user's own
/// id, the range around it.
fn plan_map(own: u32, range: Option<(u32, u32)>, keep: bool) -> Vec<IdMapping> {
    match range {
        Some((first, count)) if keep && own < count => {
            let mut map = vec![extent(0, first, own), extent(own, own, 1)];
            map.push(extent(own + 1, first + own, count - own));
            map.retain(|extent| extent.size > 0);
            map
        }
        Some((first, count)) => vec![extent(0, own, 1), extent(1, first, count)],
        None => vec![extent(0, own, 1)],
    }
}

/// Whether a program is there: those that write maps (newuidmap(1)), pasta(1).
pub(crate) fn has_helper(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
}

/// The maps of this user's containers. Without a range in both files, or without the helpers,
/// root alone is mapped.
#[must_use]
pub fn read_maps(keep: bool) -> Maps {
    let (uid, gid) = (
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = user_name(&accounts, uid).unwrap_or("");
    let range = |path: &str, helper: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        parse_range(&text, name, uid).filter(|_| has_helper(helper))
    };
    let ranges = range(SUBUID, "newuidmap").zip(range(SUBGID, "newgidmap"));
    let (uids, gids) = ranges.unzip();
    (plan_map(uid, uids, keep), plan_map(gid, gids, keep))
}

fn user_name(accounts: &str, uid: u32) -> Option<&str> {
    let uid = uid.to_string();
    accounts.lines().find_map(|line| {
        let mut words = line.split(':');
        let name = words.next()?;
        (words.nth(1)? == uid).then_some(name)
    })
}

/// The maps of a new container.
///
/// # Errors
/// Where the user asks for something that only root can give.
pub fn choose_maps(options: &RunOptions) -> Result<Maps> {
    let keep = match options.namespaces.user {
        UsernsMode::Host => {
            return Err(EngineError::Invalid(
                "--userns=host: without root a container needs a user namespace of its own; leave it out, or run cais as root".to_owned(),
            ));
        }
        UsernsMode::KeepId => true,
        UsernsMode::Auto => false,
    };
    let maps = read_maps(keep);
    if keep && maps.0.len() < 2 {
        return Err(EngineError::Invalid(format!(
            "--userns=keep-id: this user has no range of ids in {SUBUID} and {SUBGID}, or newuidmap and newgidmap are not installed (Debian's package: uidmap)"
        )));
    }
    Ok(maps)
}

/// The network: without a word there is none, since a start without one is many times as fast.
///
/// # Errors
/// For CNI, which only root can have.
pub fn choose_network(options: &mut RunOptions, asked: bool) -> Result<()> {
    if let NetworkMode::Cni(name) = &options.namespaces.network {
        return Err(EngineError::Invalid(format!(
            "--network cni:{name}: only root can have CNI plugins make interfaces"
        )));
    }
    let network = &options.network;
    let wants = asked
        || !network.publish.is_empty()
        || network.publish_all
        || network.egress.is_some()
        || !network.shape.is_plain();
    if options.is_in_networks() && !wants {
        options.namespaces.network = NetworkMode::None;
    }
    Ok(())
}

/// Maps of a user namespace below the user's own ([`read_maps`]): in the ids of that one.
#[must_use]
pub fn map_below(above: &[IdMapping], maps: &[IdMapping]) -> Vec<IdMapping> {
    let below = |map: &IdMapping| {
        let is_in =
            |known: &&IdMapping| map.host_id >= known.host_id && map.host_id - known.host_id < known.size;
        let known = above.iter().find(is_in)?;
        let host_id = known.container_id + (map.host_id - known.host_id);
        Some(IdMapping { host_id, ..*map })
    };
    maps.iter().filter_map(below).collect()
}

/// Checks that ids of the program are mapped.
///
/// # Errors
/// For one that is not.
pub fn check_ids(maps: &Maps, uid: u32, gids: &[u32]) -> Result<()> {
    let is_mapped = |maps: &[IdMapping], id: u32| {
        maps.iter()
            .any(|map| id >= map.container_id && id - map.container_id < map.size)
    };
    let problem = if !is_mapped(&maps.0, uid) {
        format!("user {uid}")
    } else if let Some(gid) = gids.iter().find(|gid| !is_mapped(&maps.1, **gid)) {
        format!("group {gid}")
    } else {
        return Ok(());
    };
    Err(EngineError::Invalid(format!(
        "{problem} does not exist in this container: without a range of ids for this user in {SUBUID} and {SUBGID}, and newuidmap and newgidmap (Debian's package: uidmap), there is root alone"
    )))
}

/// A cgroup that this user may make others in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// The hierarchy as it begins there.
    pub layout: Layout,
    /// Where that is, relative to the whole hierarchy.
    pub path: String,
}

/// Finds one: the group above this process's own, where that was delegated (cgroups of
/// version 2, "Delegation"). Version 1 delegates nothing that is safe to use.
///
/// # Errors
/// Where the hierarchies cannot be read.
pub fn find_delegation() -> Result<Option<Delegation>> {
    let layout = Layout::read().map_err(EngineError::system("find the cgroup hierarchies"))?;
    let Some(v2) = layout.v2.as_ref().filter(|_| layout.is_unified()) else {
        return Ok(None);
    };
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(above) = own.lines().find_map(|line| parent_of(line.strip_prefix("0::")?)) else {
        return Ok(None);
    };
    let place = v2.path.join(above);
    let is_ours = ["", "cgroup.procs", "cgroup.subtree_control"]
        .iter()
        .all(|file| rustix::fs::access(place.join(file), rustix::fs::Access::WRITE_OK).is_ok());
    Ok(is_ours.then(|| Delegation {
        path: above.to_owned(),
        layout: Layout {
            v1: Vec::new(),
            v2: Some(Hierarchy {
                path: place,
                controllers: Vec::new(),
            }),
        },
    }))
}

/// The group above, without slashes at its ends; none above the top.
fn parent_of(path: &str) -> Option<&str> {
    let path = path.trim_matches('/');
    let (above, _) = path.rsplit_once('/')?;
    (!above.is_empty() && !above.split('/').any(|part| part == "..")).then_some(above)
}

/// The flags that ask for a limit which only a cgroup holds.
fn limits_asked(options: &RunOptions) -> Vec<&'static str> {
    let limits = &options.limits;
    let asked = [
        ("--memory", limits.memory.is_some()),
        ("--memory-swap", limits.memory_swap.is_some()),
        ("--memory-reservation", limits.memory_reservation.is_some()),
        ("--memory-swappiness", limits.memory_swappiness.is_some()),
        ("--oom-kill-disable", limits.oom_kill_disable),
        ("--cpus", limits.nano_cpus.is_some()),
        ("--cpu-shares", limits.cpu_shares.is_some()),
        ("--cpu-period", limits.cpu_period.is_some()),
        ("--cpu-quota", limits.cpu_quota.is_some()),
        ("--cpuset-cpus", limits.cpuset_cpus.is_some()),
        ("--cpuset-mems", limits.cpuset_mems.is_some()),
        ("--pids-limit", limits.pids.is_some()),
        ("--blkio-weight", limits.blkio_weight.is_some()),
        ("--device-read-bps", !limits.device_read_bps.is_empty()),
        ("--device-write-bps", !limits.device_write_bps.is_empty()),
        ("--device-read-iops", !limits.device_read_iops.is_empty()),
        ("--device-write-iops", !limits.device_write_iops.is_empty()),
        ("--device-cgroup-rule", !limits.device_cgroup_rules.is_empty()),
        ("--cgroup-parent", limits.cgroup_parent.is_some()),
    ];
    let wanted = asked.into_iter().filter(|(_, asked)| *asked);
    wanted.map(|(flag, _)| flag).collect()
}

/// Checks that the limits can be held.
///
/// # Errors
/// For a limit without a cgroup, and for those that take privilege in any case.
pub fn check_limits(options: &RunOptions, delegation: Option<&Delegation>) -> Result<()> {
    let asked = limits_asked(options);
    let never = ["--device-cgroup-rule", "--cgroup-parent"];
    if let Some(flag) = asked.iter().find(|flag| never.contains(flag)) {
        return Err(EngineError::Invalid(format!("{flag} needs root")));
    }
    match (asked.first(), delegation) {
        (Some(flag), None) => Err(EngineError::Invalid(format!(
            "{flag}: no cgroup is delegated to this user, so no limit can be held. With cgroup v2 and systemd, `systemd-run --user --scope -p Delegate=yes cais …` gives one; or run cais as root"
        ))),
        _ => Ok(()),
    }
}

/// Does `work` as root of a user namespace with the maps of this user's containers, where the
/// files that containers leave can be read and removed, and layers be shown together, in a
/// mount namespace of its own. Returns what it returned.
///
/// # Errors
/// Where there can be no such namespace; `work`'s own error as text.
pub fn in_user_namespace(what: &str, work: &mut dyn FnMut() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
    let failed = || EngineError::system(format!("{what} in a user namespace"));
    let pipe = || {
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|errno| SysError::new("pipe2", "O_CLOEXEC", errno))
            .map_err(failed())
    };
    let ((waits, go), (result, says)) = (pipe()?, pipe()?);
    let forked = fork_into(namespace::USER | namespace::MOUNT)
        .map_err(|errno| SysError::new("clone", "CLONE_NEWUSER | CLONE_NEWNS", errno))
        .map_err(failed())?;
    let child = match forked {
        Forked::Child => {
            drop((go, result));
            exit_now(work_as_root(&waits, says, work));
        }
        Forked::Parent(child) => child,
    };
    drop((waits, says));
    let told = write_maps(child).and_then(|()| {
        rustix::io::write(&go, b"g")
            .map(drop)
            .map_err(|errno| SysError::new("write", "to the process in the user namespace", errno))
    });
    // Without a word it ends.
    drop(go);
    let mut bytes = Vec::new();
    let read = std::fs::File::from(result).read_to_end(&mut bytes);
    let status = await_child(child).map_err(failed())?;
    told.map_err(failed())?;
    read.map_err(EngineError::store(what.to_owned()))?;
    if status == 0 {
        Ok(bytes)
    } else {
        Err(EngineError::Invalid(format!(
            "cannot {what}: {}",
            String::from_utf8_lossy(&bytes)
        )))
    }
}

/// Gives a process that waits in a new user namespace the maps of this user's containers.
pub(crate) fn write_maps(child: Pid) -> cais_linux::Result<()> {
    let (uids, gids) = read_maps(false);
    let maps = cais_runtime::plan::namespaces::render_maps(&uids, &gids);
    let process = stub::adopt(pidfd::open(child)?)?;
    stub::write_id_maps_by_helpers(&process, &maps.uid, &maps.gid)
}

fn await_child(child: Pid) -> cais_linux::Result<i32> {
    let ended = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(child), WaitOptions::empty()))
        .map_err(|errno| SysError::new("waitpid", "the process in the user namespace", errno))?;
    Ok(ended.and_then(|(_, status)| status.exit_status()).unwrap_or(-1))
}

/// In the new process: waits for the maps, works, says what came of it. Returns its exit status.
fn work_as_root(
    waits: &impl AsFd,
    says: rustix::fd::OwnedFd,
    work: &mut dyn FnMut() -> Result<Vec<u8>>,
) -> u8 {
    if !matches!(rustix::io::read(waits, &mut [0u8; 1][..]), Ok(1)) {
        return 1;
    }
    let (bytes, status) = match work() {
        Ok(bytes) => (bytes, 0),
        Err(error) => (crate::run::chain(&error).into_bytes(), 1),
    };
    match std::io::Write::write_all(&mut std::fs::File::from(says), &bytes) {
        Ok(()) => status,
        Err(_) => 1,
    }
}

/// Removes a directory that a container wrote into.
///
/// # Errors
/// Where something in it cannot be removed.
pub fn remove_tree(path: &Path) -> Result<()> {
    let what = format!("remove {}", path.display());
    in_user_namespace(&what, &mut || match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(EngineError::store(what.clone())(error))
        }
        _ => Ok(Vec::new()),
    })
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_a_user() {
        let text = "root:1:2\nana:100000:65536\nana:900000:10\n1001:300000:5\nbad:x:y\nzero:5:0\n";
        for (name, uid, want) in [
            ("ana", 1000, Some((100_000, 65_536))),
            ("leo", 1001, Some((300_000, 5))),
            ("an", 100, None),
            ("bad", 7, None),
            ("zero", 8, None),
        ] {
            assert_eq!(parse_range(text, name, uid), want, "{name}");
        }
        assert_eq!(user_name("root:x:0:0::/:\nana:x:1000:1::/:\n", 1000), Some("ana"));
    }

    #[test]
    fn maps() {
        assert_eq!(plan_map(1000, None, false), [extent(0, 1000, 1)]);
        let range = Some((100_000, 65_536));
        assert_eq!(
            plan_map(1000, range, false),
            [extent(0, 1000, 1), extent(1, 100_000, 65_536)]
        );
        assert_eq!(
            plan_map(1000, range, true),
            [
                extent(0, 100_000, 1000),
                extent(1000, 1000, 1),
                extent(1001, 101_000, 64_536)
            ]
        );
        let (above, kept) = (plan_map(1000, range, false), plan_map(1000, range, true));
        assert_eq!(
            map_below(&above, &kept),
            [extent(0, 1, 1000), extent(1000, 0, 1), extent(1001, 1001, 64_536)]
        );
        let maps = (plan_map(5, None, false), plan_map(5, None, false));
        assert!(check_ids(&maps, 0, &[0]).is_ok());
        assert!(check_ids(&maps, 1, &[0]).is_err() && check_ids(&maps, 0, &[0, 4]).is_err());
    }

    #[test]
    fn the_group_above() {
        for (path, want) in [
            ("/user.slice/a.scope", Some("user.slice")),
            ("/a/b/c", Some("a/b")),
            ("/a", None),
            ("/", None),
            ("/../x/y", None),
        ] {
            assert_eq!(parent_of(path), want, "{path}");
        }
    }
}
