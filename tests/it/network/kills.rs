//! Killed at any step, nothing is left after the next command.

use super::*;

/// Kills a command at each of its steps in turn, until it passes unharmed. `before` makes
/// what it works on, and after each kill nothing may be left that was not there.
fn kill_at_every_step(victim: &str, before: &[&str], words: &str, after: &[&str]) {
    let (host, env) = (Namespace::new(), TestEnv::new());
    for step in 0..60 {
        for line in before {
            host.cais(&env, &line.split(' ').collect::<Vec<_>>());
        }
        let mut command = env.command(&words.split(' ').collect::<Vec<_>>());
        command.env("CAIS_TEST_KILL", format!("{victim}:{step}"));
        let done = Done::of(host.inside(&command));
        eventually("the next command agrees with the kernel", || {
            host.try_cais(&env, &["ps", "-a"]);
            host.try_cais(&env, &["network", "check"]).code == 0
        });
        for line in after {
            host.try_cais(&env, &line.split(' ').collect::<Vec<_>>());
        }
        eventually(&format!("nothing of {words:?} killed at {step} is left"), || {
            host.try_cais(&env, &["ps", "-a"]);
            left(&host, &env).is_empty()
        });
        assert_sound(&host, &env);
        if done.code == 0 && (victim == "caller" || step > 20) {
            return;
        }
    }
    panic!("{words:?} is still killed after 60 steps");
}

/// A container with a port, in the default network and in what else is said.
const VICTIM: &str = "run -d --name vic --network bridge -p 8080:80 host sleep 1000";

#[test]
fn a_start_killed_at_every_step() {
    let words = "run --rm -p 8080:80 --network bridge --name vic host true";
    kill_at_every_step("caller", &[], words, &["rm -f vic"]);
}

#[test]
fn a_monitor_killed_at_every_step() {
    let words = "run -d --rm -p 8080:80/udp --network bridge --name vic host true";
    kill_at_every_step("monitor", &[], words, &["rm -f vic"]);
}

#[test]
fn a_connection_killed_at_every_step() {
    let before = ["network create n", VICTIM];
    let after = ["rm -f vic", "network rm n"];
    kill_at_every_step("caller", &before, "network connect n vic", &after);
}

#[test]
fn a_disconnection_killed_at_every_step() {
    let both = VICTIM.replace("bridge", "n --network bridge");
    let before = ["network create n", &both];
    let after = ["rm -f vic", "network rm n"];
    kill_at_every_step("caller", &before, "network disconnect n vic", &after);
}

#[test]
fn a_change_of_ports_killed_at_every_step() {
    for words in ["port add vic 8081:81", "port rm vic 8080:80"] {
        kill_at_every_step("caller", &[VICTIM], words, &["rm -f vic"]);
    }
}

#[test]
fn the_removal_of_a_network_killed_at_every_step() {
    let before = ["network create n", "run --rm --network n host true"];
    kill_at_every_step("caller", &before, "network rm n", &["network rm n"]);
}

/// As a start leaves it that is killed between the bridge and its addresses: whoever comes next
/// finishes it.
#[test]
fn half_a_bridge_is_finished() {
    let (host, env) = (Namespace::new(), TestEnv::new());
    let name = "com.docker.network.bridge.name=caishalf";
    host.cais(
        &env,
        &[
            "network",
            "create",
            "-o",
            name,
            "--subnet",
            "10.77.0.0/24",
            "half",
        ],
    );
    // Its rules are in the table before it is made.
    let words = ["run", "--rm", "--network", "half", "host", "true"];
    host.cais(&env, &words);
    host.sh("ip link del caishalf; ip link add caishalf type bridge");
    assert_eq!(host.cais(&env, &["network", "check"]), "");
    host.cais(
        &env,
        &[
            "run",
            "-d",
            "--name",
            "one",
            "--network",
            "half",
            "host",
            "sleep",
            "1000",
        ],
    );
    assert_eq!(host.cais(&env, &["network", "check"]), "");
    assert!(host.sh("ip addr show caishalf").contains("inet 10.77.0.1/24"));
    host.cais(&env, &["rm", "-f", "one"]);
    host.cais(&env, &["network", "rm", "half"]);
}
