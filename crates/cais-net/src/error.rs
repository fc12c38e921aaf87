//! What can go wrong with networks.

use cais_linux::SysError;
use rustix::io::Errno;

/// The result of anything that touches networks.
pub type Result<T> = std::result::Result<T, NetError>;

/// Why something with a network failed.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A system call or a netlink request failed.
    #[error("cannot {action}")]
    System {
        /// What was to be done, on what.
        action: String,
        /// The call.
        source: SysError,
    },
    /// A file could not be read, written or understood.
    #[error("cannot {action}")]
    File {
        /// What was to be done, on what.
        action: String,
        /// The cause.
        source: std::io::Error,
    },
    /// Something that the user gave does not fit.
    #[error("{0}")]
    Invalid(String),
    /// There is no such network.
    #[error("network {0} not found: `cais network ls` lists those there are")]
    NoSuchNetwork(String),
    /// A port of the host is taken.
    #[error(
        "port {port}/{protocol} of the host is taken by {holder}: publish another one, or end what has it"
    )]
    PortTaken {
        /// Address and port, or the port alone.
        port: String,
        /// The protocol.
        protocol: String,
        /// Who has it.
        holder: String,
    },
    /// This kernel or this user cannot have bridges.
    #[error(
        "cannot {action}: a bridge network is not possible here ({reason}); `--network none` and `--network host` need none"
    )]
    Impossible {
        /// What was to be done.
        action: String,
        /// Why not, in words.
        reason: String,
    },
}

impl NetError {
    /// Wraps a failed system call with what it was for.
    pub fn system(action: impl Into<String>) -> impl FnOnce(SysError) -> Self {
        move |source| Self::System {
            action: action.into(),
            source,
        }
    }

    /// Wraps a failed file operation with what it was for.
    pub fn file(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::File {
            action: action.into(),
            source,
        }
    }

    /// Wraps a refused netlink request with what it was for. What says that bridges are not
    /// possible at all becomes [`Self::Impossible`].
    pub fn netlink(action: impl Into<String>, request: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| {
            let action = action.into();
            let reason = match errno {
                Errno::PERM | Errno::ACCESS => "this process lacks CAP_NET_ADMIN",
                Errno::OPNOTSUPP | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT => {
                    "the kernel lacks what it needs: bridge, veth or nf_tables"
                }
                _ => {
                    return Self::System {
                        action,
                        source: SysError::new("netlink", request, errno),
                    };
                }
            };
            Self::Impossible {
                action,
                reason: reason.to_owned(),
            }
        }
    }
}
