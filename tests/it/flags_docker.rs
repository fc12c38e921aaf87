//! Flags of Docker's `run` that concern the machine, the image's platform and other
//! containers, and those that have one value only.

use crate::images::make_image;
use crate::mock_registry::Mock;
use crate::network_support::Namespace;
use crate::support::{Done, TestEnv, make_rootfs};
use std::fs;
use std::process::Command;

#[test]
fn what_there_is_one_of_only() {
    let env = TestEnv::new();
    for flag in [
        "--runtime=cais",
        "--isolation=default",
        "--volume-driver=local",
        "--disable-content-trust",
    ] {
        assert_eq!(env.sh(&[flag, "-q"], "echo ok").stdout, "ok\n", "{flag}");
    }
    for (flag, value, remedy) in [
        ("--runtime", "runc", "cais-runtime"),
        ("--isolation", "hyperv", "Windows"),
        ("--volume-driver", "nfs", "bind it with --volume"),
        ("--gpus", "all", "--device /dev/nvidia0"),
        ("--kernel-memory", "64m", "--memory"),
        ("--storage-opt", "size=1G", "--tmpfs DIR:size="),
    ] {
        let done = env.sh(&[flag, value], "echo started");
        assert_eq!((done.code, done.stdout.as_str()), (125, ""), "{flag}");
        let what = format!("{flag} {value}: not supported");
        assert!(
            done.stderr.contains(&what) && done.stderr.contains(remedy),
            "{}",
            done.stderr
        );
    }
    let done = env.sh(&["--disable-content-trust=false"], "echo started");
    assert!(
        done.code == 125 && done.stderr.contains("by its digest"),
        "{}",
        done.stderr
    );
}

/// `--entrypoint ''` takes the image's away, and its arguments with it.
#[test]
fn an_empty_entrypoint() {
    let env = TestEnv::new();
    let root = env.path("root");
    make_rootfs(&root);
    let archive = env.path("root.tar");
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".");
    assert!(tar.status().unwrap().success());
    let changes = ["-c", "ENTRYPOINT [\"echo\", \"entry\"]", "-c", "CMD [\"usual\"]"];
    env.ok(&[&["import"][..], &changes, &[archive.to_str().unwrap(), "own"]].concat());
    let run = |words: &[&str]| env.cais(&[&["run", "--rm"], words].concat());
    assert_eq!(run(&["own"]).stdout, "entry usual\n");
    assert_eq!(run(&["--entrypoint", "", "own", "echo", "x"]).stdout, "x\n");
    let done = run(&["--entrypoint", "", "own"]);
    assert!(done.code == 125 && done.stderr.contains("no command"), "{done:?}");
    env.ok(&[
        "create",
        "--name",
        "made",
        "--entrypoint=",
        "own",
        "echo",
        "again",
    ]);
    assert_eq!(env.ok(&["start", "-a", "made"]), "again\n");
    assert_eq!(
        env.ok(&["inspect", "-f", "{{json .Config.Entrypoint}}", "made"]),
        "null\n"
    );
}

/// `--device /dev/snd`: all that is below, with the access that is said.
#[test]
fn a_directory_of_devices() {
    let env = TestEnv::new();
    let kit = env.path("kit");
    fs::create_dir_all(kit.join("more")).unwrap();
    fs::write(kit.join("note"), "no device").unwrap();
    for (name, numbers) in [("zero", ["1", "5"]), ("more/kmsg", ["1", "11"])] {
        let mut node = Command::new("mknod");
        node.arg(kit.join(name)).arg("c").args(numbers);
        assert!(node.status().unwrap().success());
    }
    let shows = |access: &str, script: &str| {
        let device = format!("{}:/dev/kit{access}", kit.display());
        env.sh(&["--device", &device], script)
    };
    let done = shows(
        ":rm",
        "cd /dev/kit; ls . more; test -c zero && test -c more/kmsg && head -c 3 zero | wc -c",
    );
    assert_eq!(
        done.stdout, ".:\nmore\nzero\n\nmore:\nkmsg\n3\n",
        "{}",
        done.stderr
    );
    // /dev/kmsg is for reading alone then.
    let done = shows(":r", "echo x >/dev/kit/more/kmsg");
    assert!(
        done.code != 0 && done.stderr.contains("ermitted") || done.stderr.contains("denied"),
        "{done:?}"
    );
    let empty = env.path("empty");
    fs::create_dir(&empty).unwrap();
    let done = env.sh(&["--device", empty.to_str().unwrap()], "true");
    assert!(
        done.code == 125 && done.stderr.contains("is not a device"),
        "{}",
        done.stderr
    );
}

