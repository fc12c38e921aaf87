//! OCI image layouts (image-spec, "Image Layout"), as a directory and as an archive.

use super::archive::{Archive, ArchiveWriter};
use super::error::{FormatError, Result};
use super::{Entry, Sink, Source};
use crate::descriptor::{Descriptor, MediaType};
use crate::digest::Digest;
use crate::manifest::{Index, MAX_JSON, parse_index};
use crate::store::{LAYOUT, REF_NAME, check_layout, unique};
use rustix::fs::OFlags;
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where containerd and Docker note the full name; the other annotation has only the tag then.
pub(super) const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// The files of a layout.
pub trait Files {
    /// Opens a file and tells its size; `None` where there is none.
    ///
    /// # Errors
    /// As open(2).
    fn open(&self, name: &str) -> Result<Option<(Box<dyn Read + '_>, u64)>>;
}

/// A layout that is read.
#[derive(Debug)]
pub struct OciLayout<F> {
    files: F,
    index: Index,
}

/// A layout in a directory.
pub type OciDirectory = OciLayout<Directory>;

/// The directory of a layout.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Files for Directory {
    fn open(&self, name: &str) -> Result<Option<(Box<dyn Read + '_>, u64)>> {
        let path = self.0.join(name);
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        // Not to wait for the other end of a FIFO.
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(FormatError::at("open", &path))?,
        };
        let metadata = file.metadata().map_err(FormatError::at("look at", &path))?;
        if !metadata.is_file() {
            return Err(FormatError::file(name, "no regular file"));
        }
        Ok(Some((Box::new(file), metadata.len())))
    }
}

impl Files for Archive {
    fn open(&self, name: &str) -> Result<Option<(Box<dyn Read + '_>, u64)>> {
        let size = self.size(name).unwrap_or(0);
        Ok(self
            .file(name)
            .map(|section| (Box::new(section) as Box<dyn Read>, size)))
    }
}

/// Reads a small file whole.
pub(super) fn read_small(files: &dyn Files, name: &str) -> Result<Option<Vec<u8>>> {
    let Some((content, size)) = files.open(name)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    let mut bounded = content.take(MAX_JSON + 1);
    if size <= MAX_JSON {
        bounded
            .read_to_end(&mut bytes)
            .map_err(FormatError::io(format!("read {name}")))?;
    }
    if size > MAX_JSON || bytes.len() as u64 > MAX_JSON {
        let (name, limit) = (name.to_owned(), MAX_JSON);
        return Err(FormatError::TooBig { name, limit });
    }
    Ok(Some(bytes))
}

/// The name of a blob in a layout.
pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

impl OciDirectory {
    /// Opens a layout in a directory.
    ///
    /// # Errors
    /// As [`OciLayout::open`].
    pub fn open_directory(path: &Path) -> Result<Self> {
        OciLayout::open(Directory(path.to_owned()))
    }
}

impl<F: Files> OciLayout<F> {
    /// Opens a layout.
    ///
    /// # Errors
    /// [`FormatError::Unknown`] where there is none; [`FormatError::File`] for one of another
    /// version; [`FormatError::Manifest`].
    pub fn open(files: F) -> Result<Self> {
        let layout = read_small(&files, "oci-layout")?;
        let layout = layout.ok_or(FormatError::Unknown("there is no oci-layout in it"))?;
        check_layout(&layout).map_err(|detail| FormatError::file("oci-layout", detail))?;
        let bytes = read_small(&files, "index.json")?;
        let bytes = bytes.ok_or(FormatError::Unknown("there is no index.json in it"))?;
        // Its own media type may be missing, and there is no other word on it.
        let index = parse_index(&bytes, None).map_err(FormatError::manifest("index.json"))?;
        Ok(Self { files, index })
    }
}

impl<F: Files> Source for OciLayout<F> {
    fn manifests(&self) -> Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::new();
        for target in &self.index.manifests {
            let name = |key| target.annotations.get(key).filter(|name| !name.is_empty());
            let name = name(CONTAINERD_NAME).or_else(|| name(REF_NAME)).cloned();
            // The same with another name.
            match entries
                .iter_mut()
                .find(|entry| entry.target.digest == target.digest)
            {
                Some(entry) => entry.names.extend(name),
                None => {
                    let mut target = target.clone();
                    target.annotations.remove(CONTAINERD_NAME);
                    target.annotations.remove(REF_NAME);
                    let names = name.into_iter().collect();
                    entries.push(Entry { names, target });
                }
            }
        }
        Ok(entries)
    }

    fn has(&self, blob: &Descriptor) -> Result<bool> {
        Ok(self.files.open(&blob_name(&blob.digest))?.is_some())
    }

    fn blob(&self, blob: &Descriptor) -> Result<Box<dyn Read + '_>> {
        match self.files.open(&blob_name(&blob.digest))? {
            Some((content, _)) => Ok(content),
            None => Err(FormatError::NoBlob(blob.digest.clone())),
        }
    }
}

