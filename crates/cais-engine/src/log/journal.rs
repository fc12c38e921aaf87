//! What the journal keeps of a container, read back by journalctl(1): its files have a form
//! that is systemd's own, and readers of it change with it. The output is asked for in the
//! export format (systemd.io/JOURNAL_EXPORT_FORMATS), which takes any bytes.

use super::Stream;
use super::format::Line;
use super::reader::{Query, Take};
use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::time;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use std::borrow::Cow;
use std::io::Read;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime};

const PROGRAM: &str = "journalctl";
/// Fields that are no labels of the container's (systemd.journal-fields(7) and Docker's).
const OWN: [&str; 6] = [
    "MESSAGE",
    "PRIORITY",
    "CONTAINER_",
    "SYSLOG_",
    "IMAGE_NAME",
    "CODE_",
];

/// A container's entries in the journal.
#[derive(Debug)]
pub struct JournalReader {
    id: String,
    query: Query,
    follower: Option<(Child, ChildStdout)>,
    /// What was read of an entry whose end was not there yet.
    rest: Vec<u8>,
    /// The last entry that was handed over.
    cursor: Option<String>,
    over: bool,
}

fn failed(error: std::io::Error) -> EngineError {
    EngineError::Store {
        action: format!("read the journal by {PROGRAM}"),
        source: error,
    }
}

/// What was sent is there to be read once the journal says so. An older journalctl cannot ask
/// for that, and an ordinary user may not.
fn await_journal() {
    Command::new(PROGRAM)
        .arg("--sync")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map(drop)
        .unwrap_or_default();
}

impl JournalReader {
    /// The entries of this container that are wanted.
    #[must_use]
    pub fn new(id: &ContainerId, query: &Query) -> Self {
        await_journal();
        Self {
            id: id.as_str().to_owned(),
            query: query.clone(),
            follower: None,
            rest: Vec::new(),
            cursor: None,
            over: false,
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(["--output=export", "--all", "--quiet", "--no-pager"]);
        match (&self.cursor, self.query.tail) {
            (Some(cursor), _) => command.arg(format!("--after-cursor={cursor}")),
            (None, Some(lines)) => command.arg(format!("--lines={lines}")),
            (None, None) => command.arg("--lines=all"),
        };
        command
            .arg(format!("CONTAINER_ID_FULL={}", self.id))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        command
    }

    /// Hands over what is there. With `more` the journal is followed from then on; without,
    /// everything that there is comes now.
    ///
    /// # Errors
    /// Where there is no journalctl or it fails; where `take` fails.
    pub fn read_on(&mut self, more: bool, take: &mut Take<'_>) -> Result<()> {
        if more {
            return self.follow(take);
        }
        if let Some((mut child, _)) = self.follower.take() {
            child.kill().and_then(|()| child.wait()).map_err(failed)?;
            self.rest.clear();
            // The container has ended, and the journal may be behind.
            await_journal();
        }
        let mut child = self.command().stdout(Stdio::piped()).spawn().map_err(failed)?;
        let mut output = child.stdout.take();
        let mut buffer = vec![0; 64 * 1024];
        while let Some(output) = output.as_mut().filter(|_| !self.over) {
            match output.read(&mut buffer).map_err(failed)? {
                0 => break,
                count => self.take_bytes(buffer.get(..count).unwrap_or_default(), take)?,
            }
        }
        drop(output);
        let ended = child.wait().map_err(failed)?;
        if self.over || ended.success() {
            return Ok(());
        }
        Err(EngineError::Invalid(format!("{PROGRAM} failed: {ended}")))
    }

    fn follow(&mut self, take: &mut Take<'_>) -> Result<()> {
        if self.follower.is_none() {
            let mut child = self
                .command()
                .arg("--follow")
                .stdout(Stdio::piped())
                .spawn()
                .map_err(failed)?;
            if let Some(output) = child.stdout.take() {
                rustix::io::ioctl_fionbio(&output, true).map_err(|errno| failed(errno.into()))?;
                self.follower = Some((child, output));
            }
        }
        let mut buffer = vec![0; 64 * 1024];
        while let Some((_, output)) = self.follower.as_ref().filter(|_| !self.over) {
            match rustix::io::read(output, buffer.as_mut_slice()) {
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(failed(errno.into())),
                Ok(0) => {
                    return Err(EngineError::Invalid(format!(
                        "{PROGRAM} ended before the container"
                    )));
                }
                Ok(count) => self.take_bytes(buffer.get(..count).unwrap_or_default(), take)?,
            }
        }
        Ok(())
    }

    /// What can be read when there is more.
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.follower.as_ref().map(|(_, output)| output.as_fd())
    }

    /// Whether nothing more can come that is wanted.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }

