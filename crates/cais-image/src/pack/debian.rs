//! What dpkg knows of a file: its package, and that one's configuration (dpkg(1); the files
//! below `/var/lib/dpkg`).

use super::host::Host;
use cais_order::Gather;
use rustix::fs::FileType;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const INFO: &str = "/var/lib/dpkg/info";
const STATUS: &str = "/var/lib/dpkg/status";
/// The longest file of dpkg's that is read.
const MAX_FILE: u64 = 256 << 20;

/// A package as `status` describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Package {
    source: String,
    depends: Vec<String>,
    conffiles: Vec<PathBuf>,
    installed: bool,
}

/// The packages that are installed.
#[derive(Debug, Default)]
pub struct Packages {
    packages: BTreeMap<String, Package>,
    /// The names of the lists, `libc6:amd64` for some.
    lists: Vec<String>,
}

/// A part of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The package.
    pub package: String,
    /// The file or directory.
    pub path: PathBuf,
}

impl Packages {
    /// Reads what is installed; nothing where there is no dpkg.
    ///
    /// # Errors
    /// Where its files are there and cannot be read.
    pub fn read(host: &Host) -> Result<Self, Errno> {
        let Some(status) = host.read(Path::new(STATUS), MAX_FILE)? else {
            return Ok(Self::default());
        };
        let lists = host.names(Path::new(INFO))?;
        let lists = lists
            .iter()
            .filter_map(|name| name.to_str()?.strip_suffix(".list"));
        Ok(Self {
            packages: parse_status(&String::from_utf8_lossy(&status)),
            lists: lists.map(str::to_owned).collect(),
        })
    }

    /// The package that a file is from. `paths` are its names: with and without links.
    ///
    /// # Errors
    /// As read(2).
    pub fn owner(&self, host: &Host, paths: &[PathBuf]) -> Result<Option<String>, Errno> {
        // Often it has the name of its package.
        let guess = paths.iter().filter_map(|path| path.file_name()?.to_str());
        let guess: BTreeSet<&str> = guess.into_set();
        let (likely, others): (Vec<&String>, Vec<&String>) =
            self.lists.iter().partition(|list| guess.contains(base(list)));
        for list in likely.into_iter().chain(others) {
            let bytes = self.list(host, list)?;
            let mut lines = bytes.split(|byte| *byte == b'\n');
            if lines.any(|line| paths.iter().any(|path| path.as_os_str().as_bytes() == line)) {
                return Ok(Some(base(list).to_owned()));
            }
        }
        Ok(None)
    }

    fn list(&self, host: &Host, list: &str) -> Result<Vec<u8>, Errno> {
        let path = Path::new(INFO).join(format!("{list}.list"));
        Ok(host.read(&path, MAX_FILE)?.unwrap_or_default())
    }

    /// Whether a package is installed.
    #[must_use]
    pub fn is_installed(&self, package: &str) -> bool {
        self.packages.get(package).is_some_and(|known| known.installed)
    }

    /// The package and those that it depends on which are of the same source: what one
    /// program was cut into.
    #[must_use]
    pub fn family(&self, package: &str) -> Vec<String> {
        let Some(first) = self.packages.get(package) else {
            return vec![package.to_owned()];
        };
        let mut family = vec![package.to_owned()];
        let mut index = 0;
        while let Some(name) = family.get(index).cloned() {
            index += 1;
            let Some(known) = self.packages.get(&name) else {
                continue;
            };
            for name in &known.depends {
                let same = self
                    .packages
                    .get(name)
                    .is_some_and(|other| other.installed && other.source == first.source);
                if same && !family.contains(name) {
                    family.push(name.clone());
                }
            }
        }
        family
    }

