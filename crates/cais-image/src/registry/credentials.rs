//! Credentials: what a user has to show to a registry.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;

/// Who asks. Its secrets are not in its `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user with a password.
    Password {
        /// The name.
        username: String,
        /// The password, or a token that is used as one.
        password: String,
    },
    /// A refresh token (`identitytoken` in Docker's configuration; the user `<token>` of
    /// credential helpers).
    IdentityToken(String),
    /// A token that goes to the registry as it is (`registrytoken`).
    RegistryToken(String),
}

impl Credentials {
    /// The value of `Authorization` of the scheme Basic (RFC 7617), where that is possible.
    pub(super) fn basic(&self) -> Option<String> {
        match self {
            Self::Password { username, password } => Some(format!(
                "Basic {}",
                STANDARD.encode(format!("{username}:{password}"))
            )),
            Self::IdentityToken(_) | Self::RegistryToken(_) => None,
        }
    }

    /// The user's name, for messages.
    pub(super) fn user(&self) -> &str {
        match self {
            Self::Password { username, .. } => username,
            Self::IdentityToken(_) => "<identity token>",
            Self::RegistryToken(_) => "<registry token>",
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({:?})", self.user())
    }
}
