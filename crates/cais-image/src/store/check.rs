//! The check of the whole store: that everything is what its name says, and that nothing
//! leads nowhere.

use super::ContentStore;
use super::error::{Result, StoreError};
use super::files::{read_names, remove_file, remove_tree};
use super::gc::{GcOptions, GcReport};
use super::layer::LayerState;
use super::record::Record;
use crate::descriptor::MediaType;
use crate::digest::{Digest, Hasher};
use crate::manifest::Manifest;
use cais_order::InOrder;
use std::collections::HashSet;
use std::io::Read;
use std::path::PathBuf;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub problem: Problem,
    /// Whether it was put right.
    pub repaired: bool,
}

/// What is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// A blob has other content than its name says. Repaired by removing it.
    BadBlob {
        /// Its name.
        digest: Digest,
        /// What its content is.
        found: Digest,
    },
    /// A file where only blobs or layers are to be. Repaired by removing it.
    Stray(PathBuf),
    /// A layer is half-made, or from before a power cut. Repaired by removing it, unless a
    /// container uses it.
    BadLayer {
        /// Its name.
        diff_id: Digest,
        /// How whole it is.
        state: LayerState,
    },
    /// The file of a name cannot be read. Repaired by removing it.
    BadRecord {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// An image lacks something that is neither there nor to be made from what is there.
    /// Repaired by removing the name; to pull it again fetches only what is missing.
    Broken {
        /// Its name; none for a dangling one.
        name: Option<String>,
        /// Its manifest.
        manifest: Digest,
        /// What is missing.
        missing: Vec<Digest>,
    },
    /// `index.json` says something else than the names. Repaired by writing it anew.
    StaleIndex,
    /// What killed processes left. Repaired by removing it.
    Leftovers(usize),
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BadBlob { digest, found } => write!(f, "blob {digest} has the content of {found}"),
            Self::Stray(path) => write!(f, "{} does not belong there", path.display()),
            Self::BadLayer { diff_id, state } => match state {
                LayerState::Unsynced => write!(
                    f,
                    "layer {diff_id} was not written to the disk before the machine stopped"
                ),
                _ => write!(f, "layer {diff_id} is not complete"),
            },
            Self::BadRecord { path, detail } => write!(f, "{} is damaged: {detail}", path.display()),
            Self::Broken {
                name,
                manifest,
                missing,
            } => {
                let name = name.as_deref().unwrap_or("<none>");
                write!(f, "image {name} ({manifest}) lacks")?;
                missing.iter().try_for_each(|digest| write!(f, " {digest}"))
            }
            Self::StaleIndex => f.write_str("index.json does not say what the names say"),
            Self::Leftovers(count) => write!(f, "{count} leftovers of processes that were killed"),
        }
    }
}

