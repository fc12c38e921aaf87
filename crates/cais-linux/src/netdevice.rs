//! A network device that moves to another network namespace and keeps its addresses:
//! rtnetlink(7), in the few messages that this takes.
//!
//! The kernel takes a device down and drops its addresses when it moves. They are read before,
//! and set again there.

use crate::error::{Result, SysError};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, socket_with};

// linux/rtnetlink.h, linux/netlink.h, linux/if_link.h, linux/if_addr.h, linux/if.h
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_F_PERMANENT: u8 = 0x80;
const IFF_UP: u32 = 1;
const CLONE_NEWNET: u32 = 0x4000_0000;

/// The lengths of `struct nlmsghdr` and `struct ifaddrmsg`.
const HEADER: usize = 16;
const ADDRESS: usize = 8;

/// An address of a device, as it is set again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    family: u8,
    prefix: u8,
    attributes: Vec<(u16, Vec<u8>)>,
}

/// Moves the device `name` of this process's network namespace into `namespace`, where it is
/// called `new_name`, has the addresses that it had (permanent ones of global scope), and is
/// up.
///
/// The process has one thread meanwhile.
///
/// # Errors
/// `ENODEV` where there is none, `EEXIST` where the name is taken there, `EPERM`, `EINVAL` for
/// a device that cannot move.
pub fn move_device(name: &str, namespace: BorrowedFd<'_>, new_name: &str) -> Result<()> {
    let here = Channel::open()?;
    let index = here.find(name)?;
    let addresses = here.addresses(index, name)?;
    let there = Channel::open_in(namespace)?;
    // The kernel moves a device first and finds out afterwards that it cannot be called so.
    match there.find(new_name) {
        Ok(_) => {
            let arguments = format!("{name:?}, IFLA_NET_NS_FD, {new_name:?}");
            return Err(SysError::new("RTM_NEWLINK", arguments, Errno::EXIST));
        }
        Err(error) if error.errno() == Errno::NODEV => {}
        Err(error) => return Err(error),
    }
    let mut message = link_message(index, 0, 0);
    put_attribute(&mut message, IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
    put_attribute(&mut message, IFLA_IFNAME, &c_string(new_name));
    here.ask(RTM_NEWLINK, NLM_F_ACK, &message, &mut |_, _| {})
        .map_err(|errno| {
            SysError::new(
                "RTM_NEWLINK",
                format!("{name:?}, IFLA_NET_NS_FD, {new_name:?}"),
                errno,
            )
        })?;
    let index = there.find(new_name)?;
    for address in &addresses {
        there
            .ask(
                RTM_NEWADDR,
                NLM_F_ACK | NLM_F_CREATE,
                &address.message(index),
                &mut |_, _| {},
            )
            .map_err(|errno| SysError::new("RTM_NEWADDR", format!("{new_name:?}"), errno))?;
    }
    there
        .ask(
            RTM_NEWLINK,
            NLM_F_ACK,
            &link_message(index, IFF_UP, IFF_UP),
            &mut |_, _| {},
        )
        .map_err(|errno| SysError::new("RTM_NEWLINK", format!("{new_name:?}, IFF_UP"), errno))
}

impl Address {
    fn message(&self, index: u32) -> Vec<u8> {
        let mut message = vec![self.family, self.prefix, 0, 0];
        message.extend(index.to_ne_bytes());
        for (kind, value) in &self.attributes {
            put_attribute(&mut message, *kind, value);
        }
        message
    }
}

fn c_string(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// `struct ifinfomsg`.
fn link_message(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut message = vec![0; 4];
    message.extend(index.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(change.to_ne_bytes());
    message
}

fn put_attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

/// Kind and value of each attribute; what is cut short ends it.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)?;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// Reads an address message; `None` for one of another device, or that does not move.
fn parse_address(body: &[u8], index: u32) -> Option<Address> {
    let [family, prefix, flags, scope] = *body.first_chunk::<4>()?;
    if u32_at(body, 4)? != index || scope != 0 || flags & IFA_F_PERMANENT == 0 {
        return None;
    }
    let kept = |(kind, _): &(u16, &[u8])| matches!(*kind, IFA_ADDRESS | IFA_LOCAL | IFA_BROADCAST);
    let attributes = attributes(body.get(ADDRESS..)?)
        .filter(kept)
        .map(|(kind, value)| (kind, value.to_vec()))
        .collect();
    Some(Address {
        family,
        prefix,
        attributes,
    })
}

/// A socket of rtnetlink in one network namespace.
struct Channel(OwnedFd);

impl Channel {
    fn open() -> Result<Self> {
        socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            // NETLINK_ROUTE is 0.
            None,
        )
        .map(Self)
        .map_err(|errno| SysError::new("socket", "AF_NETLINK, NETLINK_ROUTE", errno))
    }

    /// Opens one in another namespace. A socket stays in the one that it was made in.
    fn open_in(namespace: BorrowedFd<'_>) -> Result<Self> {
        let enter = |fd: BorrowedFd<'_>| {
            cais_sys::namespace::enter(fd, CLONE_NEWNET)
                .map_err(|errno| SysError::new("setns", "CLONE_NEWNET", errno))
        };
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        let path = "/proc/thread-self/ns/net";
        let home = rustix::fs::open(path, flags, rustix::fs::Mode::empty())
            .map_err(|errno| SysError::new("open", format!("{path:?}"), errno))?;
        enter(namespace)?;
        let channel = Self::open();
        enter(home.as_fd())?;
        channel
    }

    /// The number of a device.
    fn find(&self, name: &str) -> Result<u32> {
        let mut message = link_message(0, 0, 0);
        put_attribute(&mut message, IFLA_IFNAME, &c_string(name));
        let mut index = None;
        let failed = |errno| SysError::new("RTM_GETLINK", format!("{name:?}"), errno);
        self.ask(RTM_GETLINK, NLM_F_ACK, &message, &mut |kind, body| {
            if kind == RTM_NEWLINK {
                index = u32_at(body, 4);
            }
        })
        .map_err(failed)?;
        index.ok_or_else(|| failed(Errno::NODEV))
    }

    /// The addresses that move with a device.
    fn addresses(&self, index: u32, name: &str) -> Result<Vec<Address>> {
        let mut addresses = Vec::new();
        self.ask(RTM_GETADDR, NLM_F_DUMP, &[0; ADDRESS], &mut |kind, body| {
            if kind == RTM_NEWADDR {
                addresses.extend(parse_address(body, index));
            }
        })
        .map_err(|errno| SysError::new("RTM_GETADDR", format!("{name:?}"), errno))?;
        Ok(addresses)
    }

    /// Sends a request and hands each message of the answer, kind and body, to `take`, up to
    /// its end or the kernel's word.
    fn ask(
        &self,
        kind: u16,
        flags: u16,
        body: &[u8],
        take: &mut dyn FnMut(u16, &[u8]),
    ) -> std::result::Result<(), Errno> {
        let length = u32::try_from(HEADER + body.len()).or(Err(Errno::MSGSIZE))?;
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        rustix::io::retry_on_intr(|| rustix::net::send(&self.0, &message, SendFlags::empty()))?;
        let mut buffer = vec![0u8; 64 * 1024];
        loop {
            let (length, _) =
                rustix::io::retry_on_intr(|| recv(&self.0, &mut buffer[..], RecvFlags::empty()))?;
            let mut rest = buffer.get(..length).unwrap_or(&[]);
            while let Some((kind, body)) = take_message(&mut rest) {
                match kind {
                    NLMSG_ERROR => {
                        // Zero is the acknowledgement.
                        let errno = u32_at(body, 0).map_or(0, u32::cast_signed);
                        return if errno == 0 {
                            Ok(())
                        } else {
                            Err(Errno::from_raw_os_error(-errno))
                        };
                    }
                    NLMSG_DONE => return Ok(()),
                    kind => take(kind, body),
                }
            }
        }
    }
}

/// Takes the first message off an answer.
fn take_message<'b>(bytes: &mut &'b [u8]) -> Option<(u16, &'b [u8])> {
    let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
    let kind = u16_at(bytes, 4)?;
    let body = bytes.get(HEADER..length)?;
    *bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    Some((kind, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_attributes() {
        let mut message = link_message(7, IFF_UP, IFF_UP);
        assert_eq!((message.len(), u32_at(&message, 4)), (16, Some(7)));
        put_attribute(&mut message, IFLA_IFNAME, &c_string("eth0"));
        let found: Vec<_> = attributes(&message[16..]).collect();
        assert_eq!(found, [(IFLA_IFNAME, &b"eth0\0"[..])]);
        // Cut short.
        assert_eq!(attributes(&message[16..message.len() - 4]).count(), 0);
        assert_eq!(attributes(&[1, 0, 0, 0]).count(), 0);
    }

    #[test]
    fn addresses_that_move() {
        let body = |flags: u8, scope: u8, index: u32| {
            let mut body = vec![2, 24, flags, scope];
            body.extend(index.to_ne_bytes());
            put_attribute(&mut body, IFA_LOCAL, &[10, 0, 0, 1]);
            put_attribute(&mut body, 3, b"eth0\0");
            body
        };
        let address = parse_address(&body(0x80, 0, 5), 5).unwrap();
        assert_eq!(address.attributes, [(IFA_LOCAL, vec![10, 0, 0, 1])]);
        assert_eq!(address.message(9)[..8], [2, 24, 0, 0, 9, 0, 0, 0]);
        for other in [body(0, 0, 5), body(0x80, 253, 5), body(0x80, 0, 6), vec![2, 24]] {
            assert_eq!(parse_address(&other, 5), None);
        }
    }

    #[test]
    fn a_device_that_is_not_there() {
        let namespace = std::fs::File::open("/proc/self/ns/net").unwrap();
        let error = move_device("cais-none0", namespace.as_fd(), "x").unwrap_err();
        assert_eq!(error.errno(), Errno::NODEV);
    }
}
