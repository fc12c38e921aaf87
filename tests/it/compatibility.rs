//! Command lines side by side: Docker 20.10 from Debian and cais, each with a store of its
//! own and the same image. Exit codes and texts are compared; what differs is justified in
//! compatibility/differences.txt, and docs/compatibility.md is the table of all of it.

use crate::engines_support::{Bench, Engine, run};
use crate::support::{Done, TestEnv, eventually};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

const COMMANDS: &str = include_str!("compatibility/commands.txt");
const DIFFERENCES: &str = include_str!("compatibility/differences.txt");

/// One command line.
struct Line {
    section: &'static str,
    text: &'static str,
    /// The key of the difference that is expected.
    difference: Option<&'static str>,
}

fn lines() -> Vec<Line> {
    let mut section = "";
    let mut all = Vec::new();
    for line in COMMANDS.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
            continue;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (text, difference) = match line.split_once(" ## ") {
            Some((text, key)) => (text, Some(key)),
            None => (line, None),
        };
        all.push(Line {
            section,
            text,
            difference,
        });
    }
    all
}

/// The justifications by their keys.
fn differences() -> BTreeMap<&'static str, &'static str> {
    let lines = DIFFERENCES
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_once(": ").expect("KEY: JUSTIFICATION"))
        .collect()
}

/// Words at spaces, and what stands in single quotes as one.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('\'') {
            Some(quoted) => quoted.split_once('\'').expect("a closing quote"),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}

/// A text without what differs between two runs of one program: ids, moments, names that
/// were invented, the program's own name. Spaces in a row count as two.
fn plain(text: &str, is_error: bool) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        if is_error && line.starts_with("Usage:") {
            // Help is worded anew; that it comes is checked by the code.
            break;
        }
        let mut line = line;
        for before in ["docker: ", "cais: ", "Error response from daemon: ", "Error: "] {
            line = line.strip_prefix(before).unwrap_or(line);
        }
        if is_error && (line.starts_with("See '") || line.starts_with("hint: ")) {
            continue;
        }
        // Docker warns of a setting of this machine, and its client, now and then, of a wait
        // that was broken off.
        if line.contains("IPv4 forwarding is disabled") || line.starts_with("time=\"") {
            continue;
        }
        let line = plain_json(line).unwrap_or_else(|| plain_line(line));
        let line = if is_error {
            line.to_lowercase()
                .replace("docker", "cais")
                .trim_end_matches('.')
                .to_owned()
        } else {
            line
        };
        lines.push(line);
    }
    lines.join("\n").trim_matches('\n').to_owned()
}

/// An object of `ps`: the order of its keys stays.
fn plain_json(line: &str) -> Option<String> {
    let mut object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).ok()?;
    for (key, value) in &mut object {
        if matches!(key.as_str(), "ID" | "CreatedAt" | "RunningFor" | "Status") {
            *value = "<varies>".into();
        }
    }
    serde_json::to_string(&object).ok()
}

fn plain_line(line: &str) -> String {
    let mut all: Vec<String> = Vec::new();
    let pieces: Vec<&str> = line.split(' ').collect();
    let mut index = 0;
    while let Some(piece) = pieces.get(index) {
        let next = pieces.get(index + 1).copied().unwrap_or("");
        let bare = piece.trim_matches(|c: char| "\"(),.:/".contains(c));
        let is_hex = bare.bytes().all(|byte| byte.is_ascii_hexdigit());
        let unit = next.trim_end_matches('s');
        let is_number = bare.bytes().all(|byte| byte.is_ascii_digit());
        let is_clock = bare.len() == 5 && bare.as_bytes().get(2) == Some(&b':') && bare != "00:00";
        if is_number && (3..=7).contains(&bare.len()) && bare != "1000" {
            // A process id.
            all.push(piece.replace(bare, "<number>"));
        } else if is_clock {
            all.push("<clock>".to_owned());
        } else if is_hex && matches!(bare.len(), 12 | 64) {
            all.push(piece.replace(bare, "<id>"));
        } else if bare.starts_with("20") && bare.contains('-') && bare.contains('T') {
            all.push(piece.replace(bare, "<moment>"));
        } else if bare.parse::<u32>().is_ok() && matches!(unit, "second" | "minute") {
            all.push(piece.replace(bare, "<time>"));
            index += 1;
        } else if matches!((*piece, next), ("Less", "than") | ("About", "a")) {
            all.push("<time>".to_owned());
            // "Less than a second", "About a minute".
            index += if *piece == "Less" { 3 } else { 2 };
        } else if is_invented(bare) {
            all.push(piece.replace(bare, "<name>"));
        } else {
            all.push((*piece).to_owned());
        }
        index += 1;
    }
    let line = all.join(" ");
    let mut short = String::new();
    for c in line.trim_end().chars() {
        if !(c == ' ' && short.ends_with("  ")) {
            short.push(c);
        }
    }
    short
}

/// `happy_gates` and `amber_anchor_0f3a`.
fn is_invented(word: &str) -> bool {
    let parts: Vec<&str> = word.split('_').collect();
    let letters = |part: &&str| part.len() > 2 && part.bytes().all(|byte| byte.is_ascii_lowercase());
    matches!(parts.len(), 2 | 3) && parts.iter().take(2).all(letters)
}

/// The two engines with the image.
struct Sides {
    _bench: Bench,
    docker: Vec<String>,
    cais: TestEnv,
}

