//! One request and its answer: connections, redirects, authentication, tries.

use super::error::{self, RegistryError, Said, printable};
use super::look_up::LookUp;
use super::scope::Scope;
use super::{DOCUMENT_LIMIT, Options, Registry, address, auth, patience, tls};
use std::io::{self, Read};
use std::sync::atomic::Ordering;
use std::sync::{OnceLock, PoisonError};
use std::time::Duration;
use ureq::http::{HeaderMap, Method, Request, Response, Uri};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body, SendBody};

/// The body of an error is not read beyond this.
const ERROR_LIMIT: u64 = 64 << 10;
/// Nobody redirects more often in earnest.
const REDIRECTS: usize = 10;
/// How many warnings are kept.
const WARNINGS: usize = 16;

pub(super) type Answer = Response<Body>;

/// A request without its body.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) url: Uri,
    pub(super) scopes: Vec<Scope>,
    pub(super) headers: Vec<(&'static str, String)>,
    /// For messages: `manifest library/nginx:1`.
    pub(super) what: String,
}

impl Call {
    pub(super) fn new(method: Method, url: Uri, scopes: Vec<Scope>, what: impl Into<String>) -> Self {
        Self {
            method,
            url,
            scopes,
            headers: Vec::new(),
            what: what.into(),
        }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn protocol(&self, reason: impl Into<String>) -> RegistryError {
        RegistryError::Protocol {
            url: address::shown(&self.url),
            reason: reason.into(),
        }
    }

    fn network(&self, source: io::Error) -> RegistryError {
        RegistryError::Network {
            method: self.method.to_string(),
            url: address::shown(&self.url),
            source,
        }
    }
}

/// What is sent with a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Payload<'a> {
    None,
    Bytes(&'a [u8]),
}

/// The connections.
#[derive(Debug)]
pub(super) struct Wire {
    options: Options,
    insecure: bool,
    /// To the registry itself.
    own: OnceLock<Result<Agent, String>>,
    /// To where redirects lead: our certificate is not shown there.
    other: OnceLock<Result<Agent, String>>,
    /// Without TLS.
    plain: OnceLock<Agent>,
    is_loopback: bool,
}

impl Wire {
    pub(super) fn new(options: &Options, insecure: bool, is_loopback: bool) -> Self {
        Self {
            options: options.clone(),
            insecure,
            own: OnceLock::new(),
            other: OnceLock::new(),
            plain: OnceLock::new(),
            is_loopback,
        }
    }

    /// Reading the machine's authorities takes a moment, so it is done when TLS is needed.
    fn agent(&self, url: &Uri, is_own: bool) -> Result<&Agent, RegistryError> {
        if url.scheme_str() == Some("http") {
            return Ok(self.plain.get_or_init(|| self.build(None)));
        }
        let cell = if is_own { &self.own } else { &self.other };
        let secure = || tls::plan_tls(&self.options.certificates, is_own, !self.insecure);
        cell.get_or_init(|| secure().map(|tls| self.build(Some(tls))))
            .as_ref()
            .map_err(|reason| RegistryError::Tls {
                url: address::shown(url),
                reason: reason.clone(),
            })
    }

