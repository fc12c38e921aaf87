//! Clients over TCP (RFC 7766): queries behind their lengths, several one after the
//! other. What a client sends is read only while what it was sent has been taken, so that
//! little is kept for one that does not read.

use super::exchange::first_frame;
use super::message::{HEADER, MAX_QUERY};
use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A client that neither sends nor takes anything for this long is let go.
pub(super) const IDLE: Duration = Duration::from_secs(10);
/// Queries of one client that wait for upstream servers.
const MOST_PENDING: usize = 4;

/// Names a slot, and who was in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotName {
    pub(super) index: usize,
    pub(super) generation: u32,
}

/// From where a query came.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin {
    Udp(SocketAddr),
    Tcp(SlotName),
}

/// A client's connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) socket: OwnedFd,
    pub(super) deadline: Instant,
    received: Vec<u8>,
    sending: Vec<u8>,
    pending: usize,
    ended: bool,
    /// What is watched for now.
    pub(super) interest: EventFlags,
}

impl Client {
    pub(super) fn new(socket: OwnedFd, now: Instant) -> Self {
        Self {
            socket,
            deadline: now + IDLE,
            received: Vec::new(),
            sending: Vec::new(),
            pending: 0,
            ended: false,
            interest: EventFlags::IN,
        }
    }

    /// What to wait for.
    pub(super) fn wanted(&self) -> EventFlags {
        if !self.sending.is_empty() {
            EventFlags::OUT
        } else if self.pending < MOST_PENDING && !self.ended {
            EventFlags::IN
        } else {
            EventFlags::empty()
        }
    }

    /// How many octets are kept for it.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.received.capacity() + self.sending.capacity()
    }

    /// Whether all is done.
    pub(super) fn is_done(&self) -> bool {
        self.ended && self.pending == 0 && self.sending.is_empty()
    }

    /// Reads once.
    ///
    /// # Errors
    /// Where the connection is broken.
    pub(super) fn read(&mut self, now: Instant) -> Result<(), Errno> {
        let mut buffer = [0u8; 1024];
        match recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((0, _)) => self.ended = true,
            Ok((count, _)) => {
                self.received
                    .extend_from_slice(buffer.get(..count).unwrap_or_default());
                self.deadline = now + IDLE;
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        Ok(())
    }

    /// The next whole query, if there may be one more now.
    ///
    /// # Errors
    /// Where the client announces a message that is no query.
    pub(super) fn next_query(&mut self) -> Result<Option<Vec<u8>>, Errno> {
        if let Some(length) = self.received.first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            if !(HEADER..=MAX_QUERY).contains(&length) {
                return Err(Errno::BADMSG);
            }
        }
        if self.pending >= MOST_PENDING || !self.sending.is_empty() {
            return Ok(None);
        }
        let Some(message) = first_frame(&self.received).map(<[u8]>::to_vec) else {
            return Ok(None);
        };
        self.received.drain(..message.len() + 2);
        self.pending += 1;
        Ok(Some(message))
    }

    /// A query is answered, or dropped where there is no answer.
    ///
    /// # Errors
    /// Where the connection is broken.
    pub(super) fn answer(&mut self, message: Option<&[u8]>, now: Instant) -> Result<(), Errno> {
        self.pending = self.pending.saturating_sub(1);
        if let Some(message) = message {
            let length = u16::try_from(message.len()).map_err(|_too_long| Errno::MSGSIZE)?;
            self.sending.extend_from_slice(&length.to_be_bytes());
            self.sending.extend_from_slice(message);
        }
        self.write(now)
    }

    /// Sends what is to be sent, as far as it is taken.
    ///
    /// # Errors
    /// Where the connection is broken.
    pub(super) fn write(&mut self, now: Instant) -> Result<(), Errno> {
        while !self.sending.is_empty() {
            match send(&self.socket, &self.sending, SendFlags::NOSIGNAL) {
                Ok(count) => {
                    self.sending.drain(..count);
                    self.deadline = now + IDLE;
                }
                Err(Errno::AGAIN | Errno::INTR) => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}
