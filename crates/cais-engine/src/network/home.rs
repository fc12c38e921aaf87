//! The network namespace of an ordinary user: one for all containers, below a user namespace
//! of the user's own. The bridges and their table are in it, made by the same code as root's.
//!
//! A process, the keeper, holds both namespaces. Whoever uses them has a FIFO open for
//! writing; when the last one is gone the keeper hears it and ends. It decides so with the
//! lock held under which others open the FIFO, so nobody finds one that is about to go.
//!
//! The way out is pasta(1), where it is installed ([`super::uplink`]).

use super::uplink;
use crate::error::{EngineError, Result};
use crate::rootless;
use crate::run::chain;
use crate::state::ProcessName;
use crate::store::{Store, ensure_directory};
use cais_linux::SysError;
use cais_net::NetError;
use cais_net::bridge;
use cais_net::endpoint::Endpoint;
use cais_net::namespace::{has_home, held, seek_home};
use cais_net::netlink::link;
use cais_net::netlink::{Batch, Protocol, Socket};
use cais_net::transparent;
use cais_sys::clone::namespace;
use cais_sys::process::{Forked, close_all_but, exit_now, fork_into, leave_terminal};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, FlockOperation, Mode, OFlags, flock, mknodat, open};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The interface that pasta makes.
const UPLINK: &str = "uplink";
/// The largest packet there and on the bridges: pasta is made for it, and ten times slower
/// with Ethernet's.
pub(crate) const MTU: u32 = 65_520;
/// What this process has of it.
#[derive(Debug)]
struct Joined {
    user: OwnedFd,
    keeper: ProcessName,
    /// The keeper stays as long as somebody has this.
    alive: OwnedFd,
}

static JOINED: OnceLock<Joined> = OnceLock::new();

/// Has this process look there for bridges, once it looks for some.
pub(crate) fn register(store: &Store) {
    let directory = store.networks().leases;
    seek_home(Box::new(move || {
        join(&directory).map_err(|error| NetError::Invalid(chain(&error)))
    }));
}

