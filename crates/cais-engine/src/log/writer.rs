//! Taking in what a program says.

use super::background::Background;
use super::format::{Stamp, render};
use super::remote::Remote;
use super::{Form, MAX_ENTRY, Stream, files, numbered};
use crate::error::{EngineError, Result};
use crate::options::{LogDriver, LogOptions};
use crate::record::Record;
use crate::store::Store;
use crate::time;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Takes in what a program says, and keeps it as its driver does.
#[derive(Debug)]
pub struct LogWriter {
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    /// The one who reads from the program writes too: the program waits for a slow disk.
    Blocking(Box<Lines>),
    /// A thread writes; what does not fit into its buffer is lost.
    NonBlocking(Background),
}

impl LogWriter {
    /// The log of a container; `None` where none is kept.
    #[must_use]
    pub fn of(store: &Store, record: &Record) -> Option<Self> {
        let log = &record.options.log;
        let sink = match log.driver {
            LogDriver::None | LogDriver::Passthrough => return None,
            LogDriver::JsonFile | LogDriver::Cri => {
                let (form, path) = files(&store.container(&record.id), log)?;
                Sink::File(LogFile::new(form, path, log, attributes(record)))
            }
            LogDriver::Journald | LogDriver::Syslog => Sink::Remote(Remote::new(record)),
        };
        let lines = Lines::new(sink);
        Some(Self {
            inner: match log.buffer() {
                None => Inner::Blocking(Box::new(lines)),
                Some(room) => Inner::NonBlocking(Background::start(lines, room)),
            },
        })
    }

    /// Takes what was read from a stream; whole lines are written.
    ///
    /// # Errors
    /// Where it cannot be written, e.g. on a full disk: then it is lost. The next that can be
    /// written stands behind a line that says how much was.
    pub fn append(&mut self, stream: Stream, bytes: &[u8]) -> Result<()> {
        match &mut self.inner {
            Inner::Blocking(lines) => lines.append(stream, bytes, &time::now()),
            Inner::NonBlocking(background) => {
                background.append(stream, bytes);
                Ok(())
            }
        }
    }

    /// Writes lines that never ended.
    ///
    /// # Errors
    /// As [`LogWriter::append`].
    pub fn finish(&mut self) -> Result<()> {
        match &mut self.inner {
            Inner::Blocking(lines) => lines.finish(),
            Inner::NonBlocking(background) => background.finish(),
        }
    }
}

