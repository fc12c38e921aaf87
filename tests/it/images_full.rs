//! A full disk at every write of what changes the store of images, on an ext4 of a loop
//! device: the command says so, the store stays whole, and the repeat fetches only what is
//! missing.

use crate::images_kills::put_two_images;
use crate::life_full::Small;
use crate::mock_registry::{Mock, archive};
use crate::support::{Done, TestEnv};
use std::collections::HashMap;
use std::fs;

/// Of the disk, in MiB, and of its blocks, in bytes.
const DISK: u64 = 24;
const BLOCK: u64 = 1024;
/// More blocks than any of the commands takes.
const MOST: u64 = 12_000;

struct Bed {
    small: Small,
    env: TestEnv,
    mock: Mock,
    /// An image of three layers, one of which takes something from another; and another image.
    name: String,
    other: String,
    /// Archives of the first, and of a tree; where archives go. All beside the disk.
    saved: String,
    tree: String,
    out: String,
}

impl Bed {
    fn new() -> Self {
        let (env, mock) = (TestEnv::new(), Mock::new());
        let (name, other) = put_two_images(&mock);
        let file = |name: &str| env.path(name).to_str().unwrap().to_owned();
        let bed = Self {
            small: Small::mount_loop(&env, DISK),
            name,
            other,
            saved: file("saved.tar"),
            tree: file("tree.tar"),
            out: file("out.tar"),
            env,
            mock,
        };
        fs::write(&bed.tree, archive(&[("file", b'0', &[7; 300_000])])).unwrap();
        bed.ok(&["pull", "-q", &bed.name]);
        bed.ok(&["save", "-o", &bed.saved, &bed.name]);
        bed.ok(&["rmi", &bed.name]);
        bed
    }

    fn cais(&self, words: &[&str]) -> Done {
        let mut command = self.env.command(words);
        command.env("CAIS_DATA", self.small.path().join("data"));
        Done::of(command)
    }

    fn ok(&self, words: &[&str]) -> String {
        let done = self.cais(words);
        assert_eq!(done.code, 0, "{words:?}: {}", done.stderr);
        done.stdout
    }