    /// The configuration of packages: their conffiles, the links to these in their directories
    /// (a site that is enabled, say), and the directories below `/var` and `/srv` that they come
    /// with.
    ///
    /// # Errors
    /// As read(2).
    pub fn configuration(&self, host: &Host, family: &[String]) -> Result<Vec<Part>, Errno> {
        let mut parts = Vec::new();
        let conffiles: BTreeSet<&PathBuf> = family
            .iter()
            .filter_map(|package| self.packages.get(package))
            .flat_map(|known| &known.conffiles)
            .filter(|path| !is_for_a_whole_system(path))
            .into_set();
        for package in family {
            let own = self.packages.get(package).map(|known| &known.conffiles);
            let own = own.into_iter().flatten();
            let mut paths: Vec<PathBuf> = own.filter(|path| conffiles.contains(path)).cloned().collect();
            for path in self.files(host, package)? {
                let below = ["/var/", "/srv/"]
                    .iter()
                    .any(|start| path.as_os_str().as_bytes().starts_with(start.as_bytes()));
                let is_directory = |path: &Path| {
                    let node = host.resolve(path).map(|found| found.node.kind);
                    node == Ok(FileType::Directory)
                };
                if is_for_a_whole_system(&path) || !is_directory(&path) {
                    continue;
                }
                if path.starts_with("/etc") {
                    paths.extend(links_to(host, &path, &conffiles)?);
                } else if below {
                    paths.push(path);
                }
            }
            parts.extend(paths.into_iter().map(|path| Part {
                package: package.clone(),
                path,
            }));
        }
        Ok(parts)
    }

    /// Everything in packages but documentation and what a whole system needs.
    ///
    /// # Errors
    /// As read(2).
    pub fn contents(&self, host: &Host, family: &[String]) -> Result<Vec<Part>, Errno> {
        let mut parts = Vec::new();
        for package in family {
            let paths = self.files(host, package)?;
            let kept = paths.into_iter().filter(|path| !is_for_a_whole_system(path));
            parts.extend(kept.map(|path| Part {
                package: package.clone(),
                path,
            }));
        }
        Ok(parts)
    }

    fn files(&self, host: &Host, package: &str) -> Result<Vec<PathBuf>, Errno> {
        let mut files = Vec::new();
        for list in self.lists.iter().filter(|list| base(list) == package) {
            let bytes = self.list(host, list)?;
            let lines = bytes.split(|byte| *byte == b'\n').filter(|line| line.len() > 2);
            files.extend(lines.map(|line| PathBuf::from(OsStr::from_bytes(line))));
        }
        Ok(files)
    }
}

/// The name without the architecture.
fn base(list: &str) -> &str {
    list.split(':').next().unwrap_or(list)
}

/// The links in a directory that lead to one of these files: whoever installs a package, or
/// its administrator, makes them.
fn links_to(host: &Host, directory: &Path, files: &BTreeSet<&PathBuf>) -> Result<Vec<PathBuf>, Errno> {
    let mut links = host.names(directory)?;
    links.iter_mut().for_each(|name| *name = directory.join(&*name));
    links.retain(|path| {
        let is_link = host.node(path).is_ok_and(|node| node.kind == FileType::Symlink);
        is_link && host.resolve(path).is_ok_and(|found| files.contains(&found.path))
    });
    Ok(links)
}

/// What belongs to the init system, to other programs, or to people.
fn is_for_a_whole_system(path: &Path) -> bool {
    const PLACES: [&str; 24] = [
        "/etc/init.d",
        "/etc/init",
        "/etc/default",
        "/etc/logrotate.d",
        "/etc/cron.d",
        "/etc/cron.daily",
        "/etc/cron.weekly",
        "/etc/cron.monthly",
        "/etc/cron.hourly",
        "/etc/ufw",
        "/etc/apparmor.d",
        "/etc/bash_completion.d",
        "/etc/skel",
        "/etc/systemd",
        "/lib/systemd",
        "/usr/lib/systemd",
        "/usr/share/doc",
        "/usr/share/man",
        "/usr/share/info",
        "/usr/share/locale",
        "/usr/share/lintian",
        "/usr/share/bug",
        "/usr/share/bash-completion",
        "/usr/share/applications",
    ];
    PLACES.iter().any(|place| path.starts_with(place))
}