impl Sides {
    fn start() -> Self {
        let mut bench = Bench::new("compatibility");
        // In a network and a mount namespace of its own: it changes nothing of the machine's.
        let host = bench.start_docker(&["unshare", "--net", "--mount"], &[]);
        let engine = Engine {
            words: vec!["/usr/bin/docker", "-H", &host],
        };
        std::os::unix::fs::symlink("busybox", bench.base.join("rootfs/bin/hostname")).unwrap();
        let changes = [
            "-c",
            "CMD [\"sh\", \"-c\", \"echo default\"]",
            "-c",
            "ENV FROM=image",
            "-c",
            "LABEL of=image",
            "-c",
            "EXPOSE 80",
        ];
        let archive = bench.archive();
        engine.ok(&[&["import"][..], &changes, &[&archive, "box"]].concat());
        // Docker's lists have an order for images of different seconds only.
        let second = || std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let imported = second();
        eventually("the second is over", || second() > imported);
        // One of two layers.
        engine.ok(&[
            "run",
            "--network",
            "none",
            "--name",
            "pile",
            "box",
            "touch",
            "/more",
        ]);
        engine.ok(&["commit", "-c", "ENTRYPOINT [\"echo\", \"entry\"]", "pile", "pile"]);
        engine.ok(&["rm", "pile"]);
        let saved = bench.path("box.tar");
        engine.ok(&["save", "-o", &saved, "box", "pile"]);
        let cais = TestEnv::new();
        cais.ok(&["load", "-i", &saved]);
        Self {
            docker: engine.words.iter().map(|word| (*word).to_owned()).collect(),
            _bench: bench,
            cais,
        }
    }

    fn both(&self, text: &str) -> (Done, Done) {
        let words = words(text);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let docker: Vec<&str> = self.docker.iter().map(String::as_str).collect();
        (run(&[&docker[..], &words].concat()), self.cais.cais(&words))
    }
}

fn is_same(docker: &Done, cais: &Done) -> bool {
    docker.code == cais.code
        && plain(&docker.stdout, false) == plain(&cais.stdout, false)
        && plain(&docker.stderr, true) == plain(&cais.stderr, true)
}

#[test]
fn command_lines_as_with_docker() {
    if !Path::new("/usr/sbin/dockerd").exists() {
        panic!("the Debian package docker.io is not installed");
    }
    let sides = Sides::start();
    let known = differences();
    let mut wrong = String::new();
    let mut used = BTreeMap::new();
    for line in lines() {
        let (docker, cais) = sides.both(line.text);
        let same = is_same(&docker, &cais);
        match line.difference {
            Some(key) => {
                assert!(known.contains_key(key), "no justification for {key:?}");
                *used.entry(key).or_insert(0) += 1;
                if same {
                    writeln!(wrong, "{}: the same by now, without {key}", line.text).unwrap();
                }
            }
            None if !same => {
                writeln!(wrong, "{}\n  docker {docker:?}\n  cais   {cais:?}", line.text).unwrap();
            }
            None => {}
        }
    }
    for key in known.keys() {
        assert!(
            used.contains_key(key),
            "the difference {key:?} is not there any more"
        );
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The table of all command lines, in Markdown.
fn table() -> String {
    let lines = lines();
    let known = differences();
    let same = lines.iter().filter(|line| line.difference.is_none()).count();
    let mut text = format!(
        "{} command lines, {same} of them with the same exit code and the same texts.\n\n## Differences\n\n",
        lines.len()
    );
    for (key, why) in &known {
        writeln!(text, "- <a id=\"{key}\"></a>**{key}**: {why}").unwrap();
    }
    let mut section = "";
    for line in &lines {
        if line.section != section {
            section = line.section;
            write!(text, "\n## {section}\n\n| command | result |\n| --- | --- |\n").unwrap();
        }
        let shown = line.text.replace('|', "\\|");
        match line.difference {
            None => writeln!(text, "| `{shown}` | same |").unwrap(),
            Some(key) => writeln!(text, "| `{shown}` | [{key}](#{key}) |").unwrap(),
        }
    }
    text
}

/// The page holds the table; `CAIS_WRITE_DOCS=1` writes it.
#[test]
fn the_page_holds_the_table() {
    const MARK: &str = "<!-- made by tests/it/compatibility.rs -->\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md");
    let Ok(page) = fs::read_to_string(&path) else {
        // In a virtual machine the sources are not there.
        return;
    };
    let (before, after) = page.split_once(MARK).expect("the page has the mark");
    if std::env::var_os("CAIS_WRITE_DOCS").is_some() {
        fs::write(&path, format!("{before}{MARK}{}", table())).unwrap();
        return;
    }
    assert_eq!(after, table(), "run the test again with CAIS_WRITE_DOCS=1");
}

#[test]
fn texts_are_compared_without_what_always_differs() {
    for (text, want) in [
        ("0123456789ab  box   \"true\"", "<id>  box  \"true\""),
        ("Up 6 seconds  web", "Up <time>  web"),
        ("Less than a second ago  x", "<time> ago  x"),
        ("About a minute ago", "<time> ago"),
        ("Exited (0) 2 minutes ago", "Exited (0) <time> ago"),
        ("happy_gates", "<name>"),
        ("amber_anchor_0f3a: x", "<name>: x"),
    ] {
        assert_eq!(plain(text, false), want, "{text}");
    }
    let docker = "docker: Error response from daemon: No such container: x.\nSee 'docker run --help'.\n\nUsage:  docker\n";
    assert_eq!(plain(docker, true), plain("cais: no such container: x\n", true));
    assert_eq!(words("a 'b c' d=''"), ["a", "b c", "d=''"]);
}