    fn names_below(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.small.path().join("data").join(directory));
        let entries = entries.into_iter().flatten().flatten();
        entries
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect()
    }

    /// Brings the store into the state in which a command changes something.
    fn prepare(&self, words: &[&str]) {
        self.ok(&["image", "prune", "-af"]);
        for part in self.names_below("ingest") {
            fs::remove_file(self.small.path().join("data/ingest").join(part)).unwrap();
        }
        fs::remove_file(&self.out).unwrap_or_default();
        if !matches!(words[0], "pull" | "load" | "pack" | "import") {
            // From an archive: what pulls from the registry would need no push.
            self.ok(&["load", "-q", "-i", &self.saved]);
            self.ok(&["tag", &self.name, "team/further:2"]);
        }
    }

    /// What is there of each blob, in bytes; all of it where its layer is.
    fn partial_blobs(&self) -> HashMap<String, u64> {
        let parts = self.names_below("ingest").into_iter();
        parts
            .filter_map(|file| {
                let digest = file.strip_prefix("part-")?.replacen('-', ":", 1);
                let length = fs::metadata(self.small.path().join("data/ingest").join(&file));
                Some((digest, length.unwrap().len()))
            })
            .collect()
    }

    /// The store is as a command may leave it, and each image with a name is whole.
    fn check(&self, what: &str) {
        let done = self.cais(&["system", "check"]);
        for line in done.stdout.lines() {
            let may_be = line.ends_with("leftovers of processes that were killed")
                || line == "index.json does not say what the names say";
            assert!(may_be, "{what}: {line}");
        }
        for id in self.ok(&["images", "-q", "--no-trunc"]).lines() {
            self.ok(&["image", "mount", id]);
            self.ok(&["image", "unmount", id]);
        }
        self.ok(&["system", "check", "--repair"]);
        assert_eq!(self.ok(&["system", "check"]), "", "{what}");
    }

    /// Runs a command with so many blocks free; whether it succeeded. Then repeats it.
    fn try_with(&self, words: &[&str], blocks: u64) -> bool {
        self.prepare(words);
        self.small.fill(blocks);
        let done = self.cais(words);
        self.small.empty();
        let what = format!("{words:?} with {blocks} blocks: {} {}", done.code, done.stderr);
        if done.code == 0 {
            self.check(&what);
            return true;
        }
        assert!(
            matches!(done.code, 1 | 125) && done.stderr.contains("o space left"),
            "{what}"
        );
        let named = self.cais(&["images", "--format", "{{.Tag}}"]).stdout;
        let had = usize::from(!matches!(words[0], "pull" | "load" | "pack" | "import")) * 2;
        assert_eq!(named.lines().count(), had, "{what}");
        assert!(!fs::exists(&self.out).unwrap(), "{what}: half an archive");
        self.check(&what);
        let (parts, layers) = (self.partial_blobs(), self.names_below("layers/sha256").len());
        self.mock.heal();
        let again = self.cais(words);
        assert_eq!(again.code, 0, "{what}, again: {}", again.stderr);
        if words[0] == "pull" {
            self.assert_only_missing(&parts, layers, &what);
        }
        assert_eq!(self.ok(&["system", "check"]), "", "{what}");
        false
    }

    /// What the repeat of a pull asked for: each blob from where it ended, and none of a layer
    /// that was there.
    fn assert_only_missing(&self, parts: &HashMap<String, u64>, layers: usize, what: &str) {
        let asked = self.mock.asked();
        let blobs: Vec<_> = asked.iter().filter(|asked| asked.is_get_blob()).collect();
        for asked in &blobs {
            let begin = parts.iter().find(|(digest, _)| asked.path.ends_with(*digest));
            let wanted = begin
                .map(|(_, length)| format!("bytes={length}-"))
                .filter(|wanted| wanted != "bytes=0-");
            let got = asked.header("range");
            assert!(
                wanted
                    .as_ref()
                    .is_none_or(|wanted| got.is_some_and(|got| got.starts_with(wanted))),
                "{what}: {} {got:?}, there was {begin:?}",
                asked.path
            );
        }
        // The configuration, and of the layers those that are not there.
        assert!(blobs.len() <= 1 + 3 - layers, "{what}: {blobs:?}");
    }
}

#[test]
#[ignore = "needs a loop device and Debian's e2fsprogs: `cargo xtask test` installs them and runs this"]
fn at_every_write() {
    let bed = Bed::new();
    let commands: [&[&str]; 8] = [
        &["pull", "-q", &bed.name],
        &["load", "-q", "-i", &bed.saved],
        &["pack", "-q", "-t", "packed", "true"],
        &["import", &bed.tree, "tree:1"],
        &["push", "-q", &bed.name],
        &["save", "-o", &bed.out, &bed.name],
        &["tag", &bed.name, "team/third:3"],
        &["untag", &bed.name, "team/further:2"],
    ];
    for words in commands {
        let (mut blocks, mut failures) = (0, 0);
        while !bed.try_with(words, blocks) {
            failures += 1;
            // Each of the first writes, then in steps that are no multiple of anything.
            blocks += if blocks < 24 { 1 } else { 1 + blocks / 7 };
            assert!(blocks < MOST, "{words:?} fails with {blocks} blocks of {BLOCK}");
        }
        // What takes no room at all is told by what it is.
        let takes_room = words[0] != "untag";
        assert!(failures > 0 || !takes_room, "{words:?}");
    }
}

/// What makes room works without any.
#[test]
#[ignore = "needs a loop device and Debian's e2fsprogs: `cargo xtask test` installs them and runs this"]
fn without_any_room_it_can_be_made() {
    let bed = Bed::new();
    let commands: [&[&str]; 4] = [
        &["rmi", "team/further:2", &bed.name],
        &["rmi", "-f", &bed.name],
        &["image", "prune", "-af"],
        &["system", "prune", "-af"],
    ];
    for words in commands {
        bed.prepare(&["rmi"]);
        bed.ok(&["pull", "-q", &bed.other]);
        bed.small.fill(0);
        bed.ok(words);
        bed.small.empty();
        bed.check(&format!("{words:?}"));
    }
    assert_eq!(bed.names_below("layers/sha256").len(), 0);
}