/// What `labels`, `env` and `tag` ask to be noted with each line, as a JSON object; empty for
/// nothing.
fn attributes(record: &Record) -> Vec<u8> {
    let log = &record.options.log;
    let mut noted: Vec<(String, String)> = Vec::new();
    for name in log.names("labels") {
        let found = record.options.labels.iter().rev().find(|(key, _)| key == name);
        noted.extend(found.cloned());
    }
    for name in log.names("env") {
        let mut env = record
            .options
            .env
            .iter()
            .rev()
            .filter_map(|entry| entry.split_once('='));
        let found = env.find(|(key, _)| *key == name);
        noted.extend(found.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
    if let Some(tag) = log.tag() {
        noted.push(("tag".to_owned(), tag_of(record, tag)));
    }
    if noted.is_empty() {
        return Vec::new();
    }
    let object: cais_json::Map<String, cais_json::Value> = noted
        .into_iter()
        .map(|(key, value)| (key, value.into()))
        .collect();
    cais_json::to_vec(&object).unwrap_or_default()
}

/// A tag with the parts that Docker's templates most often name filled in.
pub(super) fn tag_of(record: &Record, template: &str) -> String {
    let image = crate::events::image_of(record);
    [
        ("{{.ID}}", record.id.short()),
        ("{{.FullID}}", record.id.as_str()),
        ("{{.Name}}", &record.name),
        ("{{.ImageName}}", &image),
    ]
    .iter()
    .fold(template.to_owned(), |text, (part, value)| {
        text.replace(part, value)
    })
}

/// Where whole lines go.
#[derive(Debug)]
enum Sink {
    File(LogFile),
    Remote(Remote),
}

/// Cuts what comes into lines.
#[derive(Debug)]
pub(super) struct Lines {
    sink: Sink,
    /// The beginning of a line whose end has not come yet, one for each stream.
    pending: [Vec<u8>; 2],
    /// Lines in the file's form, on their way there.
    text: Vec<u8>,
    /// How many bytes of output could not be written since the last that could.
    lost: u64,
}

impl Lines {
    fn new(sink: Sink) -> Self {
        Self {
            sink,
            pending: [Vec::new(), Vec::new()],
            text: Vec::new(),
            lost: 0,
        }
    }

    /// Takes what was read from a stream at `time`; whole lines are written. What cannot be is
    /// counted.
    pub(super) fn append(&mut self, stream: Stream, bytes: &[u8], time: &str) -> Result<()> {
        let written = self
            .tell_loss(time)
            .and_then(|()| self.append_whole(stream, bytes, time));
        if written.is_err() {
            self.text.clear();
            self.lost = self.lost.saturating_add(bytes.len() as u64);
        }
        written
    }

    /// Says how much could not be written, where something could not.
    fn tell_loss(&mut self, time: &str) -> Result<()> {
        if self.lost > 0 {
            let text = format!(
                "[cais: {} bytes of output were lost: the log could not be written]\n",
                self.lost
            );
            self.put(Stream::Stderr, text.as_bytes(), time)?;
            self.flush()?;
            self.lost = 0;
        }
        Ok(())
    }

    fn append_whole(&mut self, stream: Stream, bytes: &[u8], time: &str) -> Result<()> {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, others) = rest.split_at(end + 1);
            rest = others;
            self.take(stream, line, time)?;
        }
        if !rest.is_empty() {
            self.take(stream, rest, time)?;
        }
        self.flush()
    }

    /// Takes a piece of a line, with its end or without.
    fn take(&mut self, stream: Stream, piece: &[u8], time: &str) -> Result<()> {
        let index = usize::from(stream == Stream::Stderr);
        let mut pending = std::mem::take(&mut self.pending[index]);
        let whole = if pending.is_empty() && piece.len() <= MAX_ENTRY && piece.ends_with(b"\n") {
            return self.put(stream, piece, time);
        } else {
            pending.extend_from_slice(piece);
            pending.ends_with(b"\n")
        };
        while pending.len() > MAX_ENTRY {
            let rest = pending.split_off(MAX_ENTRY);
            self.put(stream, &pending, time)?;
            pending = rest;
        }
        if whole {
            self.put(stream, &pending, time)?;
            pending.clear();
        }
        self.pending[index] = pending;
        Ok(())
    }

    fn put(&mut self, stream: Stream, line: &[u8], time: &str) -> Result<()> {
        match &mut self.sink {
            Sink::File(file) => {
                let stamp = Stamp {
                    stream,
                    time,
                    attributes: &file.attributes,
                };
                render(&mut self.text, file.form, line, stamp);
                Ok(())
            }
            Sink::Remote(remote) => remote.send(stream, line),
        }
    }

    fn flush(&mut self) -> Result<()> {
        if let Sink::File(file) = &mut self.sink {
            file.write(&self.text)?;
        }
        self.text.clear();
        // A burst of short lines needs much room once; it is not kept.
        if self.text.capacity() > 512 * 1024 {
            self.text = Vec::new();
        }
        Ok(())
    }

    /// Writes lines that never ended.
    pub(super) fn finish(&mut self) -> Result<()> {
        let time = time::now();
        let told = self.tell_loss(&time);
        self.text.clear();
        told?;
        for (index, stream) in [Stream::Stdout, Stream::Stderr].into_iter().enumerate() {
            let pending = std::mem::take(&mut self.pending[index]);
            if !pending.is_empty() {
                self.put(stream, &pending, &time)?;
            }
        }
        self.flush()
    }
}

