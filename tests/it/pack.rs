//! `cais pack`: real programs of this machine, packed and run.

use crate::support::{TestEnv, eventually};
use std::fs;
use std::path::Path;

/// The paths in an image, as the report has them.
fn files(report: &str) -> Vec<String> {
    let value: serde_json::Value = serde_json::from_str(report).unwrap();
    let files = value["files"].as_array().unwrap().iter();
    files
        .map(|file| file["path"].as_str().unwrap().to_owned())
        .collect()
}

#[track_caller]
fn has(files: &[String], wanted: &[&str]) {
    for path in wanted {
        assert!(
            files.iter().any(|file| file == path),
            "{path} is not in {files:?}"
        );
    }
}

#[track_caller]
fn has_not(files: &[String], unwanted: &[&str]) {
    for path in unwanted {
        assert!(!files.iter().any(|file| file == path), "{path} is in {files:?}");
    }
}

#[test]
fn a_shell_with_only_what_it_needs() {
    let env = TestEnv::new();
    let report = env.ok(&[
        "pack",
        "-t",
        "shell",
        "--format",
        "json",
        "bash",
        "ls",
        "--",
        "-c",
        "echo $0 $UID",
    ]);
    let all = files(&report);
    has(
        &all,
        &[
            "/usr/bin/bash",
            "/usr/bin/ls",
            "/etc/passwd",
            "/etc/nsswitch.conf",
            "/tmp",
            "/bin",
        ],
    );
    has_not(
        &all,
        &["/etc/shadow", "/usr/bin/cat", "/etc/hosts", "/etc/resolv.conf"],
    );
    assert!(report.contains("\"why\":\"library\""));
    assert_eq!(env.ok(&["run", "--rm", "shell"]), "/usr/bin/bash 0\n");
    let listed = env.ok(&["run", "--rm", "shell", "ls", "-ld", "/tmp", "/bin"]);
    assert!(
        listed.starts_with("lrwxrwxrwx") && listed.contains("drwxrwxrwt"),
        "{listed}"
    );
    assert_eq!(env.cais(&["run", "--rm", "shell", "cat"]).code, 127);
    // Users other than root can go everywhere that they should.
    let script = "read -r line < /etc/passwd; echo x > /tmp/x; echo ${line%%:*}";
    assert_eq!(
        env.ok(&["run", "--rm", "-u", "65534:65534", "shell", "bash", "-c", script]),
        "root\n"
    );
    env.ok(&["rmi", "shell"]);
}