/// Closes all descriptors but `kept` and what this process has of the namespace: for a process
/// made by fork(2) that looks after another container than the one who made it. See
/// [`close_all_but`].
pub(crate) fn let_go_of_containers(kept: &[BorrowedFd<'_>]) {
    let joined = JOINED.get();
    let own = joined
        .iter()
        .flat_map(|joined| [joined.user.as_fd(), joined.alive.as_fd()]);
    let all: Vec<BorrowedFd<'_>> = own.chain(held()).chain(kept.iter().copied()).collect();
    close_all_but(&all);
}

/// Enters the namespace, and connects it with the host. Returns what the user should know.
///
/// # Errors
/// Where there can be no such namespace.
pub(crate) fn enter(store: &Store) -> Result<Option<String>> {
    let route = Socket::open(Protocol::Route)?;
    if bridge::index_of(&route, UPLINK)?.is_some() {
        return Ok(None);
    }
    let _held = lock(&store.networks().leases)?;
    if bridge::index_of(&route, UPLINK)?.is_some() {
        return Ok(None);
    }
    let Some(joined) = JOINED.get() else {
        return Ok(None);
    };
    Ok(uplink::connect(&store.networks().leases, joined.keeper.pid).err())
}

/// The user namespace below which containers have theirs, so that interfaces can be given to
/// them; by the path of a descriptor of this process.
pub(crate) fn user_namespace() -> Option<PathBuf> {
    use rustix::fd::AsRawFd;
    let joined = JOINED.get()?;
    Some(PathBuf::from(format!(
        "/proc/self/fd/{}",
        joined.user.as_raw_fd()
    )))
}

/// The addresses by which a container reaches the host: the bridge's, or where the bridge is
/// elsewhere those by which the host itself speaks to the world.
pub(crate) fn ways_to_host(endpoint: &Endpoint) -> Vec<IpAddr> {
    if !has_home() {
        return endpoint.gateway4.into_iter().chain(endpoint.gateway6).collect();
    }
    let own = |any: IpAddr, world: IpAddr| {
        let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
        // Nothing is sent: the kernel only chooses a route.
        socket.connect(SocketAddr::new(world, 9)).ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    };
    // Addresses that nobody has (RFC 5737, RFC 3849).
    let (four, six) = (
        Ipv4Addr::new(198, 51, 100, 1),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
    );
    let all = [
        own(Ipv4Addr::UNSPECIFIED.into(), four.into()),
        own(Ipv6Addr::UNSPECIFIED.into(), six.into()),
    ];
    all.into_iter().flatten().collect()
}

fn failed(call: &'static str, what: &Path) -> impl FnOnce(Errno) -> EngineError {
    let what = what.display().to_string();
    move |errno| EngineError::System {
        action: "make this user's network namespace".to_owned(),
        source: SysError::new(call, what, errno),
    }
}

fn lock(directory: &Path) -> Result<OwnedFd> {
    let path = directory.join(".home-lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let file = open(&path, flags, Mode::RUSR | Mode::WUSR).map_err(failed("open", &path))?;
    flock(&file, FlockOperation::LockExclusive).map_err(failed("flock", &path))?;
    Ok(file)
}

fn join(directory: &Path) -> Result<OwnedFd> {
    ensure_directory(directory)?;
    let _held = lock(directory)?;
    let (fifo, note) = (directory.join(".home"), directory.join(".home-keeper"));
    let noted = Note::read(&note);
    let known = match open(
        &fifo,
        OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Ok(alive) => noted
            .map(|noted| noted.keeper)
            .filter(ProcessName::is_alive)
            .map(|keeper| (alive, keeper)),
        // Nobody has it open for reading, or there is none yet.
        Err(Errno::NXIO | Errno::NOENT) => None,
        Err(errno) => return Err(failed("open", &fifo)(errno)),
    };
    let (alive, keeper) = match known {
        Some(known) => known,
        None => {
            let mut orphans = None;
            if let Some(killed) = noted {
                uplink::disconnect(directory, killed.keeper.pid);
                orphans = killed.find();
            }
            start(directory, &fifo, orphans)?
        }
    };
    let namespace = |kind: &str| open_namespace(&PathBuf::from(format!("/proc/{}/ns/{kind}", keeper.pid)));
    let network = namespace("net")?;
    let joined = Joined {
        user: namespace("user")?,
        keeper,
        alive,
    };
    let now = Note {
        keeper,
        inodes: [inode(&joined.user), inode(&network)],
    };
    if noted != Some(now) {
        now.write(&note)?;
    }
    JOINED.set(joined).unwrap_or_default();
    Ok(network)
}

/// What is written down of the keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Note {
    keeper: ProcessName,
    /// Of the user namespace and of the network namespace.
    inodes: [u64; 2],
}

impl Note {
    /// Reads it; one that says nothing is as good as none.
    fn read(path: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(path).ok()?;
        let mut words = text.split_ascii_whitespace();
        Some(Self {
            keeper: ProcessName {
                pid: words.next()?.parse().ok()?,
                start: words.next()?.parse().ok()?,
            },
            inodes: [words.next()?.parse().ok()?, words.next()?.parse().ok()?],
        })
    }

    fn write(&self, path: &Path) -> Result<()> {
        let (keeper, [user, network]) = (self.keeper, self.inodes);
        let text = format!("{} {} {user} {network}\n", keeper.pid, keeper.start);
        std::fs::write(path, text).map_err(EngineError::store(format!("write {}", path.display())))
    }

    /// The namespaces of a keeper that was killed, where monitors still have them open.
    fn find(&self) -> Option<[OwnedFd; 2]> {
        let [user, network] = self.inodes;
        let (user, network) = (format!("user:[{user}]"), format!("net:[{network}]"));
        for process in std::fs::read_dir("/proc").ok()?.flatten() {
            // Those of others cannot be read.
            let entries = std::fs::read_dir(process.path().join("fd")).into_iter().flatten();
            let paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            let find = |link: &str| {
                let is_it = |path: &&PathBuf| std::fs::read_link(path).is_ok_and(|to| to.as_os_str() == link);
                open_namespace(paths.iter().find(is_it)?).ok()
            };
            if let (Some(user), Some(network)) = (find(&user), find(&network)) {
                return Some([user, network]);
            }
        }
        None
    }
}

pub(super) fn open_namespace(path: &Path) -> Result<OwnedFd> {
    open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed("open", path))
}

fn inode(file: &OwnedFd) -> u64 {
    rustix::fs::fstat(file).map_or(0, |stat| stat.st_ino)
}

