//! A process among those of a running container, made by a go-between ([`cais_init::enter`]):
//! no process that such a container can see shares memory or executable with this one.

use crate::error::CreateError;
use crate::plan::Buffer;
use cais_init::message::Enter;
use cais_init::wire::Field;
use cais_linux::SysError;
use cais_linux::process::{channel, pidfd, stub};
use cais_sys::clone::{CloneRequest, StubProcess};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::Signal;

/// What is entered.
pub(super) struct Join<'a> {
    /// The process whose namespaces they are, or a namespace.
    pub(super) target: BorrowedFd<'a>,
    /// Which (`CLONE_NEW*`).
    pub(super) kinds: u32,
    /// Whether nothing may look into the process.
    pub(super) hides: bool,
}

/// The go-between, gone when this goes out of scope.
struct GoBetween(StubProcess);

impl Drop for GoBetween {
    fn drop(&mut self) {
        // It has ended by itself, or is of no use any more.
        pidfd::send_signal(self.0.pidfd.as_fd(), Signal::KILL).unwrap_or_default();
        pidfd::wait(self.0.pidfd.as_fd()).map(drop).unwrap_or_default();
    }
}

/// Makes the process that `request` asks for. `theirs` is the other end of the channel, which
/// must not stay open here: its end tells that the go-between was killed.
pub(super) fn spawn(
    request: &CloneRequest<'_>,
    join: &Join<'_>,
    theirs: OwnedFd,
) -> Result<StubProcess, CreateError> {
    let ours = request.parent_channel;
    let first = CloneRequest {
        namespaces: 0,
        join_user: None,
        cgroup: None,
        stub: request.stub,
        channel: theirs.as_fd(),
        parent_channel: ours,
        await_id_maps: false,
        leaves_network: false,
        enters: true,
    };
    let first = stub::spawn(&first).map_err(CreateError::prepare("make the process that enters"))?;
    let between = GoBetween(first);
    drop(theirs);
    let asked = Enter {
        kinds: join.kinds,
        namespaces: request.namespaces,
        hides: join.hides,
        has_user: request.join_user.is_some(),
        has_cgroup: request.cgroup.is_some(),
        awaits_id_maps: request.await_id_maps,
    };
    let mut bytes = Buffer::default();
    asked.encode(&mut bytes);
    let fds = [Some(join.target), request.join_user, request.cgroup];
    let fds: Vec<BorrowedFd<'_>> = fds.into_iter().flatten().collect();
    match channel::send(ours, &bytes.0, &fds) {
        // What it said, or how it died, tells more than EPIPE does.
        Err(error) if matches!(error.errno(), Errno::PIPE | Errno::CONNRESET) => {}
        other => other.map_err(CreateError::prepare("send to the process that enters"))?,
    }
    let (mut buffer, mut fds) = ([0u8; 8], Vec::new());
    let reply = channel::receive(ours, &mut buffer, &mut fds)
        .map_err(CreateError::prepare("listen to the process that enters"))?;
    match (reply, fds.pop()) {
        (Some(b"p"), Some(pidfd)) => {
            drop(between);
            stub::adopt(pidfd).map_err(CreateError::prepare("find the container's process"))
        }
        (Some(reply), _) => {
            let errno = <[u8; 4]>::try_from(reply).map_or(Errno::PROTO, |bytes| {
                Errno::from_raw_os_error(i32::from_ne_bytes(bytes))
            });
            let source = SysError::new("setns, clone3", format!("namespaces {:#x}", join.kinds), errno);
            Err(CreateError::prepare("enter the namespaces of the container")(
                source,
            ))
        }
        (None, _) => Err(match pidfd::wait(between.0.pidfd.as_fd()) {
            Ok(pidfd::Ended::Killed(signal)) => CreateError::Killed { signal },
            Ok(pidfd::Ended::Exited(status)) => CreateError::Silent { status },
            Err(source) => CreateError::prepare("wait for the process that enters")(source),
        }),
    }
}
