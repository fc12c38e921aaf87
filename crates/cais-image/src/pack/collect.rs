//! Collects what programs need.

mod added;
mod always;
mod traced;

use super::elf::is_elf;
use super::host::{Host, Resolved};
use super::loader::{LoadError, Loader};
use super::notes::parse_note;
use super::script::{find_program, parse_shebang};
use super::set::{FileSet, Reason};
use rustix::fs::FileType;
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

/// How deep interpreters interpret each other, as the kernel's.
const MAX_SCRIPTS: usize = 5;
/// Where programs are looked for.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Something that a traced program used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    /// The path as it used it, absolute.
    pub path: PathBuf,
    /// What for.
    pub kind: UseKind,
    /// The program.
    pub by: PathBuf,
}

/// What a traced program used a path for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum UseKind {
    /// It read it, executed it, or looked at it: it must be there.
    Read,
    /// It looked at the link itself.
    Link,
    /// It made it or wrote over it: only the directory must be there.
    Write,
}

/// What is to be packed.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Programs: paths, or names to be looked for.
    pub programs: Vec<String>,
    /// Where names are looked for, as `PATH`; [`DEFAULT_PATH`] is looked at after it.
    pub path: String,
    /// Further files and directories, and where they go to unless that is the same place.
    pub files: Vec<(PathBuf, Option<PathBuf>)>,
    /// Patterns of what stays out.
    pub exclude: Vec<String>,
    /// What was used while programs were traced.
    pub uses: Vec<Use>,
    /// Whether everything in the programs' Debian packages goes in.
    pub packages: bool,
    /// Further Debian packages of which everything goes in.
    pub named_packages: Vec<String>,
    /// Whether the configuration in the programs' Debian packages goes in.
    pub configuration: bool,
    /// `LD_LIBRARY_PATH` of the image.
    pub library_path: String,
    /// The user of the image, `user[:group]`.
    pub user: String,
}

/// A file that looks like a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// The file.
    pub path: PathBuf,
    /// Why it looks so.
    pub why: &'static str,
}

/// What was collected.
#[derive(Debug, Clone, Default)]
pub struct Collected {
    /// The files.
    pub set: FileSet,
    /// The programs by the paths that they are executed by.
    pub programs: Vec<PathBuf>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// What looks like a secret.
    pub secrets: Vec<Secret>,
    /// Files that have set-id bits, which are left out unless asked for.
    pub privileged: Vec<PathBuf>,
    /// Programs that have capabilities, which are left out unless asked for.
    pub capable: Vec<PathBuf>,
    /// Environment that the programs need in this image.
    pub env: Vec<String>,
}

/// Why things cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// There is no such program.
    #[error("no program {name:?}: it is neither a path nor in {path}")]
    NoProgram {
        /// What the user said.
        name: String,
        /// Where it was looked for.
        path: String,
    },
    /// A file that cannot be packed.
    #[error("{}: {errno}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        errno: Errno,
    },
    /// A package that is not there.
    #[error("the Debian package {0:?} is not installed")]
    NoPackage(String),
    /// A program that is none.
    #[error("{} is neither an ELF program nor a script", .0.display())]
    NotAProgram(PathBuf),
    /// Something of the machine's that stays out.
    #[error("{} is no file to be packed: it is the kernel's, or made anew in each container", .0.display())]
    Transient(PathBuf),
    /// A program that does not run on this machine either.
    #[error("{} needs {name}, which is not on this machine", needed_by.display())]
    Missing {
        /// The library.
        name: String,
        /// What needs it.
        needed_by: PathBuf,
    },
    /// A program that cannot be understood.
    #[error(transparent)]
    Load(#[from] LoadError),
}

fn file_error(path: &Path) -> impl FnOnce(Errno) -> CollectError {
    let path = path.to_owned();
    move |errno| CollectError::File { path, errno }
}

/// Collects what is asked for and what that needs. Nothing is executed.
///
/// # Errors
/// [`CollectError`]: for what was asked for. What only might be needed gives warnings.
pub fn collect(host: &Host, request: &Request) -> Result<Collected, CollectError> {
    let mut collector = Collector {
        host,
        request,
        loader: Loader::new(host, &request.library_path)?,
        done: Collected::default(),
        examined: BTreeSet::new(),
    };
    collector.programs()?;
    for (from, to) in &request.files {
        collector.added(from, to.as_deref())?;
    }
    collector.debian()?;
    collector.traced();
    collector.data();
    collector.always()?;
    Ok(collector.done)
}

struct Collector<'a> {
    host: &'a Host,
    request: &'a Request,
    loader: Loader<'a>,
    done: Collected,
    /// Files whose code was followed, with whether what they need must be there.
    examined: BTreeSet<PathBuf>,
}

/// How what a file needs is treated when it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Must {
    /// It is an error.
    Yes,
    /// It is a warning.
    No,
}

