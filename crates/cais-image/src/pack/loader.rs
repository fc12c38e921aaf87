//! The libraries of a program, found as the dynamic loader finds them (ld.so(8)), without
//! executing anything.
//!
//! For each needed name: the run paths of the object that needs it and, unless it has a
//! `DT_RUNPATH`, the `DT_RPATH` of those that loaded it; `LD_LIBRARY_PATH`; the object's
//! `DT_RUNPATH`; the cache; the directories that are built into the loader. In each
//! directory the variants for newer processors (`glibc-hwcaps`) come first. An object of
//! another machine is passed over.

use super::elf::{Elf, ElfError, Machine, parse_elf};
use super::host::Host;
use super::ld_cache::{Cached, LdCache, parse_cache};
use super::ld_conf::read_conf;
use super::search::{Place, System, expand, split_paths, supported_variants};
use cais_order::InOrder;
use rustix::fs::FileType;
use rustix::io::Errno;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The most objects of one program.
const MAX_OBJECTS: usize = 4096;
/// The longest cache that is read.
const MAX_CACHE: u64 = 64 << 20;

/// Why the libraries of a program cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file that cannot be opened.
    #[error("{}: {errno}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        errno: Errno,
    },
    /// A file that cannot be understood.
    #[error("{}: {source}", path.display())]
    Elf {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: ElfError,
    },
    /// More libraries than there can be.
    #[error("{} needs more than {MAX_OBJECTS} libraries", .0.display())]
    TooMany(PathBuf),
}

/// A library that a program loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// Where the loader finds it; links are not followed.
    pub path: PathBuf,
    /// The object that needs it.
    pub needed_by: PathBuf,
    /// The same library for other processors.
    pub variants: Vec<PathBuf>,
}

/// A library that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its name.
    pub name: String,
    /// The object that needs it.
    pub needed_by: PathBuf,
}

/// What a program loads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Load {
    /// The loader, as the program names it.
    pub interpreter: Option<PathBuf>,
    /// The libraries, in the order of loading.
    pub libraries: Vec<Library>,
    /// Those that are not there.
    pub missing: Vec<Missing>,
    /// What `.note.dlopen` says: the object and the JSON.
    pub notes: Vec<(PathBuf, Vec<u8>)>,
}

/// Finds libraries.
#[derive(Debug)]
pub struct Loader<'a> {
    host: &'a Host,
    cache: Option<LdCache>,
    /// Directories of `/etc/ld.so.conf`, where there is no cache.
    conf: Vec<PathBuf>,
    library_path: Vec<u8>,
    elves: RefCell<HashMap<PathBuf, Option<Rc<Elf>>>>,
    systems: RefCell<HashMap<PathBuf, Rc<System>>>,
}

struct Object {
    path: PathBuf,
    origin: PathBuf,
    elf: Rc<Elf>,
    loader: Option<usize>,
    names: Vec<Vec<u8>>,
}

/// A library that was found.
struct Hit {
    path: PathBuf,
    elf: Rc<Elf>,
    variants: Vec<PathBuf>,
}

impl<'a> Loader<'a> {
    /// The loader of a tree. `library_path` is `LD_LIBRARY_PATH`.
    ///
    /// # Errors
    /// Where the loader's configuration is there and cannot be read.
    pub fn new(host: &'a Host, library_path: &str) -> Result<Self, LoadError> {
        let path = Path::new("/etc/ld.so.cache");
        let failed = |errno| LoadError::Open {
            path: path.to_owned(),
            errno,
        };
        let bytes = host.read(path, MAX_CACHE).map_err(failed)?;
        let cache = bytes.as_deref().and_then(parse_cache);
        let conf = match &cache {
            Some(_) => Vec::new(),
            None => read_conf(host, Path::new("/etc/ld.so.conf")).map_err(failed)?,
        };
        Ok(Self {
            host,
            cache,
            conf,
            library_path: library_path.as_bytes().to_vec(),
            elves: RefCell::default(),
            systems: RefCell::default(),
        })
    }

    /// What an ELF file says, by a path without links.
    ///
    /// # Errors
    /// Where it cannot be read, or is damaged.
    pub fn elf(&self, path: &Path) -> Result<Rc<Elf>, LoadError> {
        if let Some(Some(known)) = self.elves.borrow().get(path) {
            return Ok(known.clone());
        }
        let file = self.host.open_file(path).map_err(|errno| LoadError::Open {
            path: path.to_owned(),
            errno,
        })?;
        let parsed = parse_elf(&file).map(Rc::new);
        let known = parsed.as_ref().ok().cloned();
        self.elves.borrow_mut().insert(path.to_owned(), known);
        parsed.map_err(|source| LoadError::Elf {
            path: path.to_owned(),
            source,
        })
    }

