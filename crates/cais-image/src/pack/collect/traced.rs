//! What was used while programs were traced.

use super::{Collector, MAX_SCRIPTS, Must, UseKind, is_transient};
use crate::pack::set::Reason;
use rustix::fs::FileType;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

impl Collector<'_> {
    /// What was used while programs were traced.
    pub(super) fn traced(&mut self) {
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
}