/// A file that is put aside when it has grown. It is made when there is something to write.
#[derive(Debug)]
struct LogFile {
    form: Form,
    path: PathBuf,
    file: Option<fs::File>,
    size: u64,
    max_size: u64,
    max_files: u32,
    attributes: Vec<u8>,
}

impl LogFile {
    fn new(form: Form, path: PathBuf, log: &LogOptions, attributes: Vec<u8>) -> Self {
        Self {
            form,
            path,
            file: None,
            size: 0,
            max_size: log.max_size(),
            max_files: log.max_files(),
            attributes,
        }
    }

    /// Writes lines. A file that is full is put aside between two of them.
    fn write(&mut self, mut text: &[u8]) -> Result<()> {
        while !text.is_empty() {
            let room = usize::try_from(self.max_size.saturating_sub(self.size)).unwrap_or(usize::MAX);
            let fits = if text.len() <= room {
                text.len()
            } else {
                let within = text.get(..room).unwrap_or(&[]);
                memchr::memrchr(b'\n', within).map_or(0, |at| at + 1)
            };
            let (now, later) = match fits {
                // Not even one line fits into an empty file: it is written all the same.
                0 if self.size == 0 => {
                    text.split_at(memchr::memchr(b'\n', text).map_or(text.len(), |at| at + 1))
                }
                fits => text.split_at(fits),
            };
            text = later;
            self.write_piece(now)?;
            if !text.is_empty() {
                self.put_aside()?;
            }
        }
        Ok(())
    }

    fn failed(&self) -> impl FnOnce(std::io::Error) -> EngineError + use<> {
        EngineError::store(format!("write the log {}", self.path.display()))
    }

    fn put_aside(&mut self) -> Result<()> {
        self.file = None;
        self.size = 0;
        rotate(&self.path, self.max_files).map_err(self.failed())
    }

