//! What everything takes on the disk, the check of it, and the budget.

use crate::images::{Layout, make_image, run};
use crate::images_faults::assert_sound;
use crate::mock_registry::{Layer, Mock};
use crate::support::TestEnv;
use serde_json::{Value, json};
use std::fs;

/// What du says of a directory of the data.
fn du(env: &TestEnv, name: &str) -> u64 {
    let path = env.path("data").join(name);
    let said = run("du", &["-sB1", path.to_str().unwrap()]);
    said.split_whitespace().next().unwrap().parse().unwrap()
}

/// The rows of `system df` by their type.
fn df(env: &TestEnv, kind: &str) -> Value {
    let said = env.ok(&["system", "df", "--format", "json"]);
    let rows = said
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.into_iter().find(|row| row["Type"] == kind).unwrap()
}

/// A table of `system df -v --bytes`: rows of words.
fn section(env: &TestEnv, kind: &str) -> Vec<Vec<String>> {
    let said = env.ok(&["system", "df", "-v", "--bytes"]);
    let from = said
        .split(&format!("{kind} space usage:\n\n"))
        .nth(1)
        .unwrap()
        .to_owned();
    let table = from.split("\n\n").next().unwrap();
    table
        .lines()
        .skip(1)
        .map(|line| {
            line.split("  ")
                .map(str::trim)
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect()
        })
        .collect()
}

/// Containers without their logs, and logs.
fn containers_and_logs(env: &TestEnv) {
    let ids: Vec<String> = env
        .ok(&["ps", "-aq", "--no-trunc"])
        .lines()
        .map(str::to_owned)
        .collect();
    let log: u64 = ids
        .iter()
        .map(|id| format!("containers/{id}/log"))
        .filter(|log| env.path("data").join(log).exists())
        .map(|log| du(env, &log))
        .sum();
    let all: u64 = ids.iter().map(|id| du(env, &format!("containers/{id}"))).sum();
    let containers = df(env, "Containers");
    assert_eq!(containers["SizeBytes"].as_u64().unwrap(), all - log);
    assert_eq!(
        (&containers["TotalCount"], &containers["Active"]),
        (&json!("2"), &json!("1"))
    );
    assert!(containers["ReclaimableBytes"].as_u64().unwrap() >= 2_000_000);
    assert_eq!(df(env, "Logs")["SizeBytes"].as_u64().unwrap(), log);
}

#[test]
fn to_the_byte() {
    let (env, mock) = (TestEnv::new(), Mock::new());
    let shared = Layer::random("shared", 700_000);
    let own = [Layer::random("one", 50_000), Layer::random("two", 120_000)];
    for (name, own) in ["one", "two"].iter().zip(&own) {
        mock.put_image(&format!("team/{name}"), "1", &[shared.clone(), own.clone()]);
        env.ok(&["pull", "-q", &format!("{}/team/{name}:1", mock.address)]);
    }
    env.ok(&[
        "run",
        "--name",
        "writer",
        "host",
        "sh",
        "-c",
        "echo said; head -c 2000000 /dev/zero > /file",
    ]);
    env.ok(&["run", "-d", "--name", "stays", "host", "sleep", "1000"]);
    let store: u64 = ["layers", "oci", "images", "staging", "ingest", "leases", "locks"]
        .iter()
        .map(|name| du(&env, name))
        .sum();
    let images = df(&env, "Images");
    assert_eq!(images["SizeBytes"].as_u64().unwrap(), store);
    assert_eq!(
        (&images["TotalCount"], &images["Active"]),
        (&json!("2"), &json!("0"))
    );
    let rows = section(&env, "Images");
    let of = |row: &[String], column: usize| row[column].parse::<u64>().unwrap();
    let layer = |layer: &Layer| {
        du(
            &env,
            &format!("layers/sha256/{}", &layer.diff_id["sha256:".len()..]),
        )
    };
    for (name, own) in ["one", "two"].iter().zip(&own) {
        let row = rows
            .iter()
            .find(|row| row[0].ends_with(&format!("team/{name}")))
            .unwrap();
        assert_eq!(of(row, 5), layer(&shared), "shared of {name}");
        // Manifest and configuration have a block each.
        assert_eq!(of(row, 6), layer(own) + 2 * 4096, "unique of {name}");
        assert_eq!(of(row, 4), of(row, 5) + of(row, 6));
    }
    containers_and_logs(&env);
    // And the sum is all there is.
    let said = env.ok(&["system", "df", "-v", "--bytes"]);
    let total = said
        .lines()
        .find_map(|line| line.strip_prefix("Total: "))
        .unwrap();
    assert_eq!(total.parse::<u64>().unwrap(), du(&env, ""));
    let table = env.ok(&["system", "df"]);
    assert!(
        table.starts_with("TYPE            TOTAL     ACTIVE    SIZE"),
        "{table}"
    );
    // What is said to be reclaimable is what comes free.
    let before = du(&env, "");
    env.ok(&["image", "prune", "-af"]);
    let freed = before - du(&env, "");
    let said = images["ReclaimableBytes"].as_u64().unwrap();
    // The records of two names, and the list in index.json.
    assert!(freed >= said && freed - said <= 4 * 4096, "{freed} {said}");
    env.ok(&["rm", "-f", "writer", "stays"]);
}

