//! Writing to standard output: a reader that goes away ends the command, quietly.

pub(crate) use cais_engine::units::human_size;

use crate::failure::Failure;
use std::io::{ErrorKind, Write};

/// The name under which the user calls this program: those who link it as `docker` read
/// of `docker`.
pub(crate) fn program() -> &'static str {
    let called = std::env::args_os().next();
    let name = called
        .as_deref()
        .and_then(|path| std::path::Path::new(path).file_name());
    match name.and_then(std::ffi::OsStr::to_str) {
        Some("docker") => "docker",
        Some("podman") => "podman",
        _ => "cais",
    }
}

/// What fails where standard output cannot be written to.
pub(crate) const TO_STANDARD_OUTPUT: &str = "write to standard output";

/// Writes text to standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout()
        .write_all(text.as_bytes())
        .and_then(|()| std::io::stdout().flush())
    {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::broken_pipe()),
        Err(error) => Err(Failure::new(format!("cannot write to standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// A moment (RFC 3339) without parts of a second, as Docker shows some.
pub(crate) fn whole_seconds(moment: &str) -> String {
    match moment.split_once('.') {
        Some((seconds, rest)) => seconds.to_owned() + rest.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => moment.to_owned(),
    }
}

/// Writes text to standard error; there is nobody to tell where that fails.
pub(crate) fn print_error(text: &str) {
    std::io::stderr().write_all(text.as_bytes()).unwrap_or_default();
}

/// Rows as columns, three spaces apart, as Docker's tables.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width + 3 - cell.chars().count()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["ID", "NAME"], ["abc", "x"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "ID    NAME\nabc   x\n");
    }
}
