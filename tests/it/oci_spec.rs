//! What the runtime specification has beyond a plain container, each seen from inside.

use crate::oci_support::Bundle;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};

fn run(bundle: &Bundle) -> String {
    let done = bundle.run();
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    done.stdout
}

#[test]
fn hooks_run_in_order_with_the_state_and_nothing_else() {
    let mut bundle = Bundle::new();
    let log = bundle.path("hooks");
    let host_hook = |name: &str| {
        let script = format!("{{ echo {name}; cat; echo; env; }} >>{}", log.display());
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["ONLY=this"] }])
    };
    bundle.config["process"]["env"] = json!(["PATH=/bin", "SECRET=x", "LD_PRELOAD=/evil.so"]);
    bundle.config["hooks"] = json!({
        "startContainer": [{ "path": "/bin/sh", "args": ["sh", "-c", "cat >/seen"] }]
    });
    for name in [
        "prestart",
        "createRuntime",
        "createContainer",
        "poststart",
        "poststop",
    ] {
        bundle.config["hooks"][name] = host_hook(name);
    }
    bundle.sh("cat /seen");
    let inside: Value = serde_json::from_str(&run(&bundle)).unwrap();
    assert_eq!(
        (&inside["id"], &inside["status"], &inside["pid"]),
        (&json!(bundle.id()), &json!("created"), &json!(1))
    );
    let text = fs::read_to_string(&log).unwrap();
    let names = [
        "prestart",
        "createRuntime",
        "createContainer",
        "poststart",
        "poststop",
    ];
    let order: Vec<&str> = text.lines().filter(|line| names.contains(line)).collect();
    assert_eq!(order, names);
    let states: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let statuses: Vec<&str> = states
        .iter()
        .map(|state| state["status"].as_str().unwrap())
        .collect();
    assert_eq!(
        statuses,
        ["creating", "creating", "creating", "running", "stopped"]
    );
    assert!(text.contains("ONLY=this") && !text.contains("SECRET") && !text.contains("LD_PRELOAD"));
}

