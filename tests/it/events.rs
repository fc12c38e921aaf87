//! What `cais events` and `cais inspect` say of images, networks, volumes and further
//! processes, in Docker's words.

use crate::images::make_image;
use crate::mock_registry::Mock;
use crate::network_support::Namespace;
use crate::support::{TestEnv, eventually};
use std::fs;
use std::process::Stdio;

/// The events of this kind so far: action, id and one attribute.
fn events(env: &TestEnv, kind: &str, attribute: &str) -> Vec<String> {
    let format = format!("{{{{.Action}}}} {{{{.Actor.ID}}}} {{{{index .Actor.Attributes \"{attribute}\"}}}}");
    let filter = format!("type={kind}");
    let text = env.ok(&[
        "events", "--since", "0", "--until", "0s", "--filter", &filter, "--format", &format,
    ]);
    text.lines().map(str::to_owned).collect()
}

#[test]
fn of_images() {
    let env = TestEnv::new();
    let layout = make_image(&env);
    let registry = Mock::new();
    let name = format!("{}/team/pier:1", registry.address);
    env.ok(&["load", "-q", "-i", layout.path.to_str().unwrap()]);
    let image = "quay.io/team/pier:1";
    let id = env.ok(&["image", "inspect", "-f", "{{.Id}}", image]);
    let id = id.trim();
    env.ok(&["tag", image, &name]);
    env.ok(&["push", "-q", "--insecure", &name]);
    env.ok(&["save", "-o", env.path("saved").to_str().unwrap(), image]);
    env.ok(&["untag", image, image]);
    env.ok(&["rmi", &name]);
    env.ok(&["pull", "-q", "--insecure", &name]);
    env.ok(&["import", env.path("saved").to_str().unwrap(), "other"]);
    let repository = name.trim_end_matches(":1");
    let want = [
        format!("load {id} {id}"),
        format!("tag {id} {name}"),
        format!("push {name} {repository}"),
        format!("save {id} {id}"),
        format!("untag {id} {id}"),
        format!("untag {id} {id}"),
        format!("delete {id} {id}"),
        format!("pull {name} {repository}"),
    ];
    let all = events(&env, "image", "name");
    assert_eq!(all.get(..want.len()).unwrap(), want);
    assert!(all.last().unwrap().starts_with("import sha256:"), "{all:?}");
    assert!(all[want.len()].starts_with("tag sha256:") && all[want.len()].contains(" other"));
    // A line without a format: the moment as Docker writes it in this zone.
    let plain = env.ok(&[
        "events",
        "--since",
        "0",
        "--until",
        "0s",
        "--filter",
        "event=load",
    ]);
    let (moment, rest) = plain.split_once(' ').unwrap();
    assert!(moment.len() == 30 && moment.ends_with('Z'), "{plain}");
    assert_eq!(rest, format!("image load {id} (name={id}, port=quay)\n"));
    // The labels of the image go along.
    assert!(events(&env, "image", "port").contains(&format!("pull {name} quay")));
}

#[test]
fn whoever_watches_is_noted() {
    let env = TestEnv::new();
    env.ok(&["run", "--name", "seen", "host", "true"]);
    env.ok(&["start", "-a", "seen"]);
    env.ok(&["start", "seen"]);
    env.ok(&["wait", "seen"]);
    let all = events(&env, "container", "name");
    let actions: Vec<&str> = all.iter().filter_map(|line| line.split(' ').next()).collect();
    let runs = [
        &["create", "attach", "start", "die"][..],
        &["attach", "start", "die"],
        &["start", "die"],
    ];
    assert_eq!(actions, runs.concat());
}

