//! Registries: a client of the distribution-spec 1.1, blocking, for as many threads as like.
//!
//! One [`Registry`] speaks to one host. It keeps connections, tokens and the server's wish for
//! TLS or not. Every answer is checked: manifests and blobs against digest and size, partial
//! answers against what was asked for. What goes wrong is told apart in [`RegistryError`].
//!
//! Credentials go to the registry itself and to the token server that it names, never to
//! where a redirect or a descriptor's `urls` lead (CVE-2020-15157).

mod address;
mod auth;
mod challenge;
pub mod config;
mod credentials;
mod download;
mod error;
pub mod look_up;
mod manifests;
mod paging;
mod patience;
mod referrers;
mod remote;
mod scope;
#[cfg(test)]
mod tests;
mod tls;
mod upload;
mod wire;

pub use challenge::Challenge;
pub use config::{ConfigError, Places, RegistryConfig};
pub use credentials::Credentials;
pub use download::BlobReader;
pub use error::{ErrorKind, RegistryError, Said};
pub use manifests::{FetchedManifest, StoredManifest};
pub use patience::{Clock, Patience, SystemClock};
pub use remote::{Endpoint, Overrides, Remote};
pub use tls::Certificates;
pub use upload::{Started, Upload};
pub use wire::fetch_url;

use crate::reference::{self, DOCKER_HUB};
use auth::Authenticator;
use look_up::LookUp;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use ureq::http::{Method, Uri};
use wire::{Call, Payload, Wire};

/// Where Docker Hub's registry is.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";
/// Documents (manifests, lists of tags, errors) are not read beyond this: registries must take
/// manifests of 4 MiB (distribution-spec, "Pushing Manifests").
pub const DOCUMENT_LIMIT: u64 = 8 << 20;

/// How to speak to a registry.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who asks; nobody by default.
    pub credentials: Option<Credentials>,
    /// More certificates than the machine's.
    pub certificates: Certificates,
    /// Whether to do without TLS or with a server that cannot prove who it is. This machine
    /// itself (`localhost`, 127.0.0.0/8, `::1`) is so without being asked, as with Docker,
    /// unless there are certificates for it.
    pub insecure: bool,
    /// Headers for every request to the registry (`HttpHeaders` of Docker's configuration).
    pub headers: Vec<(String, String)>,
    /// The registry that a pull-through proxy stands for, sent as `?ns=` (containerd's
    /// convention).
    pub namespace: Option<String>,
    /// How often to try.
    pub patience: Patience,
    /// The longest time without a byte in either direction.
    pub stall: Duration,
    /// Larger blobs are pushed in pieces of this many bytes, each kept in memory; a server that
    /// wants larger ones gets them.
    pub chunk: usize,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where hosts are.
    pub look_up: LookUp,
    /// Whether to ask a token server for a refresh token, as a login does (distribution,
    /// "Token Authentication Specification", `offline_token`).
    pub offline: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            credentials: None,
            certificates: Certificates::default(),
            insecure: false,
            headers: Vec::new(),
            namespace: None,
            patience: Patience::default(),
            stall: Duration::from_secs(120),
            chunk: 16 << 20,
            clock: Arc::new(SystemClock::default()),
            look_up: LookUp::default(),
            offline: false,
        }
    }
}

/// A client of one registry.
#[derive(Debug)]
pub struct Registry {
    /// What the user calls it.
    name: String,
    /// Host and port that are spoken to.
    host: String,
    options: Options,
    wire: Wire,
    auth: Authenticator,
    /// `https` or `http`, once known.
    scheme: OnceLock<&'static str>,
    /// Whether it has ever answered: then a refused connection is a passing thing.
    reached: AtomicBool,
    warnings: Mutex<Vec<String>>,
}

impl Registry {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    /// When `name` is no host with an optional port.
    pub fn new(name: &str, options: Options) -> Result<Self, RegistryError> {
        reference::check_registry(name)?;
        let host = if name == DOCKER_HUB { DOCKER_HUB_HOST } else { name };
        let implied = address::is_loopback(host) && options.certificates == Certificates::default();
        let insecure = options.insecure || implied;
        let scheme = OnceLock::new();
        if !insecure {
            scheme.get_or_init(|| "https");
        }
        Ok(Self {
            name: name.to_owned(),
            host: host.to_owned(),
            wire: Wire::new(&options, insecure, address::is_loopback(host)),
            auth: Authenticator::new(name, options.credentials.clone(), options.offline),
            options,
            scheme,
            reached: AtomicBool::new(false),
            warnings: Mutex::default(),
        })
    }

    /// The name that it was made with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks whether a registry is there and takes the credentials (`GET /v2/`).
    ///
    /// # Errors
    /// When it is not there, is no registry, or refuses the credentials.
    pub fn ping(&self) -> Result<(), RegistryError> {
        let call = Call::new(Method::GET, self.base()?, Vec::new(), "registry API (/v2/)");
        let answer = self.exchange(&call, Payload::None)?;
        self.expect(&call, answer, &[200]).map(drop)
    }

    /// The refresh token that a token server gave, where one was asked for.
    #[must_use]
    pub fn refresh_token(&self) -> Option<String> {
        self.auth.refresh_token()
    }

    /// What the server wanted the user to know since the last call (`Warning` of the
    /// distribution-spec, "Warnings").
    #[must_use]
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The address of `/v2/`, after finding out whether the server wants TLS.
    fn base(&self) -> Result<Uri, RegistryError> {
        let scheme = match self.scheme.get() {
            Some(scheme) => scheme,
            None => self.probe_scheme(),
        };
        address::parse(&format!("{scheme}://{}/v2/", self.host)).map_err(|reason| RegistryError::Protocol {
            url: self.host.clone(),
            reason,
        })
    }

    /// TLS first, as Docker does; anything that is no answer of HTTP means that there is none.
    fn probe_scheme(&self) -> &'static str {
        let secure = format!("https://{}/v2/", self.host);
        let answers = address::parse(&secure).is_ok_and(|uri| {
            let call = Call::new(Method::GET, uri, Vec::new(), "registry API (/v2/)");
            self.wire.send(&call, None, Payload::None).is_ok()
        });
        self.scheme.get_or_init(|| if answers { "https" } else { "http" })
    }

    /// An address below `/v2/`.
    fn url(&self, repository: &str, rest: &str) -> Result<Uri, RegistryError> {
        reference::check_repository(repository)?;
        let base = self.base()?;
        let bad = |reason| RegistryError::Protocol {
            url: address::shown(&base),
            reason,
        };
        let url = address::resolve(&base, &format!("{repository}/{rest}")).map_err(bad)?;
        match &self.options.namespace {
            Some(namespace) => address::with_parameter(&url, "ns", namespace).map_err(bad),
            None => Ok(url),
        }
    }

    fn has_been_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }
}
