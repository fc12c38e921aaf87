//! Questions to the files of names that [`super::name_file`] writes.

use super::config::NetworkNames;
use super::name_file::{FILE, Value};
use cais_linux::{Result, SysError};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, fstat, open, stat};
use rustix::io::{Errno, pread, retry_on_intr};
use std::path::{Path, PathBuf};

/// What a lookup reads at once.
const BLOCK: usize = 4096;
/// No line is longer: two names, an owner, and what separates them.
const MAX_LINE: usize = 255 + 255 + 64 + 3;
/// Places of a file that are remembered: where the searches begin is among them.
const MOST_PLACES: usize = 64;

/// Those who read the names of a container's networks.
#[derive(Debug, Default)]
pub struct NameReaders(Vec<NameReader>);

impl NameReaders {
    /// Each network with its reader. Those of other networks are dropped.
    pub fn beside<'a>(
        &'a mut self,
        networks: &'a [NetworkNames],
    ) -> impl Iterator<Item = (&'a NetworkNames, &'a mut NameReader)> {
        let mut pairs = self.0.iter().zip(networks);
        if self.0.len() != networks.len() || !pairs.all(|(reader, network)| reader.reads(network)) {
            let mut old = std::mem::take(&mut self.0);
            let find = |network: &NetworkNames| match old.iter().position(|reader| reader.reads(network)) {
                Some(place) => old.swap_remove(place),
                None => NameReader::new(&network.directory),
            };
            self.0 = networks.iter().map(find).collect();
        }
        networks.iter().zip(&mut self.0)
    }
}

/// Reads the names of one network.
#[derive(Debug)]
pub struct NameReader {
    path: PathBuf,
    held: Option<Held>,
}

/// The file that was there last. As long as it is open, no other one has its number.
#[derive(Debug)]
struct Held {
    file: OwnedFd,
    inode: u64,
    size: u64,
    places: Vec<Place>,
}

/// What a search finds at a place of the file.
#[derive(Debug)]
struct Place {
    at: u64,
    /// The first line that begins behind it begins here.
    start: u64,
    key: Vec<u8>,
}

impl NameReader {
    /// For the names that lie in this directory of the engine's.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self {
            path: directory.join(FILE),
            held: None,
        }
    }

    fn reads(&self, network: &NetworkNames) -> bool {
        self.path.parent() == Some(&network.directory)
    }

    /// What this key stands for; empty where nobody has the name. The key must be in
    /// lower case.
    ///
    /// # Errors
    /// Where the file is there but cannot be read.
    pub fn look_up(&mut self, key: &str) -> Result<Vec<Value>> {
        let found = self.current().and_then(|held| match held {
            Some(held) => held.find(key.as_bytes()).map_err(|errno| ("pread", errno)),
            None => Ok(Vec::new()),
        });
        found.map_err(|(call, errno)| SysError::new(call, format!("{:?}", self.path), errno))
    }

    /// The file that is there now.
    fn current(&mut self) -> std::result::Result<Option<&mut Held>, (&'static str, Errno)> {
        let there = match stat(&self.path) {
            Err(Errno::NOENT) => {
                self.held = None;
                return Ok(None);
            }
            other => other.map_err(|errno| ("stat", errno))?,
        };
        if self.held.as_ref().is_none_or(|held| held.inode != there.st_ino) {
            self.held = Held::open(&self.path)?;
        }
        Ok(self.held.as_mut())
    }
}

impl Held {
    fn open(path: &Path) -> std::result::Result<Option<Self>, (&'static str, Errno)> {
        let file = match open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.map_err(|errno| ("open", errno))?,
        };
        let status = fstat(&file).map_err(|errno| ("fstat", errno))?;
        Ok(Some(Self {
            file,
            inode: status.st_ino,
            size: u64::try_from(status.st_size).unwrap_or(0),
            places: Vec::new(),
        }))
    }

    /// The values of all lines with this key: a binary search.
    fn find(&mut self, key: &[u8]) -> std::result::Result<Vec<Value>, Errno> {
        let mut block = vec![0; BLOCK];
        // The first line with this key or a later one begins between these two, which are
        // beginnings of lines themselves.
        let (mut low, mut high) = (0u64, self.size);
        while high.saturating_sub(low) > BLOCK as u64 {
            let Some(place) = self.look_at(u64::midpoint(low, high), &mut block)? else {
                break;
            };
            if place.start >= high {
                break;
            }
            if place.key.as_slice() < key {
                low = place.start;
            } else {
                high = place.start;
            }
        }
        collect(self.file.as_fd(), low, key, &mut block)
    }

    /// What there is at a place; none where no line begins near it.
    fn look_at(&mut self, at: u64, block: &mut [u8]) -> std::result::Result<Option<&Place>, Errno> {
        let known = self.places.iter().position(|place| place.at == at);
        let number = match known {
            Some(number) => number,
            None => {
                let block = read(self.file.as_fd(), at, block)?;
                let newline = block.iter().take(MAX_LINE).position(|byte| *byte == b'\n');
                let Some(newline) = newline else {
                    return Ok(None);
                };
                // The last one makes room: a search looks first where all begin.
                self.places.truncate(MOST_PLACES - 1);
                self.places.push(Place {
                    at,
                    start: at + newline as u64 + 1,
                    key: key_of(block.get(newline + 1..).unwrap_or_default()).to_vec(),
                });
                self.places.len() - 1
            }
        };
        Ok(self.places.get(number))
    }
}

/// Reads at this place; returns what is there.
fn read<'a>(file: BorrowedFd<'_>, at: u64, block: &'a mut [u8]) -> std::result::Result<&'a [u8], Errno> {
    let count = retry_on_intr(|| pread(file, &mut *block, at))?;
    Ok(block.get(..count).unwrap_or_default())
}

/// Reads lines from here until they are past the key.
fn collect(
    file: BorrowedFd<'_>,
    mut at: u64,
    key: &[u8],
    block: &mut [u8],
) -> std::result::Result<Vec<Value>, Errno> {
    let mut values = Vec::new();
    loop {
        let block = read(file, at, block)?;
        let mut used = 0;
        for line in block
            .split_inclusive(|byte| *byte == b'\n')
            .filter(|line| line.ends_with(b"\n"))
        {
            match key_of(line).cmp(key) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => values.extend(value_of(line)),
                std::cmp::Ordering::Greater => return Ok(values),
            }
            used += line.len();
        }
        if used == 0 {
            return Ok(values);
        }
        at += used as u64;
    }
}

fn key_of(line: &[u8]) -> &[u8] {
    line.split(|byte| *byte == b'\t').next().unwrap_or_default()
}

fn value_of(line: &[u8]) -> Option<Value> {
    let field = line.split(|byte| *byte == b'\t').nth(1)?;
    let text = std::str::from_utf8(field).ok()?;
    Some(match text.parse() {
        Ok(address) => Value::Address(address),
        Err(_) => Value::Pointer(text.to_owned()),
    })
}
