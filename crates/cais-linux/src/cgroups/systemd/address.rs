//! Where systemd listens: D-Bus addresses (D-Bus Specification, "Server Addresses") and
//! the sockets without a bus.

use super::SystemdError;
use crate::error::SysError;
use std::ffi::OsString;
use std::fmt;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};

/// Where the system's bus listens.
const SYSTEM_BUS: &str = "unix:path=/run/dbus/system_bus_socket";
/// Where the system's manager listens itself; only root may connect.
const SYSTEM_PRIVATE: &str = "/run/systemd/private";

/// A socket.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Socket {
    /// A file.
    Path(PathBuf),
    /// A name without a file (unix(7), "Abstract sockets").
    Abstract(Vec<u8>),
}

/// A socket and who listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    socket: Socket,
    /// Whether systemd itself listens and no message bus, which wants to be greeted.
    pub(super) direct: bool,
}

impl Endpoint {
    fn direct(path: PathBuf) -> Self {
        Self {
            socket: Socket::Path(path),
            direct: true,
        }
    }

    fn bus(path: PathBuf) -> Self {
        Self {
            socket: Socket::Path(path),
            direct: false,
        }
    }

    /// connect(2).
    pub(super) fn connect(&self) -> Result<UnixStream, SystemdError> {
        let connected = match &self.socket {
            Socket::Path(path) => UnixStream::connect(path),
            Socket::Abstract(name) => {
                SocketAddr::from_abstract_name(name).and_then(|address| UnixStream::connect_addr(&address))
            }
        };
        connected.map_err(|error| SysError::from_io("connect", self.to_string(), &error).into())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            Socket::Path(path) => write!(f, "{path:?}"),
            Socket::Abstract(name) => write!(f, "\"@{}\"", name.escape_ascii()),
        }
    }
}

/// Where to look for the manager of the system, the best first. `address` is
/// `DBUS_SYSTEM_BUS_ADDRESS`.
pub(super) fn plan_system(root: bool, address: Option<OsString>) -> Result<Vec<Endpoint>, SystemdError> {
    let mut endpoints = Vec::new();
    if root {
        endpoints.push(Endpoint::direct(SYSTEM_PRIVATE.into()));
    }
    let address = set(address).unwrap_or_else(|| SYSTEM_BUS.into());
    endpoints.extend(parse_address(&address, None)?);
    Ok(endpoints)
}

/// Where to look for the manager of a user. `address` is `DBUS_SESSION_BUS_ADDRESS` and
/// `runtime` is `XDG_RUNTIME_DIR`.
pub(super) fn plan_user(
    uid: u32,
    address: Option<OsString>,
    runtime: Option<OsString>,
) -> Result<Vec<Endpoint>, SystemdError> {
    let runtime = set(runtime).map_or_else(|| format!("/run/user/{uid}").into(), PathBuf::from);
    let mut endpoints = match set(address) {
        Some(address) => parse_address(&address, Some(&runtime))?,
        None => Vec::new(),
    };
    let bus = Endpoint::bus(runtime.join("bus"));
    if !endpoints.contains(&bus) {
        endpoints.push(bus);
    }
    endpoints.push(Endpoint::direct(runtime.join("systemd/private")));
    Ok(endpoints)
}

/// The value of a variable; an empty one is as good as none.
fn set(variable: Option<OsString>) -> Option<OsString> {
    variable.filter(|value| !value.is_empty())
}

/// The Unix sockets of an address: `unix:path=/run/bus,guid=1;unix:abstract=x`. What is
/// none is passed over, as long as there is one.
fn parse_address(address: &OsString, runtime: Option<&Path>) -> Result<Vec<Endpoint>, SystemdError> {
    let wrong = || SystemdError::Address(address.to_string_lossy().into_owned());
    let text = address.to_str().ok_or_else(wrong)?;
    let mut endpoints = Vec::new();
    for keys in text.split(';').filter_map(|one| one.strip_prefix("unix:")) {
        for (key, value) in keys.split(',').filter_map(|pair| pair.split_once('=')) {
            let value = unescape(value).ok_or_else(wrong)?;
            let socket = match (key, runtime) {
                ("path", _) => Socket::Path(OsString::from_vec(value).into()),
                ("abstract", _) => Socket::Abstract(value),
                ("runtime", Some(runtime)) if value == b"yes" => Socket::Path(runtime.join("bus")),
                _ => continue,
            };
            endpoints.push(Endpoint {
                socket,
                direct: false,
            });
        }
    }
    if endpoints.is_empty() {
        return Err(wrong());
    }
    Ok(endpoints)
}

/// `%2c` is a comma.
fn unescape(value: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = value.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = tail;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &[u8]) -> Endpoint {
        Endpoint {
            socket: Socket::Abstract(name.to_vec()),
            direct: false,
        }
    }

    fn parse(address: &str) -> Result<Vec<Endpoint>, SystemdError> {
        parse_address(&address.into(), Some(Path::new("/run/user/7")))
    }

    #[test]
    fn addresses() {
        for (address, want) in [
            ("unix:path=/run/bus", vec![Endpoint::bus("/run/bus".into())]),
            (
                "unix:path=/a%2cb%20c,guid=12ab;unix:abstract=/tmp/d-1",
                vec![Endpoint::bus("/a,b c".into()), named(b"/tmp/d-1")],
            ),
            ("unix:runtime=yes", vec![Endpoint::bus("/run/user/7/bus".into())]),
            (
                "tcp:host=localhost,port=1;unix:guid=1,path=/b",
                vec![Endpoint::bus("/b".into())],
            ),
        ] {
            assert_eq!(parse(address).as_deref(), Ok(want.as_slice()), "{address}");
        }
        for address in [
            "",
            "tcp:host=a",
            "unix:tmpdir=/tmp",
            "unix:path=/a%2",
            "unix:path=/a%zz",
        ] {
            assert_eq!(
                parse(address),
                Err(SystemdError::Address(address.into())),
                "{address}"
            );
        }
    }

    #[test]
    fn the_manager_itself_is_asked_first_by_root() {
        let bus = Endpoint::bus("/run/dbus/system_bus_socket".into());
        let private = Endpoint::direct("/run/systemd/private".into());
        assert_eq!(plan_system(true, None), Ok(vec![private, bus.clone()]));
        assert_eq!(plan_system(false, Some("".into())), Ok(vec![bus]));
        assert_eq!(
            plan_system(false, Some("unix:path=/b".into())),
            Ok(vec![Endpoint::bus("/b".into())])
        );
    }

    #[test]
    fn the_bus_of_a_user_comes_before_the_manager() {
        let fallback = [
            Endpoint::bus("/run/user/7/bus".into()),
            Endpoint::direct("/run/user/7/systemd/private".into()),
        ];
        assert_eq!(plan_user(7, None, None), Ok(fallback.to_vec()));
        let same = plan_user(7, Some("unix:path=/run/user/7/bus".into()), None);
        assert_eq!(same, Ok(fallback.to_vec()));
        let other = plan_user(7, Some("unix:abstract=b".into()), Some("/x".into()));
        let want = vec![
            named(b"b"),
            Endpoint::bus("/x/bus".into()),
            Endpoint::direct("/x/systemd/private".into()),
        ];
        assert_eq!(other, Ok(want));
    }
}
