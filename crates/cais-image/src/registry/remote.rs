//! A repository wherever it is to be found: its mirrors in order, then the place itself.

use super::config::{ConfigError, Place, RegistryConfig};
use super::{BlobReader, Certificates, Credentials, FetchedManifest, Registry, RegistryError};
use crate::descriptor::Descriptor;
use crate::reference::{Reference, Target};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the command line says over the configuration.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Who asks.
    pub credentials: Option<Credentials>,
    /// Whether TLS may be missing or unproven, at the place itself.
    pub insecure: bool,
    /// More certificates, instead of those that are configured.
    pub certificates: Option<Certificates>,
}

/// One place to ask.
#[derive(Debug)]
pub struct Endpoint {
    /// The client.
    pub registry: Registry,
    /// The repository there.
    pub repository: String,
    /// Whether it is a mirror.
    pub is_mirror: bool,
}

/// A repository with its mirrors.
#[derive(Debug)]
pub struct Remote {
    mirrors: Vec<Endpoint>,
    own: Endpoint,
    /// Where the last manifest came from: the rest is asked for there first.
    first: AtomicUsize,
}

impl Remote {
    /// The places where an image is read.
    ///
    /// # Errors
    /// Where the configuration cannot be used, or blocks the image.
    pub fn to_read(
        config: &RegistryConfig,
        reference: &Reference,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        let mut places = config.registries().places(reference)?;
        // The last one is the place itself.
        let own = match places.pop() {
            Some(own) => own,
            None => config.registries().own_place(reference)?,
        };
        let mirrors = places.into_iter().map(|place| connect(config, place, overrides));
        Ok(Self {
            mirrors: mirrors.collect::<Result<_, _>>()?,
            own: connect(config, own, overrides)?,
            first: AtomicUsize::new(0),
        })
    }

    /// The place where an image is written.
    ///
    /// # Errors
    /// As [`Remote::to_read`].
    pub fn to_write(
        config: &RegistryConfig,
        reference: &Reference,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        let place = config.registries().own_place(reference)?;
        Ok(Self {
            mirrors: Vec::new(),
            own: connect(config, place, overrides)?,
            first: AtomicUsize::new(0),
        })
    }

    /// The place itself, not a mirror.
    #[must_use]
    pub fn own(&self) -> &Endpoint {
        &self.own
    }

    fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.mirrors.iter().chain([&self.own])
    }

    /// Asks the places in order until one can answer. The error is that of the last one: the
    /// place itself.
    ///
    /// # Errors
    /// What `ask` fails with at the last place.
    pub fn each<T>(
        &self,
        mut ask: impl FnMut(&Endpoint) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let first = self.first.load(Ordering::Relaxed);
        let mut last = None;
        for (index, endpoint) in self.endpoints().enumerate().skip(first) {
            match ask(endpoint) {
                Ok(found) => {
                    self.first.fetch_max(index, Ordering::Relaxed);
                    return Ok(found);
                }
                Err(error @ RegistryError::Source(_)) => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| self.nobody()))
    }

    /// A manifest, from the first place that has it.
    ///
    /// # Errors
    /// As [`Remote::each`].
    pub fn fetch_manifest(&self, target: &Target) -> Result<FetchedManifest, RegistryError> {
        self.each(|endpoint| endpoint.registry.fetch_manifest(&endpoint.repository, target))
    }

    /// The manifest of a descriptor, whose size is checked as well.
    ///
    /// # Errors
    /// As [`Remote::each`].
    pub fn fetch_manifest_of(&self, of: &Descriptor) -> Result<FetchedManifest, RegistryError> {
        self.each(|endpoint| endpoint.registry.fetch_manifest_of(&endpoint.repository, of))
    }

    /// What a tag or digest is.
    ///
    /// # Errors
    /// As [`Remote::each`].
    pub fn head_manifest(&self, target: &Target) -> Result<Descriptor, RegistryError> {
        self.each(|endpoint| endpoint.registry.head_manifest(&endpoint.repository, target))
    }

    /// A blob, from the first place that begins to send it.
    ///
    /// # Errors
    /// As [`Remote::each`].
    pub fn start_of_blob(&self, blob: &Descriptor) -> Result<BlobReader<'_>, RegistryError> {
        let first = self.first.load(Ordering::Relaxed);
        let mut last = None;
        for endpoint in self.endpoints().skip(first) {
            match endpoint.registry.fetch_blob(&endpoint.repository, blob, 0) {
                Ok(reader) => return Ok(reader),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| self.nobody()))
    }

    fn nobody(&self) -> RegistryError {
        RegistryError::Protocol {
            url: self.own.registry.name().to_owned(),
            reason: "nobody was asked".to_owned(),
        }
    }

    /// What the servers wanted the user to know, each with the server's name.
    #[must_use]
    pub fn take_warnings(&self) -> Vec<String> {
        let of = |endpoint: &Endpoint| {
            let name = endpoint.registry.name().to_owned();
            let warnings = endpoint.registry.take_warnings();
            warnings
                .into_iter()
                .map(move |text| format!("{name}: {text}"))
                .collect::<Vec<_>>()
        };
        self.endpoints().flat_map(of).collect()
    }
}

fn connect(config: &RegistryConfig, place: Place, overrides: &Overrides) -> Result<Endpoint, ConfigError> {
    let mut options = config.options(&place.registry, &place.repository)?;
    options.insecure |= place.insecure;
    if !place.is_mirror {
        options.insecure |= overrides.insecure;
        options.credentials = overrides.credentials.clone().or(options.credentials);
    }
    if let Some(certificates) = &overrides.certificates {
        options.certificates = certificates.clone();
    }
    let registry = Registry::new(&place.registry, options).map_err(|error| ConfigError::File {
        path: "registries.conf".into(),
        detail: error.to_string(),
    })?;
    Ok(Endpoint {
        registry,
        repository: place.repository,
        is_mirror: place.is_mirror,
    })
}
