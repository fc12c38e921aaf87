//! Which mounts of a container CRIU is to leave alone: those whose content is not the
//! container's own. Each has a name, by which `restore` says what stands there then.

use crate::container::error::{Result, RuntimeError};
use crate::container::state::Container;
use crate::mount_options::parse_mount_options;
use crate::spec::validate::clean_path;
use cais_linux::cgroups::Layout;
use std::path::{Path, PathBuf};

/// The name of every path that is hidden behind the null device, as runc has it.
const NULL: &str = "/dev/null";

/// One line of /proc/PID/mountinfo, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
struct Mounted {
    place: String,
    kind: String,
    device: String,
    root: String,
}

/// Reads mountinfo (proc_pid_mountinfo(5)).
fn parse_mountinfo(text: &str) -> Vec<Mounted> {
    let parse = |line: &str| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut words = mount.split(' ').skip(2);
        Some(Mounted {
            device: words.next()?.to_owned(),
            root: unescape(words.next()?),
            place: unescape(words.next()?),
            kind: filesystem.split(' ').next()?.to_owned(),
        })
    };
    text.lines().filter_map(parse).collect()
}

/// Octal escapes of blanks in paths: `\040`.
fn unescape(text: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn read_mountinfo(process: &str) -> Result<Vec<Mounted>> {
    let path = format!("/proc/{process}/mountinfo");
    let text = std::fs::read_to_string(&path).map_err(RuntimeError::file(format!("read {path}")))?;
    Ok(parse_mountinfo(&text))
}

/// The bind mounts of the configuration: place and source.
fn binds(state: &Container) -> Vec<(String, String)> {
    let is_bind = |mount: &&crate::spec::Mount| {
        mount.kind.as_deref() == Some("bind")
            || parse_mount_options(&mount.options).is_ok_and(|flags| flags.bind || flags.rbind)
    };
    let mounts = state.config.mounts.iter().filter(is_bind);
    mounts
        .filter_map(|mount| Some((clean_path(&mount.destination), mount.source.clone()?)))
        .collect()
}

/// Whether `path` is `directory` or lies below it.
fn lies_below(path: &str, directory: &str) -> bool {
    Path::new(path).starts_with(directory)
}

/// Whether a mount is a device of the host: a single node of its `/dev`.
fn is_device_of(mount: &Mounted, host: &[Mounted]) -> bool {
    let dev = host.iter().rfind(|mounted| mounted.place == "/dev");
    dev.is_some_and(|dev| dev.device == mount.device) && mount.root != "/"
}

/// For a dump: place and name of every mount that is not written down.
pub(in crate::container) fn read_external(state: &Container) -> Result<Vec<(String, String)>> {
    let (ours, host) = (read_mountinfo(&state.pid.to_string())?, read_mountinfo("self")?);
    Ok(plan_external(&ours, &host, &binds(state)))
}

fn plan_external(ours: &[Mounted], host: &[Mounted], binds: &[(String, String)]) -> Vec<(String, String)> {
    let name = |mount: &Mounted| {
        let is_bound = binds.iter().any(|(place, _)| lies_below(&mount.place, place));
        if is_bound || mount.kind == "cgroup" || mount.kind == "cgroup2" {
            Some(mount.place.clone())
        } else if !is_device_of(mount, host) {
            None
        } else if mount.root == "/null" && !mount.place.starts_with("/dev/") {
            Some(NULL.to_owned())
        } else {
            Some(mount.place.clone())
        }
    };
    let outside = ours.iter().filter(|mount| mount.place != "/");
    outside
        .filter_map(|mount| Some((mount.place.clone(), name(mount)?)))
        .collect()
}

/// For a restore: name and path on the host of everything that may have been left out. CRIU
/// takes what it needs.
pub(in crate::container) fn plan_sources(
    state: &Container,
    layout: &Layout,
    host_mounts: &str,
) -> Vec<(String, String)> {
    let mut sources = vec![(NULL.to_owned(), NULL.to_owned())];
    let host = parse_mountinfo(host_mounts);
    for (place, source) in binds(state) {
        // What is mounted below a source travelled along.
        for below in host
            .iter()
            .filter(|mount| mount.place != source && lies_below(&mount.place, &source))
        {
            let rest = below.place.strip_prefix(&source).unwrap_or("");
            sources.push((format!("{place}{rest}"), below.place.clone()));
        }
        sources.push((place, source));
    }
    let linux = state.config.linux.as_ref();
    let devices = linux.iter().flat_map(|linux| &linux.devices);
    let usual = ["null", "zero", "full", "random", "urandom", "tty"].map(|name| format!("/dev/{name}"));
    let nodes = devices.map(|device| device.path.clone()).chain(usual);
    sources.extend(nodes.map(|path| (path.clone(), path)));
    sources.extend(cgroup_sources(state, layout));
    sources
}

/// The hierarchies: each shows the container's own group.
fn cgroup_sources(state: &Container, layout: &Layout) -> Vec<(String, String)> {
    let is_cgroup = |mount: &&crate::spec::Mount| matches!(mount.kind.as_deref(), Some("cgroup" | "cgroup2"));
    let Some(mount) = state.config.mounts.iter().find(is_cgroup) else {
        return Vec::new();
    };
    let place = clean_path(&mount.destination);
    let group = |path: &Path| -> String {
        let path: PathBuf = path.join(&state.cgroup);
        path.to_string_lossy().into_owned()
    };
    if layout.is_unified() {
        return layout
            .v2
            .iter()
            .map(|v2| (place.clone(), group(&v2.path)))
            .collect();
    }
    let hierarchies = layout.v1.iter().chain(&layout.v2);
    hierarchies
        .map(|hierarchy| (format!("{place}/{}", hierarchy.name()), group(&hierarchy.path)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "\
22 1 254:0 / / rw shared:1 - ext4 /dev/vda rw
24 22 0:5 / /dev rw shared:2 - devtmpfs dev rw
30 22 0:50 / /srv/data/more rw - tmpfs tmpfs rw
";
    const CONTAINER: &str = "\
100 90 254:0 /b/rootfs / rw - ext4 /dev/vda rw
101 100 0:60 / /proc rw - proc proc rw
102 100 0:61 / /dev rw - tmpfs tmpfs rw
103 101 0:5 /null /proc/kcore rw - devtmpfs dev rw
104 102 0:5 /zero /dev/zero rw - devtmpfs dev rw
105 100 0:26 /x /sys/fs/cgroup rw - cgroup2 cgroup2 rw
106 100 254:0 /srv/data /data rw - ext4 /dev/vda rw
107 106 0:50 / /data/more rw - tmpfs tmpfs rw
108 100 254:0 /srv/data /data\\040two rw - ext4 /dev/vda rw
";

    #[test]
    fn what_is_not_the_containers_own() {
        let binds = [("/data".to_owned(), "/srv/data".to_owned())];
        let external = plan_external(&parse_mountinfo(CONTAINER), &parse_mountinfo(HOST), &binds);
        let pair = |place: &str, name: &str| (place.to_owned(), name.to_owned());
        assert_eq!(
            external,
            [
                pair("/proc/kcore", "/dev/null"),
                pair("/dev/zero", "/dev/zero"),
                pair("/sys/fs/cgroup", "/sys/fs/cgroup"),
                pair("/data", "/data"),
                pair("/data/more", "/data/more"),
            ]
        );
    }

    #[test]
    fn what_stands_there_then() {
        let text = r#"{"ociVersion":"1.2.0","root":{"path":"x"},"mounts":[
            {"destination":"/data/","type":"bind","source":"/srv/data","options":["rbind"]},
            {"destination":"/sys/fs/cgroup","type":"cgroup"}]}"#;
        let mut state = Container {
            config: crate::spec::parse_spec(text.as_bytes()).unwrap(),
            ..Container::default()
        };
        "a/b".clone_into(&mut state.cgroup);
        let layout =
            cais_linux::cgroups::parse_layout("30 24 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        let sources = plan_sources(&state, &layout, HOST);
        for (name, path) in [
            ("/dev/null", "/dev/null"),
            ("/data", "/srv/data"),
            ("/data/more", "/srv/data/more"),
            ("/sys/fs/cgroup", "/sys/fs/cgroup/a/b"),
        ] {
            assert!(sources.contains(&(name.to_owned(), path.to_owned())), "{name}");
        }
    }
}
