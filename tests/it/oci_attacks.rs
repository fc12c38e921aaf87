//! The attacks that broke other OCI runtimes, each against this one. Every test says why its
//! attack succeeds against a naive runtime. Races are in `oci_races.rs`.

use crate::oci_support::{Bundle, hierarchies};
use rustix::fs::{Mode, OFlags, SealFlags, fcntl_get_seals};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

/// Capabilities of a container that is nearly trusted: attacks are tried with the most that
/// an engine might give.
const MANY: [&str; 8] = [
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_CHOWN",
    "CAP_MKNOD",
    "CAP_SYS_ADMIN",
    "CAP_SYS_PTRACE",
    "CAP_SETUID",
    "CAP_SETGID",
];

pub(crate) fn give_many(bundle: &mut Bundle) {
    bundle.config["process"]["capabilities"] =
        json!({ "bounding": MANY, "effective": MANY, "permitted": MANY });
}

/// Starts a container whose program holds every other process open by its link and writes to
/// it over and over, and notes those that are the runtime itself.
fn start_writer(bundle: &mut Bundle) {
    give_many(bundle);
    let evil = bundle.rootfs("bin/evil");
    fs::write(&evil, "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(&evil, fs::Permissions::from_mode(0o755)).unwrap();
    bundle.sh("echo ready > /tmp/ready; while :; do for p in /proc/[0-9]*; do \
         [ $p = /proc/1 ] || { case $(readlink $p/exe) in *cais-runtime*) echo x >> /tmp/seen;; esac; \
         for i in 1 2 3 4 5 6; do echo evil > /proc/self/fd/9; done; } 9< $p/exe; done; done 2>/dev/null");
    bundle.start();
    crate::support::eventually("the attacker works", || bundle.rootfs("tmp/ready").exists());
}

/// A naive runtime enters the container as itself: `/proc/PID/exe` is then the host's file,
/// and whoever holds it open when the process has ended can write to it. A program that is a
/// script with the interpreter `/proc/self/exe` makes the runtime execute itself in there.
#[test]
fn cve_2019_5736_the_executable_cannot_be_rewritten() {
    let mut bundle = Bundle::new();
    let executable = bundle.copy_executable();
    let before = fs::read(&executable).unwrap();
    start_writer(&mut bundle);
    for _ in 0..60 {
        bundle.exec(&[], &["/bin/evil"]);
        let done = bundle.exec(&[], &["/bin/true"]);
        assert_eq!(done.code, 0, "{}", done.stderr);
    }
    assert!(before == fs::read(&executable).unwrap(), "it was rewritten");
    assert!(!bundle.rootfs("tmp/seen").exists(), "it was seen inside");
}

/// The same where a new container is born among the processes of the attacker's.
#[test]
fn cve_2019_5736_in_a_shared_pid_namespace() {
    let mut bundle = Bundle::new();
    let executable = bundle.copy_executable();
    let before = fs::read(&executable).unwrap();
    start_writer(&mut bundle);
    let pid = bundle.state(bundle.id()).unwrap()["pid"].clone();
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "pid");
    namespaces.push(json!({ "type": "pid", "path": format!("/proc/{pid}/ns/pid") }));
    bundle.sh("readlink /proc/self/ns/pid");
    bundle.save();
    let shared = fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap();
    let second = bundle.id_of("second");
    for _ in 0..40 {
        let done = bundle.oci(&["run", &second]);
        assert_eq!(done.stdout.trim(), shared.to_str().unwrap(), "{}", done.stderr);
    }
    assert!(before == fs::read(&executable).unwrap(), "it was rewritten");
    assert!(!bundle.rootfs("tmp/seen").exists(), "it was seen inside");
}