    /// Finds what a program or library loads. `path` is one without links.
    ///
    /// # Errors
    /// [`LoadError`]. Libraries that are not there are no error here.
    pub fn load(&self, path: &Path) -> Result<Load, LoadError> {
        let elf = self.elf(path)?;
        let mut load = Load::default();
        if let Some(interpreter) = &elf.interpreter {
            load.interpreter = Some(PathBuf::from(OsStr::from_bytes(interpreter)));
        }
        let system = self.system(load.interpreter.as_deref(), elf.machine);
        let mut names: Vec<Vec<u8>> = elf.soname.iter().cloned().collect();
        if let Some(name) = load.interpreter.as_deref().and_then(Path::file_name) {
            // It is loaded already, and known by its own soname.
            names.push(name.as_bytes().to_vec());
        }
        let mut objects = vec![Object {
            path: path.to_owned(),
            origin: directory_of(path),
            elf,
            loader: None,
            names,
        }];
        let mut index = 0;
        while index < objects.len() {
            self.load_needed(&mut objects, index, &system, &mut load)?;
            index += 1;
        }
        Ok(load)
    }

    fn load_needed(
        &self,
        objects: &mut Vec<Object>,
        index: usize,
        system: &System,
        load: &mut Load,
    ) -> Result<(), LoadError> {
        let Some(object) = objects.get(index) else {
            return Ok(());
        };
        let (elf, needed_by) = (object.elf.clone(), object.path.clone());
        for note in &elf.dlopen_notes {
            load.notes.push((needed_by.clone(), note.clone()));
        }
        let must = elf.needed.iter().chain(&elf.filters).map(|name| (name, true));
        for (name, must) in must.chain(elf.auxiliary.iter().map(|name| (name, false))) {
            let is_loaded = |object: &Object| object.names.contains(name);
            if objects.iter().any(is_loaded) || system.provides(name) {
                continue;
            }
            let Some(hit) = self.find(name, objects, index, system) else {
                if must {
                    load.missing.push(Missing {
                        name: String::from_utf8_lossy(name).into_owned(),
                        needed_by: needed_by.clone(),
                    });
                }
                continue;
            };
            if let Some(same) = objects.iter_mut().find(|object| object.path == hit.path) {
                same.names.push(name.clone());
                continue;
            }
            if objects.len() >= MAX_OBJECTS {
                return Err(LoadError::TooMany(needed_by));
            }
            let mut names = vec![name.clone()];
            names.extend(hit.elf.soname.clone());
            objects.push(Object {
                origin: directory_of(&hit.path),
                path: hit.path.clone(),
                elf: hit.elf,
                loader: Some(index),
                names,
            });
            load.libraries.push(Library {
                path: hit.path,
                needed_by: needed_by.clone(),
                variants: hit.variants,
            });
        }
        Ok(())
    }

    /// Finds a library for one that is opened while the program runs (dlopen(3)), with what
    /// the object by itself says.
    ///
    /// # Errors
    /// As [`Loader::elf`].
    pub fn find_for(&self, object: &Path, name: &str) -> Result<Option<PathBuf>, LoadError> {
        let elf = self.elf(object)?;
        let system = self.system(None, elf.machine);
        let objects = [Object {
            path: object.to_owned(),
            origin: directory_of(object),
            elf,
            loader: None,
            names: Vec::new(),
        }];
        let hit = self.find(name.as_bytes(), &objects, 0, &system);
        Ok(hit.map(|hit| hit.path))
    }

    /// Finds a needed name. Both ways of the run path are in the order of glibc's; musl
    /// treats `DT_RUNPATH` as it treats `DT_RPATH`.
    fn find(&self, name: &[u8], objects: &[Object], index: usize, system: &System) -> Option<Hit> {
        let object = objects.get(index)?;
        let machine = object.elf.machine;
        if name.contains(&b'/') {
            let path = expand(name, &system.place(&object.origin))?;
            return self.try_file(&path, machine).map(|elf| Hit {
                path,
                elf,
                variants: Vec::new(),
            });
        }
        let try_paths = |paths: &[u8], origin: &Path| {
            let place = system.place(origin);
            split_paths(paths, &place)
                .iter()
                .find_map(|directory| self.try_directory(directory, name, machine))
        };
        if object.elf.runpath.is_none() || system.is_musl {
            let mut at = Some(index);
            while let Some(loading) = at.and_then(|at| objects.get(at)) {
                let own = match &loading.elf.runpath {
                    Some(runpath) if system.is_musl => Some(runpath),
                    // With both, the old one is not looked at.
                    Some(_) => None,
                    None => loading.elf.rpath.as_ref(),
                };
                if let Some(hit) = own.and_then(|paths| try_paths(paths, &loading.origin)) {
                    return Some(hit);
                }
                at = loading.loader;
            }
        }
        if let Some(hit) = try_paths(&self.library_path, &object.origin) {
            return Some(hit);
        }
        if let Some(runpath) = &object.elf.runpath
            && let Some(hit) = try_paths(runpath, &object.origin)
        {
            return Some(hit);
        }
        self.find_in_system(name, object, system)
    }

