//! `--security-opt` and the capabilities.

use super::error::OptionError;
use super::{SeccompOption, SecurityOptions};
use cais_linux::creds::capabilities::Capability;
use std::path::{Path, PathBuf};

/// Takes one `--security-opt` into `options`.
///
/// # Errors
/// For an option that is not known or not complete.
pub fn parse_security_opt(options: &mut SecurityOptions, text: &str, cwd: &Path) -> Result<(), OptionError> {
    const FLAG: &str = "--security-opt";
    const KNOWN: &str =
        "one of no-new-privileges, seccomp=, apparmor=, label=, systempaths=unconfined, landlock=";
    // Docker takes a colon as well, from old times.
    let (key, value) = match text.find(['=', ':']) {
        Some(split) => (&text[..split], Some(&text[split + 1..])),
        None => (text, None),
    };
    match (key, value) {
        ("no-new-privileges", None | Some("true")) => options.no_new_privileges = true,
        ("no-new-privileges", Some("false")) => options.no_new_privileges = false,
        ("seccomp", Some("unconfined")) => options.seccomp = SeccompOption::Unconfined,
        ("seccomp", Some("builtin")) => options.seccomp = SeccompOption::Default,
        ("seccomp", Some(path)) if !path.is_empty() => options.seccomp = SeccompOption::File(cwd.join(path)),
        ("apparmor", Some(profile)) if !profile.is_empty() => options.apparmor = Some(profile.to_owned()),
        ("label", Some(label)) if !label.is_empty() => options.label.push(label.to_owned()),
        ("systempaths", Some("unconfined")) => options.system_paths_unconfined = true,
        ("landlock", Some(rule)) if !rule.is_empty() => {
            cais_linux::lsm::landlock::parse_rule(rule)
                .map_err(|error| OptionError::form(FLAG, text, "a Landlock rule").with_cause(&error))?;
            options.landlock.push(rule.to_owned());
        }
        _ => return Err(OptionError::form(FLAG, text, KNOWN)),
    }
    Ok(())
}

impl OptionError {
    /// The same error with what a deeper parser said as the expected form.
    fn with_cause(self, cause: &dyn std::fmt::Display) -> Self {
        match self {
            Self::Form { flag, value, .. } => Self::File {
                flag,
                path: value,
                reason: cause.to_string(),
            },
            other => other,
        }
    }
}

/// Checks the name of a capability, with or without `CAP_`, in any case; or `ALL`.
///
/// # Errors
/// For a name that is none.
pub fn parse_capability(flag: &'static str, text: &str) -> Result<String, OptionError> {
    if text.eq_ignore_ascii_case("all") {
        return Ok("ALL".to_owned());
    }
    let known = Capability::parse(text).map(|capability| capability.name().to_owned());
    known.or(Err(OptionError::form(
        flag,
        text,
        "a capability such as NET_ADMIN, or ALL (capabilities(7))",
    )))
}

/// Splits `--rootfs DIR[:rw]`.
///
/// # Errors
/// For an empty path.
pub fn parse_rootfs(text: &str, cwd: &Path) -> Result<(PathBuf, bool), OptionError> {
    let (path, writable) = text
        .strip_suffix(":rw")
        .map_or((text, false), |path| (path, true));
    let path = path.strip_suffix(":O").unwrap_or(path);
    if path.is_empty() {
        return Err(OptionError::form("--rootfs", text, "DIRECTORY or DIRECTORY:rw"));
    }
    Ok((cwd.join(path), writable))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(texts: &[&str]) -> Result<SecurityOptions, OptionError> {
        let mut options = SecurityOptions::default();
        for text in texts {
            parse_security_opt(&mut options, text, Path::new("/w"))?;
        }
        Ok(options)
    }

    #[test]
    fn security_options() {
        let parsed = options(&[
            "no-new-privileges",
            "seccomp=p.json",
            "label:disable",
            "systempaths=unconfined",
            "apparmor=x",
        ])
        .unwrap();
        assert!(parsed.no_new_privileges && parsed.system_paths_unconfined);
        assert_eq!(parsed.seccomp, SeccompOption::File(PathBuf::from("/w/p.json")));
        assert_eq!(
            options(&["seccomp:unconfined"]).unwrap().seccomp,
            SeccompOption::Unconfined
        );
        for bad in [
            "",
            "seccomp",
            "seccomp=",
            "no-new-privileges=x",
            "systempaths=x",
            "bogus=1",
            "landlock=bogus",
        ] {
            assert!(options(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn capabilities_are_normalised() {
        assert_eq!(
            parse_capability("--cap-add", "net_admin").unwrap(),
            "CAP_NET_ADMIN"
        );
        assert_eq!(parse_capability("--cap-add", "CAP_KILL").unwrap(), "CAP_KILL");
        assert_eq!(parse_capability("--cap-add", "all").unwrap(), "ALL");
        assert!(parse_capability("--cap-add", "MOON").is_err());
    }
}
