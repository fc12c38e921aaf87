//! Queueing disciplines (tc(8), tc-tbf(8), tc-netem(8)).

use super::message::{Batch, CREATE, REPLACE};
use std::time::Duration;

const RTM_NEWQDISC: u16 = 36;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
const TCA_NETEM_LATENCY64: u16 = 10;
/// The root of an interface.
pub const ROOT: u32 = u32::MAX;
const LINKLAYER_ETHERNET: u8 = 1;

/// `struct tcmsg`.
fn body(interface: u32, handle: u32, parent: u32) -> [u8; 20] {
    let mut bytes = [0u8; 20];
    bytes[4..8].copy_from_slice(&interface.to_ne_bytes());
    bytes[8..12].copy_from_slice(&handle.to_ne_bytes());
    bytes[12..16].copy_from_slice(&parent.to_ne_bytes());
    bytes
}

/// Where a discipline goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The interface.
    pub interface: u32,
    /// Its own handle: major number above, 0 below.
    pub handle: u32,
    /// [`ROOT`], or the class of another one.
    pub parent: u32,
}

/// A token bucket: no more than so many bytes a second leave the interface, but for
/// bursts; `waiting` bytes wait at most, and more are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Bytes a second.
    pub rate: u64,
    /// Bytes that may leave at once.
    pub burst: u32,
    /// Bytes that wait.
    pub waiting: u32,
}

/// Puts a token bucket there.
pub fn add_bucket(batch: &mut Batch, place: Place, bucket: Bucket) {
    let body = body(place.interface, place.handle, place.parent);
    batch.message(RTM_NEWQDISC, CREATE | REPLACE, &body, |attributes| {
        attributes.text(TCA_KIND, "tbf");
        attributes.nest(TCA_OPTIONS, |options| {
            // struct tc_tbf_qopt: rate and peak rate (12 bytes each), limit, buffer, mtu.
            let mut parameters = [0u8; 36];
            parameters[1] = LINKLAYER_ETHERNET;
            let rate = u32::try_from(bucket.rate).unwrap_or(u32::MAX);
            parameters[8..12].copy_from_slice(&rate.to_ne_bytes());
            parameters[24..28].copy_from_slice(&bucket.waiting.to_ne_bytes());
            options.bytes(TCA_TBF_PARMS, &parameters);
            options.bytes(TCA_TBF_RATE64, &bucket.rate.to_ne_bytes());
            options.u32(TCA_TBF_BURST, bucket.burst);
        });
    });
}

/// A worse network than there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Emulation {
    /// So long every packet is kept.
    pub latency: Duration,
    /// How many are lost, of `u32::MAX`.
    pub loss: u32,
}

/// Puts a network emulator there.
pub fn add_emulation(batch: &mut Batch, place: Place, emulation: Emulation) {
    /// Packets that are kept at most: a second of a gigabit in full frames.
    const KEPT: u32 = 100_000;
    let body = body(place.interface, place.handle, place.parent);
    batch.message(RTM_NEWQDISC, CREATE | REPLACE, &body, |attributes| {
        attributes.text(TCA_KIND, "netem");
        // struct tc_netem_qopt (latency, limit, loss, gap, duplicate, jitter), then
        // attributes of its own.
        let mut parameters = [0u8; 24];
        parameters[4..8].copy_from_slice(&KEPT.to_ne_bytes());
        parameters[8..12].copy_from_slice(&emulation.loss.to_ne_bytes());
        let nanoseconds = i64::try_from(emulation.latency.as_nanos()).unwrap_or(i64::MAX);
        attributes.nest_after(TCA_OPTIONS, &parameters, |options| {
            options.bytes(TCA_NETEM_LATENCY64, &nanoseconds.to_ne_bytes());
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_in_bytes() {
        let mut batch = Batch::default();
        let place = Place {
            interface: 7,
            handle: 0x1_0000,
            parent: ROOT,
        };
        let bucket = Bucket {
            rate: 12_500_000,
            burst: 65_536,
            waiting: 131_072,
        };
        add_bucket(&mut batch, place, bucket);
        let bytes = batch.bytes();
        assert_eq!(&bytes[4..6], &36u16.to_ne_bytes());
        assert_eq!(&bytes[20..24], &7u32.to_ne_bytes());
        // Header 16, tcmsg 20, kind 8, options: 4, the parameters 4 + 36, rate 12, burst 8.
        assert_eq!(bytes.len(), 16 + 20 + 8 + 4 + 40 + 12 + 8);
        assert_eq!(&bytes[60..64], &12_500_000u32.to_ne_bytes());
    }
}
