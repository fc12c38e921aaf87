//! Manifests: fetched by tag or digest, checked, pushed, deleted (distribution-spec, "Pulling
//! manifests", "Pushing Manifests", "Deleting Manifests").

use super::scope::Scope;
use super::wire::{Call, Payload, header};
use super::{DOCUMENT_LIMIT, Registry, RegistryError};
use crate::descriptor::{Descriptor, MediaType};
use crate::digest::{Digest, Hasher};
use crate::reference::{ReferenceFault, Target, is_tag};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cais_json::Value;
use ureq::http::{HeaderMap, Method};

/// What is accepted as a manifest.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";
/// Docker's first format, which some registries still answer with.
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+";
/// Types that servers give when they do not know.
const UNSPECIFIC: [&str; 4] = ["", "application/json", "application/octet-stream", "text/plain"];

/// A manifest or an index, as the bytes that its digest is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedManifest {
    /// Media type, digest and size.
    pub descriptor: Descriptor,
    /// The document.
    pub bytes: Vec<u8>,
}

/// What came of pushing a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredManifest {
    /// Its digest.
    pub digest: Digest,
    /// Whether the registry itself lists it as a referrer of its subject (`OCI-Subject`).
    /// Where it does not, the list under the subject's tag has been brought up to date.
    pub is_listed: bool,
}

impl Registry {
    /// Fetches a manifest by tag or digest.
    ///
    /// Its digest is checked against the digest asked for, or against `Docker-Content-Digest`;
    /// its `mediaType` against `Content-Type`; a document that is an index and a manifest at
    /// once is refused (CVE-2021-41190).
    ///
    /// # Errors
    /// As [`RegistryError`] tells.
    pub fn fetch_manifest(
        &self,
        repository: &str,
        target: &Target,
    ) -> Result<FetchedManifest, RegistryError> {
        let call = self.manifest_call(Method::GET, repository, target, Scope::pull(repository))?;
        let (headers, bytes) = self.fetch_document(&call)?;
        let told = told_digest(&headers);
        let digest = match target {
            Target::Digest(digest) => check_digest(&call.what, digest, &bytes)?,
            Target::Tag(_) => match &told {
                Some(told) => check_digest(&call.what, told, &bytes)?,
                None => Digest::of(&bytes),
            },
        };
        if let Some(told) = told.filter(|told| told.algorithm() == digest.algorithm()) {
            check_digest(&call.what, &told, &bytes)?;
        }
        let media_type = check_media_type(&headers, &bytes).map_err(|reason| call.protocol(reason))?;
        let size = bytes.len() as u64;
        Ok(FetchedManifest {
            descriptor: Descriptor::new(&media_type, digest, size),
            bytes,
        })
    }

    /// Fetches the manifest of a descriptor: its size is checked as well. A descriptor that
    /// carries its `data` needs no request.
    ///
    /// # Errors
    /// As [`RegistryError`] tells.
    pub fn fetch_manifest_of(
        &self,
        repository: &str,
        of: &Descriptor,
    ) -> Result<FetchedManifest, RegistryError> {
        let what = format!("manifest {repository}@{}", of.digest);
        let too_large = of.size > DOCUMENT_LIMIT;
        if too_large {
            return Err(RegistryError::TooLarge {
                what,
                limit: DOCUMENT_LIMIT,
            });
        }
        let inline = of.data.as_ref().and_then(|data| STANDARD.decode(data).ok());
        let fetched = match inline.filter(|bytes| is_content(of, bytes)) {
            Some(bytes) => FetchedManifest {
                descriptor: of.clone(),
                bytes,
            },
            None => self.fetch_manifest(repository, &Target::Digest(of.digest.clone()))?,
        };
        let actual = fetched.bytes.len() as u64;
        if actual != of.size {
            return Err(RegistryError::SizeMismatch {
                what,
                expected: of.size,
                actual,
            });
        }
        Ok(fetched)
    }

    /// Asks what a tag or digest is, which registries with limits do not count as a pull. A
    /// registry that does not tell the digest is asked for the manifest.
    ///
    /// # Errors
    /// As [`RegistryError`] tells.
    pub fn head_manifest(&self, repository: &str, target: &Target) -> Result<Descriptor, RegistryError> {
        let call = self.manifest_call(Method::HEAD, repository, target, Scope::pull(repository))?;
        let answer = self.exchange(&call, Payload::None)?;
        let answer = self.expect(&call, answer, &[200])?;
        let headers = answer.headers();
        let media_type = content_type(headers);
        let size = header(headers, "content-length").and_then(|value| value.parse().ok());
        match (told_digest(headers), size) {
            (Some(told), Some(size)) if !UNSPECIFIC.contains(&media_type.as_str()) => {
                if let Target::Digest(digest) = target
                    && *digest != told
                {
                    return Err(RegistryError::DigestMismatch {
                        what: call.what,
                        expected: digest.clone(),
                        actual: told,
                    });
                }
                Ok(Descriptor::new(&media_type, told, size))
            }
            _ => Ok(self.fetch_manifest(repository, target)?.descriptor),
        }
    }