/// What runs inside before the program is a copy that can never change, one for each
/// container: nothing that is written to it could reach the host or another container
/// (CVE-2019-5736, CVE-2022-0847).
#[test]
fn the_stub_is_a_sealed_copy_of_its_own() {
    let bundle = Bundle::new();
    bundle.save();
    let mut inodes = Vec::new();
    for name in ["a", "b"] {
        let id = bundle.id_of(name);
        bundle.ok(&["create", &id]);
        let pid = bundle.state(&id).unwrap()["pid"].clone();
        let exe = format!("/proc/{pid}/exe");
        assert!(
            fs::read_link(&exe).unwrap().to_string_lossy().contains("memfd:"),
            "{exe}"
        );
        let file = rustix::fs::open(&exe, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        assert!(fcntl_get_seals(&file).unwrap().contains(all));
        assert!(rustix::fs::open(&exe, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).is_err());
        inodes.push(rustix::fs::fstat(&file).unwrap().st_ino);
        bundle.ok(&["delete", "--force", &id]);
    }
    assert_ne!(inodes[0], inodes[1]);
}

/// A naive runtime mounts over whatever the path leads to, and then writes labels and settings
/// into files that the image made (CVE-2019-19921, CVE-2023-27561, CVE-2023-28642,
/// CVE-2025-54867, CVE-2025-62161; runc 1.1.5 takes /sys and /dev as links).
#[test]
fn proc_sys_and_dev_as_links_are_refused() {
    let bundle = Bundle::new();
    let canary = bundle.path("canary");
    fs::create_dir(&canary).unwrap();
    fs::create_dir(bundle.rootfs("fake")).unwrap();
    for name in ["proc", "sys", "dev"] {
        let place = bundle.rootfs(name);
        for target in ["/fake", "fake", canary.to_str().unwrap(), "../../canary"] {
            fs::remove_dir(&place).unwrap();
            symlink(target, &place).unwrap();
            let done = bundle.run();
            assert!(
                done.code == 1 && done.stderr.contains(&format!("/{name}")),
                "{name} -> {target}: {done:?}"
            );
            fs::remove_file(&place).unwrap();
            fs::create_dir(&place).unwrap();
        }
    }
    assert_eq!(fs::read_dir(canary).unwrap().count(), 0);
    assert_eq!(fs::read_dir(bundle.rootfs("fake")).unwrap().count(), 0);
    bundle.assert_nothing_is_left("the refused");
}

/// A procfs that is none takes what the runtime writes to it and hides nothing. A naive
/// runtime compares the text of the destination only.
#[test]
fn nothing_else_is_mounted_over_proc() {
    let mut bundle = Bundle::new();
    let fake = bundle.path("fake");
    fs::create_dir_all(fake.join("self/attr")).unwrap();
    symlink("/proc", bundle.rootfs("data")).unwrap();
    symlink("/proc/self", bundle.rootfs("self")).unwrap();
    let plain = bundle.config.clone();
    let tmpfs = |place: &str| json!({ "destination": place, "type": "tmpfs", "source": "tmpfs" });
    let bind = |place: &str, kind: &str| json!({ "destination": place, "type": kind, "source": &fake, "options": ["bind"] });
    for mount in [
        tmpfs("/proc"),
        tmpfs("/proc/"),
        tmpfs("//proc"),
        tmpfs("/./proc/."),
        tmpfs("/tmp/../proc"),
        tmpfs("/proc/self/attr"),
        tmpfs("/proc/sys/kernel"),
        tmpfs("/proc/sys/../self"),
        tmpfs("/data"),
        tmpfs("/data/sys"),
        tmpfs("/self/attr"),
        bind("/proc", "bind"),
        bind("/proc", "none"),
        bind("/proc", "proc"),
        bind("/proc/1", "bind"),
        bind("/data", "bind"),
    ] {
        bundle.config = plain.clone();
        bundle.mount(mount.clone());
        bundle.sh("echo the program ran");
        let done = bundle.run();
        assert!(done.code == 1 && done.stdout.is_empty(), "{mount}: {done:?}");
        assert!(
            done.stderr.contains("mounts[7]") || done.stderr.contains("link into /proc"),
            "{mount}: {}",
            done.stderr
        );
        bundle.assert_nothing_is_left(&mount.to_string());
    }
    // What LXCFS does stays possible, and so does the host's own procfs.
    bundle.config = plain;
    let file = bundle.path("meminfo");
    fs::write(&file, "MemTotal: 5 kB\n").unwrap();
    bundle.volume(&file, "/proc/meminfo");
    bundle.sh("cat /proc/meminfo");
    assert_eq!(bundle.run().stdout, "MemTotal: 5 kB\n");
}

/// The shim of containerd listened at an abstract socket: reachable from every container with
/// the host's network (CVE-2020-15257). Ours is a file that root alone may connect to,
/// whatever the mask of the caller was.
#[test]
fn cve_2020_15257_no_socket_can_be_reached() {
    let mut bundle = Bundle::new();
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "network");
    bundle.sh("cat /proc/net/unix");
    bundle.save();
    let waiting = bundle.id_of("waiting");
    let mut command = Command::new("/bin/sh");
    let line = "umask 0; exec \"$0\" --root \"$1\" create \"$2\" < /dev/null";
    command
        .args(["-c", line])
        .args([bundle.path("cais-runtime"), bundle.path("states")])
        .arg(&waiting)
        .current_dir(bundle.path("bundle"));
    assert_eq!(bundle.finish(command).code, 0);
    let seen = bundle.run().stdout;
    let ours = |line: &&str| line.contains('@') && line.contains("cais");
    assert_eq!(seen.lines().filter(ours).collect::<Vec<_>>(), Vec::<&str>::new());
    assert!(seen.lines().count() > 1, "{seen}");
    for name in ["start.sock", "state.json"] {
        let file = bundle.path("states").join(&waiting).join(name);
        let mode = fs::metadata(&file).unwrap().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{name}: {mode:o}");
    }
    let root = fs::metadata(bundle.path("states")).unwrap();
    assert_eq!(root.mode() & 0o077, 0);
}

