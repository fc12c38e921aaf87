//! The names of one network: a file of lines `key TAB value TAB owner`, sorted, so that a
//! lookup reads a few blocks.
//!
//! The file is replaced by rename(2) under a lock of its directory (flock(2)): a reader
//! ([`super::name_reader`]) takes no lock and sees the names from before or after. It looks
//! which file is there at each question, so that a change is seen at once. A writer that was
//! killed leaves at most `names.new`, which the next one replaces; the names of an owner that
//! died are removed by whoever sweeps it ([`NameFile::retain`]).

use super::name::{Name, reverse_name};
use cais_linux::{Result, SysError};
use cais_order::InOrder;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat, renameat};
use rustix::io::Errno;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Its name in the directory of the network.
pub(super) const FILE: &str = "names";
const NEW: &str = "names.new";

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// An address of a container.
    Address(IpAddr),
    /// For a reverse name: the name of a container.
    Pointer(String),
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name in lower case.
    pub key: String,
    /// What it stands for.
    pub value: Value,
}

/// The lines for one container on a network: each of its names for each of its
/// addresses, and for each address the first name with the network behind it.
///
/// A name that cannot be asked for (a label of more than 63 octets) has no line.
#[must_use]
pub fn plan_entries(names: &[String], network: &str, addresses: &[IpAddr]) -> Vec<Entry> {
    let text = |name: &str| Name::from_text(name).and_then(|name| name.text());
    let mut entries = Vec::new();
    for key in names
        .iter()
        .filter_map(|name| text(name))
        .filter(|key| !key.is_empty())
    {
        entries.extend(addresses.iter().map(|address| Entry {
            key: key.clone(),
            value: Value::Address(*address),
        }));
    }
    let full = names.first().and_then(|name| text(&format!("{name}.{network}")));
    entries.extend(full.iter().flat_map(|full| {
        addresses.iter().map(|address| Entry {
            key: reverse_name(*address),
            value: Value::Pointer(full.clone()),
        })
    }));
    entries
}

/// The names of one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameFile {
    directory: PathBuf,
}

impl NameFile {
    /// The names that lie in this directory of the engine's.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// Adds the names of `owner` (no white space, at most 64 octets); those that it had
    /// before are replaced.
    ///
    /// # Errors
    /// Where the directory is not there or the file cannot be written.
    pub fn add(&self, owner: &str, entries: &[Entry]) -> Result<()> {
        self.change(|lines| {
            lines.retain(|line| owner_of(line) != owner);
            lines.extend(entries.iter().map(|entry| format_line(owner, entry)));
        })
    }

    /// Removes the names of `owner`.
    ///
    /// # Errors
    /// As [`Self::add`]; a directory that is not there has no names.
    pub fn remove(&self, owner: &str) -> Result<()> {
        self.retain(|known| known != owner)
    }

    /// Removes the names of all owners that `is_there` denies.
    ///
    /// # Errors
    /// As [`Self::remove`].
    pub fn retain(&self, mut is_there: impl FnMut(&str) -> bool) -> Result<()> {
        match self.change(|lines| lines.retain(|line| is_there(owner_of(line)))) {
            Err(error) if error.errno() == Errno::NOENT => Ok(()),
            other => other,
        }
    }

    /// Everybody who has names here, each once.
    ///
    /// # Errors
    /// Where the file is there but cannot be read.
    pub fn owners(&self) -> Result<Vec<String>> {
        let directory = match self.open_directory() {
            Err(error) if error.errno() == Errno::NOENT => return Ok(Vec::new()),
            other => other?,
        };
        let text = read_names(directory.as_fd())?;
        let mut owners: Vec<String> = text.lines().map(|line| owner_of(line).to_owned()).collect();
        owners.order();
        owners.dedup();
        Ok(owners)
    }

    fn open_directory(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(&self.directory, flags, Mode::empty())
            .map_err(|errno| SysError::new("open", format!("{:?}", self.directory), errno))
    }

    /// Changes the lines under the lock.
    fn change(&self, change: impl FnOnce(&mut Vec<String>)) -> Result<()> {
        let directory = self.open_directory()?;
        rustix::io::retry_on_intr(|| flock(&directory, FlockOperation::LockExclusive))
            .map_err(|errno| SysError::new("flock", format!("{:?}", self.directory), errno))?;
        let text = read_names(directory.as_fd())?;
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        change(&mut lines);
        lines.order();
        lines.dedup();
        let mut new = String::with_capacity(text.len() + 512);
        for line in &lines {
            new.push_str(line);
            new.push('\n');
        }
        if new == text {
            return Ok(());
        }
        if new.is_empty() {
            return rustix::fs::unlinkat(&directory, FILE, rustix::fs::AtFlags::empty()).map_err(|errno| {
                SysError::new("unlinkat", format!("{:?}", self.directory.join(FILE)), errno)
            });
        }
        write_names(directory.as_fd(), new.as_bytes())
            .map_err(|(call, errno)| SysError::new(call, format!("{:?}", self.directory.join(NEW)), errno))
    }
}