/// Makes the keeper, of new namespaces or of `orphans`.
fn start(directory: &Path, fifo: &Path, orphans: Option<[OwnedFd; 2]>) -> Result<(OwnedFd, ProcessName)> {
    match mknodat(rustix::fs::CWD, fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed("mknod", fifo)(errno)),
    }
    let end = |flags: OFlags| {
        open(fifo, flags | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).map_err(failed("open", fifo))
    };
    // In this order: without a reader there can be no writer.
    let (users, alive) = (end(OFlags::RDONLY)?, end(OFlags::WRONLY)?);
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(failed("pipe2", fifo));
    let ((waits, go), (result, says)) = (pipe()?, pipe()?);
    let is_new = orphans.is_none();
    let kinds = if is_new {
        namespace::USER | namespace::NETWORK
    } else {
        0
    };
    let child = match fork_into(kinds) {
        Ok(Forked::Child) => {
            drop((go, result, alive));
            let directory = directory.to_owned();
            exit_now(u8::from(
                keep(&directory, &users, (waits, says), orphans).is_err(),
            ));
        }
        Ok(Forked::Parent(child)) => child,
        Err(errno) => {
            return Err(failed("clone", Path::new("CLONE_NEWUSER | CLONE_NEWNET"))(errno));
        }
    };
    drop((waits, says));
    if is_new {
        rootless::write_maps(child).map_err(EngineError::system("make this user's network namespace"))?;
    }
    // Where it is gone, it says nothing below.
    rustix::io::write(&go, b"g").map(drop).unwrap_or_default();
    let mut said = String::new();
    File::from(result)
        .read_to_string(&mut said)
        .map_err(EngineError::store("listen to the keeper of this user's networks"))?;
    let keeper = ProcessName::read(child.as_raw_nonzero().get()).filter(|_| said == "ok");
    let keeper = keeper.ok_or_else(|| {
        EngineError::Invalid(format!(
            "cannot make this user's network namespace: {said}: use --network none or host"
        ))
    })?;
    Ok((alive, keeper))
}

/// The keeper: it waits until nobody uses the namespaces any more.
fn keep(
    directory: &Path,
    users: &OwnedFd,
    (waits, says): (OwnedFd, OwnedFd),
    orphans: Option<[OwnedFd; 2]>,
) -> std::result::Result<(), Errno> {
    if !matches!(rustix::io::read(&waits, &mut [0u8; 1][..]), Ok(1)) {
        return Err(Errno::CHILD);
    }
    let ready = match orphans {
        Some(both) => both
            .iter()
            .try_for_each(|each| cais_sys::namespace::enter(each.as_fd(), 0))
            .map_err(|errno| errno.to_string()),
        None => set_up().map_err(|error| error.to_string()),
    };
    let ready = ready.and_then(|()| leave_terminal().map_err(|errno| errno.to_string()));
    let text = ready.as_ref().err().map_or("ok", String::as_str);
    rustix::io::write(&says, text.as_bytes())?;
    if ready.is_err() {
        return Err(Errno::CHILD);
    }
    rustix::process::chdir("/")?;
    drop((waits, says));
    close_all_but(&[users.as_fd()]);
    loop {
        let mut fds = [PollFd::new(users, PollFlags::empty())];
        cais_sys::idle::poll_without_memory(&mut fds, None)?;
        // A new one opens the FIFO with the lock held.
        let Ok(held) = lock(directory) else {
            return Err(Errno::NOLCK);
        };
        let mut fds = [PollFd::new(users, PollFlags::empty())];
        let now = rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        if rustix::event::poll(&mut fds, Some(&now))? == 1 {
            uplink::disconnect(directory, std::process::id().cast_signed());
            return Ok(());
        }
        drop(held);
    }
}

fn set_up() -> cais_net::Result<()> {
    let mut batch = Batch::default();
    link::bring_up(&mut batch, 1, false);
    Socket::open_here(Protocol::Route)?
        .apply(&mut batch)
        .map_err(NetError::netlink(
            "bring up the loopback interface",
            "RTM_SETLINK",
        ))?;
    // Where the kernel cannot do it, containers see the bridge's address.
    transparent::prepare_here().unwrap_or_default();
    Ok(())
}