impl Collector<'_> {
    fn search_path(&self) -> String {
        format!("{}:{DEFAULT_PATH}", self.request.path)
    }

    fn is_program(&self, path: &Path) -> bool {
        let found = self.host.resolve(path);
        found.is_ok_and(|found| found.node.kind == FileType::RegularFile && found.node.mode & 0o111 != 0)
    }

    fn programs(&mut self) -> Result<(), CollectError> {
        for name in &self.request.programs {
            let path = self.search_path();
            let found = find_program(name, &path, |path| self.is_program(path));
            let found = found.ok_or_else(|| {
                let name = name.clone();
                CollectError::NoProgram { name, path }
            })?;
            let resolved = self.add(&found, &Reason::Program)?;
            if !self.follow(&resolved.path, Must::Yes, MAX_SCRIPTS)? {
                return Err(CollectError::NotAProgram(found));
            }
            if self.host.has_capabilities(&resolved.path) {
                self.done.capable.push(resolved.path);
            }
            self.done.programs.push(found);
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, reason: &Reason) -> Result<Resolved, CollectError> {
        let host = self.host;
        let added = self.done.set.add(host, path, reason).map_err(file_error(path))?;
        if added.node.mode & 0o6000 != 0
            && added.node.kind == FileType::RegularFile
            && !self.done.privileged.contains(&added.path)
        {
            self.done.privileged.push(added.path.clone());
        }
        Ok(added)
    }

    /// Follows what the code in a file needs; `false` where there is no code in it.
    fn follow(&mut self, path: &Path, must: Must, depth: usize) -> Result<bool, CollectError> {
        let start = self.start_of(path)?;
        if is_elf(&start) {
            if self.examined.insert(path.to_owned()) {
                self.follow_elf(path, must)?;
            }
            return Ok(true);
        }
        let Some(shebang) = parse_shebang(&start) else {
            return Ok(false);
        };
        if depth == 0 {
            return Err(file_error(path)(Errno::LOOP));
        }
        if !self.examined.insert(path.to_owned()) {
            return Ok(true);
        }
        let reason = Reason::Interpreter(path.to_owned());
        let mut interpreters = vec![shebang.interpreter];
        if let Some(name) = shebang.program {
            let found = find_program(&name, &self.search_path(), |path| self.is_program(path));
            match (found, must) {
                (Some(found), _) => interpreters.push(found),
                (None, Must::Yes) => {
                    let path = self.search_path();
                    return Err(CollectError::NoProgram { name, path });
                }
                (None, Must::No) => self.warn(format!(
                    "{}: its interpreter {name} is not on this machine",
                    path.display()
                )),
            }
        }
        for interpreter in interpreters {
            match self.add(&interpreter, &reason) {
                Ok(resolved) => {
                    self.follow(&resolved.path, must, depth - 1)?;
                }
                Err(error) if must == Must::Yes => return Err(error),
                Err(_) => self.warn(format!(
                    "{}: its interpreter {} is not on this machine",
                    path.display(),
                    interpreter.display()
                )),
            }
        }
        Ok(true)
    }

    fn start_of(&self, path: &Path) -> Result<Vec<u8>, CollectError> {
        let mut start = Vec::new();
        let file = self.host.open_file(path).map_err(file_error(path))?;
        file.take(256).read_to_end(&mut start).map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            file_error(path)(errno)
        })?;
        Ok(start)
    }

    fn follow_elf(&mut self, path: &Path, must: Must) -> Result<(), CollectError> {
        let load = match self.loader.load(path) {
            Err(error) if must == Must::No => {
                self.warn(error.to_string());
                return Ok(());
            }
            other => other?,
        };
        if let Some(interpreter) = &load.interpreter {
            let added = self.add(interpreter, &Reason::Interpreter(path.to_owned()));
            if let (Err(error), Must::Yes) = (added, must) {
                return Err(error);
            }
        }
        for missing in load.missing {
            let (name, needed_by) = (missing.name, missing.needed_by);
            let error = CollectError::Missing { name, needed_by };
            match must {
                Must::Yes => return Err(error),
                Must::No => self.warn(error.to_string()),
            }
        }
        for library in load.libraries {
            self.add(&library.path, &Reason::Library(library.needed_by))?;
            for variant in library.variants {
                self.add(&variant, &Reason::Variant(library.path.clone()))?;
            }
        }
        for (object, note) in load.notes {
            self.follow_note(&object, &note)?;
        }
        Ok(())
    }

    /// What an object says that it may open while it runs.
    fn follow_note(&mut self, object: &Path, note: &[u8]) -> Result<(), CollectError> {
        let object = match self.host.resolve(object) {
            Ok(resolved) => resolved.path,
            Err(_) => return Ok(()),
        };
        for optional in parse_note(note) {
            let found = optional.names.iter().find_map(|name| {
                let found = self.loader.find_for(&object, name);
                found.ok().flatten()
            });
            match found {
                Some(library) if optional.is_wanted => {
                    let reason = Reason::Dlopen(object.clone(), optional.feature);
                    let resolved = self.add(&library, &reason)?;
                    self.follow(&resolved.path, Must::No, MAX_SCRIPTS)?;
                }
                _ if optional.is_wanted => self.warn(format!(
                    "{} may open {} for {}, which is not on this machine",
                    object.display(),
                    optional.names.join(" or "),
                    optional.feature
                )),
                _ => {}
            }
        }
        Ok(())
    }

    fn is_excluded(&self, path: &Path) -> bool {
        let excluded = |pattern: &String| {
            path.ancestors().any(|place| {
                super::wildcard::matches(pattern.as_bytes(), place.as_os_str().as_encoded_bytes())
            })
        };
        self.request.exclude.iter().any(excluded)
    }

    fn warn(&mut self, text: String) {
        if !self.done.warnings.contains(&text) {
            self.done.warnings.push(text);
        }
    }
}

/// What the kernel shows, or what is there only while the machine runs.
fn is_of_the_kernel(path: &Path) -> bool {
    ["/proc", "/sys", "/dev", "/run"]
        .iter()
        .any(|place| path.starts_with(place))
}

/// What the kernel shows, and what each container has anew.
fn is_transient(path: &Path) -> bool {
    const PLACES: [&str; 7] = ["/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/var/run"];
    const FILES: [&str; 6] = [
        "/etc/hostname",
        "/etc/hosts",
        "/etc/resolv.conf",
        "/etc/mtab",
        "/etc/ld.so.cache",
        "/etc/ld.so.preload",
    ];
    let inside = |place: &&str| path.starts_with(place) && path != Path::new(place);
    PLACES.iter().any(inside) || FILES.iter().any(|file| path == Path::new(file))
}