/// runc's message to its first process had lengths of 16 bits: a longer path went over into
/// the fields behind it, which say who the program is (CVE-2021-43784).
#[test]
fn cve_2021_43784_long_values_stay_values() {
    let mut bundle = Bundle::new();
    let long = format!("/{}", "x/".repeat(40_000));
    let plain = bundle.config.clone();
    let tmpfs = json!({ "destination": &long, "type": "tmpfs", "source": "tmpfs" });
    let source = json!({ "destination": "/tmp", "type": "bind", "source": &long, "options": ["bind"] });
    for mount in [tmpfs, source] {
        bundle.config = plain.clone();
        bundle.mount(mount);
        let done = bundle.run();
        assert!(
            done.code == 1 && done.stderr.contains("too long") && done.stderr.len() < 200_000,
            "{}",
            done.stderr.len()
        );
        bundle.assert_nothing_is_left("a long path");
    }
    bundle.config = plain.clone();
    bundle.config["linux"]["maskedPaths"] = json!([&long]);
    assert_eq!(bundle.run().code, 1);
    bundle.config = plain;
    let name = "y".repeat(100_000);
    bundle.config["process"]["env"] = json!([format!("LONG={name}")]);
    bundle.config["annotations"] = json!({ "long": "z".repeat(1_000_000) });
    bundle.config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    bundle.sh("echo ${#LONG} $(id -u) $(id -g)");
    assert_eq!(bundle.run().stdout, "100000 1000 1000\n");
    // More mounts than descriptors go into a plan: refused, not cut.
    for number in 0..1100 {
        let place = format!("/tmp/m{number}");
        bundle.volume(&bundle.path("bundle"), &place);
    }
    let done = bundle.run();
    assert!(done.code == 1 && done.stderr.contains("1000"), "{}", done.stderr);
}

/// The release agent of cgroup v1 is executed by the kernel on the host (CVE-2022-0492).
#[test]
fn cve_2022_0492_release_agents_stay() {
    let mut bundle = Bundle::new();
    let agents = || -> BTreeMap<_, _> {
        let files = hierarchies()
            .into_iter()
            .map(|hierarchy| hierarchy.join("release_agent"));
        files
            .filter_map(|file| fs::read_to_string(&file).ok().map(|text| (file, text)))
            .collect()
    };
    let before = agents();
    let write = "for f in $(find /sys/fs/cgroup /tmp -name release_agent); do echo /evil > $f; done; \
                 for f in $(find /sys/fs/cgroup /tmp -name notify_on_release); do echo 1 > $f; done";
    bundle.sh(&format!(
        "{write}; unshare -Ur -m sh -c 'mount -t cgroup -o memory x /tmp; mount -t cgroup -o rdma x /tmp; {write}'; \
         echo done"
    ));
    let done = bundle.run();
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "done\n"),
        "{}",
        done.stderr
    );
    assert_eq!(agents(), before);
}

