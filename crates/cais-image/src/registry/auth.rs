//! Authentication: Basic, and tokens from a token server (distribution, "Token Authentication
//! Specification" and "OAuth2 Token Authentication").

use super::address::escape;
use super::error::{self, RegistryError, Said, printable};
use super::scope::Scope;
use super::wire::{self, Call, Payload, Wire};
use super::{Challenge, Clock, Credentials, Patience, address, patience};
use serde::Deserialize;
use std::io::Read;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use ureq::http::Method;

/// The life of a token whose server does not tell it, which is also the shortest that the
/// specification allows.
const SHORTEST_LIFE: u64 = 60;
/// A token is not used in the last seconds of its life: the request takes time as well.
const MARGIN: Duration = Duration::from_secs(5);
/// Answers of token servers are short.
const TOKEN_LIMIT: u64 = 1 << 20;

/// Who asks, and the tokens there are.
#[derive(Debug)]
pub(super) struct Authenticator {
    registry: String,
    credentials: Option<Credentials>,
    /// Whether a refresh token is asked for, to be kept in place of the password.
    offline: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the registry wanted last.
    wanted: Option<Wanted>,
    tokens: Vec<Held>,
    /// A newer refresh token than that of the credentials.
    refresh: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

struct Held {
    scopes: Vec<Scope>,
    token: String,
    until: Duration,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Held({:?})", self.scopes)
    }
}

/// What a token server answers.
#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
    refresh_token: Option<String>,
}

/// The way to a token server.
#[derive(Debug)]
pub(super) struct Asker<'a> {
    pub(super) wire: &'a Wire,
    pub(super) patience: &'a Patience,
    pub(super) clock: &'a dyn Clock,
    /// Whether the registry itself is spoken to without TLS.
    pub(super) may_be_plain: bool,
}

impl Authenticator {
    pub(super) fn new(registry: &str, credentials: Option<Credentials>, offline: bool) -> Self {
        Self {
            registry: registry.to_owned(),
            credentials,
            offline,
            state: Mutex::default(),
        }
    }