fn format_line(owner: &str, entry: &Entry) -> String {
    match &entry.value {
        Value::Address(address) => format!("{}\t{address}\t{owner}", entry.key),
        Value::Pointer(name) => format!("{}\t{name}\t{owner}", entry.key),
    }
}

fn owner_of(line: &str) -> &str {
    line.rsplit('\t').next().unwrap_or("")
}

fn read_names(directory: BorrowedFd<'_>) -> Result<String> {
    let error = |call| move |errno| SysError::new(call, format!("{FILE:?}"), errno);
    let file = match openat(directory, FILE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(String::new()),
        other => other.map_err(error("openat"))?,
    };
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut std::fs::File::from(file), &mut text)
        .map_err(|failure| SysError::from_io("read", format!("{FILE:?}"), &failure))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn write_names(
    directory: BorrowedFd<'_>,
    mut bytes: &[u8],
) -> std::result::Result<(), (&'static str, Errno)> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let file =
        openat(directory, NEW, flags, Mode::from_raw_mode(0o600)).map_err(|errno| ("openat", errno))?;
    while !bytes.is_empty() {
        let count = rustix::io::retry_on_intr(|| rustix::io::write(&file, bytes))
            .map_err(|errno| ("write", errno))?;
        bytes = bytes.get(count..).unwrap_or_default();
    }
    renameat(directory, NEW, directory, FILE).map_err(|errno| ("renameat", errno))
}

#[cfg(test)]
mod tests {
    use super::super::name_reader::NameReader;
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("cais-names-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn entries(names: &[&str], address: &str) -> Vec<Entry> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        plan_entries(&names, "net", &[address.parse().unwrap()])
    }

    fn addresses(reader: &mut NameReader, key: &str) -> Vec<String> {
        let values = reader.look_up(key).unwrap().into_iter();
        values
            .map(|value| match value {
                Value::Address(address) => address.to_string(),
                Value::Pointer(name) => name,
            })
            .collect()
    }

    #[test]
    fn names_come_and_go() {
        let scratch = Scratch::new("come");
        let file = NameFile::new(&scratch.0);
        let mut reader = NameReader::new(&scratch.0);
        assert!(addresses(&mut reader, "web").is_empty());
        file.add("one", &entries(&["Web", "front"], "10.0.0.2")).unwrap();
        file.add("two", &entries(&["web2", "front"], "10.0.0.3")).unwrap();
        assert_eq!(addresses(&mut reader, "front"), ["10.0.0.2", "10.0.0.3"]);
        assert_eq!(addresses(&mut reader, "web"), ["10.0.0.2"]);
        assert_eq!(addresses(&mut reader, "2.0.0.10.in-addr.arpa"), ["web.net"]);
        assert!(addresses(&mut reader, "we").is_empty());
        assert_eq!(file.owners().unwrap(), ["one", "two"]);
        // Added again, what an owner had before is gone.
        file.add("one", &entries(&["other"], "10.0.0.4")).unwrap();
        assert!(addresses(&mut reader, "web").is_empty());
        file.remove("two").unwrap();
        assert_eq!(file.owners().unwrap(), ["one"]);
        file.retain(|_| false).unwrap();
        assert!(addresses(&mut reader, "other").is_empty());
    }

    #[test]
    fn what_is_not_there_has_no_names() {
        let file = NameFile::new(Path::new("/nonexistent/cais"));
        let mut reader = NameReader::new(Path::new("/nonexistent/cais"));
        assert!(addresses(&mut reader, "web").is_empty());
        file.remove("one").unwrap();
        assert!(file.owners().unwrap().is_empty());
        assert_eq!(
            file.add("one", &entries(&["web"], "10.0.0.2"))
                .unwrap_err()
                .errno(),
            Errno::NOENT
        );
    }

    #[test]
    fn each_of_a_thousand_names_is_found() {
        let scratch = Scratch::new("thousand");
        let file = NameFile::new(&scratch.0);
        let mut reader = NameReader::new(&scratch.0);
        let mut all = Vec::new();
        for number in 0..1000u32 {
            let address = IpAddr::from([
                10,
                1,
                u8::try_from(number / 250).unwrap(),
                u8::try_from(number % 250).unwrap(),
            ]);
            all.extend(plan_entries(
                &[format!("c{number}"), "all".to_owned()],
                "net",
                &[address],
            ));
        }
        file.add("owner", &all).unwrap();
        for number in 0..1000 {
            assert_eq!(
                addresses(&mut reader, &format!("c{number}")).len(),
                1,
                "c{number}"
            );
            assert!(addresses(&mut reader, &format!("c{number}x")).is_empty());
        }
        assert_eq!(addresses(&mut reader, "all").len(), 1000);
        for absent in ["", "a", "zzz", "c", "allx"] {
            assert!(addresses(&mut reader, absent).is_empty());
        }
    }

    #[test]
    fn names_that_nobody_can_ask_for_have_no_line() {
        let planned = entries(&["ok", &"x".repeat(64), "", "a b"], "10.0.0.2");
        let keys: Vec<&str> = planned.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["ok", "2.0.0.10.in-addr.arpa"]);
    }
}