#[test]
fn the_same_files_give_the_same_image() {
    let env = TestEnv::new();
    let pack = |flags: &[&str]| env.ok(&[&["pack", "-q"], flags, &["bash"]].concat());
    let first = pack(&["-t", "one"]);
    env.ok(&["rmi", "one"]);
    assert_eq!(first, pack(&["-t", "two"]));
    let other = TestEnv::new();
    assert_eq!(first, other.ok(&["pack", "-q", "bash"]));
    // With a date it is that one, everywhere.
    let dated = |date: &str| {
        let output = env
            .command(&["pack", "-q", "-t", "dated", "bash"])
            .env("SOURCE_DATE_EPOCH", date)
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    assert_eq!(dated("1"), dated("1"));
    assert_ne!(dated("1"), dated("2"));
    dated("86400");
    let config = env.ok(&["image", "inspect", "dated"]);
    assert!(config.contains("1970-01-02T00:00:00"), "{config}");
    let bad = env
        .command(&["pack", "bash"])
        .env("SOURCE_DATE_EPOCH", "x")
        .output()
        .unwrap();
    assert_eq!(bad.status.code(), Some(125));
}

#[test]
fn what_a_container_runs_is_as_with_a_dockerfile() {
    let env = TestEnv::new();
    let flags = [
        "pack",
        "-q",
        "-t",
        "configured",
        "-e",
        "A=b c",
        "--expose",
        "80",
        "--expose",
        "53/udp",
        "-u",
        "65534",
        "-w",
        "/tmp",
        "-l",
        "k=v",
        "--stop-signal",
        "QUIT",
        "--volume",
        "/data",
        "--entrypoint",
        "[\"/usr/bin/bash\",\"-c\"]",
        "--cmd",
        "[\"echo $A $UID $PWD\"]",
        "bash",
    ];
    env.ok(&flags);
    assert_eq!(env.ok(&["run", "--rm", "configured"]), "b c 65534 /tmp\n");
    let config = env.ok(&["image", "inspect", "configured"]);
    for text in [
        "\"53/udp\": {}",
        "\"80/tcp\": {}",
        "\"k\": \"v\"",
        "QUIT",
        "\"/data\": {}",
    ] {
        assert!(config.contains(text), "{text}: {config}");
    }
    // A program that lies where nobody looks is found all the same.
    let place = env.path("bin");
    fs::create_dir_all(&place).unwrap();
    fs::copy("/usr/bin/bash", place.join("mine")).unwrap();
    env.ok(&["pack", "-q", "-t", "mine", place.join("mine").to_str().unwrap()]);
    assert_eq!(
        env.ok(&["run", "--rm", "mine", "mine", "-c", "echo here"]),
        "here\n"
    );
}

#[test]
fn mistakes_are_told() {
    let env = TestEnv::new();
    for bad in [
        &["pack", "--expose", "0", "bash"][..],
        &["pack", "--expose", "80/x", "bash"],
        &["pack", "--entrypoint", "[", "bash"],
        &["pack", "--file", "/etc/issue:/../x", "bash"],
    ] {
        assert_eq!(env.cais(bad).code, 125, "{bad:?}");
    }
    for (bad, message) in [
        (&["pack", "no-such-program"][..], "no program"),
        (&["pack", "/etc/passwd"], "no program"),
        (&["pack", "--file", "/proc/version", "bash"], "made anew"),
        (&["pack", "--file", "/nowhere", "bash"], "/nowhere"),
    ] {
        let done = env.cais(bad);
        assert_ne!(done.code, 0, "{bad:?}");
        assert!(done.stderr.contains(message), "{bad:?}: {}", done.stderr);
    }
    assert_eq!(env.cais(&["pack", "--dry-run", "-t", "not", "bash"]).code, 0);
    assert!(!env.ok(&["images"]).contains("not "));
}

#[test]
fn files_go_where_they_are_to_and_secrets_do_not() {
    let env = TestEnv::new();
    let tree = env.path("site");
    fs::create_dir_all(tree.join("sub")).unwrap();
    fs::write(tree.join("sub/index.html"), "hello\n").unwrap();
    std::os::unix::fs::symlink("sub/index.html", tree.join("start")).unwrap();
    std::os::unix::fs::chown(tree.join("sub/index.html"), Some(1234), Some(1234)).unwrap();
    let place = format!("{}:/srv/www", tree.display());
    env.ok(&["pack", "-q", "-t", "site", "--file", &place, "cat", "stat"]);
    assert_eq!(
        env.ok(&["run", "--rm", "site", "cat", "/srv/www/start"]),
        "hello\n"
    );
    let owner = env.ok(&[
        "run",
        "--rm",
        "site",
        "stat",
        "-c",
        "%u",
        "/srv/www/sub/index.html",
    ]);
    assert_eq!(owner, "0\n");
    // Something like a secret is refused, by name or by what is in it, and named.
    let key = env.path("site/server.key");
    fs::write(&key, "x").unwrap();
    fs::write(
        env.path("site/notes.txt"),
        "-----BEGIN RSA PRIVATE KEY-----\nMII\n",
    )
    .unwrap();
    let done = env.cais(&["pack", "--file", &place, "cat"]);
    assert_eq!(done.code, 1);
    for text in ["server.key", "notes.txt", "--exclude", "--allow-secrets"] {
        assert!(done.stderr.contains(text), "{text}: {}", done.stderr);
    }
    env.ok(&[
        "pack",
        "-q",
        "--file",
        &place,
        "--exclude",
        "*/server.key",
        "--exclude",
        "*/notes.txt",
        "cat",
    ]);
    let done = env.cais(&[
        "pack",
        "-q",
        "-t",
        "key",
        "--allow-secrets",
        "--file",
        &place,
        "cat",
    ]);
    assert!(
        done.code == 0 && done.stderr.contains("looks like a secret"),
        "{}",
        done.stderr
    );
    assert_eq!(env.ok(&["run", "--rm", "key", "cat", "/srv/www/server.key"]), "x");
}

#[test]
fn set_id_bits_only_where_they_are_asked_for() {
    let env = TestEnv::new();
    let program = env.path("raised");
    fs::copy("/usr/bin/stat", &program).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
    fs::set_permissions(&program, mode).unwrap();
    let program = program.to_str().unwrap();
    for (flag, want) in [(&[][..], "755\n"), (&["--keep-setuid"][..], "4755\n")] {
        let done = env.cais(&[&["pack", "-q", "-t", "raised"], flag, &[program]].concat());
        assert_eq!(
            done.stderr.contains("--keep-setuid"),
            flag.is_empty(),
            "{}",
            done.stderr
        );
        assert_eq!(
            env.ok(&["run", "--rm", "raised", program, "-c", "%a", program]),
            want
        );
    }
}

#[test]
fn capabilities_of_files_only_where_they_are_asked_for() {
    let env = TestEnv::new();
    let program = env.path("raised");
    fs::copy("/usr/bin/grep", &program).unwrap();
    // cap_net_raw, permitted and effective (linux/capability.h, `struct vfs_cap_data`).
    let mut value = [0u8; 20];
    value[..8].copy_from_slice(&[1, 0, 0, 2, 0, 0x20, 0, 0]);
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&program, "security.capability", &value, flags).unwrap();
    let program = program.to_str().unwrap();
    let show = [
        "run",
        "--rm",
        "-u",
        "65534",
        "raised",
        program,
        "CapEff",
        "/proc/self/status",
    ];
    for (flag, want) in [
        (&[][..], "CapEff:\t0000000000000000\n"),
        (&["--keep-capabilities"], "CapEff:\t0000000000002000\n"),
    ] {
        let done = env.cais(&[&["pack", "-q", "-t", "raised"], flag, &[program]].concat());
        assert_eq!(
            done.stderr.contains("--keep-capabilities"),
            flag.is_empty(),
            "{}",
            done.stderr
        );
        assert_eq!(env.ok(&show), want);
    }
}

