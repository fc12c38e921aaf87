//! `--device`, `--device-cgroup-rule`, and the limits of block devices.

use super::DeviceOption;
use super::error::OptionError;
use super::size::parse_size;
use std::path::PathBuf;

/// Reads `--device HOST[:CONTAINER][:rwm]`.
///
/// # Errors
/// For another form.
pub fn parse_device(text: &str) -> Result<DeviceOption, OptionError> {
    let bad = || {
        OptionError::form(
            "--device",
            text,
            "HOST-PATH[:PATH-INSIDE][:rwm] with absolute paths",
        )
    };
    let is_access = |text: &str| {
        let once = |letter: &str| text.matches(letter).count() <= 1;
        !text.is_empty()
            && text.bytes().all(|byte| b"rwm".contains(&byte))
            && ["r", "w", "m"].into_iter().all(once)
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (host, inside, access) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, access] if is_access(access) => (*host, *host, *access),
        [host, inside] => (*host, *inside, "rwm"),
        [host, inside, access] if is_access(access) => (*host, *inside, *access),
        _ => return Err(bad()),
    };
    let good = |path: &str| path.starts_with('/') && !path.split('/').any(|part| part == "..");
    if !good(host) || !good(inside) {
        return Err(bad());
    }
    Ok(DeviceOption {
        host: PathBuf::from(host),
        container: inside.to_owned(),
        access: access.to_owned(),
    })
}

/// Checks a `--device-cgroup-rule`: `c 1:3 rwm`.
///
/// # Errors
/// For another form.
pub fn check_device_rule(text: &str) -> Result<String, OptionError> {
    let words: Vec<&str> = text.split(' ').collect();
    let number = |text: &str| text == "*" || text.parse::<u32>().is_ok();
    let good = match words.as_slice() {
        ["a" | "b" | "c", numbers, access] => {
            numbers
                .split_once(':')
                .is_some_and(|(major, minor)| number(major) && number(minor))
                && (1..=3).contains(&access.len())
                && access.bytes().all(|byte| b"rwm".contains(&byte))
        }
        _ => false,
    };
    if good {
        Ok(text.to_owned())
    } else {
        Err(OptionError::form(
            "--device-cgroup-rule",
            text,
            "a rule such as 'c 1:3 rwm'",
        ))
    }
}

/// Reads `DEVICE:RATE` of the `--device-…-bps` flags, where the rate is a size a second.
///
/// # Errors
/// For another form.
pub fn parse_bytes_rate(flag: &'static str, text: &str) -> Result<(PathBuf, u64), OptionError> {
    let (path, rate) = split_rate(flag, text)?;
    Ok((path, parse_size(flag, rate)?))
}

/// Reads `DEVICE:RATE` of the `--device-…-iops` flags.
///
/// # Errors
/// For another form.
pub fn parse_operations_rate(flag: &'static str, text: &str) -> Result<(PathBuf, u64), OptionError> {
    let (path, rate) = split_rate(flag, text)?;
    let rate = rate
        .parse()
        .or(Err(OptionError::form(flag, text, "DEVICE:NUMBER")))?;
    Ok((path, rate))
}

/// Reads `DEVICE:WEIGHT` of `--blkio-weight-device`.
///
/// # Errors
/// For another form, and for weights outside 10 to 1000.
pub fn parse_device_weight(text: &str) -> Result<(PathBuf, u64), OptionError> {
    const FLAG: &str = "--blkio-weight-device";
    let (path, weight) = parse_operations_rate(FLAG, text)?;
    if (10..=1000).contains(&weight) {
        return Ok((path, weight));
    }
    Err(OptionError::range(FLAG, weight, "10 to 1000"))
}

fn split_rate<'a>(flag: &'static str, text: &'a str) -> Result<(PathBuf, &'a str), OptionError> {
    match text.rsplit_once(':') {
        Some((path, rate)) if path.starts_with("/dev/") => Ok((PathBuf::from(path), rate)),
        _ => Err(OptionError::form(
            flag,
            text,
            "DEVICE:RATE with a device below /dev",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices() {
        let device = parse_device("/dev/fuse:/dev/x:rw").unwrap();
        assert_eq!(
            (device.container.as_str(), device.access.as_str()),
            ("/dev/x", "rw")
        );
        assert_eq!(parse_device("/dev/fuse:r").unwrap().container, "/dev/fuse");
        for bad in ["", "fuse", "/dev/a:b", "/dev/a:/b:x", "/dev/../etc", "/a:/b:rw:x"] {
            assert!(parse_device(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rules_and_rates() {
        for good in ["c 1:3 rwm", "b *:* r", "a *:* rwm"] {
            assert!(check_device_rule(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "c 1:3",
            "x 1:3 r",
            "c 1 r",
            "c 1:3 q",
            "c  1:3 r",
            "c 1:3 rwmm",
        ] {
            assert!(check_device_rule(bad).is_err(), "{bad}");
        }
        assert_eq!(
            parse_bytes_rate("--device-read-bps", "/dev/sda:1m"),
            Ok((PathBuf::from("/dev/sda"), 1 << 20))
        );
        assert!(parse_bytes_rate("--device-read-bps", "sda:1m").is_err());
        assert!(parse_operations_rate("--device-read-iops", "/dev/sda:1m").is_err());
    }
}
