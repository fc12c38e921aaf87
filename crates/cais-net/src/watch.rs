//! Hearing of it when somebody removes tables, chains or rules of nf_tables
//! (`NFNLGRP_NFTABLES`): `nft flush ruleset`, or a firewall that is loaded anew.

use crate::error::{NetError, Result};
use cais_linux::SysError;
use cais_sys::seccomp::SockFilter;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

/// `NFNLGRP_NFTABLES`, as a bit of the mask of groups.
const GROUP: u32 = 1 << (7 - 1);
/// The kinds of message that matter: DELTABLE, DELCHAIN, DELRULE. Changes of elements, which
/// every start makes, wake nobody.
const REMOVALS: [u8; 3] = [2, 5, 8];

/// A socket that is ready when something was removed.
#[derive(Debug)]
pub struct RemovalWatch {
    fd: OwnedFd,
}

impl RemovalWatch {
    /// Listens where the bridges are.
    ///
    /// # Errors
    /// As socket(2), setsockopt(2), bind(2).
    pub fn open() -> Result<Self> {
        let failed = |call: &'static str| {
            move |errno| NetError::System {
                action: "listen for changes of the packet filter".to_owned(),
                source: SysError::new(call, "NETLINK_NETFILTER", errno),
            }
        };
        let open = || {
            socket_with(
                AddressFamily::NETLINK,
                SocketType::RAW,
                SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
                Some(netlink::NETFILTER),
            )
            .map_err(failed("socket"))
        };
        let fd = crate::namespace::at_home(open)?;
        // Before the group is joined: nothing else is ever heard.
        cais_sys::socket::attach_filter(fd.as_fd(), &program()).map_err(failed("setsockopt"))?;
        bind(&fd, &SocketAddrNetlink::new(0, GROUP)).map_err(failed("bind"))?;
        Ok(Self { fd })
    }

    /// Takes in all that was heard; tells whether there was something.
    pub fn drain(&self) -> bool {
        let mut heard = false;
        let mut buffer = [0u8; 256];
        loop {
            match recv(&self.fd, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok(_) => heard = true,
                // More came than there was room for: then something was removed too.
                Err(rustix::io::Errno::NOBUFS) => heard = true,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return heard,
            }
        }
    }
}

impl AsFd for RemovalWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A filter that takes datagrams whose first message removes something: classic BPF loads in
/// the network's order what netlink writes in the host's.
fn program() -> Vec<SockFilter> {
    const LOAD_HALF: u16 = 0x28;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let instruction = |code, jt, jf, k| SockFilter { code, jt, jf, k };
    let mut program = vec![instruction(LOAD_HALF, 0, 0, 4)];
    let count = u8::try_from(REMOVALS.len()).unwrap_or(0);
    for (number, kind) in (0..count).zip(REMOVALS) {
        // NFNL_SUBSYS_NFTABLES is the upper byte of the kind.
        let bytes = u16::from_be_bytes([10, kind]).to_ne_bytes();
        let seen = u32::from(u16::from_be_bytes(bytes));
        program.push(instruction(JUMP_EQUAL, count - number, 0, seen));
    }
    program.push(instruction(RETURN, 0, 0, 0));
    program.push(instruction(RETURN, 0, 0, u32::MAX));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_lead_to_the_last_instruction() {
        let program = program();
        for (at, instruction) in program.iter().enumerate() {
            if instruction.jt > 0 {
                assert_eq!(at + 1 + usize::from(instruction.jt), program.len() - 1);
            }
        }
    }
}