#[test]
fn what_is_loaded_again_takes_no_more() {
    let env = TestEnv::new();
    let layout = make_image(&env);
    let path = layout.path.to_str().unwrap();
    env.ok(&["load", "-q", "-i", path]);
    let both = || du(&env, "oci") + du(&env, "layers");
    let once = both();
    env.ok(&["load", "-q", "-i", path]);
    assert_eq!(both(), once);
    let name = env.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    let archive = env.path("two.tar");
    let archive = archive.to_str().unwrap();
    env.ok(&["save", "-o", archive, name.trim()]);
    env.ok(&["rmi", name.trim()]);
    env.ok(&["load", "-q", "-i", archive]);
    env.ok(&["load", "-q", "-i", archive]);
    assert_eq!(both(), once);
}

#[test]
fn the_check_of_containers() {
    let env = TestEnv::new();
    env.ok(&["run", "--name", "whole", "host", "true"]);
    assert_sound(&env);
    let id = env.ok(&["ps", "-aq", "--no-trunc"]).trim().to_owned();
    let data = env.path("data");
    let directory = data.join("containers").join(&id);
    // A container that was never finished, a file that does not belong there, a name that
    // leads nowhere, and the name of this one gone.
    let half = data.join("containers").join("ab".repeat(32));
    fs::create_dir(&half).unwrap();
    fs::write(data.join("containers/stray"), "").unwrap();
    std::os::unix::fs::symlink("../containers/none", data.join("names/nobody")).unwrap();
    fs::remove_file(data.join("names/whole")).unwrap();
    fs::write(directory.join("exit.json"), "{").unwrap();
    fs::remove_dir(directory.join("work/work")).unwrap_or_default();
    fs::remove_dir(directory.join("work")).unwrap();
    let found = env.cais(&["system", "check"]);
    assert_eq!(found.code, 1);
    for said in [
        "container abababababab was never completed",
        "stray does not belong there",
        "the name \"nobody\" leads to no container",
        "the name \"whole\" does not lead to its container",
        "exit.json is damaged",
        "has no directory \"work\"",
    ] {
        assert!(found.stdout.contains(said), "{said}: {}", found.stdout);
    }
    let repaired = env.cais(&["system", "check", "--repair"]);
    assert_eq!(repaired.code, 0, "{}{}", repaired.stdout, repaired.stderr);
    assert_sound(&env);
    env.ok(&["start", "-a", "whole"]);
    // What a user made is not thrown away: a damaged record is named, and stays.
    fs::write(directory.join("container.json"), "{").unwrap();
    let left = env.cais(&["system", "check", "--repair"]);
    assert!(
        left.code == 1 && left.stdout.contains("save it and remove the directory"),
        "{}",
        left.stdout
    );
    assert!(directory.join("upper").is_dir());
    fs::remove_dir_all(&directory).unwrap();
    fs::remove_file(data.join("names/whole")).unwrap();
    assert_sound(&env);
}