#[test]
fn a_trace_finds_what_the_program_uses_and_nothing_else() {
    let env = TestEnv::new();
    let script = "cat /etc/debian_version > /tmp/out; head -n1 /etc/issue; cat /no/such /etc/issue.net 2>/dev/null; \
        ln -s /etc/debian_version /tmp/link; cat /tmp/link; sh -c 'cat /usr/lib/os-release'; true";
    let report = env.ok(&[
        "pack", "--format", "json", "-t", "traced", "--trace", script, "cat",
    ]);
    let all = files(&report);
    has(
        &all,
        &["/etc/debian_version", "/etc/issue.net", "/usr/lib/os-release"],
    );
    // What other programs opened, what was made, and what is not there.
    has_not(
        &all,
        &[
            "/etc/issue",
            "/tmp/out",
            "/tmp/link",
            "/no",
            "/usr/bin/head",
            "/usr/bin/sh",
            "/usr/bin/dash",
        ],
    );
    assert!(report.contains("\"why\":\"traced\""));
    // What it starts counts too.
    let report = env.ok(&[
        "pack",
        "--format",
        "json",
        "--trace",
        "bash -c 'cat /etc/issue'",
        "bash",
    ]);
    has(&files(&report), &["/etc/issue", "/usr/bin/cat"]);
    // What it may not read is not opened; what it may is, and refused as a secret.
    let refused = ["--trace", "cat /etc/shadow || true", "cat"];
    let words = [&["pack", "--format", "json", "-u", "65534"], &refused[..]].concat();
    has_not(&files(&env.ok(&words)), &["/etc/shadow"]);
    let done = env.cais(&[&["pack"], &refused[..]].concat());
    assert!(
        done.code == 1 && done.stderr.contains("/etc/shadow"),
        "{}",
        done.stderr
    );
    // A command that fails is told.
    let done = env.cais(&["pack", "--trace", "exit 7", "cat"]);
    assert!(
        done.code == 1 && done.stderr.contains("ended with 7"),
        "{}",
        done.stderr
    );
    // Only what is written need not be there before: its directory must.
    let program = "open(F, '>>', '/etc/issue'); mkdir '/var/lib/misc/x'";
    let trace = format!("perl -e \"{program}\"");
    let all = files(&env.ok(&["pack", "--format", "json", "--trace", &trace, "perl"]));
    has(&all, &["/var/lib/misc"]);
    has_not(&all, &["/etc/issue"]);
    assert!(!Path::new("/var/lib/misc/x").exists());
}

