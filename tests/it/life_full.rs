//! A full disk at every write: the command fails and says so, and everything is as before.

use crate::support::{Done, TestEnv, eventually};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A small file system below the test's directory, unmounted at the end.
struct Small(PathBuf);

impl Small {
    fn mount(env: &TestEnv) -> Self {
        let path = env.path("small");
        fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m,mode=700", "cais-test"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(mounted.success());
        Self(path)
    }

    /// Leaves only so many pages free.
    fn fill(&self, pages: u64) {
        let status = rustix::fs::statvfs(&self.0).unwrap();
        let free = status.f_bfree.saturating_sub(pages) * status.f_bsize;
        fs::write(self.0.join("fill"), vec![0u8; usize::try_from(free).unwrap()]).unwrap();
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("fill")).unwrap();
    }

    fn cais(&self, env: &TestEnv, words: &[&str]) -> Done {
        let mut command = env.command(words);
        command
            .env("CAIS_DATA", self.0.join("data"))
            .env("CAIS_RUN", self.0.join("run"));
        Done::from(command.output().unwrap())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        Command::new("umount").arg(&self.0).status().unwrap();
    }
}

#[test]
fn every_command_fails_whole_or_succeeds() {
    let env = TestEnv::new();
    let small = Small::mount(&env);
    let cais = |words: &[&str]| small.cais(&env, words);
    let list = || {
        let done = cais(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
        assert_eq!(done.code, 0, "{}", done.stderr);
        done.stdout
    };
    let commands: [&[&str]; 6] = [
        &["create", "--name", "second", "host", "true"],
        &["rename", "first", "second"],
        &["update", "--label-add", "a=b", "first"],
        &["start", "first"],
        &["run", "-d", "--name", "second", "host", "sleep", "1000"],
        &["run", "--rm", "host", "true"],
    ];
    for words in commands {
        let mut succeeded = false;
        for pages in 0..40 {
            let made = cais(&["create", "--name", "first", "host", "sleep", "1000"]);
            assert_eq!(made.code, 0, "{}", made.stderr);
            let before = list();
            small.fill(pages);
            let done = cais(words);
            small.empty();
            succeeded = done.code == 0;
            let after = list();
            if !succeeded {
                assert!(
                    done.stderr.contains("o space left") || done.stderr.contains("disk is full"),
                    "{words:?} with {pages} pages: {}",
                    done.stderr
                );
                let exited = before.replace("first created", "first exited");
                assert!(
                    after == before || after == exited,
                    "{words:?} with {pages} pages: {before} became {after}"
                );
            }
            for name in ["first", "second"] {
                cais(&["rm", "-f", name]);
            }
            eventually("all are gone", || {
                cais(&["ps", "-a"]);
                list().is_empty()
            });
            if succeeded {
                break;
            }
        }
        assert!(succeeded, "{words:?} must succeed with 40 pages");
        let left = fs::read_dir(small.0.join("data/containers")).unwrap().count();
        assert_eq!(left, 0, "{words:?}");
    }
}