fn parse_status(text: &str) -> BTreeMap<String, Package> {
    let mut packages = BTreeMap::new();
    for paragraph in text.split("\n\n") {
        let mut name = "";
        let mut package = Package::default();
        let mut field = "";
        for line in paragraph.lines() {
            if let Some(more) = line.strip_prefix(' ') {
                if field == "Conffiles" {
                    let mut words = more.split(' ');
                    let path = words.next().unwrap_or("");
                    if path.starts_with('/') && words.all(|word| word != "obsolete") {
                        package.conffiles.push(PathBuf::from(path));
                    }
                }
                continue;
            }
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim();
            field = key;
            match key {
                "Package" => name = value,
                "Status" => package.installed = value.ends_with(" installed"),
                "Source" => {
                    let source = value.split(' ').next().unwrap_or(value);
                    source.clone_into(&mut package.source);
                }
                "Depends" | "Pre-Depends" => {
                    let names = value.split([',', '|']).map(|one| {
                        let one = one.trim();
                        one.split([' ', ':', '(']).next().unwrap_or(one).to_owned()
                    });
                    package.depends.extend(names);
                }
                _ => {}
            }
        }
        if package.source.is_empty() {
            name.clone_into(&mut package.source);
        }
        // Of several architectures one is enough.
        if !name.is_empty() && (package.installed || !packages.contains_key(name)) {
            packages.insert(name.to_owned(), package);
        }
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Package: web\nStatus: install ok installed\nDepends: libc6 (>= 2.3), web-common (= 1) | x\n\n\
        Package: web-common\nStatus: install ok installed\nSource: web (1.0)\nDepends: web-data\nConffiles:\n \
        /etc/web/web.conf 0123\n /etc/web/old.conf 0123 obsolete\n /etc/init.d/web 45\n\n\
        Package: web-data\nStatus: install ok installed\nSource: web\n\n\
        Package: libc6\nStatus: install ok installed\nSource: glibc\n";

    #[test]
    fn a_family_is_of_one_source() {
        let packages = Packages {
            packages: parse_status(STATUS),
            lists: Vec::new(),
        };
        assert_eq!(packages.family("web"), ["web", "web-common", "web-data"]);
        assert_eq!(packages.family("unknown"), ["unknown"]);
        let host = Host::open(Path::new("/")).unwrap();
        let parts = packages.configuration(&host, &packages.family("web")).unwrap();
        let paths: Vec<_> = parts.iter().map(|part| part.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["/etc/web/web.conf"]);
    }

    #[test]
    fn links_to_configuration_belong_to_it() {
        let root = std::env::temp_dir().join(format!("cais-debian-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            std::fs::write(root.join(path), text).unwrap();
        };
        write("var/lib/dpkg/status", STATUS);
        let list = "/.\n/etc\n/etc/web\n/etc/web/on\n/var/web\n";
        write("var/lib/dpkg/info/web-common.list", list);
        write("var/web/index", "");
        write("etc/web/web.conf", "");
        write("etc/web/on/plain", "");
        for (link, target) in [
            ("site", "../web.conf"),
            ("far", "/etc/passwd"),
            ("gone", "nothing"),
        ] {
            std::os::unix::fs::symlink(target, root.join("etc/web/on").join(link)).unwrap();
        }
        let host = Host::open(&root).unwrap();
        let packages = Packages::read(&host).unwrap();
        let parts = packages.configuration(&host, &packages.family("web")).unwrap();
        let paths: Vec<_> = parts.iter().map(|part| part.path.to_str().unwrap()).collect();
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(paths, ["/etc/web/web.conf", "/etc/web/on/site", "/var/web"]);
    }
}
