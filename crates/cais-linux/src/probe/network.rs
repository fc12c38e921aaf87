//! What networks of containers need.

use super::kernel::reason;
use super::{Finding, State, read_setting};
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// `nlmsghdr` and `nfgenmsg`, and nothing behind them.
const REQUEST_LENGTH: usize = 20;

pub(super) fn findings() -> Vec<Finding> {
    vec![nftables(), forwarding()]
}

fn nftables() -> Finding {
    const WITHOUT: &str = "no published ports and no way out of a bridge: only --network none and host";
    match ask_generation() {
        Ok(generation) => {
            let detail = format!("rule set generation {generation}");
            Finding::new("nftables", State::Present, detail, WITHOUT)
        }
        Err(errno @ (Errno::PERM | Errno::ACCESS)) => Finding::new(
            "nftables",
            State::Unknown,
            format!("not for this user: {}", reason(errno)),
            WITHOUT,
        ),
        Err(errno) => {
            let detail = format!("the kernel does not answer nf_tables messages: {}", reason(errno));
            Finding::new("nftables", State::Absent, detail, WITHOUT)
        }
    }
}

/// Asks nf_tables for the number of its rule set (`NFT_MSG_GETGEN`), which changes nothing.
fn ask_generation() -> Result<u32, Errno> {
    let flags = SocketFlags::CLOEXEC;
    let protocol = Some(netlink::NETFILTER);
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
    send(socket.as_fd(), &generation_request(), SendFlags::empty())?;
    let mut buffer = [0u8; 512];
    // The kernel answers within send(2); without an answer there is nothing to wait for.
    let (length, _) = recv(socket.as_fd(), &mut buffer[..], RecvFlags::DONTWAIT)?;
    parse_generation(buffer.get(..length).unwrap_or_default())
}

/// `struct nlmsghdr` and `struct nfgenmsg` of the question.
fn generation_request() -> [u8; REQUEST_LENGTH] {
    const NFNL_SUBSYS_NFTABLES: u16 = 10;
    const NFT_MSG_GETGEN: u16 = 16;
    const NLM_F_REQUEST: u16 = 1;
    let mut bytes = [0u8; REQUEST_LENGTH];
    let kind = (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETGEN;
    bytes[..4].copy_from_slice(&20u32.to_ne_bytes());
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    bytes
}

/// The number in the answer, or the errno of an error message (netlink(7)).
fn parse_generation(answer: &[u8]) -> Result<u32, Errno> {
    const NLMSG_ERROR: u16 = 2;
    const NFTA_GEN_ID: u16 = 1;
    let short = Errno::BADMSG;
    let kind = answer
        .get(4..6)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u16::from_ne_bytes)
        .ok_or(short)?;
    let body = answer.get(16..).ok_or(short)?;
    if kind == NLMSG_ERROR {
        let code = body
            .first_chunk::<4>()
            .copied()
            .map(i32::from_ne_bytes)
            .ok_or(short)?;
        return Err(Errno::from_raw_os_error(code.saturating_neg()));
    }
    // Behind nfgenmsg: attributes of length, type and value, padded to four bytes.
    let mut attributes = body.get(4..).ok_or(short)?;
    while let Some((header, rest)) = attributes.split_first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = rest.get(..length.saturating_sub(4)).ok_or(short)?;
        if u16::from_ne_bytes([header[2], header[3]]) == NFTA_GEN_ID {
            return value
                .first_chunk::<4>()
                .copied()
                .map(u32::from_be_bytes)
                .ok_or(short);
        }
        attributes = rest
            .get(length.saturating_sub(4).next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Err(short)
}

fn forwarding() -> Finding {
    const PATH: &str = "/proc/sys/net/ipv4/ip_forward";
    const WITHOUT: &str =
        "containers on a bridge reach this host only, until cais sets sysctl net.ipv4.ip_forward=1";
    match read_setting(PATH) {
        Some(value) => Finding::new(
            "IPv4 forwarding",
            value != "0",
            format!("ip_forward={value}"),
            WITHOUT,
        ),
        None => Finding::new(
            "IPv4 forwarding",
            State::Unknown,
            format!("{PATH} cannot be read"),
            WITHOUT,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 16];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn answers() {
        let attribute = |kind: u16, value: &[u8]| {
            let length = u16::try_from(4 + value.len()).unwrap();
            let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
            bytes.extend_from_slice(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let body = [
            vec![0; 4],
            attribute(3, b"cais\0"),
            attribute(1, &7u32.to_be_bytes()),
        ]
        .concat();
        assert_eq!(parse_generation(&answer(0xa0f, &body)), Ok(7));
        let refused = (-1i32).to_ne_bytes();
        assert_eq!(parse_generation(&answer(2, &refused)), Err(Errno::PERM));
        for end in 0..16 + body.len() {
            assert!(parse_generation(&answer(0xa0f, &body)[..end]).is_err(), "{end}");
        }
        assert_eq!(
            parse_generation(&answer(0xa0f, &[vec![0; 4], vec![0; 8]].concat())),
            Err(Errno::BADMSG)
        );
    }

    #[test]
    fn the_request_states_its_length() {
        let request = generation_request();
        assert_eq!(u32::from_ne_bytes(request[..4].try_into().unwrap()), 20);
    }
}