    /// Pushes a manifest under a tag or its digest. One with a `subject` is put into the
    /// subject's list of referrers, where the registry does not do so itself.
    ///
    /// # Errors
    /// As [`RegistryError`] tells. A digest as target is checked before anything is sent.
    pub fn put_manifest(
        &self,
        repository: &str,
        target: &Target,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<StoredManifest, RegistryError> {
        let call = self.manifest_call(Method::PUT, repository, target, Scope::push(repository))?;
        let digest = match target {
            Target::Digest(digest) => check_digest(&call.what, digest, bytes)?,
            Target::Tag(_) => Digest::of(bytes),
        };
        let call = call.header("content-type", media_type);
        let answer = self.exchange(&call, Payload::Bytes(bytes))?;
        let answer = self.expect(&call, answer, &[200, 201, 202])?;
        let told = told_digest(answer.headers()).filter(|told| told.algorithm() == digest.algorithm());
        if let Some(told) = told.filter(|told| *told != digest) {
            return Err(RegistryError::DigestMismatch {
                what: call.what,
                expected: digest,
                actual: told,
            });
        }
        let is_listed = answer.headers().contains_key("oci-subject");
        if !is_listed {
            self.list_referrer(repository, media_type, bytes, &digest)?;
        }
        Ok(StoredManifest { digest, is_listed })
    }

    /// Deletes a tag, or a manifest with all its tags. A manifest with a `subject` is taken out
    /// of the subject's list where the registry has no list of its own.
    ///
    /// # Errors
    /// As [`RegistryError`] tells; many registries refuse with status 405.
    pub fn delete_manifest(&self, repository: &str, target: &Target) -> Result<(), RegistryError> {
        let subject = match target {
            Target::Digest(_) => {
                super::referrers::subject_of(&self.fetch_manifest(repository, target)?.bytes)
            }
            Target::Tag(_) => None,
        };
        let call = self.manifest_call(Method::DELETE, repository, target, Scope::delete(repository))?;
        let answer = self.exchange(&call, Payload::None)?;
        self.expect(&call, answer, &[200, 202, 204])?;
        match (subject, target) {
            (Some(subject), Target::Digest(digest)) => self.unlist_referrer(repository, &subject, digest),
            _ => Ok(()),
        }
    }

    fn manifest_call(
        &self,
        method: Method,
        repository: &str,
        target: &Target,
        scope: Scope,
    ) -> Result<Call, RegistryError> {
        let mark = match target {
            Target::Tag(tag) if !is_tag(tag) => return Err(ReferenceFault::Tag(tag.clone()).into()),
            Target::Tag(_) => ':',
            Target::Digest(_) => '@',
        };
        let url = self.url(repository, &format!("manifests/{target}"))?;
        let what = format!("manifest {repository}{mark}{target}");
        Ok(Call::new(method, url, vec![scope], what).header("accept", ACCEPT))
    }
}

fn is_content(of: &Descriptor, bytes: &[u8]) -> bool {
    bytes.len() as u64 == of.size && check_digest("", &of.digest, bytes).is_ok()
}

/// The digest that a registry tells; one of an unknown algorithm is as good as none.
fn told_digest(headers: &HeaderMap) -> Option<Digest> {
    header(headers, "docker-content-digest")?.trim().parse().ok()
}

fn check_digest(what: &str, expected: &Digest, bytes: &[u8]) -> Result<Digest, RegistryError> {
    let mut hasher = Hasher::like(expected);
    hasher.update(bytes);
    let actual = hasher.finish();
    if actual == *expected {
        return Ok(actual);
    }
    Err(RegistryError::DigestMismatch {
        what: what.to_owned(),
        expected: expected.clone(),
        actual,
    })
}

/// Without its parameters, in lower case.
fn content_type(headers: &HeaderMap) -> String {
    let value = header(headers, "content-type").unwrap_or("");
    value.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

/// The media type that header and document agree on.
fn check_media_type(headers: &HeaderMap, bytes: &[u8]) -> Result<String, String> {
    let told = content_type(headers);
    if told.starts_with(SCHEMA_1) {
        return Err(
            "an image of Docker's format 1, which is out of use since 2017: push it again".to_owned(),
        );
    }
    let document: Value = cais_json::from_slice(bytes).map_err(|error| format!("no manifest: {error}"))?;
    if !document.is_object() {
        return Err("no manifest: it is not an object of JSON".to_owned());
    }
    let own = document.get("mediaType").and_then(Value::as_str);
    let media_type = match own {
        Some(own) if UNSPECIFIC.contains(&told.as_str()) => own.to_owned(),
        Some(own) if own == told => told,
        Some(own) => {
            return Err(format!(
                "the manifest says that it is {own:?}, and the registry {told:?}"
            ));
        }
        None if UNSPECIFIC.contains(&told.as_str()) => {
            return Err(format!(
                "a manifest without a media type (Content-Type is {told:?})"
            ));
        }
        None => told,
    };
    let has = |name: &str| document.get(name).is_some_and(|value| !value.is_null());
    let is_index = [MediaType::INDEX, MediaType::DOCKER_INDEX].contains(&media_type.as_str());
    let is_manifest = [MediaType::MANIFEST, MediaType::DOCKER_MANIFEST].contains(&media_type.as_str());
    if (is_index && (has("config") || has("layers"))) || (is_manifest && has("manifests")) {
        return Err("a document that is an index and a manifest at once".to_owned());
    }
    Ok(media_type)
}