/// With inheritable capabilities every program with file capabilities gains them, whoever
/// executes it (CVE-2022-24769; CVE-2022-29162 for `exec --cap`; youki CVE-2025-27612).
#[test]
fn cve_2022_29162_nothing_is_inheritable() {
    let mut bundle = Bundle::new();
    bundle.sh("grep Cap /proc/self/status");
    let run = bundle.run().stdout;
    assert!(
        run.contains("CapInh:\t0000000000000000") && run.contains("CapAmb:\t0000000000000000"),
        "{run}"
    );
    bundle.sh("sleep 1000");
    bundle.start();
    for flags in [
        &[][..],
        &["--cap", "CAP_CHOWN"],
        &["--cap", "CAP_CHOWN", "-u", "1000"],
    ] {
        let exec = bundle.exec(flags, &["grep", "Cap", "/proc/self/status"]).stdout;
        assert!(
            exec.contains("CapInh:\t0000000000000000") && exec.contains("CapAmb:\t0000000000000000"),
            "{flags:?}: {exec}"
        );
        let chown = if flags.is_empty() {
            "CapBnd:\t0000000020000420"
        } else {
            "CapBnd:\t0000000020000421"
        };
        assert!(exec.contains(chown), "{flags:?}: {exec}");
    }
}

/// Without a cgroup namespace the mount shows the whole hierarchy, and a rootless runc left it
/// writable: limits, and where cgroup v1 is, release agents (CVE-2023-25809).
#[test]
fn cve_2023_25809_foreign_cgroups_are_read_only() {
    let mut bundle = Bundle::new();
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "cgroup");
    bundle.unmount("/sys/fs/cgroup");
    bundle.mount(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "rw"]
    }));
    give_many(&mut bundle);
    let name = format!("{}-made", bundle.id());
    bundle.sh(&format!(
        "cd /sys/fs/cgroup && ls > /dev/null && for d in . *; do mkdir $d/{name} && echo made $d; \
         [ -e $d/cgroup.procs ] && echo 1 > $d/cgroup.procs && echo moved $d; done; echo end"
    ));
    let done = bundle.run();
    assert_eq!((done.code, done.stdout.as_str()), (0, "end\n"), "{}", done.stderr);
    assert!(done.stderr.contains("Read-only"), "{}", done.stderr);
}

/// runc leaked the descriptor of a directory of the host; with it as working directory the
/// program stood outside its root (CVE-2024-21626).
#[test]
fn cve_2024_21626_no_way_out_by_descriptors() {
    let mut bundle = Bundle::new();
    for number in 3..24 {
        for base in ["/proc/self/fd", "/proc/thread-self/fd", "/proc/1/fd", "/dev/fd"] {
            bundle.config["process"]["cwd"] = json!(format!("{base}/{number}"));
            let done = bundle.run();
            assert_ne!(done.code, 0, "{base}/{number}: {}", done.stdout);
        }
    }
    bundle.config["process"]["cwd"] = json!("/");
    bundle.sh("ls /proc/self/fd; sleep 1000");
    bundle.start();
    for number in 3..24 {
        let path = format!("/proc/self/fd/{number}");
        let done = bundle.exec(&["--cwd", &path], &["pwd"]);
        assert_eq!(done.code, 255, "{path}: {}", done.stdout);
    }
    assert_eq!(bundle.exec(&[], &["ls", "/proc/self/fd"]).stdout, "0\n1\n2\n3\n");
}

/// The same with a descriptor that the caller really hands on, by `--preserve-fds`, by socket
/// activation, or by a lack of care.
#[test]
fn a_directory_of_the_host_that_is_handed_on_is_no_way_out() {
    let mut bundle = Bundle::new();
    let call = |bundle: &Bundle, words: &[&str], variables: &[(&str, &str)]| {
        let mut command = Command::new("/bin/sh");
        let line = "root=$1; shift; exec \"$0\" --root \"$root\" \"$@\" 3< / 4< /etc 5< /proc";
        command
            .args(["-c", line])
            .args([bundle.path("cais-runtime"), bundle.path("states")])
            .args(words)
            .envs(variables.iter().copied())
            .current_dir(bundle.path("bundle"));
        bundle.finish(command)
    };
    bundle.sh("ls /proc/self/fd");
    bundle.save();
    let done = call(&bundle, &["run", bundle.id()], &[]);
    assert_eq!(done.stdout, "0\n1\n2\n3\n", "{}", done.stderr);
    bundle.config["process"]["cwd"] = json!("/proc/self/fd/3");
    bundle.save();
    for (words, variables) in [
        (&["run", bundle.id()][..], &[][..]),
        (&["run", "--preserve-fds", "1", bundle.id()], &[]),
        (&["run", "--preserve-fds=3", bundle.id()], &[]),
        (&["run", bundle.id()], &[("LISTEN_FDS", "1")]),
    ] {
        let done = call(&bundle, words, variables);
        assert!(
            done.code == 1 && done.stdout.is_empty(),
            "{words:?} {variables:?}: {done:?}"
        );
    }
    bundle.config["process"]["cwd"] = json!("/");
    bundle.sh("sleep 1000");
    bundle.start();
    for fd in ["3", "3/root", "4/..", "5/1/root"] {
        let cwd = format!("/proc/self/fd/{fd}");
        let words = ["exec", "--preserve-fds", "3", "--cwd", &cwd, bundle.id(), "pwd"];
        let done = call(&bundle, &words, &[]);
        assert!(done.code == 255 && done.stdout.is_empty(), "{cwd}: {done:?}");
    }
}