impl ContentStore {
    /// Checks everything: reads and hashes all blobs. With `repair`, puts right what can be.
    /// Layers that `in_use` leads to are never removed.
    ///
    /// # Errors
    /// Where something cannot be read or removed; what is wrong with the store is no error.
    pub fn check(&self, repair: bool, in_use: &[Digest]) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        self.check_blobs(repair, &mut findings)?;
        self.check_records(repair, &mut findings)?;
        // Only now, since what is used is found by way of blobs.
        self.check_layers(repair, in_use, &mut findings)?;
        self.check_images(repair, &mut findings)?;
        if !self.is_index_current()? {
            if repair {
                self.refresh_index()?;
            }
            let (problem, repaired) = (Problem::StaleIndex, repair);
            findings.push(Finding { problem, repaired });
        }
        let options = GcOptions {
            dry_run: !repair,
            ..GcOptions::default()
        };
        let mut report = GcReport::default();
        self.sweep_leftovers(options, None, &mut report)?;
        if report.leftovers > 0 {
            findings.push(Finding {
                problem: Problem::Leftovers(report.leftovers),
                repaired: repair,
            });
        }
        Ok(findings)
    }

    fn check_blobs(&self, repair: bool, findings: &mut Vec<Finding>) -> Result<()> {
        let blobs = self.oci().join("blobs");
        self.check_strays(&blobs, repair, findings)?;
        for digest in self.digests_below(&blobs)? {
            let found = self.hash_blob(&digest)?;
            let Some(found) = found.filter(|found| *found != digest) else {
                continue;
            };
            if repair {
                let lock = self.object_lock(&digest)?;
                remove_file(&self.blob_path(&digest))?;
                drop(lock);
            }
            findings.push(Finding {
                problem: Problem::BadBlob { digest, found },
                repaired: repair,
            });
        }
        Ok(())
    }

    fn hash_blob(&self, digest: &Digest) -> Result<Option<Digest>> {
        let Some(mut file) = self.open_blob(digest)? else {
            return Ok(None);
        };
        let mut hasher = Hasher::like(digest);
        let mut buffer = vec![0; 256 << 10];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(Some(hasher.finish())),
                Ok(count) => hasher.update(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(StoreError::at("read", &self.blob_path(digest))(error)),
            }
        }
    }

    /// What lies below a directory and is no `<algorithm>/<hex>`.
    fn check_strays(
        &self,
        directory: &std::path::Path,
        repair: bool,
        findings: &mut Vec<Finding>,
    ) -> Result<()> {
        for algorithm in read_names(directory)? {
            let below = directory.join(&algorithm);
            let strays = if below.is_dir() {
                let names = read_names(&below)?;
                let is_stray = |name: &String| format!("{algorithm}:{name}").parse::<Digest>().is_err();
                names
                    .into_iter()
                    .filter(is_stray)
                    .map(|name| below.join(name))
                    .collect()
            } else {
                vec![below]
            };
            for path in strays {
                if repair {
                    remove_tree(&path)?;
                }
                let (problem, repaired) = (Problem::Stray(path), repair);
                findings.push(Finding { problem, repaired });
            }
        }
        Ok(())
    }

    fn check_records(&self, repair: bool, findings: &mut Vec<Finding>) -> Result<()> {
        for found in self.read_records()? {
            let Err(error) = found.record else { continue };
            if repair {
                remove_file(&found.path)?;
            }
            let problem = Problem::BadRecord {
                path: found.path,
                detail: match error {
                    StoreError::Damaged { detail, .. } => detail,
                    other => other.to_string(),
                },
            };
            findings.push(Finding {
                problem,
                repaired: repair,
            });
        }
        Ok(())
    }

    fn check_layers(&self, repair: bool, in_use: &[Digest], findings: &mut Vec<Finding>) -> Result<()> {
        self.check_strays(&self.base.join("layers"), repair, findings)?;
        let mut used = super::gc::Marks::default();
        for digest in in_use {
            self.mark(&mut used, digest)?;
        }
        for diff_id in self.layers()? {
            let state = self.layer_state(&diff_id)?;
            if matches!(state, LayerState::Complete | LayerState::Absent) {
                continue;
            }
            let mut repaired = false;
            if repair && !used.held.contains(&diff_id) {
                let trash = self.trash_layer(&diff_id, |state| state != LayerState::Complete)?;
                trash.map_or(Ok(()), |trash| remove_tree(&trash))?;
                repaired = true;
            }
            let problem = Problem::BadLayer { diff_id, state };
            findings.push(Finding { problem, repaired });
        }
        Ok(())
    }

    fn check_images(&self, repair: bool, findings: &mut Vec<Finding>) -> Result<()> {
        for found in self.read_records()? {
            let Ok(record) = found.record else { continue };
            let missing = self.missing_of(&record)?;
            if missing.is_empty() {
                continue;
            }
            if repair {
                self.remove_record(&record)?;
            }
            findings.push(Finding {
                problem: Problem::Broken {
                    name: record.name,
                    manifest: record.manifest.digest,
                    missing,
                },
                repaired: repair,
            });
        }
        Ok(())
    }

    /// What an image cannot do without. Of an index only the manifest that is meant; of a
    /// layer one of its two forms.
    fn missing_of(&self, record: &Record) -> Result<Vec<Digest>> {
        let mut missing: HashSet<Digest> = HashSet::new();
        for blob in [&record.target, &record.manifest] {
            if !self.has_blob(blob)? {
                missing.insert(blob.digest.clone());
            }
        }
        let parsed = match self.manifest(&record.manifest) {
            Ok(parsed) => Some(parsed),
            // Damaged: what is there is not what is wanted.
            Err(StoreError::NoBlob(_) | StoreError::DigestMismatch { .. } | StoreError::TooBig { .. }) => {
                missing.insert(record.manifest.digest.clone());
                None
            }
            // Bytes that are right and mean nothing were never entered.
            Err(error) => return Err(error),
        };
        if let Some(Manifest::Image(image)) = parsed {
            if !self.has_blob(&image.config)? {
                missing.insert(image.config.digest.clone());
            }
            let unpacked = self.find_layers(&record.diff_ids)?;
            for (number, layer) in image.layers.iter().enumerate() {
                let is_unpacked = matches!(unpacked.get(number), Some(Some(_)));
                let is_elsewhere =
                    layer.media_type == MediaType::DOCKER_FOREIGN_LAYER || !layer.urls.is_empty();
                if !is_unpacked && !is_elsewhere && !self.has_blob(layer)? {
                    missing.insert(layer.digest.clone());
                }
            }
        }
        let mut missing: Vec<_> = missing.into_iter().collect();
        missing.order();
        Ok(missing)
    }
}

#[cfg(test)]
impl ContentStore {
    pub(super) fn missing_for_test(&self, record: &Record) -> Vec<Digest> {
        let mut missing = self.missing_of(record).unwrap();
        for (diff_id, found) in record
            .diff_ids
            .iter()
            .zip(self.find_layers(&record.diff_ids).unwrap())
        {
            missing.extend(found.is_none().then(|| diff_id.clone()));
        }
        missing
    }
}
