//! Groups that systemd(1) makes: the driver behind `--systemd-cgroup`. A container is a
//! transient scope (or slice) of the service manager, asked for over D-Bus, so that
//! systemd knows whose group it is and keeps its hands off it.
//!
//! Sources: org.freedesktop.systemd1(5), systemd.resource-control(5), the D-Bus
//! Specification, runc's docs/systemd.md, systemd's CGROUP_DELEGATION. Neither libdbus nor
//! libsystemd is needed: `dbus` has the bytes,
//! `connection` the calls and [`Bus`] what is asked of systemd.
//!
//! [`parse_cgroups_path`] and [`plan_properties`] are pure; all that is asked of systemd
//! goes through [`Bus`].

mod address;
mod bus;
mod connection;
mod dbus;
#[cfg(test)]
mod fake;
mod properties;

pub use bus::Bus;
pub use properties::{Property, PropertyValue, keep_supported, plan_properties};

use crate::error::SysError;

/// The longest name of a unit (`UNIT_NAME_MAX` of systemd without the final NUL).
const UNIT_NAME_MAX: usize = 255;

/// Why systemd has not done what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SystemdError {
    /// A system call failed.
    #[error(transparent)]
    System(#[from] SysError),
    /// A path that is not of systemd's form.
    #[error(
        "the cgroups path {0:?} is not of the form slice:prefix:name, which the systemd cgroup driver needs"
    )]
    CgroupsPath(String),
    /// A slice that is none.
    #[error(
        "{0:?} is not a slice: it must be like a-b.slice, where each dash goes one slice down, or -.slice"
    )]
    SliceName(String),
    /// A unit that may not be called so.
    #[error(
        "{0:?} is not the name of a scope or slice: up to 255 ASCII letters, digits and :-_.\\@ are allowed"
    )]
    UnitName(String),
    /// An address with no Unix socket in it, or none at all.
    #[error("{0:?} is not the D-Bus address of a Unix socket")]
    Address(String),
    /// There is no way to systemd.
    #[error("systemd cannot be reached: {}", join(.0))]
    Unreachable(Vec<SystemdError>),
    /// The other side does not believe who we are.
    #[error("D-Bus at {address} refuses user {uid}: {answer}")]
    Authentication {
        /// Where.
        address: String,
        /// The effective user that was named.
        uid: u32,
        /// What came back.
        answer: String,
    },
    /// The other side hung up.
    #[error("the D-Bus connection was closed during {0}")]
    Closed(String),
    /// No answer in time.
    #[error("systemd did not answer to {call} within {seconds} s")]
    Timeout {
        /// What was asked.
        call: String,
        /// How long was waited.
        seconds: u64,
    },
    /// Bytes that are no message, or a value that cannot be put into one.
    #[error("not a D-Bus message: {0}")]
    Malformed(&'static str),
    /// systemd, or the bus, said no.
    #[error("systemd refuses {call}: {message} ({name})")]
    Refused {
        /// What was asked.
        call: String,
        /// The name of the error, as `org.freedesktop.systemd1.UnitExists`.
        name: String,
        /// What it says.
        message: String,
    },
    /// The job was begun and came to no good end.
    #[error("systemd's job for {unit} ended with {result:?} instead of \"done\": see journalctl -u {unit}")]
    Job {
        /// The unit.
        unit: String,
        /// `canceled`, `timeout`, `failed`, `dependency` or `skipped`.
        result: String,
    },
}

impl SystemdError {
    /// Whether a unit of the name is there already.
    #[must_use]
    pub fn is_unit_exists(&self) -> bool {
        self.is_refusal("org.freedesktop.systemd1.UnitExists")
    }

    /// Whether there is no such unit (any more).
    #[must_use]
    pub fn is_no_such_unit(&self) -> bool {
        self.is_refusal("org.freedesktop.systemd1.NoSuchUnit")
    }

    /// Whether it is the D-Bus error `wanted`.
    fn is_refusal(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { name, .. } if name == wanted)
    }
}

