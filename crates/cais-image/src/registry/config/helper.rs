//! Credential helpers: programs that keep logins (docker-credential-helpers, "Protocol").
//!
//! `docker-credential-NAME get|store|erase|list` reads its question from standard input and
//! answers there as JSON.

use super::error::ConfigError;
use crate::registry::Credentials;
use cais_json::json;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The user that stands for a refresh token.
const TOKEN_USER: &str = "<token>";
/// What helpers say on standard output where they have no such login.
const NOT_FOUND: &str = "credentials not found";

/// A helper, and the file that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Helper {
    pub(super) name: String,
    pub(super) file: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

impl Helper {
    pub(super) fn new(name: &str, file: &Path) -> Self {
        Self {
            name: name.to_owned(),
            file: file.to_owned(),
        }
    }

    /// The login for a server; `None` where it has none.
    pub(super) fn get(&self, server: &str) -> Result<Option<Credentials>, ConfigError> {
        let Some(answer) = self.ask("get", server)? else {
            return Ok(None);
        };
        let answer: Answer = cais_json::from_str(&answer)
            .map_err(|error| self.failed("get", format!("its answer is not understood: {error}")))?;
        Ok(match (answer.username.as_str(), answer.secret) {
            (_, secret) if secret.is_empty() => None,
            (TOKEN_USER, secret) => Some(Credentials::IdentityToken(secret)),
            (username, password) => Some(Credentials::Password {
                username: username.to_owned(),
                password,
            }),
        })
    }

    /// Gives it a login to keep.
    pub(super) fn store(&self, server: &str, credentials: &Credentials) -> Result<(), ConfigError> {
        let (username, secret) = match credentials {
            Credentials::Password { username, password } => (username.as_str(), password),
            Credentials::IdentityToken(token) | Credentials::RegistryToken(token) => (TOKEN_USER, token),
        };
        let question = json!({"ServerURL": server, "Username": username, "Secret": secret});
        self.ask("store", &question.to_string()).map(drop)
    }

    /// Has it forget a login; `false` where it had none.
    pub(super) fn erase(&self, server: &str) -> Result<bool, ConfigError> {
        Ok(self.ask("erase", server)?.is_some())
    }

    /// The servers that it has logins for, with the users.
    pub(super) fn list(&self) -> Result<BTreeMap<String, String>, ConfigError> {
        let Some(answer) = self.ask("list", "")? else {
            return Ok(BTreeMap::new());
        };
        cais_json::from_str(&answer)
            .map_err(|error| self.failed("list", format!("its answer is not understood: {error}")))
    }

    fn failed(&self, action: &'static str, detail: impl Into<String>) -> ConfigError {
        ConfigError::Helper {
            helper: self.name.clone(),
            action,
            path: self.file.clone(),
            detail: detail.into(),
        }
    }

    /// Asks; `None` where it says that there is no such login.
    fn ask(&self, action: &'static str, question: &str) -> Result<Option<String>, ConfigError> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if self.name.is_empty() || !self.name.bytes().all(is_name) {
            return Err(self.failed(action, "no name of a helper"));
        }
        let mut child = Command::new(format!("docker-credential-{}", self.name))
            .arg(action)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| self.failed(action, error.to_string()))?;
        if let Some(mut input) = child.stdin.take() {
            // One that does not read its question says what it thinks of it by its answer.
            input.write_all(question.as_bytes()).unwrap_or_default();
        }
        let output = child
            .wait_with_output()
            .map_err(|error| self.failed(action, error.to_string()))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(Some(said));
        }
        if said.contains(NOT_FOUND) {
            return Ok(None);
        }
        let said = if said.trim().is_empty() {
            String::from_utf8_lossy(&output.stderr).into_owned()
        } else {
            said
        };
        let line: String = said
            .trim()
            .chars()
            .filter(|c| !c.is_control())
            .take(300)
            .collect();
        Err(self.failed(action, format!("{} ({line})", output.status)))
    }
}
