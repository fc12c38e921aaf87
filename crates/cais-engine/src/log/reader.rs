//! Giving back what a program said.

use super::format::{Line, parse};
use super::{Form, numbered};
use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::state::RunState;
use crate::store::Store;
use cais_linux::SysError;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::inotify;
use rustix::io::Errno;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How much is read at once.
const BLOCK: usize = 256 * 1024;
/// More files than this no log has.
const MOST_FILES: u32 = 1000;

/// Which lines are wanted.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// From this moment on (as [`crate::time::format`] writes it).
    pub since: Option<String>,
    /// Before this moment.
    pub until: Option<String>,
    /// The last so many.
    pub tail: Option<u64>,
}

/// Whoever takes the lines.
pub type Take<'a> = dyn FnMut(&Line<'_>) -> Result<()> + 'a;

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> EngineError {
    EngineError::store(format!("read the log {}", path.display()))
}

/// Reads a log from its oldest line to its newest. A last line that is not whole (the disk
/// was full, the power went) is left out.
///
/// # Errors
/// Where a file cannot be read, or `take` fails.
pub fn read(form: Form, path: &Path, query: &Query, take: &mut Take<'_>) -> Result<()> {
    LogReader::open(form, path, query)?.read_on(take).map(drop)
}

/// A place in a log, from which it is read on as it grows and is put aside.
#[derive(Debug)]
pub struct LogReader {
    form: Form,
    path: PathBuf,
    query: Query,
    /// The file that is read now, and its inode.
    file: Option<(File, u64)>,
    /// What was read of a line whose end was not there yet.
    rest: Vec<u8>,
    buffer: Vec<u8>,
    /// Whether `until` was passed.
    over: bool,
}

impl LogReader {
    /// Opens a log at the first line that is wanted.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn open(form: Form, path: &Path, query: &Query) -> Result<Self> {
        let mut reader = Self {
            form,
            path: path.to_owned(),
            query: query.clone(),
            file: None,
            rest: Vec::new(),
            buffer: vec![0; BLOCK],
            over: false,
        };
        reader.file = match query.tail {
            Some(lines) => reader.find_tail(lines)?,
            None => oldest(path)?,
        };
        Ok(reader)
    }

    /// Finds the place before the last `lines` lines: the files are read backwards.
    fn find_tail(&mut self, lines: u64) -> Result<Option<(File, u64)>> {
        let mut left = lines;
        let mut found = None;
        for number in 0..MOST_FILES {
            let path = numbered(&self.path, number);
            let Some((mut file, inode)) = open(&path)? else {
                if number == 0 {
                    continue;
                }
                break;
            };
            let end = count_back(&mut file, &mut left, &mut self.buffer).map_err(failed(&path))?;
            found = Some((file, inode));
            if end {
                break;
            }
        }
        Ok(found)
    }

    /// Hands over all whole lines that are there, through all files. Tells whether there was
    /// any.
    ///
    /// # Errors
    /// Where a file cannot be read, or `take` fails.
    pub fn read_on(&mut self, take: &mut Take<'_>) -> Result<bool> {
        let mut any = false;
        loop {
            if self.file.is_none() {
                self.file = oldest(&self.path)?;
            }
            if self.file.is_none() || self.over {
                return Ok(any);
            }
            // Whether there is a later file must be known before the end of this one is read:
            // nothing is added to one that was put aside.
            let next = self.next_file()?;
            any |= self.read_file(take)?;
            match next {
                Some(next) => {
                    self.file = Some(next);
                    self.rest.clear();
                }
                None => return Ok(any),
            }
        }
    }

    /// The file after the one that is read now, if that was put aside. Where it is gone
    /// already, the oldest that is left.
    fn next_file(&self) -> Result<Option<(File, u64)>> {
        let Some((_, inode)) = &self.file else {
            return Ok(None);
        };
        let mut newer: Option<(File, u64)> = None;
        for number in 0..MOST_FILES {
            match open(&numbered(&self.path, number))? {
                Some((_, found)) if found == *inode => return Ok(newer),
                Some(other) => newer = Some(other),
                // Between putting one aside and making the next there is no current one.
                None if number == 0 => {}
                None => return Ok(newer),
            }
        }
        Ok(newer)
    }

    fn read_file(&mut self, take: &mut Take<'_>) -> Result<bool> {
        let mut any = false;
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = loop {
            let Some((file, _)) = &mut self.file else {
                break Ok(any);
            };
            let count = match file.read(&mut buffer) {
                Ok(0) => break Ok(any),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => break Err(failed(&self.path)(error)),
            };
            any = true;
            let block = buffer.get(..count).unwrap_or(&[]);
            if let Err(error) = self.take_block(block, take) {
                break Err(error);
            }
            if self.over {
                break Ok(any);
            }
        };
        self.buffer = buffer;
        result
    }

    fn take_block(&mut self, mut block: &[u8], take: &mut Take<'_>) -> Result<()> {
        if !self.rest.is_empty() {
            let Some(end) = memchr::memchr(b'\n', block) else {
                self.rest.extend_from_slice(block);
                return Ok(());
            };
            let mut line = std::mem::take(&mut self.rest);
            line.extend_from_slice(block.get(..end).unwrap_or(&[]));
            block = block.get(end + 1..).unwrap_or(&[]);
            self.take_line(&line, take)?;
        }
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', block) {
            if self.over {
                return Ok(());
            }
            self.take_line(block.get(start..end).unwrap_or(&[]), take)?;
            start = end + 1;
        }
        self.rest.extend_from_slice(block.get(start..).unwrap_or(&[]));
        Ok(())
    }

    fn take_line(&mut self, line: &[u8], take: &mut Take<'_>) -> Result<()> {
        let Some(line) = parse(self.form, line) else {
            return Ok(());
        };
        if self
            .query
            .since
            .as_deref()
            .is_some_and(|since| *line.time < *since)
        {
            return Ok(());
        }
        if self
            .query
            .until
            .as_deref()
            .is_some_and(|until| *line.time >= *until)
        {
            self.over = true;
            return Ok(());
        }
        take(&line)
    }

    /// Whether nothing more can come that is wanted.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The directory whose changes tell that there may be more.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }
}

