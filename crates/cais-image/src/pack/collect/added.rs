//! What `--file` names, and what is in the programs' packages.

use super::{CollectError, Collector, MAX_SCRIPTS, Must, file_error, is_of_the_kernel, is_transient};
use crate::pack::debian::Packages;
use crate::pack::set::Reason;
use rustix::fs::FileType;
use std::path::Path;

impl Collector<'_> {
    /// Adds what `--file` names: a directory with all that is in it.
    pub(super) fn added(&mut self, from: &Path, to: Option<&Path>) -> Result<(), CollectError> {
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

    /// What the programs' Debian packages have, and those that are named.
    pub(super) fn debian(&mut self) -> Result<(), CollectError> {
        let request = self.request;
        if !(request.packages || request.configuration || !request.named_packages.is_empty()) {
            return Ok(());
        }
        let dpkg = Path::new("/var/lib/dpkg");
        let packages = Packages::read(self.host).map_err(file_error(dpkg))?;
        let mut parts = Vec::new();
        for program in &self.done.programs {
            let resolved = self.host.resolve(program).map(|found| found.path).ok();
            let resolved = resolved.filter(|path| path != program);
            // A link may be of another package than what it leads to.
            for path in [Some(program.clone()), resolved].into_iter().flatten() {
                let mut names = vec![path.clone()];
                // Lists of dpkg's may be older than the merge of / and /usr.
                names.extend(path.strip_prefix("/usr").ok().map(|old| Path::new("/").join(old)));
                let owner = packages.owner(self.host, &names).map_err(file_error(dpkg))?;
                let family = owner.map(|owner| packages.family(&owner)).unwrap_or_default();
                if request.configuration {
                    let found = packages.configuration(self.host, &family);
                    let found = found.map_err(file_error(dpkg))?.into_iter();
                    parts.extend(found.map(|part| (part.path, Reason::Configuration(part.package))));
                }
                if request.packages {
                    let found = packages.contents(self.host, &family);
                    let found = found.map_err(file_error(dpkg))?.into_iter();
                    parts.extend(found.map(|part| (part.path, Reason::Package(part.package))));
                }
            }
        }
        for name in &request.named_packages {
            if !packages.is_installed(name) {
                return Err(CollectError::NoPackage(name.clone()));
            }
            let found = packages.contents(self.host, &packages.family(name));
            let found = found.map_err(file_error(dpkg))?.into_iter();
            parts.extend(found.map(|part| (part.path, Reason::Package(part.package))));
        }
        for (path, reason) in parts {
            self.add_part(&path, &reason)?;
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
}

/// Whether a name is that of a library.
fn is_library(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".so") || name.contains(".so.")
}