#[test]
fn a_hook_that_fails_or_takes_too_long_stops_the_start() {
    for (name, hook, said) in [
        (
            "createRuntime",
            json!({ "path": "/bin/sh", "args": ["sh", "-c", "echo because >&2; exit 3"] }),
            "because",
        ),
        (
            "createRuntime",
            json!({ "path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1 }),
            "timeout",
        ),
        ("createContainer", json!({ "path": "/bin/false" }), "hook"),
        (
            "startContainer",
            json!({ "path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1 }),
            "timed out",
        ),
        ("createContainer", json!({ "path": "/no/such" }), "no such file"),
    ] {
        let mut bundle = Bundle::new();
        let ended = bundle.path("ended");
        bundle.config["hooks"] =
            json!({ "poststop": [{ "path": "/usr/bin/touch", "args": ["touch", ended] }] });
        bundle.config["hooks"][name] = json!([hook]);
        let done = bundle.run();
        assert!(
            done.code == 1 && done.stderr.contains(said),
            "{name}: {}",
            done.stderr
        );
        assert!(ended.exists(), "{name}: hooks that clean up run");
        bundle.assert_nothing_is_left(name);
    }
}

#[test]
fn clocks_of_its_own() {
    let mut bundle = Bundle::new();
    bundle.config["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "type": "time" }));
    bundle.config["linux"]["timeOffsets"] =
        json!({ "boottime": { "secs": 1_000_000 }, "monotonic": { "secs": 5 } });
    bundle.sh("cut -d. -f1 /proc/uptime 2>/dev/null || busybox cut -d. -f1 /proc/uptime");
    let inside: u64 = run(&bundle).trim().parse().unwrap();
    assert!(inside >= 1_000_000);
}

#[test]
fn a_tmpfs_with_what_the_image_has_there() {
    let mut bundle = Bundle::new();
    let place = bundle.rootfs("etc/sub");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("file"), "content").unwrap();
    // In this order: a change of owner takes the set-user-id bit away.
    std::os::unix::fs::chown(place.join("file"), Some(7), Some(8)).unwrap();
    fs::set_permissions(place.join("file"), fs::Permissions::from_mode(0o4711)).unwrap();
    std::os::unix::fs::symlink("/canary", place.join("link")).unwrap();
    bundle.mount(json!({ "destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "nosuid"] }));
    bundle.sh("stat -c '%a %u %g %s' /etc/sub/file; readlink /etc/sub/link; cat /etc/group | busybox head -1; echo new >/etc/new");
    assert_eq!(run(&bundle), "4711 7 8 7\n/canary\nroot:x:0:\n");
    assert!(!bundle.rootfs("etc/new").exists());
}

#[test]
fn a_bind_mount_with_maps_of_its_own() {
    let mut bundle = Bundle::new();
    let shared = bundle.path("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("file"), "").unwrap();
    std::os::unix::fs::chown(shared.join("file"), Some(1000), Some(1000)).unwrap();
    let maps = json!([{ "containerID": 1000, "hostID": 77, "size": 1 }, { "containerID": 0, "hostID": 0, "size": 1 }]);
    bundle.mount(json!({
        "destination": "/shared", "type": "bind", "source": shared, "options": ["bind", "idmap"],
        "uidMappings": maps, "gidMappings": maps
    }));
    bundle.sh("stat -c %u:%g /shared/file; touch /shared/by-root");
    assert_eq!(run(&bundle), "77:77\n");
    assert_eq!(fs::metadata(shared.join("by-root")).unwrap().uid(), 0);
}

#[test]
fn recursive_flags_and_links() {
    let mut bundle = Bundle::new();
    let outer = bundle.path("outer");
    fs::create_dir_all(outer.join("inner")).unwrap();
    std::os::unix::fs::symlink("/etc/group", bundle.path("a-link")).unwrap();
    bundle.volume(&outer, "/outer");
    bundle.config["mounts"]
        .as_array_mut()
        .unwrap()
        .last_mut()
        .unwrap()["options"] = json!(["rbind", "rro", "rnoexec"]);
    let link = bundle.path("a-link");
    bundle.mount(json!({ "destination": "/copied", "type": "bind", "source": link, "options": ["bind", "copy-symlink"] }));
    bundle.sh("touch /outer/inner/x 2>/dev/null || echo read-only; readlink /copied");
    assert_eq!(run(&bundle), "read-only\n/etc/group\n");
    bundle.config["mounts"]
        .as_array_mut()
        .unwrap()
        .last_mut()
        .unwrap()["options"] = json!(["bind", "src-nofollow"]);
    let done = bundle.run();
    assert!(
        done.code == 1 && done.stderr.contains("symbolic link"),
        "{}",
        done.stderr
    );
}

#[test]
fn how_a_process_runs() {
    let mut bundle = Bundle::new();
    let process = &mut bundle.config["process"];
    process["scheduler"] = json!({ "policy": "SCHED_BATCH", "nice": 5 });
    process["ioPriority"] = json!({ "class": "IOPRIO_CLASS_IDLE", "priority": 0 });
    process["oomScoreAdj"] = json!(321);
    process["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 64, "hard": 128 }]);
    process["user"] = json!({ "uid": 5, "gid": 6, "additionalGids": [7, 8], "umask": 0o27 });
    bundle.config["linux"]["personality"] = json!({ "domain": "LINUX32" });
    bundle.config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1", "kernel.shmmni": "123" });
    bundle.config["domainname"] = json!("harbour");
    bundle.sh(
        "busybox awk '{print $19, $41}' /proc/self/stat; busybox ionice -p 1; cat /proc/self/oom_score_adj; ulimit -n; ulimit -Hn; id -u; id -G; umask; busybox uname -m; cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni /proc/sys/kernel/domainname",
    );
    let machine = if cfg!(target_arch = "x86_64") {
        "i686"
    } else {
        "armv8l"
    };
    assert_eq!(
        run(&bundle),
        format!("5 3\nidle\n321\n64\n128\n5\n6 7 8\n0027\n{machine}\n1\n123\nharbour\n")
    );
}

#[test]
fn further_processes_on_their_own_cpus() {
    let mut bundle = Bundle::new();
    bundle.sh("exec sleep 100");
    bundle.start();
    let file = bundle.path("process.json");
    let process = json!({
        "args": ["/bin/grep", "Cpus_allowed_list", "/proc/self/status"], "cwd": "/", "env": [],
        "user": { "uid": 0, "gid": 0 }, "execCPUAffinity": { "initial": "0", "final": "0" }
    });
    fs::write(&file, process.to_string()).unwrap();
    let done = bundle.oci(&["exec", "--process", file.to_str().unwrap(), bundle.id()]);
    assert_eq!(done.stdout, "Cpus_allowed_list:\t0\n", "{}", done.stderr);
}

#[test]
fn namespaces_by_path() {
    let mut first = Bundle::new();
    first.sh("exec sleep 100");
    first.start();
    let state = first.state(first.id()).unwrap();
    let pid = state["pid"].as_i64().unwrap();
    let mut second = Bundle::new();
    for entry in second.config["linux"]["namespaces"].as_array_mut().unwrap() {
        let kind = entry["type"].as_str().unwrap().to_owned();
        let file = match kind.as_str() {
            "network" => "net".to_owned(),
            "mount" | "cgroup" => continue,
            other => other.to_owned(),
        };
        entry["path"] = json!(format!("/proc/{pid}/ns/{file}"));
    }
    second.config.as_object_mut().unwrap().remove("hostname");
    second.sh("for n in pid net ipc uts; do readlink /proc/self/ns/$n; done; busybox ps | grep -c sleep");
    let want: String = ["pid", "net", "ipc", "uts"]
        .iter()
        .map(|name| {
            format!(
                "{}\n",
                fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap().display()
            )
        })
        .collect();
    let seen = run(&second);
    assert!(seen.starts_with(&want), "{seen} {want}");
}

#[test]
fn notifications_of_system_calls_go_to_who_was_named() {
    let mut bundle = Bundle::new();
    let socket = bundle.path("notify.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    bundle.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": socket, "listenerMetadata": "quay",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY" }]
    });
    bundle.sh("true");
    bundle.save();
    let id = bundle.id().to_owned();
    let heard = std::thread::spawn(move || {
        let (connection, _) = listener.accept().unwrap();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = rustix::net::RecvAncillaryBuffer::new(&mut space);
        let mut bytes = vec![0; 65536];
        let mut parts = [std::io::IoSliceMut::new(&mut bytes)];
        let flags = rustix::net::RecvFlags::empty();
        let length = rustix::net::recvmsg(&connection, &mut parts, &mut ancillary, flags)
            .unwrap()
            .bytes;
        let count: usize = ancillary
            .drain()
            .map(|message| match message {
                rustix::net::RecvAncillaryMessage::ScmRights(fds) => fds.count(),
                _ => 0,
            })
            .sum();
        bytes.truncate(length);
        (serde_json::from_slice::<Value>(&bytes).unwrap(), count)
    });
    bundle.ok(&["run", &id]);
    let (state, count) = heard.join().unwrap();
    assert_eq!(count, 1);
    assert_eq!(
        (&state["fds"], &state["metadata"]),
        (&json!(["seccompFd"]), &json!("quay"))
    );
    assert_eq!(state["state"]["id"], json!(id));
}

#[test]
fn descriptors_and_sockets_that_are_handed_over() {
    let mut bundle = Bundle::new();
    bundle.sh("ls /proc/self/fd; echo $LISTEN_FDS $LISTEN_PID");
    bundle.save();
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "exec 3</dev/null 4</dev/null 5</dev/null; exec \"$@\"",
            "sh",
        ])
        .arg(bundle.path("cais-runtime"))
        .args([
            "--root",
            bundle.path("states").to_str().unwrap(),
            "run",
            "--preserve-fds",
            "1",
            bundle.id(),
        ])
        .env("LISTEN_FDS", "1")
        .current_dir(bundle.path("bundle"));
    let done = bundle.finish(command);
    // Two are kept; the next number is that of the directory that ls(1) reads.
    assert_eq!(done.stdout, "0\n1\n2\n3\n4\n5\n1 1\n", "{}", done.stderr);
}

#[test]
fn an_ordinary_user_runs_a_container() {
    let bundle = Bundle::new();
    // The one that was built may lie where the user cannot reach it.
    bundle.copy_executable();
    let base = bundle.path("user");
    fs::create_dir_all(base.join("bundle")).unwrap();
    let script = format!(
        "set -e; cd {base}/bundle; export XDG_RUNTIME_DIR={base}; R={runtime}
         $R spec --rootless; sed -i 's/\"terminal\": true/\"terminal\": false/; s/\"sh\"$/\"sh\", \"-c\", \"id -u; exec sleep 100\"/' config.json
         $R create one >out 2>&1; $R start one; $R exec one id -g; $R state one | grep -o running; $R kill one KILL; $R delete --force one; cat out",
        base = base.display(),
        runtime = bundle.path("cais-runtime").display()
    );
    crate::support::make_rootfs(&base.join("bundle/rootfs"));
    let owned = Command::new("chown")
        .args(["-R", "65534:65534", base.to_str().unwrap()])
        .status()
        .unwrap();
    assert!(owned.success());
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "sh",
        "-c",
        &script,
    ]);
    let done = bundle.finish(command);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "0\nrunning\n0\n"),
        "{}",
        done.stderr
    );
}

/// Sixteen callers, each a shell: the other tests of this process open and close descriptors,
/// a shell has only its own.
#[test]
fn a_thousand_rounds_leave_nothing() {
    let mut bundle = Bundle::new();
    bundle.sh("exec sleep 100");
    bundle.save();
    let script = r#"
        name=$1 rounds=$2 states=$3
        set -- /proc/$$/fd/*
        before=$#
        for round in $(seq "$rounds"); do
            id=$name-$round
            "$0" --root "$states" create "$id" && "$0" --root "$states" start "$id" &&
            "$0" --root "$states" kill "$id" KILL && "$0" --root "$states" delete --force "$id" || exit 1
        done
        set -- /proc/$$/fd/*
        echo "$before $#"
    "#;
    let caller = |number: usize, rounds: usize| {
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .arg(bundle.path("cais-runtime"))
            .args([bundle.id_of(&number.to_string()), rounds.to_string()])
            .arg(bundle.path("states"))
            .env("CAIS_OCI_TEST", bundle.id())
            .current_dir(bundle.path("bundle"))
            .stdin(Stdio::null());
        let done = bundle.finish(command);
        assert_eq!(done.code, 0, "{}", done.stderr);
        let counts: Vec<&str> = done.stdout.split_whitespace().collect();
        assert!(
            matches!(counts[..], [before, after] if before == after),
            "{counts:?}"
        );
    };
    let rounds = (0..16).map(|number| if number < 8 { 63 } else { 62 });
    std::thread::scope(|scope| {
        for (number, rounds) in rounds.enumerate() {
            let caller = &caller;
            scope.spawn(move || caller(number, rounds));
        }
    });
    bundle.assert_nothing_is_left("a thousand rounds");
}

/// As runc: 022 where the configuration names none, for the program and for what is made.
#[test]
fn the_mask_of_the_caller_is_not_the_programs() {
    let mut bundle = Bundle::new();
    bundle.mount(json!({ "destination": "/made/here", "type": "tmpfs", "source": "tmpfs" }));
    bundle.sh("umask; busybox stat -c %a /made");
    bundle.save();
    let command = bundle.command(&["run", bundle.id()]);
    let mut closed = Command::new("sh");
    closed
        .args(["-c", "umask 077; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(bundle.path("bundle"))
        .stdin(Stdio::null());
    let done = bundle.finish(closed);
    assert_eq!(done.stdout, "0022\n755\n", "{}", done.stderr);
}
