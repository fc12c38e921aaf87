//! The flags that choose namespaces.

use super::error::OptionError;
use super::{IpcMode, NamespaceMode, UsernsMode};

fn container(flag: &'static str, text: &str) -> Result<Option<String>, OptionError> {
    match text.strip_prefix("container:") {
        Some("") => Err(OptionError::form(flag, text, "container:NAME")),
        Some(name) => Ok(Some(name.to_owned())),
        None => Ok(None),
    }
}

/// Reads `--pid`.
///
/// # Errors
/// For a mode that is not known.
pub fn parse_pid(text: &str) -> Result<NamespaceMode, OptionError> {
    const FLAG: &str = "--pid";
    if let Some(name) = container(FLAG, text)? {
        return Ok(NamespaceMode::Container(name));
    }
    match text {
        "" | "private" => Ok(NamespaceMode::Private),
        "host" => Ok(NamespaceMode::Host),
        _ => Err(OptionError::form(FLAG, text, "private, host or container:NAME")),
    }
}

/// Reads `--uts`.
///
/// # Errors
/// For a mode that is not known.
pub fn parse_uts(text: &str) -> Result<NamespaceMode, OptionError> {
    const FLAG: &str = "--uts";
    if let Some(name) = container(FLAG, text)? {
        return Ok(NamespaceMode::Container(name));
    }
    match text {
        "" | "private" => Ok(NamespaceMode::Private),
        "host" => Ok(NamespaceMode::Host),
        _ => Err(OptionError::form(FLAG, text, "private, host or container:NAME")),
    }
}

/// Reads `--cgroupns`.
///
/// # Errors
/// For a mode that is not known.
pub fn parse_cgroupns(text: &str) -> Result<NamespaceMode, OptionError> {
    match text {
        "" | "private" => Ok(NamespaceMode::Private),
        "host" => Ok(NamespaceMode::Host),
        _ => Err(OptionError::form("--cgroupns", text, "private or host")),
    }
}

/// Reads `--ipc`.
///
/// # Errors
/// For a mode that is not known.
pub fn parse_ipc(text: &str) -> Result<IpcMode, OptionError> {
    const FLAG: &str = "--ipc";
    if let Some(name) = container(FLAG, text)? {
        return Ok(IpcMode::Container(name));
    }
    match text {
        "" | "private" => Ok(IpcMode::Private),
        "none" => Ok(IpcMode::None),
        "shareable" => Ok(IpcMode::Shareable),
        "host" => Ok(IpcMode::Host),
        _ => Err(OptionError::form(
            FLAG,
            text,
            "none, private, shareable, host or container:NAME",
        )),
    }
}

/// Reads `--userns`.
///
/// # Errors
/// For a mode that is not known.
pub fn parse_userns(text: &str) -> Result<UsernsMode, OptionError> {
    match text {
        "" | "auto" => Ok(UsernsMode::Auto),
        "host" => Ok(UsernsMode::Host),
        "keep-id" => Ok(UsernsMode::KeepId),
        _ => Err(OptionError::form("--userns", text, "auto, host or keep-id")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        assert_eq!(
            parse_pid("container:web"),
            Ok(NamespaceMode::Container("web".into()))
        );
        assert_eq!(parse_uts("host"), Ok(NamespaceMode::Host));
        assert_eq!(parse_ipc("shareable"), Ok(IpcMode::Shareable));
        assert_eq!(parse_userns("keep-id"), Ok(UsernsMode::KeepId));
        assert!(parse_pid("container:").is_err());
        assert!(parse_cgroupns("container:x").is_err());
        assert!(parse_userns("nomap").is_err());
    }
}
