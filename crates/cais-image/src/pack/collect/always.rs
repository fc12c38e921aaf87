//! What libraries read by themselves, and what every image has.

use super::{CollectError, Collector, Secret, file_error};
use crate::pack::accounts::{Wanted, choose_accounts};
use crate::pack::data::{DATA, OPENSSL_OWN, bundles};
use crate::pack::ld_cache::{Cached, write_cache};
use crate::pack::secrets::{LOOKED_AT, secret_by_content, secret_by_name};
use crate::pack::set::{Content, Reason};
use rustix::fs::FileType;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

impl Collector<'_> {
    /// What the libraries read that are in.
    pub(super) fn data(&mut self) {
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
    pub(super) fn always(&mut self) -> Result<(), CollectError> {
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
        self.cache()?;
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

    /// The loader's cache, of the libraries that it would not find otherwise.
    fn cache(&mut self) -> Result<(), CollectError> {
        let is_in = |found: &Cached| {
            let path = Path::new(OsStr::from_bytes(&found.path));
            let resolved = self.host.resolve(path);
            resolved.is_ok_and(|resolved| self.done.set.get(&resolved.path).is_some())
        };
        let needed = self.loader.only_cached().filter(|(_, found)| is_in(found));
        let needed: Vec<_> = needed
            .map(|(name, found)| (name.clone(), found.clone()))
            .collect();
        if needed.is_empty() {
            return Ok(());
        }
        for (_, found) in &needed {
            // By the name that the cache has, which may be a link.
            let path = Path::new(OsStr::from_bytes(&found.path));
            self.add(path, &Reason::Always)?;
        }
        let path = Path::new("/etc/ld.so.cache");
        let (host, bytes) = (self.host, write_cache(&needed).unwrap_or_default());
        self.done
            .set
            .put(host, path, 0o644, bytes)
            .map_err(file_error(path))
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