fn open(path: &Path) -> Result<Option<(File, u64)>> {
    match File::open(path) {
        Ok(file) => {
            let inode = file.metadata().map_err(failed(path))?.ino();
            Ok(Some((file, inode)))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}

/// The oldest file that there is.
fn oldest(path: &Path) -> Result<Option<(File, u64)>> {
    let mut found = open(path)?;
    for number in 1..MOST_FILES {
        match open(&numbered(path, number))? {
            Some(file) => found = Some(file),
            None => break,
        }
    }
    Ok(found)
}

/// Places the file before its last `left` lines. Tells whether it has so many; else `left` is
/// how many are still wanted.
fn count_back(file: &mut File, left: &mut u64, buffer: &mut [u8]) -> std::io::Result<bool> {
    let mut end = file.seek(SeekFrom::End(0))?;
    // The line feed at the very end ends the last line and begins none.
    let mut wanted = left.saturating_add(1);
    let whole = end;
    while end > 0 {
        let size = u64::try_from(buffer.len()).unwrap_or(u64::MAX).min(end);
        let start = end - size;
        file.seek(SeekFrom::Start(start))?;
        let block = buffer
            .get_mut(..usize::try_from(size).unwrap_or(0))
            .unwrap_or(&mut []);
        file.read_exact(block)?;
        for at in memchr::memrchr_iter(b'\n', block) {
            wanted -= 1;
            if wanted == 0 {
                let place = start + u64::try_from(at).unwrap_or(0) + 1;
                file.seek(SeekFrom::Start(place))?;
                return Ok(true);
            }
        }
        end = start;
    }
    file.seek(SeekFrom::Start(0))?;
    if whole > 0 {
        // The file's first line has no line feed before it.
        *left = wanted.saturating_sub(1);
    }
    Ok(*left == 0)
}

/// Waits for changes of several logs and for the end of their containers.
#[derive(Debug)]
pub struct Watch {
    inotify: OwnedFd,
}

fn watch_failed(call: &'static str) -> impl FnOnce(Errno) -> EngineError {
    move |errno| EngineError::System {
        action: "watch the log".to_owned(),
        source: SysError::new(call, "", errno),
    }
}

impl Watch {
    /// Watches the files in these directories and the states of all containers.
    ///
    /// # Errors
    /// As inotify_add_watch(2).
    pub fn new<'a>(store: &Store, directories: impl Iterator<Item = &'a Path>) -> Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let inotify = inotify::init(flags).map_err(watch_failed("inotify_init1"))?;
        let written = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE;
        for directory in directories {
            std::fs::create_dir_all(directory)
                .map_err(EngineError::store(format!("make {}", directory.display())))?;
            inotify::add_watch(&inotify, directory, written).map_err(watch_failed("inotify_add_watch"))?;
        }
        let ended = inotify::WatchFlags::DELETE | inotify::WatchFlags::DELETE_SELF;
        match inotify::add_watch(&inotify, store.states(), ended) {
            Ok(_) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(watch_failed("inotify_add_watch")(errno)),
        }
        Ok(Self { inotify })
    }

    /// Waits until something changes, or one of these can be read.
    ///
    /// # Errors
    /// As poll(2).
    pub fn wait<'a>(&'a self, others: impl Iterator<Item = BorrowedFd<'a>>) -> Result<()> {
        let mut all = vec![PollFd::new(&self.inotify, PollFlags::IN)];
        all.extend(others.map(|other| PollFd::from_borrowed_fd(other, PollFlags::IN)));
        match poll(&mut all, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(watch_failed("poll")(errno)),
        }
        let mut buffer = [0u8; 4096];
        // Only that something changed matters, not what.
        while rustix::io::read(&self.inotify, &mut buffer[..]).is_ok_and(|count| count > 0) {}
        Ok(())
    }
}

