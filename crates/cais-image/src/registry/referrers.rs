//! Referrers: what points to a manifest by its `subject` (distribution-spec, "Listing
//! Referrers", "Referrers Tag Schema").

use super::scope::Scope;
use super::wire::{Call, header};
use super::{DOCUMENT_LIMIT, Registry, RegistryError, address};
use crate::descriptor::{Descriptor, MediaType};
use crate::digest::Digest;
use crate::reference::Target;
use cais_json::{Value, json};
use ureq::http::Method;

impl Registry {
    /// What points to `subject`, only of one artifact type if that is given. A registry that
    /// has no referrers API is asked for the tag that stands in for it.
    ///
    /// # Errors
    /// As [`RegistryError`] tells; a subject without referrers, or that is not there at all,
    /// gives an empty list.
    pub fn referrers(
        &self,
        repository: &str,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let mut url = self.url(repository, &format!("referrers/{subject}"))?;
        if let Some(kind) = artifact_type {
            let asked = address::with_parameter(&url, "artifactType", kind);
            url = asked.map_err(|reason| RegistryError::Protocol {
                url: address::shown(&url),
                reason,
            })?;
        }
        let what = format!("referrers of {repository}@{subject}");
        let call = Call::new(Method::GET, url, vec![Scope::pull(repository)], what)
            .header("accept", MediaType::INDEX);
        let mut found = Vec::new();
        let listed = self.pages(call, |headers, document| {
            let applied = header(headers, "oci-filters-applied").unwrap_or("");
            let is_filtered = applied.split(',').any(|filter| filter.trim() == "artifactType");
            let entries = descriptors(document).into_iter();
            found.extend(entries.filter(|entry| is_filtered || is_of(entry, artifact_type)));
        });
        match listed {
            Ok(()) => return Ok(found),
            Err(RegistryError::NotFound { .. }) => {}
            // Some older registries take the path for something else.
            Err(RegistryError::Refused {
                status: 400 | 405 | 501,
                ..
            }) => {}
            Err(error) => return Err(error),
        }
        let index = self.referrers_index(repository, subject)?;
        let entries = descriptors(&index).into_iter();
        Ok(entries.filter(|entry| is_of(entry, artifact_type)).collect())
    }

    /// The index under the subject's tag, an empty one if there is none.
    fn referrers_index(&self, repository: &str, subject: &Digest) -> Result<Value, RegistryError> {
        let empty = json!({"schemaVersion": 2, "mediaType": MediaType::INDEX, "manifests": []});
        match self.fetch_manifest(repository, &Target::Tag(referrers_tag(subject))) {
            Ok(found) if found.descriptor.media_type == MediaType::INDEX => {
                Ok(cais_json::from_slice(&found.bytes).unwrap_or(empty))
            }
            Ok(_) | Err(RegistryError::NotFound { .. }) => Ok(empty),
            Err(error) => Err(error),
        }
    }

    /// Puts a manifest that was just pushed into its subject's list.
    pub(super) fn list_referrer(
        &self,
        repository: &str,
        media_type: &str,
        bytes: &[u8],
        digest: &Digest,
    ) -> Result<(), RegistryError> {
        let Some(subject) = subject_of(bytes) else {
            return Ok(());
        };
        let document: Value = cais_json::from_slice(bytes).unwrap_or_default();
        let mut entry = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
        let config = document["config"]["mediaType"].as_str();
        if let Some(kind) = document["artifactType"].as_str().or(config) {
            entry["artifactType"] = kind.into();
        }
        if document["annotations"].is_object() {
            entry["annotations"] = document["annotations"].clone();
        }
        self.change_referrers(repository, &subject, digest, Some(entry))
    }

    /// Takes a manifest that was just deleted out of its subject's list; where the registry
    /// keeps the list itself there is no tag, and nothing to do.
    pub(super) fn unlist_referrer(
        &self,
        repository: &str,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<(), RegistryError> {
        self.change_referrers(repository, subject, digest, None)
    }

    fn change_referrers(
        &self,
        repository: &str,
        subject: &Digest,
        digest: &Digest,
        entry: Option<Value>,
    ) -> Result<(), RegistryError> {
        let mut index = self.referrers_index(repository, subject)?;
        let Some(list) = index["manifests"].as_array_mut() else {
            return Ok(());
        };
        let before = list.clone();
        // Unknown entries and fields are kept as they are.
        list.retain(|own| own["digest"].as_str() != Some(digest.as_str()));
        list.extend(entry);
        if *list == before {
            return Ok(());
        }
        let bytes = index.to_string().into_bytes();
        if bytes.len() as u64 > DOCUMENT_LIMIT {
            let what = format!("list of referrers of {repository}@{subject}");
            return Err(RegistryError::TooLarge {
                what,
                limit: DOCUMENT_LIMIT,
            });
        }
        let tag = Target::Tag(referrers_tag(subject));
        self.put_manifest(repository, &tag, MediaType::INDEX, &bytes)
            .map(drop)
    }
}

/// The tag that stands for a subject: `sha256-…`, the digits cut at 64.
fn referrers_tag(subject: &Digest) -> String {
    let hex: String = subject.hex().chars().take(64).collect();
    format!("{}-{hex}", subject.algorithm())
}

/// The subject of a manifest, if it has one with a digest that is understood here.
pub(super) fn subject_of(bytes: &[u8]) -> Option<Digest> {
    let document: Value = cais_json::from_slice(bytes).ok()?;
    document["subject"]["digest"].as_str()?.parse().ok()
}

/// The entries that are understood; others are left out.
fn descriptors(index: &Value) -> Vec<Descriptor> {
    let entries = index["manifests"].as_array().into_iter().flatten();
    entries
        .filter_map(|entry| cais_json::from_value(entry).ok())
        .collect()
}

fn is_of(entry: &Descriptor, artifact_type: Option<&str>) -> bool {
    artifact_type.is_none() || entry.artifact_type.as_deref() == artifact_type
}
