//! SIGKILL in the middle of everything that changes the store of images: it stays whole, the
//! check agrees, and the same command succeeds afterwards.

use crate::images_faults::assert_sound;
use crate::mock_registry::{Layer, Mock, archive};
use crate::support::{Done, TestEnv};
use std::process::Stdio;

/// What was killed may leave this, and nothing else.
fn check_after_kill(env: &TestEnv, what: &str) {
    let done = env.cais(&["system", "check"]);
    for line in done.stdout.lines() {
        let may_be = line.ends_with("leftovers of processes that were killed")
            || line == "index.json does not say what the names say";
        assert!(may_be, "{what}: {line}");
    }
    let done = env.cais(&["system", "check", "--repair"]);
    assert_eq!(done.code, 0, "{what}: {}{}", done.stdout, done.stderr);
    let done = env.cais(&["system", "check"]);
    assert_eq!((done.code, done.stdout.as_str()), (0, ""), "{what}");
    // Every image that has a name is whole.
    for id in env.ok(&["images", "-q", "--no-trunc"]).lines() {
        let saved = env.command(&["save", id]).stdout(Stdio::null()).status().unwrap();
        assert!(saved.success(), "{what}: {id}");
        // Unpacked, too: a container of it would have all its files.
        let mounted = env.cais(&["image", "mount", id]);
        assert_eq!(mounted.code, 0, "{what}: {}", mounted.stderr);
        env.ok(&["image", "unmount", id]);
    }
}

struct Images {
    mock: Mock,
    name: String,
    other: String,
    file: String,
}

/// Two images that share a layer, one of which takes something from the layer below: their
/// names.
pub(crate) fn put_two_images(mock: &Mock) -> (String, String) {
    let base = Layer::new(&archive(&[
        ("etc", b'5', b""),
        ("etc/file", b'0', b"x"),
        ("etc/.wh.gone", b'0', b""),
    ]));
    let placed = Layer::new(&archive(&[
        ("etc/link", b'1', b"etc/file"),
        ("srv/deep/file", b'0', b"y"),
    ]));
    let large = Layer::random("large", 600_000);
    mock.put_image("team/pier", "1", &[base.clone(), placed, large]);
    mock.put_image("team/quay", "1", &[base]);
    let name = |repository: &str| format!("{}/team/{repository}:1", mock.address);
    (name("pier"), name("quay"))
}

fn images(env: &TestEnv) -> Images {
    let mock = Mock::new();
    let (name, other) = put_two_images(&mock);
    env.ok(&["pull", "-q", &name]);
    let file = env.path("saved.tar").to_str().unwrap().to_owned();
    env.ok(&["save", "-o", &file, &name]);
    env.ok(&["rmi", &name]);
    Images {
        mock,
        name,
        other,
        file,
    }
}

impl Images {
    /// What can be done; each is done in a state in which it succeeds.
    fn commands(&self) -> Vec<Vec<&str>> {
        vec![
            vec!["pull", "-q", &self.name],
            vec!["load", "-q", "-i", &self.file],
            vec!["pull", "-q", &self.other],
            vec!["tag", &self.name, "team/further:2"],
            vec!["push", "-q", &self.name],
            vec!["rmi", "team/further:2"],
            vec!["rmi", &self.name],
            vec!["image", "prune", "-af"],
        ]
    }

    /// Brings everything in that a command needs.
    fn prepare(&self, env: &TestEnv, words: &[&str]) {
        match words[0] {
            "pull" | "load" => {
                env.ok(&["image", "prune", "-af"]);
            }
            _ => {
                env.ok(&["pull", "-q", &self.name]);
                env.ok(&["pull", "-q", &self.other]);
                env.ok(&["tag", &self.name, "team/further:2"]);
            }
        }
    }
}

#[test]
fn at_every_step() {
    let env = TestEnv::new();
    let images = images(&env);
    for words in images.commands() {
        let mut unharmed = false;
        let mut step = 0;
        while !unharmed {
            images.prepare(&env, &words);
            let mark = format!("store:{step}");
            let done = Done::of(env.command(&words).env("CAIS_TEST_KILL", &mark));
            unharmed = done.code == 0;
            let what = format!("{words:?} at {mark}");
            assert!(unharmed || done.code == 128 + 9, "{what}: {}", done.stderr);
            check_after_kill(&env, &what);
            // The repeat succeeds; what a removal has removed already may be gone.
            let again = env.cais(&words);
            let is_gone = words[0] == "rmi" && again.stderr.contains("no such image");
            assert!(again.code == 0 || is_gone, "{what}, again: {}", again.stderr);
            assert_sound(&env);
            // Steps that follow each other closely differ little.
            step += if step < 40 { 1 } else { 7 };
            assert!(step < 3000, "{words:?} does not end");
        }
    }
    env.ok(&["image", "prune", "-af"]);
    drop(images.mock);
}

/// Whenever: 200 kills after a random time, each followed by another random command.
#[test]
fn at_random() {
    let env = TestEnv::new();
    let images = images(&env);
    let commands = images.commands();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |limit: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % limit
    };
    for round in 0..200 {
        let words = &commands[usize::try_from(random(commands.len() as u64)).unwrap()];
        let mut child = env
            .command(words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pause = rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: i64::try_from(random(30_000_000)).unwrap(),
        };
        rustix::event::poll(&mut [], Some(&pause)).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        if round % 10 == 0 {
            check_after_kill(&env, &format!("round {round}: {words:?}"));
        }
    }
    check_after_kill(&env, "the end");
    env.ok(&["pull", "-q", &images.name]);
    assert_sound(&env);
    env.ok(&["image", "prune", "-af"]);
    drop(images.mock);
}
