//! The log of a container in Docker's `json-file` form: one JSON object a line with
//! `log`, `stream` and `time`. Rotated by size, so that no container fills the disk.

use crate::error::{EngineError, Result};
use crate::time;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The size at which a file is put aside, in bytes.
pub const MAX_SIZE: u64 = 10 * 1024 * 1024;
/// How many files there are at most, the current one included.
pub const MAX_FILES: u32 = 3;
/// The longest piece of a line that one entry holds, as Docker's.
const MAX_ENTRY: usize = 16 * 1024;

/// Which of the two streams a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output, and everything of a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The text, with its line feed where it had one.
    pub log: String,
    /// Where it came from.
    pub stream: Stream,
    /// When it was read (RFC 3339).
    pub time: String,
}

/// The file that holds a container's log.
#[must_use]
pub fn path(container: &Path) -> PathBuf {
    container.join("log").join("json.log")
}

/// Appends to a log. The file is made when there is something to write.
#[derive(Debug)]
pub struct LogWriter {
    path: PathBuf,
    file: Option<fs::File>,
    size: u64,
    /// The beginning of a line whose end has not come yet, one for each stream.
    pending: [Vec<u8>; 2],
}

impl LogWriter {
    /// A writer of the log at `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            size: 0,
            pending: [Vec::new(), Vec::new()],
        }
    }

    /// The log of a container; `None` where none is kept.
    #[must_use]
    pub fn of(store: &crate::store::Store, record: &crate::record::Record) -> Option<Self> {
        let driver = record.options.log.driver;
        driver
            .is_file()
            .then(|| Self::new(path(&store.container(&record.id))))
    }

    /// Takes what was read from a stream; whole lines are written.
    ///
    /// # Errors
    /// Where the file cannot be made or written, e.g. on a full disk.
    pub fn append(&mut self, stream: Stream, bytes: &[u8]) -> Result<()> {
        let mut text = Vec::with_capacity(bytes.len() + 128);
        let time = time::now();
        let [out, err] = &mut self.pending;
        let pending = if stream == Stream::Stdout { out } else { err };
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            pending.extend_from_slice(piece);
            while pending.len() > MAX_ENTRY {
                let rest = pending.split_off(MAX_ENTRY);
                render(&mut text, pending, stream, &time);
                *pending = rest;
            }
            if piece.ends_with(b"\n") {
                render(&mut text, pending, stream, &time);
                pending.clear();
            }
        }
        self.write(&text)
    }

    /// Writes lines that never ended.
    ///
    /// # Errors
    /// As [`LogWriter::append`].
    pub fn finish(&mut self) -> Result<()> {
        let mut text = Vec::new();
        let time = time::now();
        for (pending, stream) in self.pending.iter_mut().zip([Stream::Stdout, Stream::Stderr]) {
            if !pending.is_empty() {
                render(&mut text, pending, stream, &time);
                pending.clear();
            }
        }
        self.write(&text)
    }

    fn write(&mut self, text: &[u8]) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let failed = |path: &Path| EngineError::store(format!("write the log {}", path.display()));
        if self.size > MAX_SIZE {
            self.file = None;
            rotate(&self.path).map_err(failed(&self.path))?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            empty => {
                let (file, size) = open(&self.path).map_err(failed(&self.path))?;
                self.size = size;
                empty.insert(file)
            }
        };
        file.write_all(text).map_err(failed(&self.path))?;
        self.size += u64::try_from(text.len()).unwrap_or(0);
        Ok(())
    }
}

fn open(path: &Path) -> std::io::Result<(fs::File, u64)> {
    let mut options = fs::OpenOptions::new();
    options.append(true).create(true);
    let file = match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            options.open(path)?
        }
        other => other?,
    };
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// The n-th older file; 0 is the current one.
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

fn rotate(path: &Path) -> std::io::Result<()> {
    for number in (0..MAX_FILES - 1).rev() {
        match fs::rename(numbered(path, number), numbered(path, number + 1)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn render(text: &mut Vec<u8>, line: &[u8], stream: Stream, time: &str) {
    let entry = Entry {
        log: String::from_utf8_lossy(line).into_owned(),
        stream,
        time: time.to_owned(),
    };
    // A struct of strings always becomes JSON.
    if serde_json::to_writer(&mut *text, &entry).is_ok() {
        text.push(b'\n');
    }
}

/// Reads all entries of a log, the oldest first, and hands each to `each`. A last
/// line that is not whole (the disk was full, the power went) is left out.
///
/// # Errors
/// Where a file cannot be read, or `each` fails.
pub fn read(path: &Path, mut each: impl FnMut(Entry) -> Result<()>) -> Result<()> {
    for number in (0..MAX_FILES).rev() {
        let path = numbered(path, number);
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(source) => {
                return Err(EngineError::Store {
                    action: format!("read the log {}", path.display()),
                    source,
                });
            }
        };
        for line in BufReader::new(file).lines() {
            let line = line.map_err(EngineError::store(format!("read the log {}", path.display())))?;
            if let Ok(entry) = serde_json::from_str(&line) {
                each(entry)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("cais-log-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    fn entries(path: &Path) -> Vec<(String, Stream)> {
        let mut all = Vec::new();
        read(path, |entry| {
            all.push((entry.log, entry.stream));
            Ok(())
        })
        .unwrap();
        all
    }

    #[test]
    fn lines_are_whole_and_streams_apart() {
        let directory = directory("lines");
        let path = path(&directory);
        let mut log = LogWriter::new(path.clone());
        log.append(Stream::Stdout, b"one\ntw").unwrap();
        log.append(Stream::Stderr, b"err\n").unwrap();
        log.append(Stream::Stdout, b"o\n\xff").unwrap();
        log.finish().unwrap();
        let want = [
            ("one\n", Stream::Stdout),
            ("err\n", Stream::Stderr),
            ("two\n", Stream::Stdout),
            ("\u{fffd}", Stream::Stdout),
        ];
        assert_eq!(
            entries(&path),
            want.map(|(text, stream)| (text.to_owned(), stream))
        );
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn nothing_written_makes_no_file() {
        let directory = directory("none");
        let path = path(&directory);
        let mut log = LogWriter::new(path.clone());
        log.append(Stream::Stdout, b"").unwrap();
        log.finish().unwrap();
        assert!(!path.exists());
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn long_lines_and_rotation_lose_nothing() {
        let directory = directory("rotate");
        let path = path(&directory);
        let mut log = LogWriter::new(path.clone());
        let line = [b"x".repeat(MAX_ENTRY + 10), b"\n".to_vec()].concat();
        let rounds = usize::try_from(MAX_SIZE).unwrap() / MAX_ENTRY + 20;
        for _ in 0..rounds {
            log.append(Stream::Stdout, &line).unwrap();
        }
        assert!(numbered(&path, 1).exists());
        let total: usize = entries(&path).iter().map(|(text, _)| text.len()).sum();
        assert_eq!(total, rounds * line.len());
        fs::remove_dir_all(directory).unwrap();
    }
}