#[test]
fn of_networks_and_volumes() {
    let env = TestEnv::new();
    let host = Namespace::new();
    let network = host.cais(&env, &["network", "create", "front"]);
    let other = host.cais(&env, &["network", "create", "back"]);
    let (network, other) = (network.trim(), other.trim());
    let words = [
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "front",
        "-v",
        "data:/d:ro",
        "host",
        "sleep",
        "1000",
    ];
    let container = host.cais(&env, &words);
    let container = container.trim();
    host.cais(&env, &["network", "connect", "back", "web"]);
    host.cais(&env, &["network", "disconnect", "back", "web"]);
    host.cais(&env, &["rm", "-f", "web"]);
    host.cais(&env, &["volume", "rm", "data"]);
    host.cais(&env, &["network", "rm", "front", "back"]);
    let want = [
        format!("create {network} "),
        format!("create {other} "),
        format!("connect {network} {container}"),
        format!("connect {other} {container}"),
        format!("disconnect {other} {container}"),
        format!("disconnect {network} {container}"),
        format!("destroy {network} "),
        format!("destroy {other} "),
    ];
    let trimmed =
        |all: Vec<String>| -> Vec<String> { all.iter().map(|line| line.replace("<no value>", "")).collect() };
    assert_eq!(trimmed(events(&env, "network", "container")), want);
    let want = ["create data ", "mount data /d", "unmount data ", "destroy data "];
    assert_eq!(trimmed(events(&env, "volume", "destination")), want);
}

#[test]
fn what_inspect_says_while_it_runs() {
    let env = TestEnv::new();
    env.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "--hostname",
        "pier",
        "-v",
        "/own",
        "host",
        "sh",
        "-c",
        "echo ready; exec sleep 1000",
    ]);
    let inspect = |format: &str| env.ok(&["inspect", "-f", format, "web"]).trim().to_owned();
    assert_eq!(inspect("{{json .Config.Volumes}}"), r#"{"/own":{}}"#);
    assert_eq!(inspect("{{json .ExecIDs}}"), "null");
    let mut exec = env
        .command(&["exec", "-i", "web", "cat"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("the process is shown", || inspect("{{len .ExecIDs}}") == "1");
    assert_eq!(inspect("{{index .ExecIDs 0}}").len(), 64);
    drop(exec.stdin.take());
    assert!(exec.wait().unwrap().success());
    assert_eq!(inspect("{{json .ExecIDs}}"), "null");
    env.ok(&["exec", "-d", "web", "sleep", "1000"]);
    assert_eq!(inspect("{{len .ExecIDs}}"), "1");
    // The files can be read and written by their paths.
    assert_eq!(
        fs::read_to_string(inspect("{{.HostnamePath}}")).unwrap(),
        "pier\n"
    );
    fs::write(inspect("{{.HostsPath}}"), "1.2.3.4 somewhere\n").unwrap();
    assert_eq!(
        env.ok(&["exec", "web", "cat", "/etc/hosts"]),
        "1.2.3.4 somewhere\n"
    );
    assert!(fs::exists(inspect("{{.ResolvConfPath}}")).unwrap());
    eventually("the log is there", || {
        fs::exists(inspect("{{.LogPath}}")).unwrap()
    });
    env.ok(&["stop", "web"]);
    assert_eq!(inspect("{{json .ExecIDs}} {{json .HostsPath}}"), r#"null """#);
    assert_eq!(fs::read_dir(env.path("run/execs")).unwrap().count(), 0);
}

#[test]
fn what_inspect_says_before_it_ran() {
    let env = TestEnv::new();
    env.ok(&["create", "--name", "web", "host", "true"]);
    let inspect = |format: &str| env.ok(&["inspect", "-f", format, "web"]).trim().to_owned();
    assert_eq!(inspect("{{json .LogPath}} {{json .HostsPath}}"), r#""" """#);
    let keys = env.ok(&["inspect", "web"]);
    assert!(
        !keys.contains("\"Tmpfs\"") && !keys.contains("\"Sysctls\""),
        "{keys}"
    );
}

#[test]
fn links_that_are_not_there_cannot_be_removed() {
    let env = TestEnv::new();
    env.ok(&["create", "--name", "web", "host", "true"]);
    let done = env.cais(&["rm", "--link", "web"]);
    assert_eq!(done.code, 1);
    assert!(
        done.stderr
            .contains("cannot remove the default name of the container"),
        "{}",
        done.stderr
    );
    let done = env.cais(&["rm", "-l", "/web/db"]);
    assert!(
        done.code == 1 && done.stderr.contains("No such container: web/db"),
        "{}",
        done.stderr
    );
    env.ok(&["inspect", "web"]);
}