fn join(errors: &[SystemdError]) -> String {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// A unit and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitName {
    /// The slice above it, as `system.slice`.
    pub slice: String,
    /// The unit: `….scope`, or `….slice`.
    pub unit: String,
}

impl UnitName {
    /// Whether the unit is a slice, which holds groups and no processes.
    #[must_use]
    pub fn is_slice(&self) -> bool {
        self.unit.ends_with(".slice")
    }

    /// The group below the manager's own ([`Bus::manager_cgroup`]), without a slash in
    /// front. What systemd really made is in [`Bus::unit_cgroup`].
    ///
    /// # Errors
    /// When a slice in it is none.
    pub fn cgroup(&self) -> Result<String, SystemdError> {
        if self.is_slice() {
            // The place of a slice follows from its name alone.
            return expand_slice(&self.unit);
        }
        let slice = expand_slice(&self.slice)?;
        let slash = if slice.is_empty() { "" } else { "/" };
        Ok(format!("{slice}{slash}{}", self.unit))
    }
}

/// The unit for `linux.cgroupsPath`, which has the form `slice:prefix:name` here.
///
/// Without a slice it is `system.slice`, or `user.slice` for the manager of a user
/// (`rootless`); `-` is the root slice. A name that ends in `.slice` is the unit; else the
/// unit is the scope `prefix-name.scope`, or `name.scope` without a prefix. Without a path
/// it is `cais-ID.scope`.
///
/// # Errors
/// When the path has not the form, and for names that systemd does not take.
pub fn parse_cgroups_path(path: &str, id: &str, rootless: bool) -> Result<UnitName, SystemdError> {
    let parts: Vec<&str> = if path.is_empty() {
        vec!["", "cais", id]
    } else {
        path.split(':').collect()
    };
    let [slice, prefix, name] = parts[..] else {
        return Err(SystemdError::CgroupsPath(path.to_owned()));
    };
    if name.is_empty() {
        return Err(SystemdError::CgroupsPath(path.to_owned()));
    }
    let slice = match slice {
        "" if rootless => "user.slice",
        "" => "system.slice",
        "-" => "-.slice",
        slice => slice,
    };
    expand_slice(slice)?;
    let unit = if name.ends_with(".slice") {
        expand_slice(name)?;
        name.to_owned()
    } else if prefix.is_empty() {
        format!("{name}.scope")
    } else {
        format!("{prefix}-{name}.scope")
    };
    check_name(&unit)?;
    Ok(UnitName {
        slice: slice.to_owned(),
        unit,
    })
}

/// Where a slice is below the root of the hierarchy: `a-b.slice` is
/// `a.slice/a-b.slice`, and the root slice `-.slice` is the empty path.
///
/// # Errors
/// When it is no slice: `.slice`, `a--b.slice`, `-a.slice`, `a/b.slice`.
pub fn expand_slice(slice: &str) -> Result<String, SystemdError> {
    let wrong = || SystemdError::SliceName(slice.to_owned());
    let name = slice.strip_suffix(".slice").ok_or_else(wrong)?;
    if name == "-" {
        return Ok(String::new());
    }
    if check_name(slice).is_err() || name.split('-').any(str::is_empty) {
        return Err(wrong());
    }
    let ends = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
    let above: Vec<String> = ends.map(|end| format!("{}.slice", &name[..end])).collect();
    Ok(above.join("/"))
}

/// systemd's `unit_name_is_valid()`, for units that are no templates.
fn check_name(unit: &str) -> Result<(), SystemdError> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let starts = unit
        .bytes()
        .next()
        .is_some_and(|byte| byte != b'.' && byte != b'@');
    if starts && unit.len() <= UNIT_NAME_MAX && unit.bytes().all(valid) {
        return Ok(());
    }
    Err(SystemdError::UnitName(unit.to_owned()))
}