/// The descriptors of an entry for an index: one for each name.
fn index_entries(entry: &Entry) -> Vec<Descriptor> {
    let with = |name: Option<&String>| {
        let mut target = entry.target.clone();
        if let Some(name) = name {
            target.annotations.insert(REF_NAME.to_owned(), name.clone());
        }
        target
    };
    if entry.names.is_empty() {
        vec![with(None)]
    } else {
        entry.names.iter().map(|name| with(Some(name))).collect()
    }
}

fn render(index: &Index) -> Result<Vec<u8>> {
    cais_json::to_vec(index).map_err(|error| FormatError::file("index.json", error.to_string()))
}

pub(super) fn empty_index() -> Index {
    Index {
        schema_version: 2,
        media_type: Some(MediaType::INDEX.to_owned()),
        ..Index::default()
    }
}

/// A layout in a directory that is written, or added to: names that it has are moved.
#[derive(Debug)]
pub struct OciDirectorySink {
    path: PathBuf,
    index: Index,
}

impl OciDirectorySink {
    /// Opens a directory, which is made if it is missing; one that is there must be empty or
    /// a layout.
    ///
    /// # Errors
    /// [`FormatError::Unknown`]; as mkdir(2).
    pub fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).map_err(FormatError::at("make", path))?;
        let mut entries = fs::read_dir(path).map_err(FormatError::at("read", path))?;
        let index = if entries.next().is_none() {
            empty_index()
        } else {
            OciDirectory::open_directory(path)?.index
        };
        let path = path.to_owned();
        Ok(Self { path, index })
    }

    fn write(&self, name: &str, content: &mut dyn Read) -> Result<()> {
        let path = self.path.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(FormatError::at("make", parent))?;
        }
        // Beside, then renamed.
        let beside = self.path.join(unique(".new"));
        let mut write = || -> io::Result<()> {
            let mut file = File::create_new(&beside)?;
            io::copy(content, &mut file)?;
            fs::rename(&beside, &path)
        };
        write().map_err(|error| {
            // What is left of the attempt; the error that counts is the first.
            fs::remove_file(&beside).unwrap_or_default();
            FormatError::at("write", &path)(error)
        })
    }
}

impl Sink for OciDirectorySink {
    fn has(&mut self, blob: &Descriptor) -> Result<bool> {
        let metadata = fs::metadata(self.path.join(blob_name(&blob.digest)));
        Ok(metadata.is_ok_and(|metadata| metadata.len() == blob.size))
    }

    fn put(&mut self, blob: &Descriptor, content: &mut dyn Read) -> Result<()> {
        self.write(&blob_name(&blob.digest), content)
    }

    fn enter(&mut self, entry: &Entry) -> Result<()> {
        let name = |target: &Descriptor| target.annotations.get(REF_NAME).cloned();
        for target in index_entries(entry) {
            self.index
                .manifests
                .retain(|old| match (name(old), name(&target)) {
                    (None, None) => old.digest != target.digest,
                    (old, new) => old != new,
                });
            self.index.manifests.push(target);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.write("index.json", &mut render(&self.index)?.as_slice())?;
        self.write("oci-layout", &mut &*LAYOUT)
    }
}

/// An archive of a layout that is written.
pub struct OciArchiveSink<W: Write> {
    archive: ArchiveWriter<W>,
    written: HashSet<Digest>,
    directories: HashSet<String>,
    index: Index,
}

impl<W: Write> std::fmt::Debug for OciArchiveSink<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OciArchiveSink")
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

impl<W: Write> OciArchiveSink<W> {
    /// Writes an archive to a file or pipe.
    pub fn new(inner: W) -> Self {
        Self {
            archive: ArchiveWriter::new(inner),
            written: HashSet::new(),
            directories: HashSet::new(),
            index: empty_index(),
        }
    }
}

/// Writes the entries of the directories of a blob, once.
pub(super) fn write_directories<W: Write>(
    archive: &mut ArchiveWriter<W>,
    done: &mut HashSet<String>,
    algorithm: &str,
) -> Result<()> {
    for name in ["blobs/".to_owned(), format!("blobs/{algorithm}/")] {
        if done.insert(name.clone()) {
            archive.directory(&name)?;
        }
    }
    Ok(())
}

impl<W: Write> Sink for OciArchiveSink<W> {
    fn has(&mut self, blob: &Descriptor) -> Result<bool> {
        Ok(self.written.contains(&blob.digest))
    }

    fn put(&mut self, blob: &Descriptor, content: &mut dyn Read) -> Result<()> {
        write_directories(&mut self.archive, &mut self.directories, blob.digest.algorithm())?;
        self.archive.file(&blob_name(&blob.digest), blob.size, content)?;
        self.written.insert(blob.digest.clone());
        Ok(())
    }

    fn enter(&mut self, entry: &Entry) -> Result<()> {
        self.index.manifests.extend(index_entries(entry));
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        let index = render(&self.index)?;
        self.archive
            .file("index.json", index.len() as u64, &mut index.as_slice())?;
        self.archive
            .file("oci-layout", LAYOUT.len() as u64, &mut &*LAYOUT)?;
        self.archive.finish()
    }
}
