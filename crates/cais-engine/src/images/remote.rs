//! Registries as commands use them: with the configuration, by name.

use super::watch::Watch;
use crate::error::{EngineError, Result};
use cais_image::Reference;
use cais_image::platform::Platform;
use cais_image::reference::BadReference;
use cais_image::registry::{ConfigError, Overrides, RegistryConfig, Remote};

/// How to speak to the registry, and for which machine.
#[derive(Debug)]
pub struct TransferOptions {
    /// What is configured.
    pub config: RegistryConfig,
    /// What the command line says over it.
    pub overrides: Overrides,
    /// The machine that an image of several is wanted for; this one unless given.
    pub platform: Option<Platform>,
}

impl TransferOptions {
    /// With what is configured, and nothing else.
    #[must_use]
    pub fn new(config: RegistryConfig) -> Self {
        Self {
            config,
            overrides: Overrides::default(),
            platform: None,
        }
    }

    /// The names that a text may mean, with the tag `latest` where it tells none.
    pub(super) fn resolve(&self, text: &str) -> Result<Vec<Reference>> {
        let names = self.config.resolve(text).map_err(configured)?;
        Ok(names.into_iter().map(Reference::or_latest).collect())
    }

    /// Where an image is read.
    pub(super) fn to_read(&self, reference: &Reference) -> Result<Remote> {
        Remote::to_read(&self.config, reference, &self.overrides).map_err(configured)
    }

    /// Where an image is written.
    pub(super) fn to_write(&self, reference: &Reference) -> Result<Remote> {
        Remote::to_write(&self.config, reference, &self.overrides).map_err(configured)
    }
}

/// An error of the configuration; a name that is none is the user's mistake.
pub(super) fn configured(error: ConfigError) -> EngineError {
    match error {
        ConfigError::Name(error) => EngineError::Invalid(error.to_string()),
        error => EngineError::RegistryConfig(Box::new(error)),
    }
}

/// A full name.
pub(super) fn parse_name(text: &str) -> Result<Reference> {
    let reference: Reference = text
        .parse()
        .map_err(|error: BadReference| EngineError::Invalid(error.to_string()))?;
    Ok(reference.or_latest())
}

/// Hands on what registries wanted the user to know.
pub(super) fn pass_warnings(remote: &Remote, watch: &dyn Watch) {
    for text in remote.take_warnings() {
        watch.warning(&text);
    }
}
