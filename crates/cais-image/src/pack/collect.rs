//! Collects what programs need.

use super::accounts::{Wanted, choose_accounts};
use super::data::{DATA, OPENSSL_OWN, bundles};
use super::debian::Packages;
use super::elf::is_elf;
use super::host::{Host, Resolved};
use super::loader::{LoadError, Loader};
use super::notes::parse_note;
use super::script::{find_program, parse_shebang};
use super::secrets::{LOOKED_AT, secret_by_content, secret_by_name};
use super::set::{Content, FileSet, Reason};
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
    /// Files that have set-id bits or capabilities, which are left out unless asked for.
    pub privileged: Vec<PathBuf>,
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

    fn warn(&mut self, text: String) {
        if !self.done.warnings.contains(&text) {
            self.done.warnings.push(text);
        }
    }

    /// Adds what `--file` names: a directory with all that is in it.
    fn added(&mut self, from: &Path, to: Option<&Path>) -> Result<(), CollectError> {
        if is_of_the_kernel(from) {
            return Err(CollectError::Transient(from.to_owned()));
        }
        match to {
            None => self.add_tree(from, &Reason::Added),
            Some(to) => {
                let resolved = self.host.resolve(from).map_err(file_error(from))?;
                self.copy_tree(&resolved.path, to)
            }
        }
    }

    fn copy_tree(&mut self, from: &Path, to: &Path) -> Result<(), CollectError> {
        if self.is_excluded(from) {
            return Ok(());
        }
        let node = self.host.node(from).map_err(file_error(from))?;
        match node.kind {
            FileType::RegularFile | FileType::Symlink | FileType::Directory => {
                let host = self.host;
                let put = self.done.set.put_copy(host, from, to, &Reason::Added);
                put.map_err(file_error(to))?;
            }
            _ => {
                self.warn(format!(
                    "{} is a device, pipe or socket: left out",
                    from.display()
                ));
            }
        }
        if node.kind == FileType::Directory {
            for name in self.host.names(from).map_err(file_error(from))? {
                self.copy_tree(&from.join(&name), &to.join(&name))?;
            }
        }
        if node.kind == FileType::RegularFile && (node.mode & 0o111 != 0 || is_library(from)) {
            self.follow(from, Must::No, MAX_SCRIPTS)?;
        }
        Ok(())
    }

    fn add_tree(&mut self, path: &Path, reason: &Reason) -> Result<(), CollectError> {
        if self.is_excluded(path) {
            return Ok(());
        }
        let resolved = self.add(path, reason)?;
        match resolved.node.kind {
            FileType::RegularFile => {
                let is_code = resolved.node.mode & 0o111 != 0 || is_library(&resolved.path);
                if is_code {
                    self.follow(&resolved.path, Must::No, MAX_SCRIPTS)?;
                }
            }
            FileType::Directory => {
                let names = self.host.names(&resolved.path).map_err(file_error(path))?;
                for name in names {
                    let inside = resolved.path.join(&name);
                    let node = self.host.node(&inside).map_err(file_error(&inside))?;
                    match (node.kind, self.host.resolve(&inside)) {
                        // A link to nowhere, or out to a directory: the link itself goes in.
                        (FileType::Symlink, Err(_)) => self.warn(format!(
                            "{} points to nothing on this machine: left out",
                            inside.display()
                        )),
                        (FileType::Symlink, Ok(found)) if found.node.kind == FileType::Directory => {
                            self.add(&inside, reason)?;
                        }
                        _ => self.add_tree(&inside, reason)?,
                    }
                }
            }
            _ => {
                self.done.set.remove(&resolved.path);
                self.warn(format!(
                    "{} is a device, pipe or socket: left out",
                    path.display()
                ));
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

    /// What the programs' Debian packages have.
    fn debian(&mut self) -> Result<(), CollectError> {
        if !(self.request.packages || self.request.configuration) {
            return Ok(());
        }
        let dpkg = Path::new("/var/lib/dpkg");
        let packages = Packages::read(self.host).map_err(file_error(dpkg))?;
        for program in self.done.programs.clone() {
            let mut names = vec![program.clone()];
            if let Ok(resolved) = self.host.resolve(&program) {
                names.push(resolved.path);
            }
            // Lists of dpkg's may be older than the merge of / and /usr.
            let old = names.iter().filter_map(|name| name.strip_prefix("/usr").ok());
            let old: Vec<PathBuf> = old.map(|name| Path::new("/").join(name)).collect();
            names.extend(old);
            let owner = packages.owner(self.host, &names).map_err(file_error(dpkg))?;
            let Some(owner) = owner else { continue };
            let family = packages.family(&owner);
            let mut parts = Vec::new();
            if self.request.configuration {
                let found = packages.configuration(self.host, &family);
                parts.extend(found.map_err(file_error(dpkg))?.into_iter().map(|part| {
                    let reason = Reason::Configuration(part.package);
                    (part.path, reason)
                }));
            }
            if self.request.packages {
                let found = packages.contents(self.host, &family);
                parts.extend(found.map_err(file_error(dpkg))?.into_iter().map(|part| {
                    let reason = Reason::Package(part.package);
                    (part.path, reason)
                }));
            }
            for (path, reason) in parts {
                self.add_part(&path, &reason)?;
            }
        }
        Ok(())
    }

    /// A file or an empty directory of a package, where it is still there.
    fn add_part(&mut self, path: &Path, reason: &Reason) -> Result<(), CollectError> {
        if self.is_excluded(path) || is_transient(path) {
            return Ok(());
        }
        let Ok(found) = self.host.resolve(path) else {
            return Ok(());
        };
        match found.node.kind {
            FileType::Directory => self.add(path, reason).map(drop),
            FileType::RegularFile => self.add_tree(path, reason),
            _ => Ok(()),
        }
    }

    /// What was used while programs were traced.
    fn traced(&mut self) {
        let mut homes = BTreeSet::new();
        for used in &self.request.uses {
            if is_transient(&used.path) || self.is_excluded(&used.path) {
                continue;
            }
            let path = match used.kind {
                UseKind::Write => used.path.parent().map(Path::to_owned).unwrap_or_default(),
                UseKind::Read | UseKind::Link => used.path.clone(),
            };
            // What was made in the container is not here.
            let Ok(found) = self.host.resolve(&path) else {
                continue;
            };
            if is_transient(&found.path) || self.is_excluded(&found.path) {
                continue;
            }
            if let Some(home) = self.personal(&found.path) {
                homes.insert(home);
                continue;
            }
            if matches!(found.node.kind, FileType::RegularFile | FileType::Directory) {
                let reason = Reason::Opened(used.by.clone());
                let added = self.add(&path, &reason).and_then(|added| {
                    if added.node.kind == FileType::RegularFile && used.kind == UseKind::Read {
                        self.follow(&added.path, Must::No, MAX_SCRIPTS)?;
                    }
                    Ok(())
                });
                if let Err(error) = added {
                    self.warn(format!("{error}: left out"));
                }
            }
        }
        for home in homes {
            self.warn(format!(
                "{} was opened while traced, and is somebody's own: left out (--file puts it in)",
                home.display()
            ));
        }
    }

    /// The hidden file or directory in somebody's home that a path is, unless something that
    /// was asked for is in it.
    fn personal(&self, path: &Path) -> Option<PathBuf> {
        let home = if path.starts_with("/root") {
            2
        } else if path.starts_with("/home") {
            3
        } else {
            return None;
        };
        let top: PathBuf = path.components().take(home + 1).collect();
        let is_hidden =
            top.components().count() == home + 1 && top.file_name()?.as_encoded_bytes().starts_with(b".");
        let files = self.request.files.iter().map(|(from, _)| from);
        let asked = self.done.programs.iter().chain(files);
        let mut asked = asked.filter_map(|asked| self.host.resolve(asked).ok());
        (is_hidden && !asked.any(|asked| asked.path.starts_with(&top))).then_some(top)
    }

    /// What the libraries read that are in.
    fn data(&mut self) {
        let names: Vec<(PathBuf, String)> = self
            .done
            .set
            .iter()
            .filter_map(|(path, _)| Some((path.clone(), path.file_name()?.to_str()?.to_owned())))
            .filter(|(_, name)| name.contains(".so"))
            .collect();
        for data in DATA {
            let is_reader = |name: &str| data.libraries.iter().any(|start| name.starts_with(start));
            let Some((reader, _)) = names.iter().find(|(_, name)| is_reader(name)) else {
                continue;
            };
            for path in data.files.iter().map(Path::new) {
                if !self.is_excluded(path) {
                    // Most are not there.
                    self.add(path, &Reason::Data(reader.clone()))
                        .map(drop)
                        .unwrap_or_default();
                }
            }
        }
        let has_openssl = names.iter().any(|(_, name)| name.starts_with("libssl.so"));
        let is_in = |path: &&&str| self.done.set.get(Path::new(path)).is_some();
        if has_openssl && !OPENSSL_OWN.iter().any(|path| is_in(&path)) {
            let bundle = bundles().iter().find(is_in);
            self.done
                .env
                .extend(bundle.map(|path| format!("SSL_CERT_FILE={path}")));
        }
    }

    /// What every image has.
    fn always(&mut self) -> Result<(), CollectError> {
        const OPTIONAL: [&str; 3] = ["/etc/protocols", "/etc/services", "/etc/os-release"];
        const MERGED: [&str; 4] = ["/bin", "/lib", "/lib64", "/sbin"];
        const NSSWITCH: &str = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n\
            networks: files\nprotocols: files\nservices: files\nethers: files\nrpc: files\n";
        for path in OPTIONAL.map(Path::new) {
            self.add(path, &Reason::Always).map(drop).unwrap_or_default();
        }
        for path in MERGED.map(Path::new) {
            let node = self.host.node(path);
            if node.is_ok_and(|node| node.kind == FileType::Symlink) {
                self.add(path, &Reason::Always)?;
            }
        }
        let host = self.host;
        for (path, mode) in [("/tmp", 0o1777), ("/var/tmp", 0o1777), ("/run", 0o755)] {
            let path = Path::new(path);
            self.done
                .set
                .put_directory(host, path, mode)
                .map_err(file_error(path))?;
        }
        let (passwd, group) = self.accounts()?;
        for (path, bytes) in [
            ("/etc/passwd", passwd),
            ("/etc/group", group),
            ("/etc/nsswitch.conf", NSSWITCH.as_bytes().to_vec()),
        ] {
            let path = Path::new(path);
            self.done
                .set
                .put(host, path, 0o644, bytes)
                .map_err(file_error(path))?;
        }
        self.look_for_secrets();
        Ok(())
    }

    fn accounts(&self) -> Result<(Vec<u8>, Vec<u8>), CollectError> {
        const LIMIT: u64 = 4 << 20;
        let mut wanted = Wanted {
            names: self.request.user.split(':').map(str::to_owned).collect(),
            ..Wanted::default()
        };
        for (_, item) in self.done.set.iter() {
            wanted.uids.insert(item.node.uid);
            wanted.gids.insert(item.node.gid);
        }
        let read = |path: &str| {
            let path = Path::new(path);
            let bytes = self.host.read(path, LIMIT).map_err(file_error(path));
            bytes.map(Option::unwrap_or_default)
        };
        Ok(choose_accounts(
            &read("/etc/passwd")?,
            &read("/etc/group")?,
            &wanted,
        ))
    }

    fn look_for_secrets(&mut self) {
        let mut secrets = Vec::new();
        for (path, item) in self.done.set.iter() {
            if item.node.kind != FileType::RegularFile || matches!(item.content, Content::Made(_)) {
                continue;
            }
            let from = match &item.content {
                Content::Copy(from) => from,
                _ => path,
            };
            let why = secret_by_name(path).or_else(|| secret_by_name(from)).or_else(|| {
                let file = self.host.open_file(from).ok()?;
                let mut start = Vec::new();
                // Keys are short, and code is no key.
                let is_short = item.node.size <= LOOKED_AT as u64;
                if !is_short || self.examined.contains(from) {
                    return None;
                }
                file.take(LOOKED_AT as u64).read_to_end(&mut start).ok()?;
                secret_by_content(&start)
            });
            let path = path.clone();
            secrets.extend(why.map(|why| Secret { path, why }));
        }
        self.done.secrets = secrets;
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

/// Whether a name is that of a library.
fn is_library(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".so") || name.contains(".so.")
}
