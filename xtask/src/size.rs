//! Long files and functions, and the size of what is built. Exceptions stand in
//! `size-allow.txt` with their reasons; the list may only shrink.

use crate::{Outcome, workspace};
use std::path::Path;

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 80;
const EXECUTABLE_BYTES: u64 = 6 * 1024 * 1024;
const STUB_BYTES: usize = 1024 * 1024;

pub(crate) fn check() -> Outcome {
    let root = workspace::root();
    let allowed = std::fs::read_to_string(root.join("xtask/size-allow.txt")).unwrap_or_default();
    let allowed: Vec<&str> = allowed
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(": "))
        .map(|(path, _)| path)
        .collect();
    let mut wrong = Vec::new();
    for path in workspace::files("rs") {
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let name = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        if allowed.contains(&name.as_str()) {
            continue;
        }
        let lines = text.lines().count();
        if lines > FILE_LINES {
            wrong.push(format!("{name}: {lines} lines, more than {FILE_LINES}"));
        }
        wrong.extend(
            long_functions(&text)
                .into_iter()
                .map(|(line, length)| format!("{name}:{line}: a function of {length} lines")),
        );
    }
    for name in &allowed {
        if !root.join(name).exists() {
            wrong.push(format!(
                "size-allow.txt: {name} is not there any more: take it off the list"
            ));
        }
    }
    wrong.extend(check_built(&workspace::built("release").join("cais")));
    if wrong.is_empty() {
        println!(
            "size: no file over {FILE_LINES} lines, no function over {FUNCTION_LINES}, {} exceptions",
            allowed.len()
        );
        return Ok(());
    }
    Err(wrong.join("\n"))
}

/// First line and length of functions that are too long, by indentation: the code is
/// formatted, so a function ends at a brace as far in as it began.
fn long_functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let body = line.trim_start();
        let words = [
            "fn ",
            "pub fn ",
            "pub(crate) fn ",
            "pub(super) fn ",
            "const fn ",
            "pub const fn ",
        ];
        if !words.iter().any(|word| body.starts_with(word)) {
            continue;
        }
        let end = format!("{}}}", " ".repeat(line.len() - body.len()));
        if let Some(length) = lines
            .get(start..)
            .unwrap_or(&[])
            .iter()
            .position(|line| **line == end)
            && length > FUNCTION_LINES
        {
            found.push((start + 1, length));
        }
    }
    found
}

/// The executable, and the stub inside it, where a release was built.
fn check_built(executable: &Path) -> Option<String> {
    let bytes = executable.metadata().ok()?.len();
    println!(
        "size: executable {} KiB of {} KiB",
        bytes / 1024,
        EXECUTABLE_BYTES / 1024
    );
    let stub = workspace::built("release").join("build");
    for entry in std::fs::read_dir(stub).ok()?.flatten() {
        let path = entry.path().join("out/cais-init");
        if let Ok(stub) = std::fs::read(&path) {
            println!(
                "size: stub {} KiB of {} KiB",
                stub.len() / 1024,
                STUB_BYTES / 1024
            );
            if stub.len() > STUB_BYTES {
                return Some(format!(
                    "{}: {} bytes, more than {STUB_BYTES}",
                    path.display(),
                    stub.len()
                ));
            }
        }
    }
    (bytes > EXECUTABLE_BYTES).then(|| {
        format!(
            "{}: {bytes} bytes, more than {EXECUTABLE_BYTES}",
            executable.display()
        )
    })
}