    fn build(&self, tls: Option<ureq::tls::TlsConfig>) -> Agent {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("cais/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .max_idle_connections(16)
            .max_idle_connections_per_host(8)
            .timeout_resolve(Some(self.options.stall))
            .timeout_connect(Some(self.options.stall.min(Duration::from_secs(30))))
            .timeout_per_read(Some(self.options.stall))
            .timeout_per_write(Some(self.options.stall));
        if self.is_loopback {
            config = config.proxy(None);
        }
        if let Some(tls) = tls {
            config = config.tls_config(tls);
        }
        Agent::with_parts(config.build(), DefaultConnector::new(), self.options.look_up)
    }

    /// Sends once and follows redirects of reading requests. `authorization` and the
    /// configured headers stay with the call's own origin.
    pub(super) fn send(
        &self,
        call: &Call,
        authorization: Option<&str>,
        payload: Payload,
    ) -> Result<Answer, RegistryError> {
        let home = address::origin(&call.url);
        let mut call = call.clone();
        for _ in 0..=REDIRECTS {
            let is_own = address::origin(&call.url) == home;
            let answer = self.send_one(&call, authorization.filter(|_| is_own), is_own, payload)?;
            let is_reading = matches!(call.method, Method::GET | Method::HEAD);
            if !is_reading || !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let target =
                header(answer.headers(), "location").ok_or_else(|| call.protocol("a redirect to nowhere"))?;
            let target = address::resolve(&call.url, target).map_err(|reason| call.protocol(reason))?;
            let is_downgrade = call.url.scheme_str() == Some("https") && target.scheme_str() == Some("http");
            if is_downgrade && !self.insecure {
                return Err(call.protocol(format!("a redirect out of TLS to {}", address::shown(&target))));
            }
            drain(answer);
            call.url = target;
        }
        Err(call.protocol(format!("more than {REDIRECTS} redirects")))
    }

    fn send_one(
        &self,
        call: &Call,
        authorization: Option<&str>,
        is_own: bool,
        payload: Payload,
    ) -> Result<Answer, RegistryError> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(call.url.clone());
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        if is_own {
            for (name, value) in &self.options.headers {
                request = request.header(name, value);
            }
        }
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        let agent = self.agent(&call.url, is_own)?;
        let mut bytes = match payload {
            Payload::None => &[],
            Payload::Bytes(bytes) => bytes,
        };
        let sends = matches!(call.method, Method::POST | Method::PUT | Method::PATCH);
        let sent = if sends {
            let request = request.header("content-length", bytes.len().to_string());
            let request = request.body(SendBody::from_reader(&mut bytes));
            request
                .map_err(ureq::Error::Http)
                .and_then(|request| agent.run(request))
        } else {
            let request = request.body(());
            request
                .map_err(ureq::Error::Http)
                .and_then(|request| agent.run(request))
        };
        sent.map_err(|error| translate(call, error))
    }
}

/// Fetches what is at an address of http or https, following redirects, without credentials
/// and without checking it.
///
/// # Errors
/// For what is no address; where it is not there.
pub fn fetch_url(url: &str, look_up: LookUp) -> Result<Box<dyn Read + Send>, RegistryError> {
    let protocol = |reason: String| RegistryError::Protocol {
        url: printable(url),
        reason,
    };
    let uri = address::parse(url).map_err(protocol)?;
    let is_loopback = uri
        .authority()
        .is_some_and(|host| address::is_loopback(host.as_str()));
    let options = Options {
        look_up,
        ..Options::default()
    };
    let wire = Wire::new(&options, false, is_loopback);
    let call = Call::new(Method::GET, uri, Vec::new(), "archive");
    let answer = wire.send(&call, None, Payload::None)?;
    match answer.status().as_u16() {
        200 => Ok(Box::new(answer.into_body().into_reader())),
        status => Err(call.protocol(format!("status {status}"))),
    }
}

/// What the library says of TLS, with what to do where its words do not tell.
fn of_tls(said: &str) -> String {
    if said.contains("CaUsedAsEndEntity") {
        return "the server's certificate is that of an authority (CA:TRUE), which is not taken as a server's own: \
            make it with basicConstraints=CA:FALSE, or give --insecure"
            .to_owned();
    }
    if said.contains("UnknownIssuer") {
        return format!("{said}: put the authority's certificate into certs.d (*.crt), or give --insecure");
    }
    said.to_owned()
}

/// The library's errors in ours.
fn translate(call: &Call, error: ureq::Error) -> RegistryError {
    let tls = |reason: String| RegistryError::Tls {
        url: address::shown(&call.url),
        reason,
    };
    match error {
        ureq::Error::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
            tls(of_tls(&error.to_string()))
        }
        ureq::Error::Io(error) => call.network(error),
        ureq::Error::Timeout(_) => call.network(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
        ureq::Error::HostNotFound => call.network(io::Error::new(
            io::ErrorKind::NotFound,
            "the host name is not known",
        )),
        ureq::Error::ConnectionFailed | ureq::Error::ConnectProxyFailed(_) => call.network(io::Error::new(
            io::ErrorKind::ConnectionRefused,
            error.to_string(),
        )),
        ureq::Error::Tls(_) | ureq::Error::Pem(_) | ureq::Error::Rustls(_) => tls(of_tls(&error.to_string())),
        other => call.protocol(printable(&other.to_string())),
    }
}

/// A header as text.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Reads what is left of a short body, so that the connection can be used again.
fn drain(answer: Answer) {
    let mut body = answer.into_body().into_reader().take(ERROR_LIMIT);
    // The answer has been used; an error here only costs the connection.
    io::copy(&mut body, &mut io::sink()).ok();
}

impl Registry {
    /// Sends, authenticates if the registry wants it, and tries again what may pass: lost
    /// connections, 429 and 5xx. The last answer is given whatever its status is.
    pub(super) fn exchange(&self, call: &Call, payload: Payload) -> Result<Answer, RegistryError> {
        for failed in 1.. {
            let result = self.exchange_once(call, payload);
            let asked = match &result {
                Ok(answer) if error::is_passing(answer.status().as_u16()) => self.asked_wait(answer),
                Err(RegistryError::Network { source, .. }) if self.is_worth_a_repeat(source) => None,
                _ => return result,
            };
            match self.options.patience.next(failed, asked, &*self.options.clock) {
                Some(wait) => self.options.clock.wait(wait),
                None => return result,
            }
        }
        Err(call.protocol("too many tries"))
    }

    /// A host that was never there will not come: the user mistyped it.
    fn is_worth_a_repeat(&self, error: &io::Error) -> bool {
        let never_there = matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
        );
        self.has_been_reached() || !never_there
    }