    fn take_bytes(&mut self, bytes: &[u8], take: &mut Take<'_>) -> Result<()> {
        self.rest.extend_from_slice(bytes);
        let rest = std::mem::take(&mut self.rest);
        let mut left = rest.as_slice();
        while let Some((entry, after)) = parse_entry(left) {
            left = after;
            self.cursor = Some(entry.cursor.to_owned());
            let line = entry.line();
            let is_before =
                |moment: &Option<String>| moment.as_deref().is_some_and(|moment| *line.time < *moment);
            if self.query.until.is_some() && !is_before(&self.query.until) {
                self.over = true;
                return Ok(());
            }
            if !is_before(&self.query.since) {
                take(&line)?;
            }
        }
        self.rest = left.to_vec();
        Ok(())
    }
}

impl Drop for JournalReader {
    fn drop(&mut self) {
        if let Some((mut child, _)) = self.follower.take() {
            child
                .kill()
                .and_then(|()| child.wait())
                .map(drop)
                .unwrap_or_default();
        }
    }
}

/// What counts of an entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Where it stands in the journal.
    pub cursor: &'a str,
    /// Microseconds since 1970.
    pub time: u64,
    /// What the program wrote.
    pub message: &'a [u8],
    /// Whether it came from standard error.
    pub is_error: bool,
    /// Whether the line goes on in the next entry.
    pub is_partial: bool,
    /// Labels and variables of the container.
    pub attributes: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Entry<'a> {
    fn line(&self) -> Line<'a> {
        let attributes = self.attributes.iter();
        let attributes: Vec<String> = attributes
            .map(|(key, value)| format!("{key}={}", String::from_utf8_lossy(value)))
            .collect();
        Line {
            text: Cow::Borrowed(self.message),
            is_whole: !self.is_partial,
            stream: if self.is_error {
                Stream::Stderr
            } else {
                Stream::Stdout
            },
            time: Cow::Owned(time::format(
                SystemTime::UNIX_EPOCH + Duration::from_micros(self.time),
            )),
            attributes: attributes.join(","),
        }
    }
}

/// The first entry, and what is behind it; `None` where its end is not there.
#[must_use]
pub fn parse_entry(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let mut entry = Entry::default();
    let mut left = bytes;
    loop {
        let end = memchr::memchr(b'\n', left)?;
        let (line, after) = (left.get(..end)?, left.get(end + 1..)?);
        if line.is_empty() {
            return Some((entry, after));
        }
        let (name, value);
        match memchr::memchr(b'=', line) {
            Some(at) => {
                (name, value) = (line.get(..at)?, line.get(at + 1..)?);
                left = after;
            }
            None => {
                // The name alone; its length (64 bits, little endian) and value follow.
                let (length, after) = after.split_first_chunk::<8>()?;
                let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
                (name, value) = (line, after.get(..length)?);
                left = after.get(length.checked_add(1)?..)?;
            }
        }
        let text = std::str::from_utf8(value).unwrap_or_default();
        match std::str::from_utf8(name).unwrap_or_default() {
            "__CURSOR" => entry.cursor = text,
            "__REALTIME_TIMESTAMP" => entry.time = text.parse().unwrap_or_default(),
            "MESSAGE" => entry.message = value,
            "PRIORITY" => entry.is_error = text == "3",
            "CONTAINER_PARTIAL_MESSAGE" => entry.is_partial = text == "true",
            name if name.starts_with('_') || OWN.iter().any(|own| name.starts_with(own)) => {}
            name => entry.attributes.push((name, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_the_export_format() {
        let first = b"__CURSOR=s=1;i=2\n__REALTIME_TIMESTAMP=1000001\n_PID=7\nPRIORITY=3\n\
            CONTAINER_ID=ab\nTEAM=blue\nMESSAGE\n\x04\0\0\0\0\0\0\0a\n=\xff\nCONTAINER_PARTIAL_MESSAGE=true\n\n";
        let second = b"MESSAGE=x=y\n\n";
        let both = [&first[..], second].concat();
        let (entry, after) = parse_entry(&both).unwrap();
        let expected = Entry {
            cursor: "s=1;i=2",
            time: 1_000_001,
            message: b"a\n=\xff",
            is_error: true,
            is_partial: true,
            attributes: vec![("TEAM", b"blue")],
        };
        assert_eq!(entry, expected);
        let line = entry.line();
        assert_eq!(line.time, "1970-01-01T00:00:01.000001000Z");
        assert_eq!((line.attributes.as_str(), line.is_whole), ("TEAM=blue", false));
        let (entry, after) = parse_entry(after).unwrap();
        assert_eq!((entry.message, after), (&b"x=y"[..], &b""[..]));
        // Whatever is cut off is waited for.
        for length in 0..first.len() {
            assert_eq!(parse_entry(&first[..length]), None, "{length}");
        }
        // A length that no memory has.
        assert_eq!(parse_entry(b"M\n\xff\xff\xff\xff\xff\xff\xff\xffx\n\n"), None);
    }
}
