//! Environment, labels, limits of the process, names, keys: what concerns the process
//! and the container as a whole.

use super::error::OptionError;
use super::{AttachedStream, Ulimit};

/// Reads `--env`: `KEY=value`, or `KEY` for the caller's own value. `KEY` alone stays where
/// the caller has none: then the container has no such variable, whatever its image says.
///
/// # Errors
/// For a name that is empty.
pub fn parse_env(text: &str, own: &dyn Fn(&str) -> Option<String>) -> Result<String, OptionError> {
    match text.split_once('=') {
        Some(("", _)) => Err(OptionError::form("--env", text, "KEY=VALUE or KEY")),
        _ if text.is_empty() || text.contains('\0') => {
            Err(OptionError::form("--env", text, "KEY=VALUE or KEY"))
        }
        Some(_) => Ok(text.to_owned()),
        None => Ok(own(text).map_or_else(|| text.to_owned(), |value| format!("{text}={value}"))),
    }
}

/// Reads the lines of an `--env-file`: as `--env`, with `#` comments. A variable that the
/// caller does not have is left out, as with Docker.
///
/// # Errors
/// For a line that is no variable.
pub fn parse_env_file(text: &str, own: &dyn Fn(&str) -> Option<String>) -> Result<Vec<String>, OptionError> {
    let mut env = Vec::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split_once('=').map_or(line, |(name, _)| name);
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(OptionError::form(
                "--env-file",
                line,
                "KEY=VALUE or KEY without spaces in the name",
            ));
        }
        env.extend(Some(parse_env(line, own)?).filter(|entry| entry.contains('=')));
    }
    Ok(env)
}

/// Reads `--label KEY[=VALUE]`.
///
/// # Errors
/// For an empty key.
pub fn parse_label(text: &str) -> Result<(String, String), OptionError> {
    parse_pair("--label", text)
}