#[test]
fn images_for_other_machines() {
    let env = TestEnv::new();
    let (own, other) = if cfg!(target_arch = "x86_64") {
        ("linux/amd64", "linux/s390x")
    } else {
        ("linux/arm64", "linux/s390x")
    };
    let root = env.path("root");
    make_rootfs(&root);
    let archive = env.path("root.tar");
    let tar = [
        "-C",
        root.to_str().unwrap(),
        "-cf",
        archive.to_str().unwrap(),
        ".",
    ];
    assert!(
        std::process::Command::new("tar")
            .args(tar)
            .status()
            .unwrap()
            .success()
    );
    let import = |platform: &str, name: &str| {
        env.ok(&[
            "import",
            "-c",
            "CMD true",
            "--platform",
            platform,
            archive.to_str().unwrap(),
            name,
        ]);
    };
    import(own, "here");
    import(other, "there");
    env.ok(&["run", "--rm", "here"]);
    env.ok(&["run", "--rm", "--platform", own, "--pull", "never", "here"]);
    let refused = |words: &[&str], said: &str| {
        let done = env.cais(&[&["run", "--rm"], words].concat());
        assert!(
            done.code == 125 && done.stderr.contains(said),
            "{words:?}: {}",
            done.stderr
        );
    };
    let why = format!("for {other}, and this machine runs {own}");
    refused(&["there"], &why);
    refused(&["--platform", other, "there"], &why);
    refused(
        &["--platform", own, "--pull", "never", "there"],
        "does not match the specified platform",
    );
    refused(&["--platform", "linux/", "here"], "platform");
    refused(&["--platform", "linux/386", "host", "true"], "this machine's own");
    assert_eq!(env.sh(&["--platform", own], "echo ok").stdout, "ok\n");
    let done = env.cais(&["create", "--platform", other, "there"]);
    assert!(done.code == 125 && done.stderr.contains(&why), "{}", done.stderr);
}

#[test]
fn a_quiet_pull() {
    let env = TestEnv::new();
    let layout = make_image(&env);
    let registry = Mock::new();
    let name = format!("{}/team/pier:1", registry.address);
    env.ok(&["load", "-q", "-i", layout.path.to_str().unwrap()]);
    env.ok(&["tag", "quay.io/team/pier:1", &name]);
    env.ok(&["push", "-q", "--insecure", &name]);
    let conf = env.path("registries.conf");
    fs::write(
        &conf,
        format!(
            "[[registry]]\nlocation = \"{}\"\ninsecure = true\n",
            registry.address
        ),
    )
    .unwrap();
    let run = |flag: &str| {
        env.ok(&["rmi", &name]);
        let words = ["run", "--rm", flag, &name, "echo quiet"];
        let mut command = env.command(&words);
        let done = Done::of(command.env("CONTAINERS_REGISTRIES_CONF", &conf));
        assert_eq!(done.code, 0, "{}", done.stderr);
        assert_eq!(done.stdout, "quiet\n");
        done.stderr
    };
    assert!(run("--quiet=false").contains("Unable to find image"));
    assert_eq!(run("--quiet"), "");
}

#[test]
fn links() {
    let env = TestEnv::new();
    let host = Namespace::new();
    host.cais(&env, &["network", "create", "front"]);
    for (network, flags) in [
        ("front", &["--network", "front"][..]),
        ("bridge", &["--network", "bridge"]),
    ] {
        host.cais(
            &env,
            &[&["run", "-d", "--name", "db"], flags, &["host", "sleep", "1000"]].concat(),
        );
        let format = format!("{{{{.NetworkSettings.Networks.{network}.IPAddress}}}}");
        let address = env.ok(&["inspect", "-f", &format, "db"]);
        let script = "getent ahostsv4 base | head -1 | cut -d' ' -f1; dig +short base; getent ahostsv4 db | head -1 | cut -d' ' -f1";
        let words = [
            &["run", "--name", "web", "--link", "/db:base"],
            flags,
            &["host", "sh", "-c", script],
        ]
        .concat();
        let shown = host.cais(&env, &words);
        assert_eq!(shown, address.repeat(3), "{network}");
        assert_eq!(
            env.ok(&["inspect", "-f", "{{.HostConfig.Links}}", "web"]),
            "[/db:/web/base]\n"
        );
        host.cais(&env, &["stop", "db"]);
        let again = host.try_cais(&env, &["start", "-a", "web"]);
        assert!(
            again
                .stderr
                .contains("Cannot link to a non running container: /db AS base"),
            "{}",
            again.stderr
        );
        host.cais(&env, &["rm", "db", "web"]);
    }
    host.cais(
        &env,
        &[
            "run",
            "-d",
            "--name",
            "db",
            "--network",
            "front",
            "host",
            "sleep",
            "1000",
        ],
    );
    for (words, said) in [
        (
            &["--network", "bridge", "--link", "db"][..],
            "does not belong to a network of this container",
        ),
        (&["--network", "none", "--link", "db"], "--link"),
        (
            &["--network", "front", "--link", "nosuch"],
            "No such container: nosuch",
        ),
        (&["--network", "front", "--link", "a:b:c"], "CONTAINER:ALIAS"),
    ] {
        let done = host.try_cais(&env, &[&["run", "--rm"], words, &["host", "true"]].concat());
        assert!(
            done.code == 125 && done.stderr.contains(said),
            "{words:?}: {}",
            done.stderr
        );
    }
    host.cais(&env, &["rm", "-f", "db"]);
    host.cais(&env, &["network", "rm", "front"]);
}