/// runc took the container's own /dev/null to hide paths with: as a link it leads, writable,
/// to whatever the image likes (CVE-2025-31133).
#[test]
fn cve_2025_31133_the_null_device_is_the_hosts() {
    let mut bundle = Bundle::new();
    let pattern = fs::read("/proc/sys/kernel/core_pattern").unwrap();
    let canary = bundle.path("canary");
    fs::write(&canary, "canary").unwrap();
    fs::create_dir(bundle.rootfs("secret")).unwrap();
    fs::write(bundle.rootfs("secret/key"), "hidden").unwrap();
    bundle.config["linux"]["maskedPaths"] = json!(["/proc/version", "/secret/key", "/no/such"]);
    bundle.config["linux"]["readonlyPaths"] = json!([]);
    bundle.sh(
        "for f in /dev/null /proc/version /secret/key; do stat -Lc %F:%t:%T $f; echo evil > $f; done; \
         cat /secret/key; echo end",
    );
    let masked = "character special file:1:3\n".repeat(3) + "end\n";
    assert_eq!(bundle.run().stdout, masked);
    // Without a file system of its own at /dev it is the image's that counts.
    for place in ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev"] {
        bundle.unmount(place);
    }
    for target in ["/proc/sys/kernel/core_pattern", "../../../canary", "/secret/key"] {
        symlink(target, bundle.rootfs("dev/null")).unwrap();
        let done = bundle.run();
        assert!(
            done.code != 0 && done.stderr.contains("/dev/null"),
            "{target}: {done:?}"
        );
        fs::remove_file(bundle.rootfs("dev/null")).unwrap();
    }
    // A file in its place is covered, and other nodes are looked at, not believed.
    fs::write(bundle.rootfs("dev/null"), "file").unwrap();
    assert_eq!(bundle.run().stdout, masked);
    assert_eq!(bundle.run().stdout, masked, "a second time");
    fs::remove_file(bundle.rootfs("dev/zero")).unwrap();
    symlink("/secret/key", bundle.rootfs("dev/zero")).unwrap();
    let done = bundle.run();
    assert!(
        done.code == 1 && done.stderr.contains("/dev/zero"),
        "{}",
        done.stderr
    );
    assert_eq!(fs::read("/proc/sys/kernel/core_pattern").unwrap(), pattern);
    assert_eq!(fs::read(&canary).unwrap(), b"canary");
    assert_eq!(fs::read(bundle.rootfs("dev/null")).unwrap(), b"file");
}

/// A naive runtime makes device nodes, links and mount places below the path `ROOT/dev`: with
/// a link there, on the host (runc CVE-2026-41579, crun CVE-2026-47766).
#[test]
fn cve_2026_41579_devices_are_made_inside() {
    let mut bundle = Bundle::new();
    let canary = bundle.path("canary");
    fs::create_dir(&canary).unwrap();
    for place in ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev"] {
        bundle.unmount(place);
    }
    fs::remove_dir(bundle.rootfs("dev")).unwrap();
    for target in [canary.to_str().unwrap(), "../../canary", "/tmp", "tmp"] {
        symlink(target, bundle.rootfs("dev")).unwrap();
        let done = bundle.run();
        assert!(
            done.code == 1 && done.stderr.contains("/dev"),
            "{target}: {done:?}"
        );
        fs::remove_file(bundle.rootfs("dev")).unwrap();
    }
    fs::create_dir(bundle.rootfs("dev")).unwrap();
    // And the directories on the way to a device.
    symlink(&canary, bundle.rootfs("dev/net")).unwrap();
    symlink("../../../canary", bundle.rootfs("dev/bus")).unwrap();
    for path in ["/dev/net/tun", "/dev/bus/usb", "/dev/bus/a/b"] {
        bundle.config["linux"]["devices"] =
            json!([{ "path": path, "type": "c", "major": 10, "minor": 200, "fileMode": 0o666 }]);
        bundle.run();
    }
    assert_eq!(fs::read_dir(&canary).unwrap().count(), 0);
    assert_eq!(fs::read_dir(bundle.rootfs("tmp")).unwrap().count(), 0);
}

