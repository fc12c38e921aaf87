//! Scripts: what `#!` names (execve(2), "Interpreter scripts").

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What a script's first line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shebang {
    /// The interpreter.
    pub interpreter: PathBuf,
    /// The program that `env` is to find, where the interpreter is `env`.
    pub program: Option<String>,
}

/// Parses the first line of a script; `None` where it is none.
#[must_use]
pub fn parse_shebang(start: &[u8]) -> Option<Shebang> {
    let rest = start.strip_prefix(b"#!")?;
    // The kernel reads 256 bytes.
    let line = rest.get(..rest.len().min(254))?;
    let line = line.split(|byte| *byte == b'\n').next()?;
    let mut words = line
        .split(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
        .filter(|word| !word.is_empty());
    let interpreter = PathBuf::from(OsStr::from_bytes(words.next()?));
    if !interpreter.is_absolute() {
        return None;
    }
    let is_env = interpreter.file_name() == Some(OsStr::new("env"));
    let program = is_env.then(|| env_program(words)).flatten();
    Some(Shebang { interpreter, program })
}

/// The program in the arguments of env(1): after options and assignments.
fn env_program<'a>(words: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    for word in words {
        let word = String::from_utf8_lossy(word);
        let word = word.strip_prefix("-S").unwrap_or(&word);
        if !word.is_empty() && !word.starts_with('-') && !word.contains('=') {
            return Some(word.to_owned());
        }
    }
    None
}

/// Looks for a program as a shell does: a name with a slash is a path, other names are in one
/// of these directories. The caller says what can be executed.
pub fn find_program(name: &str, path: &str, is_program: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    if name.contains('/') {
        let path = PathBuf::from(name);
        return is_program(&path).then_some(path);
    }
    path.split(':')
        .filter(|directory| directory.starts_with('/'))
        .map(|directory| Path::new(directory).join(name))
        .find(|path| is_program(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines() {
        for (line, interpreter, program) in [
            ("#!/bin/sh\nx", "/bin/sh", None),
            ("#! /usr/bin/perl -w\n", "/usr/bin/perl", None),
            ("#!/usr/bin/env python3\n", "/usr/bin/env", Some("python3")),
            ("#!/usr/bin/env -S A=b node --x", "/usr/bin/env", Some("node")),
            ("#!/usr/bin/env -i -Sruby\r\n", "/usr/bin/env", Some("ruby")),
            ("#!/usr/bin/env", "/usr/bin/env", None),
        ] {
            let found = parse_shebang(line.as_bytes()).unwrap();
            assert_eq!(found.interpreter, Path::new(interpreter), "{line}");
            assert_eq!(found.program.as_deref(), program, "{line}");
        }
        for bad in ["", "#!", "#!sh", "#\n!", "\x7fELF"] {
            assert_eq!(parse_shebang(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn programs_are_found_in_order() {
        let there = |path: &Path| ["/b/x", "/c/x"].map(Path::new).contains(&path);
        let find = |name| find_program(name, "/a:rel::/b:/c", there);
        assert_eq!(find("x"), Some("/b/x".into()));
        assert_eq!(find("/c/x"), Some("/c/x".into()));
        assert_eq!(find("/a/x"), None);
        assert_eq!(find("y"), None);
    }
}
