//! Writing to standard output: a reader that goes away ends the command, quietly.

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

/// Writes text to standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout()
        .write_all(text.as_bytes())
        .and_then(|()| std::io::stdout().flush())
    {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            Err(Failure::new("the reader of standard output is gone").code(141))
        }
        Err(error) => Err(Failure::new(format!("cannot write to standard output: {error}"))),
        Ok(()) => Ok(()),
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

/// Bytes as Docker shows sizes of images: three digits and a unit of 1000, without zeros at
/// the end.
pub(crate) fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut unit = 0;
    let mut divisor = 1u64;
    while bytes / divisor >= 1000 && unit + 1 < UNITS.len() {
        divisor *= 1000;
        unit += 1;
    }
    // As C's %.3g, rounding to even at the half.
    let places: u32 = match bytes / divisor {
        0..10 => 2,
        10..100 => 1,
        _ => 0,
    };
    let scale = 10u128.pow(places);
    let (value, whole) = (u128::from(bytes) * scale, u128::from(divisor));
    let rounded = (value * 2 + whole) / (whole * 2);
    let mut text = format!("{}", rounded / scale);
    if places > 0 {
        let width = places as usize;
        text = format!("{text}.{:0width$}", rounded % scale);
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    text + UNITS.get(unit).unwrap_or(&"B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_dockers_words() {
        for (bytes, want) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1_234_567, "1.23MB"),
            (1_235_900, "1.24MB"),
            (12_345_678, "12.3MB"),
            (12_000_000, "12MB"),
            (123_456_789, "123MB"),
            (1_005_000_000, "1.01GB"),
            (5_594_112, "5.59MB"),
        ] {
            assert_eq!(human_size(bytes), want);
        }
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["ID", "NAME"], ["abc", "x"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "ID    NAME\nabc   x\n");
    }
}