/// Reads `KEY[=VALUE]` of another flag.
///
/// # Errors
/// For an empty key.
pub fn parse_pair(flag: &'static str, text: &str) -> Result<(String, String), OptionError> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err(OptionError::form(flag, text, "KEY or KEY=VALUE"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Reads `--attach`: stdin, stdout or stderr, in capitals or not.
///
/// # Errors
/// For anything else.
pub fn parse_attach(text: &str) -> Result<AttachedStream, OptionError> {
    match text.to_ascii_lowercase().as_str() {
        "stdin" => Ok(AttachedStream::Stdin),
        "stdout" => Ok(AttachedStream::Stdout),
        "stderr" => Ok(AttachedStream::Stderr),
        _ => Err(OptionError::form("--attach", text, "stdin, stdout or stderr")),
    }
}

/// Reads `--sysctl NAME=VALUE`.
///
/// # Errors
/// For another form, and for settings that concern the whole machine.
pub fn parse_sysctl(text: &str) -> Result<(String, String), OptionError> {
    const FLAG: &str = "--sysctl";
    const IPC: [&str; 9] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
        "kernel.domainname",
    ];
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| OptionError::form(FLAG, text, "NAME=VALUE"))?;
    let dotted = name.replace('/', ".");
    let namespaced =
        dotted.starts_with("net.") || dotted.starts_with("fs.mqueue.") || IPC.contains(&dotted.as_str());
    if !namespaced {
        return Err(OptionError::unsupported(
            FLAG,
            name,
            "only settings of a namespace can be set: net.*, fs.mqueue.*, kernel.msg*, kernel.sem, kernel.shm*",
        ));
    }
    if dotted.split('.').any(|part| part.is_empty() || part == "..") || text.contains('\0') {
        return Err(OptionError::form(FLAG, text, "NAME=VALUE"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Reads `--ulimit NAME=SOFT[:HARD]`; -1 is unlimited.
///
/// # Errors
/// For unknown names, other forms, and a soft limit above the hard one.
pub fn parse_ulimit(text: &str) -> Result<Ulimit, OptionError> {
    const FLAG: &str = "--ulimit";
    const NAMES: [&str; 15] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let bad = || OptionError::form(FLAG, text, "NAME=SOFT[:HARD] with numbers or -1 for unlimited");
    let (name, limits) = text.split_once('=').ok_or_else(bad)?;
    if !NAMES.contains(&name) {
        return Err(OptionError::form(
            FLAG,
            name,
            "a limit: core, cpu, data, fsize, locks, memlock, msgqueue, nice, nofile, nproc, rss, rtprio, rttime, sigpending or stack",
        ));
    }
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(u64::MAX),
        digits => digits.parse::<u64>().or(Err(bad())),
    };
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if soft > hard {
        return Err(OptionError::range(
            FLAG,
            text,
            "the soft limit must not be above the hard one",
        ));
    }
    Ok(Ulimit {
        name: name.to_owned(),
        soft,
        hard,
    })
}

/// Checks a container's name: letters, digits, `_`, `.`, `-`, at least two, as Docker's.
///
/// # Errors
/// For anything else.
pub fn check_name(text: &str) -> Result<String, OptionError> {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if first && rest && (2..=200).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    Err(OptionError::form(
        "--name",
        text,
        "a name: two letters or digits at least, then also _ . and -",
    ))
}

/// Checks a host or domain name: what the kernel takes (at most 64 bytes, sethostname(2)) and
/// what is one word in `/etc/hosts`.
///
/// # Errors
/// For anything else.
pub fn check_hostname(flag: &'static str, text: &str) -> Result<String, OptionError> {
    if (1..=64).contains(&text.len()) && !text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Ok(text.to_owned());
    }
    Err(OptionError::form(
        flag,
        text,
        "a host name: at most 64 bytes, without blanks",
    ))
}

/// Reads `--detach-keys`: letters, or `ctrl-` with a letter or one of `@ [ \ ] ^ _`.
///
/// # Errors
/// For anything else.
pub fn parse_detach_keys(text: &str) -> Result<Vec<u8>, OptionError> {
    let bad = || {
        OptionError::form(
            "--detach-keys",
            text,
            "a list such as ctrl-p,ctrl-q or a single letter",
        )
    };
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',')
        .map(|key| match key.strip_prefix("ctrl-").map(str::as_bytes) {
            Some([byte]) if byte.is_ascii_alphabetic() || b"@[\\]^_".contains(byte) => {
                Ok(byte.to_ascii_uppercase() & 0x1f)
            }
            Some(_) => Err(bad()),
            None => match key.as_bytes() {
                [byte] if byte.is_ascii_graphic() => Ok(*byte),
                _ => Err(bad()),
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment() {
        let own = |name: &str| (name == "HOME").then(|| "/root".to_owned());
        assert_eq!(parse_env("A=b=c", &own), Ok("A=b=c".to_owned()));
        assert_eq!(parse_env("HOME", &own), Ok("HOME=/root".to_owned()));
        assert_eq!(parse_env("NONE", &own), Ok("NONE".to_owned()));
        for bad in ["", "=x", "a\0=b"] {
            assert!(parse_env(bad, &own).is_err(), "{bad:?}");
        }
        let file = "# note\n\nA=1 2\n  HOME\nNONE\n";
        assert_eq!(
            parse_env_file(file, &own),
            Ok(vec!["A=1 2".to_owned(), "HOME=/root".to_owned()])
        );
        assert!(parse_env_file("a b=c", &own).is_err());
    }

    #[test]
    fn ulimits() {
        assert_eq!(
            parse_ulimit("nofile=10:20"),
            Ok(Ulimit {
                name: "nofile".into(),
                soft: 10,
                hard: 20
            })
        );
        assert_eq!(parse_ulimit("core=-1").unwrap().hard, u64::MAX);
        for bad in [
            "",
            "nofile",
            "files=1",
            "nofile=x",
            "nofile=20:10",
            "nofile=-1:5",
            "nofile=1:2:3",
        ] {
            assert!(parse_ulimit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_and_keys() {
        for good in ["web", "a1", "Web_1.x-y"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "-a", "a/b", "a b", "..", &"x".repeat(201)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_detach_keys("ctrl-p,ctrl-q"), Ok(vec![16, 17]));
        assert_eq!(parse_detach_keys("ctrl-[,x"), Ok(vec![27, b'x']));
        for bad in ["ctrl-", "ctrl-1", "xy", "ctrl-p,"] {
            assert!(parse_detach_keys(bad).is_err(), "{bad}");
        }
        for good in ["web", "-x", "x-", "a..b", "a_b", "\u{fc}", &"h".repeat(64)] {
            assert!(check_hostname("--hostname", good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a\nb", "a\0", "a\u{a0}b", &"h".repeat(65)] {
            assert!(check_hostname("--hostname", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_settings_of_a_namespace() {
        assert!(parse_sysctl("net.ipv4.ip_forward=1").is_ok());
        assert!(parse_sysctl("net/ipv4/conf/eth0.1/forwarding=1").is_ok());
        assert!(matches!(
            parse_sysctl("vm.swappiness=1"),
            Err(OptionError::Unsupported { .. })
        ));
        for bad in ["net.ipv4", "net..x=1", "net.../kernel=1"] {
            assert!(parse_sysctl(bad).is_err(), "{bad}");
        }
    }
}