/// Whether systemd is what runs this machine (sd_booted(3)).
#[must_use]
pub fn probe_booted() -> bool {
    std::fs::symlink_metadata("/run/systemd/system").is_ok_and(|metadata| metadata.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(slice: &str, unit: &str) -> UnitName {
        UnitName {
            slice: slice.into(),
            unit: unit.into(),
        }
    }

    #[test]
    fn paths_as_runc_reads_them() {
        for (path, rootless, slice, unit) in [
            ("", false, "system.slice", "cais-web.scope"),
            ("", true, "user.slice", "cais-web.scope"),
            ("::app", false, "system.slice", "app.scope"),
            (":docker:0af", false, "system.slice", "docker-0af.scope"),
            (":docker:0af", true, "user.slice", "docker-0af.scope"),
            (
                "kubepods-burstable.slice:cri-containerd:1b",
                false,
                "kubepods-burstable.slice",
                "cri-containerd-1b.scope",
            ),
            (
                "machine.slice:libpod:pod.slice",
                false,
                "machine.slice",
                "pod.slice",
            ),
            ("-:a:b", false, "-.slice", "a-b.scope"),
            ("-.slice:a:b", false, "-.slice", "a-b.scope"),
        ] {
            assert_eq!(
                parse_cgroups_path(path, "web", rootless),
                Ok(name(slice, unit)),
                "{path}"
            );
        }
    }

    #[test]
    fn paths_that_are_none() {
        for path in ["/cais/web", "a.slice:b", "a.slice:b:c:d", "a.slice:b:"] {
            assert_eq!(
                parse_cgroups_path(path, "web", false),
                Err(SystemdError::CgroupsPath(path.into())),
                "{path}"
            );
        }
        for path in ["a:b:c", "a/b.slice:b:c", "a--b.slice:b:c"] {
            let slice = path.split(':').next().unwrap();
            assert_eq!(
                parse_cgroups_path(path, "web", false),
                Err(SystemdError::SliceName(slice.into())),
                "{path}"
            );
        }
        let long = format!("::{}", "x".repeat(250));
        for path in [":a:b/c", ":a:b c", ":a:ä", ":.a:b", long.as_str()] {
            let error = parse_cgroups_path(path, "web", false).unwrap_err();
            assert!(matches!(error, SystemdError::UnitName(_)), "{path}: {error}");
        }
    }

    #[test]
    fn slices_are_nested_by_their_dashes() {
        for (slice, path) in [
            ("system.slice", "system.slice"),
            ("a-b.slice", "a.slice/a-b.slice"),
            ("test-a-b.slice", "test.slice/test-a.slice/test-a-b.slice"),
            ("-.slice", ""),
        ] {
            assert_eq!(expand_slice(slice).as_deref(), Ok(path), "{slice}");
        }
        for slice in [
            "",
            ".slice",
            "a",
            "a--b.slice",
            "-a.slice",
            "a-.slice",
            "a/b.slice",
        ] {
            assert_eq!(
                expand_slice(slice),
                Err(SystemdError::SliceName(slice.into())),
                "{slice}"
            );
        }
    }

    #[test]
    fn groups_of_units() {
        for (slice, unit, cgroup) in [
            ("a-b.slice", "x-y.scope", "a.slice/a-b.slice/x-y.scope"),
            ("-.slice", "x.scope", "x.scope"),
            ("system.slice", "a-b.slice", "a.slice/a-b.slice"),
        ] {
            assert_eq!(name(slice, unit).cgroup().as_deref(), Ok(cgroup));
        }
    }

    #[test]
    fn errors_are_told_apart() {
        let refused = |name: &str| SystemdError::Refused {
            call: "StartTransientUnit".into(),
            name: name.into(),
            message: String::new(),
        };
        assert!(refused("org.freedesktop.systemd1.UnitExists").is_unit_exists());
        assert!(refused("org.freedesktop.systemd1.NoSuchUnit").is_no_such_unit());
        assert!(!refused("org.freedesktop.DBus.Error.AccessDenied").is_unit_exists());
    }
}
