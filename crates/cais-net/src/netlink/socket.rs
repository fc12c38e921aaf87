//! A netlink socket. The kernel answers within send(2), so nothing here waits.

use super::message::{Batch, Meaning, Message, MessageReader};
use crate::error::{NetError, Result};
use crate::namespace;
use cais_linux::SysError;
use rustix::buffer::spare_capacity;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with, sockopt,
};

/// The largest datagram that the kernel makes of a list, however much it is offered
/// (`netlink_recvmsg`).
const BUFFER: usize = 32 * 1024;
/// What a socket's send buffer holds unless told otherwise (net.core.wmem_default), less its
/// bookkeeping.
const SMALL: usize = 100 * 1024;

/// Which part of the kernel is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Interfaces, addresses, routes (rtnetlink(7)).
    Route,
    /// nf_tables and conntrack.
    Netfilter,
}

/// A netlink socket. It stays with the network namespace in which it was opened.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket where the bridges are ([`namespace::at_home`]).
    ///
    /// # Errors
    /// As [`Self::open_here`].
    pub fn open(protocol: Protocol) -> Result<Self> {
        namespace::at_home(|| Self::open_here(protocol))
    }

    /// Opens a socket in the network namespace of this thread.
    ///
    /// # Errors
    /// As socket(2): `EPROTONOSUPPORT` where the kernel lacks the protocol.
    pub fn open_here(protocol: Protocol) -> Result<Self> {
        let number = match protocol {
            // NETLINK_ROUTE is 0, which is what no protocol means.
            Protocol::Route => None,
            Protocol::Netfilter => Some(netlink::NETFILTER),
        };
        let fd = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            number,
        )
        .map_err(|errno| SysError::new("socket", format!("AF_NETLINK, {protocol:?}"), errno))
        .map_err(NetError::system("open a netlink socket"))?;
        Ok(Self {
            fd,
            buffer: Vec::new(),
        })
    }

    /// Sends all messages and listens until the last one, which asks for it, is
    /// acknowledged.
    ///
    /// # Errors
    /// The first errno with which the kernel refused one.
    pub fn apply(&mut self, batch: &mut Batch) -> std::result::Result<(), Errno> {
        if batch.is_empty() {
            return Ok(());
        }
        batch.ensure_acknowledged();
        self.ask(batch, |_| {})
    }

    /// Sends all messages and gives each answer that carries data to `take`, until the last
    /// request is answered or acknowledged.
    ///
    /// # Errors
    /// The first errno with which the kernel refused one.
    pub fn ask(
        &mut self,
        batch: &Batch,
        mut take: impl FnMut(&Message<'_>),
    ) -> std::result::Result<(), Errno> {
        if batch.bytes().len() > SMALL {
            sockopt::set_socket_send_buffer_size_force(&self.fd, batch.bytes().len().saturating_mul(2))?;
        }
        let sent = rustix::io::retry_on_intr(|| send(&self.fd, batch.bytes(), SendFlags::empty()))?;
        if sent != batch.bytes().len() {
            return Err(Errno::MSGSIZE);
        }
        let mut first = Ok(());
        loop {
            self.buffer.clear();
            self.buffer.reserve(BUFFER);
            // Not filled with zeros first: most answers take one page of it, and each that is
            // touched for the first time costs microseconds.
            let received = rustix::io::retry_on_intr(|| {
                recv(&self.fd, spare_capacity(&mut self.buffer), RecvFlags::DONTWAIT)
            });
            match received {
                Ok(_) => {}
                // Everything was answered: a batch that is refused as a whole acknowledges
                // nothing.
                Err(Errno::AGAIN) if first.is_err() => return first,
                Err(Errno::AGAIN) => return Err(Errno::NOMSG),
                Err(errno) => return Err(errno),
            }
            for message in MessageReader::new(&self.buffer) {
                let is_last = message.sequence == batch.sequence();
                match message.meaning() {
                    Meaning::Refused(errno) => {
                        first = first.and(Err(errno));
                        if is_last {
                            return first;
                        }
                    }
                    Meaning::Done if is_last => return first,
                    Meaning::Done => {}
                    Meaning::Part => take(&message),
                    Meaning::Whole => {
                        take(&message);
                        if is_last {
                            return first;
                        }
                    }
                }
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