#[test]
fn a_pack_that_is_killed_leaves_nothing() {
    let env = TestEnv::new();
    let packing = env
        .command(&["pack", "-t", "never", "--trace", "sleep 1000", "sleep"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
    let mut packing = packing.unwrap();
    eventually("the command runs", || !env.ok(&["ps", "-q"]).is_empty());
    packing.kill().unwrap();
    packing.wait().unwrap();
    // As with a monitor that is killed: the next command sweeps.
    eventually("nothing is left", || {
        env.ok(&["run", "--rm", "host", "true"]);
        env.leftovers().is_empty()
    });
    assert!(!env.ok(&["images"]).contains("never"));
    // Killed at any of its steps, it can be done again.
    for step in 1..6 {
        let mut command = env.command(&["pack", "-q", "-t", "again", "true"]);
        drop(command.env("CAIS_TEST_KILL", format!("caller:{step}")).output());
        env.ok(&["pack", "-q", "-t", "again", "true"]);
    }
    env.ok(&["run", "--rm", "again"]);
}

/// A tree with a C library, and a program that needs a library of a directory that only
/// `ld.so.conf` names.
fn tree_with_cache(root: &Path) {
    for directory in ["etc", "opt/lib", "bin", "lib64", "lib/x86_64-linux-gnu"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for (from, to) in [
        ("/lib64/ld-linux-x86-64.so.2", "lib64/ld-linux-x86-64.so.2"),
        (
            "/lib/x86_64-linux-gnu/libc.so.6",
            "lib/x86_64-linux-gnu/libc.so.6",
        ),
    ] {
        fs::copy(from, root.join(to)).unwrap();
    }
    fs::write(root.join("etc/ld.so.conf"), "/opt/lib\n").unwrap();
    fs::write(root.join("one.c"), "int one(void) { return 1; }\n").unwrap();
    fs::write(
        root.join("main.c"),
        "int one(void); int main(void) { return one() + 40; }\n",
    )
    .unwrap();
    let script = "gcc -shared -fPIC -Wl,-soname,libone.so.1 -o opt/lib/libone.so.1.0 one.c && \
        gcc -o bin/x main.c opt/lib/libone.so.1.0 && /sbin/ldconfig -r .";
    let status = std::process::Command::new("sh")
        .args(["-c", script])
        .current_dir(root)
        .status();
    assert!(status.unwrap().success());
}

#[test]
#[ignore = "needs Debian's gcc: `cargo xtask test` installs it and runs this"]
fn a_library_that_only_the_cache_knows_is_found() {
    let env = TestEnv::new();
    let root = env.path("tree");
    tree_with_cache(&root);
    let tree = root.to_str().unwrap();
    let report = env.ok(&[
        "pack", "--format", "json", "-t", "cached", "--root", tree, "/bin/x",
    ]);
    has(
        &files(&report),
        &[
            "/etc/ld.so.cache",
            "/opt/lib/libone.so.1",
            "/opt/lib/libone.so.1.0",
        ],
    );
    let done = env.cais(&["run", "--rm", "cached"]);
    assert_eq!(done.code, 41, "{}", done.stderr);
    let done = env.cais(&["pack", "--root", tree, "--trace", "true", "/bin/x"]);
    assert!(
        done.code == 125 && done.stderr.contains("--root"),
        "{}",
        done.stderr
    );
}