/// Blobs and layers that are not what they were.
#[test]
fn the_check_of_images() {
    let env = TestEnv::new();
    let layout = Layout::new(env.path("layout"));
    let root = env.path("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("file"), "x").unwrap();
    let layer = layout.layer(&root);
    let diff_id = layer.1.clone();
    layout.finish(&[layer], &json!({ "Cmd": ["true"] }), "team/checked:1");
    let load = ["load", "-q", "-i", layout.path.to_str().unwrap()];
    env.ok(&load);
    let image = env.ok(&["images", "-q", "--no-trunc"]);
    let hex = image.trim().strip_prefix("sha256:").unwrap();
    let layer = env.path("data/layers/sha256").join(&diff_id["sha256:".len()..]);
    // A power cut before anything was synced: the marker is of another boot.
    fs::remove_file(layer.join("synced")).unwrap();
    fs::write(layer.join("complete"), r#"{"boot_id":"another"}"#).unwrap();
    let found = env.cais(&["system", "check"]);
    assert!(
        found.code == 1
            && found
                .stdout
                .contains("was not written to the disk before the machine stopped"),
        "{}",
        found.stdout
    );
    let done = env.cais(&["run", "--rm", "--pull", "never", "team/checked:1"]);
    assert!(
        done.code == 125 && done.stderr.contains("load or pull it again"),
        "{}",
        done.stderr
    );
    env.ok(&load);
    assert_sound(&env);
    // Another content under the name of the configuration.
    fs::write(env.path("data/oci/blobs/sha256").join(hex), "{}").unwrap();
    let found = env.cais(&["system", "check", "--repair"]);
    assert!(found.stdout.contains("has the content of"), "{}", found.stdout);
    assert_sound(&env);
    env.ok(&load);
    env.ok(&["image", "prune", "-af"]);
}

#[test]
fn the_least_recently_used_go_first() {
    let (env, mock) = (TestEnv::new(), Mock::new());
    for name in ["one", "two", "three", "four"] {
        mock.put_image(&format!("team/{name}"), "1", &[Layer::random(name, 1_000_000)]);
    }
    let pull = |name: &str, budget: &str| {
        let name = format!("{}/team/{name}:1", mock.address);
        let mut command = env.command(&["pull", &name]);
        let output = command.env("CAIS_DISK_BUDGET", budget).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let there = || env.ok(&["images"]).lines().skip(1).collect::<Vec<_>>().join("\n");
    for name in ["one", "two", "three"] {
        assert_eq!(pull(name, "3500k"), "", "{name}");
    }
    // One is used again, so another one is the oldest.
    let name = format!("{}/team/one:1", mock.address);
    let mut command = env.command(&["run", "--rm", &name]);
    // There is no program in it; it was asked for all the same.
    assert!(
        !command
            .env("CAIS_DISK_BUDGET", "3500k")
            .status()
            .unwrap()
            .success()
    );
    let said = pull("four", "3500k");
    assert!(
        said.contains("team/two:1, not used for the longest time"),
        "{said}"
    );
    let left = there();
    assert!(!left.contains("team/two") && left.lines().count() == 3, "{left}");
    assert_eq!(fs::read_dir(env.path("data/layers/sha256")).unwrap().count(), 3);
    // Nothing that a container is made of, nor what came in.
    env.cais(&["run", "--name", "holder", &name]);
    let said = pull("two", "1k");
    assert!(said.contains("is exceeded by"), "{said}");
    let left = there();
    assert!(left.contains("team/two") && left.lines().count() <= 2, "{left}");
    env.cais(&["rm", "-f", "holder"]);
    env.ok(&["image", "prune", "-af"]);
}