    fn write_piece(&mut self, text: &[u8]) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let failed = self.failed();
        let file = match &mut self.file {
            Some(file) => file,
            empty => match open(&self.path) {
                Ok((file, size)) => {
                    self.size = size;
                    empty.insert(file)
                }
                Err(error) => return Err(failed(error)),
            },
        };
        if let Err(error) = file.write_all(text) {
            // Half a line would be the beginning of the next one.
            file.set_len(self.size).unwrap_or_default();
            return Err(failed(error));
        }
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

/// Puts the current file aside. With one file only it is begun anew.
fn rotate(path: &Path, max_files: u32) -> std::io::Result<()> {
    if max_files <= 1 {
        return fs::remove_file(path);
    }
    for number in (0..max_files - 1).rev() {
        match fs::rename(numbered(path, number), numbered(path, number + 1)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::reader::{Query, read};
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("cais-log-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    fn lines(directory: &Path, log: &LogOptions) -> Lines {
        let (form, path) = files(directory, log).unwrap();
        Lines::new(Sink::File(LogFile::new(form, path, log, Vec::new())))
    }

    fn entries(directory: &Path, log: &LogOptions) -> Vec<(String, Stream)> {
        let mut all = Vec::new();
        let (form, path) = files(directory, log).unwrap();
        read(form, &path, &Query::default(), &mut |line| {
            let end = if line.is_whole { "\n" } else { "" };
            all.push((
                String::from_utf8_lossy(&line.text).into_owned() + end,
                line.stream,
            ));
            Ok(())
        })
        .unwrap();
        all
    }

    fn options(driver: LogDriver, pairs: &[(&str, &str)]) -> LogOptions {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        LogOptions {
            driver,
            options: pairs.collect(),
        }
    }

    #[test]
    fn lines_are_whole_and_streams_apart() {
        let directory = directory("lines");
        for driver in [LogDriver::JsonFile, LogDriver::Cri] {
            let log = options(driver, &[]);
            let mut writer = lines(&directory, &log);
            writer.append(Stream::Stdout, b"one\ntw", "t").unwrap();
            writer.append(Stream::Stderr, b"err\n", "t").unwrap();
            writer.append(Stream::Stdout, b"o\nthree", "t").unwrap();
            writer.finish().unwrap();
            let want = [
                ("one\n", Stream::Stdout),
                ("err\n", Stream::Stderr),
                ("two\n", Stream::Stdout),
                ("three", Stream::Stdout),
            ];
            assert_eq!(
                entries(&directory, &log),
                want.map(|(text, stream)| (text.to_owned(), stream))
            );
        }
        fs::remove_dir_all(directory).unwrap();
    }

    /// A disk that is full for a while: the lines before and after are whole, and what was lost
    /// is told between them.
    #[test]
    fn what_cannot_be_written_is_counted() {
        let directory = directory("lost");
        let log = options(LogDriver::JsonFile, &[]);
        let mut writer = lines(&directory, &log);
        writer.append(Stream::Stdout, b"one\n", "t").unwrap();
        let path = path_of(&directory, &log);
        let size = fs::metadata(&path).unwrap().len();
        // Nothing can be written to it, as to a full disk.
        let Sink::File(file) = &mut writer.sink else {
            panic!("it is a file");
        };
        let good = file
            .file
            .replace(fs::File::options().write(true).open("/dev/full").unwrap());
        assert!(writer.append(Stream::Stdout, b"two\n", "t").is_err());
        assert!(writer.append(Stream::Stderr, b"three\n", "t").is_err());
        assert!(writer.finish().is_err());
        assert_eq!(fs::metadata(&path).unwrap().len(), size);
        if let Sink::File(file) = &mut writer.sink {
            file.file = good;
        }
        writer.append(Stream::Stdout, b"four\n", "t").unwrap();
        writer.finish().unwrap();
        let said = "[cais: 10 bytes of output were lost: the log could not be written]\n";
        let want = [
            ("one\n", Stream::Stdout),
            (said, Stream::Stderr),
            ("four\n", Stream::Stdout),
        ];
        assert_eq!(
            entries(&directory, &log),
            want.map(|(text, stream)| (text.to_owned(), stream))
        );
        fs::remove_dir_all(directory).unwrap();
    }

    fn path_of(directory: &Path, log: &LogOptions) -> PathBuf {
        files(directory, log).unwrap().1
    }

    #[test]
    fn nothing_written_makes_no_file() {
        let directory = directory("none");
        let log = options(LogDriver::JsonFile, &[]);
        let mut writer = lines(&directory, &log);
        writer.append(Stream::Stdout, b"", "t").unwrap();
        writer.finish().unwrap();
        assert!(!directory.join("log").exists());
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn long_lines_and_rotation_lose_nothing_that_is_to_be_kept() {
        let directory = directory("rotate");
        let log = options(LogDriver::JsonFile, &[("max-size", "100k"), ("max-file", "4")]);
        let mut writer = lines(&directory, &log);
        let line = [b"x".repeat(MAX_ENTRY + 10), b"\n".to_vec()].concat();
        for _ in 0..20 {
            writer
                .append(Stream::Stdout, &line, "2026-11-24T10:12:12.123456789Z")
                .unwrap();
        }
        let (_, path) = files(&directory, &log).unwrap();
        assert!(numbered(&path, 3).exists() && !numbered(&path, 4).exists());
        let total: usize = entries(&directory, &log).iter().map(|(text, _)| text.len()).sum();
        assert_eq!(total, 20 * line.len());
        for _ in 0..100 {
            writer
                .append(Stream::Stdout, &line, "2026-11-24T10:12:12.123456789Z")
                .unwrap();
        }
        assert!(numbered(&path, 3).exists() && !numbered(&path, 4).exists());
        let one = options(LogDriver::JsonFile, &[("max-size", "10k"), ("max-file", "1")]);
        let mut writer = lines(&directory, &one);
        for _ in 0..3 {
            writer
                .append(Stream::Stdout, &line, "2026-11-24T10:12:12.123456789Z")
                .unwrap();
        }
        assert!(fs::metadata(&path).unwrap().len() < 40_000);
        fs::remove_dir_all(directory).unwrap();
    }
}