/// Whether more may come: asked before the log is read, so that what is written until the end
/// is read.
///
/// # Errors
/// Where the state cannot be read.
pub fn may_grow(store: &Store, id: &ContainerId) -> Result<bool> {
    Ok(RunState::read(store, id)?.is_some_and(|state| state.monitor.is_alive()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    fn texts(reader: &mut LogReader) -> Vec<String> {
        let mut all = Vec::new();
        reader
            .read_on(&mut |line| {
                all.push(String::from_utf8_lossy(&line.text).trim_end().to_owned());
                Ok(())
            })
            .unwrap();
        all
    }

    fn line(number: u32) -> String {
        format!("2026-11-24T10:12:{number:02}.000000000Z stdout F {number}\n")
    }

    #[test]
    fn nothing_is_lost_or_doubled_while_files_are_put_aside() {
        let directory = std::env::temp_dir().join(format!("cais-reader-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("cri.log");
        let mut reader = LogReader::open(Form::Cri, &path, &Query::default()).unwrap();
        assert!(texts(&mut reader).is_empty());
        let mut number = 0;
        let mut seen = Vec::new();
        for round in 0..20 {
            // Two files may be put aside between two looks.
            for _ in 0..=(round % 3) {
                if path.exists() {
                    for older in (0..3).rev() {
                        let from = numbered(&path, older);
                        if from.exists() {
                            fs::rename(from, numbered(&path, older + 1)).unwrap();
                        }
                    }
                }
                let mut file = fs::OpenOptions::new()
                    .append(true)
                    .create(true)
                    .open(&path)
                    .unwrap();
                for _ in 0..3 {
                    let text = line(number % 60);
                    let (first, second) = text.split_at(10);
                    file.write_all(first.as_bytes()).unwrap();
                    if round % 2 == 0 && round % 3 == 0 {
                        seen.extend(texts(&mut reader));
                    }
                    file.write_all(second.as_bytes()).unwrap();
                    number += 1;
                }
            }
            seen.extend(texts(&mut reader));
        }
        let want: Vec<String> = (0..number).map(|number| (number % 60).to_string()).collect();
        assert_eq!(seen, want);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn the_last_lines_and_those_of_a_time() {
        let directory = std::env::temp_dir().join(format!("cais-tail-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("cri.log");
        let write = |path: &Path, numbers: std::ops::Range<u32>| {
            fs::write(path, numbers.map(line).collect::<String>()).unwrap();
        };
        write(&numbered(&path, 2), 0..10);
        write(&numbered(&path, 1), 10..20);
        write(&path, 20..30);
        for tail in [0u64, 1, 9, 10, 11, 25, 30, 99] {
            let query = Query {
                tail: Some(tail),
                ..Query::default()
            };
            let mut reader = LogReader::open(Form::Cri, &path, &query).unwrap();
            let first = 30u64.saturating_sub(tail);
            let want: Vec<String> = (first..30).map(|number| number.to_string()).collect();
            assert_eq!(texts(&mut reader), want, "{tail}");
        }
        let query = Query {
            since: Some("2026-11-24T10:12:05.000000000Z".to_owned()),
            until: Some("2026-11-24T10:12:08.000000000Z".to_owned()),
            tail: None,
        };
        let mut reader = LogReader::open(Form::Cri, &path, &query).unwrap();
        assert_eq!(texts(&mut reader), ["5", "6", "7"]);
        assert!(reader.is_over());
        fs::remove_dir_all(directory).unwrap();
    }
}
