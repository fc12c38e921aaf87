//! Connections that the kernel tracks: those of a UDP port are forgotten when it is
//! published or released. A flow goes on to the old place as long as its entry lives, and
//! a flow that began before the port was published never finds the container.

use super::message::{Batch, DUMP, Message};
use super::socket::Socket;
use rustix::io::Errno;
use std::net::IpAddr;

const SUBSYSTEM: u16 = 1 << 8;
const NEW: u16 = SUBSYSTEM;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_ID: u16 = 12;
const CTA_FILTER: u16 = 25;
const UDP: u8 = 17;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// The original direction of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// `AF_INET` or `AF_INET6`.
    family: u8,
    /// The protocol above IP.
    pub protocol: u8,
    /// To whom it was sent.
    pub destination: Option<IpAddr>,
    /// To which port it was sent.
    pub destination_port: u16,
    /// The tuple as the kernel wrote it, to name the connection by.
    tuple: Vec<u8>,
    /// The kernel's number for it.
    id: Option<u32>,
}

/// Asks for all connections, of both families.
fn list(batch: &mut Batch) {
    batch.message(GET, DUMP, &[0; 4], |_| {});
}

/// Asks for those of UDP only: Linux 5.10.
fn list_udp(batch: &mut Batch, family: u8) {
    const CTA_PROTO_NUM: u16 = 1;
    const CTA_TUPLE_PROTO: u16 = 2;
    /// The bit of `CTA_PROTO_NUM` among those of what is compared (nf_internals.h).
    const PROTO_NUM: u32 = 1 << 3;
    batch.message(GET, DUMP, &[family, 0, 0, 0], |attributes| {
        attributes.nest(CTA_TUPLE_ORIG, |tuple| {
            tuple.nest(CTA_TUPLE_PROTO, |protocol| protocol.u8(CTA_PROTO_NUM, UDP));
        });
        attributes.nest(CTA_FILTER, |filter| {
            filter.u32(1, PROTO_NUM);
            filter.u32(2, 0);
        });
    });
}

/// Reads an answer; `None` for another message.
#[must_use]
pub fn parse(message: &Message<'_>) -> Option<Flow> {
    if message.kind != NEW {
        return None;
    }
    let attributes = message.attributes(4);
    let tuple = attributes.find(CTA_TUPLE_ORIG)?;
    let ip = tuple.nested().find(1)?;
    let ports = tuple.nested().find(2)?;
    let port = ports.nested().find(3).and_then(|port| port.value.try_into().ok());
    Some(Flow {
        family: *message.body.first()?,
        protocol: *ports.nested().find(1)?.value.first()?,
        destination: ip
            .nested()
            .find(2)
            .or_else(|| ip.nested().find(4))
            .and_then(|address| address.address()),
        destination_port: port.map_or(0, u16::from_be_bytes),
        tuple: tuple.value.to_vec(),
        id: attributes.find(CTA_ID).and_then(|id| id.be32()),
    })
}

/// Forgets a connection.
pub fn delete(batch: &mut Batch, flow: &Flow) {
    batch.message(DELETE, 0, &[flow.family, 0, 0, 0], |attributes| {
        attributes.nest(CTA_TUPLE_ORIG, |tuple| tuple.raw(&flow.tuple));
        if let Some(id) = flow.id {
            attributes.be32(CTA_ID, id);
        }
    });
}

/// How many connections are tracked in the network namespace of this thread.
fn count_tracked() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count").ok()?;
    text.trim().parse().ok()
}

/// So many are listed faster than the table is walked through a second time: it is as large
/// as the machine's memory allows, for all namespaces, and a walk takes milliseconds.
const FEW: usize = 4096;

/// Forgets the UDP flows that were sent to one of these ports of the host.
///
/// # Errors
/// Where the kernel refuses the dump; connections that end meanwhile are no error.
pub fn forget_udp(socket: &mut Socket, is_theirs: impl Fn(&Flow) -> bool) -> Result<usize, Errno> {
    let families: &[u8] = match count_tracked() {
        Some(0) => return Ok(0),
        Some(count) if count <= FEW => &[],
        _ => &[AF_INET, AF_INET6],
    };
    let mut flows = Vec::new();
    let mut collect = |family: Option<u8>| {
        let mut batch = Batch::default();
        match family {
            Some(family) => list_udp(&mut batch, family),
            None => list(&mut batch),
        }
        socket.ask(&batch, |message| {
            flows.extend(parse(message).filter(|flow| flow.protocol == UDP && is_theirs(flow)));
        })
    };
    let listed = families.iter().try_for_each(|family| collect(Some(*family)));
    match listed {
        Ok(()) if !families.is_empty() => {}
        // A kernel that knows no such filter lists everything.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::INVAL) => collect(None)?,
        Err(errno) => return Err(errno),
    }
    for flow in &flows {
        let mut batch = Batch::default();
        delete(&mut batch, flow);
        match socket.apply(&mut batch) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(flows.len())
}