    /// The newest refresh token that the token server gave.
    pub(super) fn refresh_token(&self) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.refresh.clone()
    }

    /// What to send without being asked: nothing before the first challenge.
    pub(super) fn header(&self, scopes: &[Scope], asker: &Asker) -> Result<Option<String>, RegistryError> {
        let now = asker.clock.now();
        let wanted = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let mut valid = state.tokens.iter().filter(|held| held.until > now);
            if let Some(held) = valid.find(|held| Scope::covers(&held.scopes, scopes)) {
                return Ok(Some(format!("Bearer {}", held.token)));
            }
            state.wanted.clone()
        };
        match wanted {
            None => Ok(None),
            Some(Wanted::Basic) => Ok(self.credentials.as_ref().and_then(Credentials::basic)),
            Some(bearer @ Wanted::Bearer { .. }) => self.bearer(&bearer, scopes, asker).map(Some),
        }
    }

    /// The answer to challenges: a token for what the call needs and what the registry says
    /// that it needs. A token that was just refused is thrown away.
    pub(super) fn respond(
        &self,
        challenges: &[Challenge],
        scopes: &[Scope],
        said: &Said,
        asker: &Asker,
    ) -> Result<String, RegistryError> {
        let bearer = challenges
            .iter()
            .find(|one| one.scheme == "bearer" && one.get("realm").is_some());
        let basic = challenges.iter().find(|one| one.scheme == "basic");
        let Some(challenge) = bearer.or(basic) else {
            return Err(self.failure(format!(
                "status 401 without a challenge of the kind Bearer or Basic{}{said}",
                if said.messages.is_empty() { "" } else { ": " }
            )));
        };
        let wanted = match (challenge.scheme.as_str(), challenge.get("realm")) {
            ("bearer", Some(realm)) => Wanted::Bearer {
                realm: realm.to_owned(),
                service: challenge.get("service").map(ToOwned::to_owned),
            },
            _ => Wanted::Basic,
        };
        let asked = Scope::parse_all(challenge.get("scope").unwrap_or(""));
        let scopes = Scope::union(scopes, &asked);
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.tokens.retain(|held| !Scope::covers(&held.scopes, &scopes));
            state.wanted = Some(wanted.clone());
        }
        if wanted != Wanted::Basic {
            return self.bearer(&wanted, &scopes, asker);
        }
        let basic = self.credentials.as_ref().and_then(Credentials::basic);
        basic.ok_or_else(|| self.failure("a user name and a password are needed: log in first".to_owned()))
    }

    /// The error for what was refused although it came with all that there is.
    pub(super) fn refused(&self, said: &Said) -> RegistryError {
        let who = self
            .credentials
            .as_ref()
            .map_or("without a login", Credentials::user);
        let why = if said.messages.is_empty() {
            "unauthorized".to_owned()
        } else {
            said.to_string()
        };
        self.failure(format!("{why} ({who})"))
    }

    fn failure(&self, reason: String) -> RegistryError {
        RegistryError::Auth {
            registry: self.registry.clone(),
            reason,
        }
    }

    fn bearer(&self, wanted: &Wanted, scopes: &[Scope], asker: &Asker) -> Result<String, RegistryError> {
        if let Some(Credentials::RegistryToken(token)) = &self.credentials {
            return Ok(format!("Bearer {token}"));
        }
        let Wanted::Bearer { realm, service } = wanted else {
            return Err(self.failure("no token server".to_owned()));
        };
        let realm =
            address::parse(realm).map_err(|reason| self.failure(format!("the token server: {reason}")))?;
        if realm.scheme_str() == Some("http") && !asker.may_be_plain && self.credentials.is_some() {
            return Err(self.failure(format!(
                "the credentials are not sent without TLS to {}",
                address::shown(&realm)
            )));
        }
        let answer = self.ask(&realm, service.as_deref(), scopes, asker)?;
        let token = answer
            .token
            .filter(|token| !token.is_empty())
            .or(answer.access_token);
        let token = token.unwrap_or_default();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(self.failure(format!("{} gave no token", address::shown(&realm))));
        }
        let life = Duration::from_secs(answer.expires_in.unwrap_or(0).clamp(SHORTEST_LIFE, 7 * 86_400));
        let now = asker.clock.now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tokens.retain(|held| held.until > now);
        state.tokens.push(Held {
            scopes: scopes.to_vec(),
            token: token.clone(),
            until: now + life.saturating_sub(MARGIN),
        });
        if answer.refresh_token.is_some() {
            state.refresh = answer.refresh_token;
        }
        Ok(format!("Bearer {token}"))
    }

    /// `POST` with a refresh token, else `GET` with or without a password; a server that has no
    /// `GET` gets the password by `POST`.
    fn ask(
        &self,
        realm: &ureq::http::Uri,
        service: Option<&str>,
        scopes: &[Scope],
        asker: &Asker,
    ) -> Result<TokenAnswer, RegistryError> {
        let refresh = match &self.credentials {
            Some(Credentials::IdentityToken(token)) => {
                let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                Some(state.refresh.clone().unwrap_or_else(|| token.clone()))
            }
            _ => None,
        };
        if let Some(refresh) = refresh {
            let grant = [("grant_type", "refresh_token"), ("refresh_token", &refresh)];
            return self.post(realm, service, scopes, &grant, asker);
        }
        let mut url = realm.clone();
        let mut add = |name: &str, value: &str| {
            let with = address::with_parameter(&url, name, value).map_err(|reason| self.failure(reason))?;
            url = with;
            Ok::<(), RegistryError>(())
        };
        if let Some(service) = service {
            add("service", service)?;
        }
        for scope in scopes {
            add("scope", &scope.to_string())?;
        }
        add("client_id", "cais")?;
        if self.offline {
            add("offline_token", "true")?;
        }
        let basic = self.credentials.as_ref().and_then(Credentials::basic);
        let call = Call::new(Method::GET, url, Vec::new(), "token");
        match (self.token(&call, basic.as_deref(), &[], asker), &self.credentials) {
            (
                Err(RegistryError::Refused {
                    status: 404 | 405, ..
                }),
                Some(Credentials::Password { username, password }),
            ) => {
                let grant = [
                    ("grant_type", "password"),
                    ("username", username),
                    ("password", password),
                ];
                self.post(realm, service, scopes, &grant, asker)
            }
            (result, _) => result,
        }
    }

    #[allow(clippy::too_many_arguments, reason = "each is a field of the form")]
    fn post(
        &self,
        realm: &ureq::http::Uri,
        service: Option<&str>,
        scopes: &[Scope],
        grant: &[(&str, &str)],
        asker: &Asker,
    ) -> Result<TokenAnswer, RegistryError> {
        let scope: Vec<String> = scopes.iter().map(Scope::to_string).collect();
        let scope = scope.join(" ");
        let mut form = grant.to_vec();
        form.extend([("service", service.unwrap_or("")), ("client_id", "cais")]);
        form.extend(self.offline.then_some(("access_type", "offline")));
        form.extend((!scope.is_empty()).then_some(("scope", scope.as_str())));
        let pairs: Vec<String> = form
            .iter()
            .map(|(name, value)| format!("{name}={}", escape(value)))
            .collect();
        let call = Call::new(Method::POST, realm.clone(), Vec::new(), "token")
            .header("content-type", "application/x-www-form-urlencoded");
        self.token(&call, None, pairs.join("&").as_bytes(), asker)
    }

    /// Asks a token server, with the patience that registries get.
    fn token(
        &self,
        call: &Call,
        authorization: Option<&str>,
        body: &[u8],
        asker: &Asker,
    ) -> Result<TokenAnswer, RegistryError> {
        let payload = if body.is_empty() {
            Payload::None
        } else {
            Payload::Bytes(body)
        };
        for failed in 1.. {
            let answer = asker.wire.send(call, authorization, payload)?;
            let status = answer.status().as_u16();
            if status == 200 {
                let mut bytes = Vec::new();
                let mut body = answer.into_body().into_reader().take(TOKEN_LIMIT);
                let read = body.read_to_end(&mut bytes);
                read.map_err(|error| call.protocol(format!("the answer broke off: {error}")))?;
                return cais_json::from_slice(&bytes)
                    .map_err(|error| call.protocol(format!("no answer of a token server: {error}")));
            }
            let asked = wire::header(answer.headers(), "retry-after")
                .and_then(|value| patience::parse_retry_after(value, asker.clock.wall()));
            let wait = asker.patience.next(failed, asked, asker.clock);
            match wait {
                Some(wait) if error::is_passing(status) => asker.clock.wait(wait),
                _ => return Err(self.no_token(call, status, asked, answer)),
            }
        }
        Err(call.protocol("too many tries"))
    }

    fn no_token(
        &self,
        call: &Call,
        status: u16,
        wait: Option<Duration>,
        answer: wire::Answer,
    ) -> RegistryError {
        let said = wire::read_error(answer);
        let url = address::shown(&call.url);
        match status {
            400 | 401 | 403 => {
                let who = self.credentials.as_ref().map_or("nobody", Credentials::user);
                let why = if said.messages.is_empty() {
                    format!("status {status}")
                } else {
                    said.to_string()
                };
                self.failure(printable(&format!("{url} gives no token to {who}: {why}")))
            }
            429 => RegistryError::RateLimited {
                registry: self.registry.clone(),
                wait,
                said,
            },
            status => RegistryError::Refused {
                method: call.method.to_string(),
                url,
                status,
                said,
            },
        }
    }
}