    fn asked_wait(&self, answer: &Answer) -> Option<Duration> {
        let value = header(answer.headers(), "retry-after")?;
        patience::parse_retry_after(value, self.options.clock.wall())
    }

    /// Sends with what is known, and once more if the registry wants to know more.
    pub(super) fn exchange_once(&self, call: &Call, payload: Payload) -> Result<Answer, RegistryError> {
        let is_home = address::origin(&call.url) == address::origin(&self.base()?);
        let asker = auth::Asker {
            wire: &self.wire,
            patience: &self.options.patience,
            clock: &*self.options.clock,
            may_be_plain: self.scheme.get() == Some(&"http"),
        };
        let authorization = if is_home {
            self.auth.header(&call.scopes, &asker)?
        } else {
            None
        };
        let answer = self.wire.send(call, authorization.as_deref(), payload)?;
        self.reached.store(true, Ordering::Relaxed);
        self.keep_warnings(answer.headers());
        if answer.status().as_u16() != 401 || !is_home {
            return Ok(answer);
        }
        let challenges: Vec<_> = answer
            .headers()
            .get_all("www-authenticate")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(super::Challenge::parse_all)
            .collect();
        let said = read_error(answer);
        let authorization = self.auth.respond(&challenges, &call.scopes, &said, &asker)?;
        let answer = self.wire.send(call, Some(&authorization), payload)?;
        if answer.status().as_u16() == 401 {
            return Err(self.auth.refused(&read_error(answer)));
        }
        Ok(answer)
    }

    fn keep_warnings(&self, headers: &HeaderMap) {
        for value in headers.get_all("warning") {
            // `299 - "text"`: other codes are about caches.
            let text = value.to_str().ok().and_then(|text| text.strip_prefix("299 - \""));
            let Some(text) = text else { continue };
            let text = printable(&text.trim_end_matches('"').replace("\\\"", "\""));
            let mut kept = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < WARNINGS && !kept.contains(&text) {
                kept.push(text);
            }
        }
    }

    /// The answer if its status is one of these, else the error that it stands for.
    pub(super) fn expect(
        &self,
        call: &Call,
        answer: Answer,
        statuses: &[u16],
    ) -> Result<Answer, RegistryError> {
        let status = answer.status().as_u16();
        if statuses.contains(&status) {
            return Ok(answer);
        }
        let wait = self.asked_wait(&answer);
        let said = read_error(answer);
        Err(match status {
            401 | 403 => RegistryError::Auth {
                registry: self.name.clone(),
                reason: if said.messages.is_empty() {
                    format!("access to the {} is denied (status {status})", call.what)
                } else {
                    format!("{}: {said}", call.what)
                },
            },
            404 => RegistryError::NotFound {
                registry: self.name.clone(),
                what: call.what.clone(),
                said,
            },
            429 => RegistryError::RateLimited {
                registry: self.name.clone(),
                wait,
                said,
            },
            status if status < 400 => {
                call.protocol(format!("status {status} is no answer to {}", call.method))
            }
            status => RegistryError::Refused {
                method: call.method.to_string(),
                url: address::shown(&call.url),
                status,
                said,
            },
        })
    }

    /// Reads a whole document of at most [`DOCUMENT_LIMIT`] bytes.
    pub(super) fn read_document(&self, call: &Call, answer: Answer) -> Result<Vec<u8>, RegistryError> {
        let too_large = || RegistryError::TooLarge {
            what: call.what.clone(),
            limit: DOCUMENT_LIMIT,
        };
        let length = answer.body().content_length();
        if length.is_some_and(|length| length > DOCUMENT_LIMIT) {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        let mut body = answer.into_body().into_reader().take(DOCUMENT_LIMIT + 1);
        body.read_to_end(&mut bytes)
            .map_err(|error| call.network(error))?;
        if bytes.len() as u64 > DOCUMENT_LIMIT {
            return Err(too_large());
        }
        Ok(bytes)
    }

    /// Asks for a document and reads it; a body that breaks off is asked for again.
    pub(super) fn fetch_document(&self, call: &Call) -> Result<(HeaderMap, Vec<u8>), RegistryError> {
        for failed in 1.. {
            let answer = self.exchange(call, Payload::None)?;
            let answer = self.expect(call, answer, &[200])?;
            let headers = answer.headers().clone();
            let error = match self.read_document(call, answer) {
                Ok(bytes) => return Ok((headers, bytes)),
                Err(error) => error,
            };
            match self.options.patience.next(failed, None, &*self.options.clock) {
                Some(wait) if error.is_passing() => self.options.clock.wait(wait),
                _ => return Err(error),
            }
        }
        Err(call.protocol("too many tries"))
    }
}

/// What an answer that is no success says.
pub(super) fn read_error(answer: Answer) -> Said {
    let mut bytes = Vec::new();
    let mut body = answer.into_body().into_reader().take(ERROR_LIMIT);
    // A body that breaks off says less; the status is what counts.
    body.read_to_end(&mut bytes).ok();
    Said::parse(&bytes)
}