/// crun read `1` as uid 0 where a group was missing (CVE-2026-30892); containerd let ids
/// wrap (CVE-2024-40635).
#[test]
fn cve_2026_30892_users_are_numbers_or_errors() {
    let mut bundle = Bundle::new();
    bundle.sh("sleep 1000");
    bundle.start();
    for (user, ids) in [
        ("1", "1 0"),
        ("1:2", "1 2"),
        ("0:0", "0 0"),
        ("2147483648:4294967294", "2147483648 4294967294"),
    ] {
        let done = bundle.exec(&["-u", user], &["sh", "-c", "echo $(id -u) $(id -g)"]);
        assert_eq!(done.stdout.trim(), ids, "{user}: {}", done.stderr);
    }
    for bad in [
        "",
        ":",
        "1:",
        ":1",
        "+1",
        "-1",
        " 1",
        "1 ",
        "0x1",
        "1:2:3",
        "root",
        "1.0",
        "4294967295",
        "4294967296",
        "18446744073709551616",
        "1:4294967296",
        "١",
    ] {
        let done = bundle.exec(&["--user", bad], &["id"]);
        assert!(
            done.code == 255 && done.stdout.is_empty() && done.stderr.contains("is no id"),
            "{bad:?}: {done:?}"
        );
        let done = bundle.exec(&["--additional-gids", bad], &["id"]);
        assert!(done.code == 255 || bad == "1", "{bad:?}: {done:?}");
    }
}

/// A path that leads up takes the process out of the container's limits (crun 1.28).
#[test]
fn exec_stays_in_the_containers_cgroup() {
    let mut bundle = Bundle::new();
    let outside = format!("{}-outside", bundle.id());
    let groups: Vec<_> = hierarchies()
        .into_iter()
        .filter(|path| path.join("cgroup.procs").exists() && fs::create_dir(path.join(&outside)).is_ok())
        .map(|path| path.join(&outside))
        .collect();
    bundle.sh("sleep 1000");
    bundle.start();
    for path in [
        format!("../{outside}"),
        format!("/../{outside}"),
        format!("a/../../{outside}"),
        format!("memory:../{outside}"),
        format!("/{outside}"),
        outside.clone(),
        format!("./{outside}"),
        "..".to_owned(),
        "../..".to_owned(),
        ".".to_owned(),
    ] {
        let done = bundle.exec(&["--cgroup", &path], &["cat", "/proc/self/cgroup"]);
        assert!(
            done.code == 255 && done.stdout.is_empty() && done.stderr.contains("cgroup"),
            "{path}: {done:?}"
        );
    }
    for path in ["/", ""] {
        let done = bundle.exec(&["--cgroup", path], &["cat", "/proc/self/cgroup"]);
        assert_eq!(done.code, 0, "{path:?}: {}", done.stderr);
    }
    // Neither does the configuration's path lead up.
    bundle.ok(&["delete", "--force", bundle.id()]);
    bundle.config["linux"]["cgroupsPath"] = json!(format!("/../../{}-below/../x", bundle.id()));
    bundle.start();
    let below = |path: &std::path::Path| path.join(format!("{}-below/x", bundle.id())).exists();
    assert!(hierarchies().iter().any(|path| below(path)));
    bundle.ok(&["delete", "--force", bundle.id()]);
    for hierarchy in hierarchies() {
        fs::remove_dir(hierarchy.join(format!("{}-below", bundle.id()))).unwrap_or_default();
    }
    for group in groups {
        fs::remove_dir(group).unwrap();
    }
}