    fn find_in_system(&self, name: &[u8], object: &Object, system: &System) -> Option<Hit> {
        let machine = object.elf.machine;
        let without_defaults = object.elf.no_default_directories;
        if !system.is_musl {
            let hit = match &self.cache {
                Some(cache) => self.try_cache(cache, name, machine),
                None => self
                    .conf
                    .iter()
                    .find_map(|directory| self.try_directory(directory, name, machine)),
            };
            let is_default = |hit: &Hit| hit.path.parent().is_some_and(|parent| system.is_default(parent));
            if let Some(hit) = hit.filter(|hit| !(without_defaults && is_default(hit))) {
                return Some(hit);
            }
        }
        if without_defaults {
            return None;
        }
        system
            .directories
            .iter()
            .find_map(|directory| self.try_directory(directory, name, machine))
    }

    fn try_cache(&self, cache: &LdCache, name: &[u8], machine: Machine) -> Option<Hit> {
        let supported = supported_variants();
        let rank = |variant: &Option<Vec<u8>>| match variant {
            None => Some(supported.len()),
            Some(variant) => supported.iter().position(|known| known.as_bytes() == variant),
        };
        let mut usable = Vec::new();
        let mut others = Vec::new();
        for found in cache.find(name) {
            let path = PathBuf::from(OsStr::from_bytes(&found.path));
            match rank(&found.variant) {
                Some(rank) => usable.push((rank, path)),
                None => others.push(path),
            }
        }
        usable.order_by_key(|(rank, _)| *rank);
        self.first_fitting(usable.into_iter().map(|(_, path)| path), others, machine)
    }

    fn try_directory(&self, directory: &Path, name: &[u8], machine: Machine) -> Option<Hit> {
        let name = OsStr::from_bytes(name);
        let supported = supported_variants();
        let hwcaps = directory.join("glibc-hwcaps");
        let mut usable = Vec::new();
        let mut others = Vec::new();
        if self.host.resolve(&hwcaps).is_ok() {
            usable.extend(supported.iter().map(|variant| hwcaps.join(variant).join(name)));
            let known = |variant: &PathBuf| supported.iter().any(|known| Path::new(known) == variant);
            let variants = self.host.names(&hwcaps).unwrap_or_default();
            let rest = variants.iter().filter(|variant| !known(variant));
            others.extend(rest.map(|variant| hwcaps.join(variant).join(name)));
        }
        usable.push(directory.join(name));
        self.first_fitting(usable.into_iter(), others, machine)
    }

    /// The first of the usable files that is one for this machine; all others that are, are
    /// its variants.
    fn first_fitting(
        &self,
        usable: impl Iterator<Item = PathBuf>,
        others: Vec<PathBuf>,
        machine: Machine,
    ) -> Option<Hit> {
        let mut fitting = usable.filter_map(|path| Some((self.try_file(&path, machine)?, path)));
        let (elf, path) = fitting.next()?;
        let mut variants: Vec<PathBuf> = fitting.map(|(_, path)| path).collect();
        variants.extend(
            others
                .into_iter()
                .filter(|path| self.try_file(path, machine).is_some()),
        );
        variants.retain(|variant| *variant != path);
        variants.dedup();
        Some(Hit { path, elf, variants })
    }

    fn try_file(&self, path: &Path, machine: Machine) -> Option<Rc<Elf>> {
        let resolved = self.host.resolve(path).ok()?;
        if resolved.node.kind != FileType::RegularFile {
            return None;
        }
        self.elf(&resolved.path).ok().filter(|elf| elf.machine == machine)
    }

    /// What is built into the loader that a program names.
    fn system(&self, interpreter: Option<&Path>, machine: Machine) -> Rc<System> {
        let key = interpreter.map(Path::to_owned).unwrap_or_default();
        if let Some(known) = self.systems.borrow().get(&key) {
            return known.clone();
        }
        let system = Rc::new(System::read(self.host, interpreter, machine));
        self.systems.borrow_mut().insert(key, system.clone());
        system
    }

    /// The libraries of the cache that the loaders of these programs would not find without
    /// one, as their directories are not among those that are built in.
    pub fn only_cached(&self) -> impl Iterator<Item = (&Vec<u8>, &Cached)> {
        let systems = self.systems.borrow();
        let directories: Vec<PathBuf> = systems
            .values()
            .flat_map(|system| system.directories.clone())
            .collect();
        let entries = self.cache.iter().flat_map(LdCache::iter);
        entries.filter(move |(_, found)| {
            let path = Path::new(OsStr::from_bytes(&found.path));
            let is_default = |parent: &Path| directories.iter().any(|known| known == parent);
            found.variant.is_none() && !path.parent().is_some_and(is_default)
        })
    }
}

fn directory_of(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

impl System {
    fn place<'p>(&'p self, origin: &'p Path) -> Place<'p> {
        Place {
            origin,
            lib: &self.lib,
            platform: self.platform,
        }
    }
}
