//! `--restart`: what happens when the program has ended.

use super::error::OptionError;
use serde::{Deserialize, Serialize};

/// Whether a container is started again after its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// After a failure, that is a status other than 0.
    OnFailure {
        /// How often at most; 0 is without limit.
        max: u32,
    },
    /// Always; after a `stop` only at the next boot.
    Always,
    /// Always, but after a `stop` not even at the next boot.
    UnlessStopped,
}

impl RestartPolicy {
    /// Docker's word for it, without the count.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure { .. } => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }

    /// How often a failure is followed by a restart; 0 where there is no limit of that kind.
    #[must_use]
    pub fn max_retries(self) -> u32 {
        match self {
            Self::OnFailure { max } => max,
            _ => 0,
        }
    }

    /// Whether a run that ended with `code` (absent: nobody saw it) is followed by another
    /// one, after `restarts` of them. `stopped`: the user asked it to end.
    #[must_use]
    pub fn wants_restart(self, code: Option<u8>, restarts: u32, stopped: bool) -> bool {
        match self {
            Self::No => false,
            _ if stopped => false,
            Self::Always | Self::UnlessStopped => true,
            Self::OnFailure { max } => code != Some(0) && (max == 0 || restarts < max),
        }
    }

    /// Whether a container that was started before is started when the machine has booted.
    #[must_use]
    pub fn wants_start_at_boot(self, code: Option<u8>, stopped: bool) -> bool {
        match self {
            Self::No => false,
            Self::Always => true,
            Self::UnlessStopped => !stopped,
            Self::OnFailure { .. } => !stopped && code != Some(0),
        }
    }
}

/// Reads `--restart`: `no`, `on-failure[:COUNT]`, `always`, `unless-stopped`.
///
/// # Errors
/// For anything else.
pub fn parse_restart(text: &str) -> Result<RestartPolicy, OptionError> {
    let bad = || {
        OptionError::form(
            "--restart",
            text,
            "no, always, unless-stopped, on-failure or on-failure:COUNT",
        )
    };
    match text.split_once(':').unwrap_or((text, "")) {
        ("" | "no", "") => Ok(RestartPolicy::No),
        ("always", "") => Ok(RestartPolicy::Always),
        ("unless-stopped", "") => Ok(RestartPolicy::UnlessStopped),
        ("on-failure", "") => Ok(RestartPolicy::OnFailure { max: 0 }),
        ("on-failure", count) => match count.parse() {
            Ok(max) => Ok(RestartPolicy::OnFailure { max }),
            Err(_) => Err(bad()),
        },
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_policies() {
        assert_eq!(parse_restart("no"), Ok(RestartPolicy::No));
        assert_eq!(parse_restart(""), Ok(RestartPolicy::No));
        assert_eq!(parse_restart("always"), Ok(RestartPolicy::Always));
        assert_eq!(
            parse_restart("on-failure:3"),
            Ok(RestartPolicy::OnFailure { max: 3 })
        );
        for bad in ["never", "always:3", "on-failure:x", "on-failure:-1", "no:1"] {
            assert!(parse_restart(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn when_to_start_again() {
        let on_failure = RestartPolicy::OnFailure { max: 2 };
        for (policy, code, restarts, stopped, again) in [
            (RestartPolicy::No, Some(1), 0, false, false),
            (RestartPolicy::Always, Some(0), 9, false, true),
            (RestartPolicy::Always, Some(0), 9, true, false),
            (RestartPolicy::UnlessStopped, None, 0, false, true),
            (on_failure, Some(0), 0, false, false),
            (on_failure, Some(1), 1, false, true),
            (on_failure, Some(1), 2, false, false),
            (on_failure, None, 0, false, true),
            (RestartPolicy::OnFailure { max: 0 }, Some(1), 1000, false, true),
        ] {
            assert_eq!(
                policy.wants_restart(code, restarts, stopped),
                again,
                "{policy:?} {code:?} {restarts} {stopped}"
            );
        }
        assert!(RestartPolicy::Always.wants_start_at_boot(Some(0), true));
        assert!(!RestartPolicy::UnlessStopped.wants_start_at_boot(Some(0), true));
        assert!(RestartPolicy::UnlessStopped.wants_start_at_boot(Some(0), false));
        assert!(!on_failure.wants_start_at_boot(Some(0), false));
    }
}
