//! Datagrams that are passed on: for each client a socket towards the container, so that
//! answers find their way back.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{RecvFlags, SendFlags, SocketType, recv, recvfrom, send, sendto};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// A client that has not been heard of for so long is forgotten.
const IDLE: Duration = Duration::from_secs(60);
/// The most clients of one port; the one that was quiet longest makes room.
const MOST: usize = 1024;
/// The largest datagram.
const DATAGRAM: usize = 65_535;
/// How many datagrams are passed on before others have their turn.
const AT_ONCE: usize = 64;

/// One client.
#[derive(Debug)]
struct Flow {
    client: SocketAddr,
    server: OwnedFd,
    last: Instant,
}

/// The clients of one port.
#[derive(Debug, Default)]
pub(super) struct Flows {
    flows: Vec<Flow>,
}

impl Flows {
    pub(super) fn descriptors(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        self.flows
            .iter()
            .enumerate()
            .map(|(number, flow)| (number, flow.server.as_fd()))
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.flows.iter().map(|flow| flow.last + IDLE).min()
    }

    pub(super) fn forget_idle(&mut self) {
        let now = Instant::now();
        self.flows.retain(|flow| flow.last + IDLE > now);
    }

    /// Passes datagrams of clients on to the container.
    pub(super) fn pass_on(&mut self, port: BorrowedFd<'_>, target: impl Fn(IpAddr) -> Option<SocketAddr>) {
        let mut buffer = vec![0; DATAGRAM];
        for _ in 0..AT_ONCE {
            let Ok((length, _, Some(client))) = recvfrom(port, buffer.as_mut_slice(), RecvFlags::DONTWAIT)
            else {
                return;
            };
            let Ok(client) = SocketAddr::try_from(client) else {
                return;
            };
            if let Some(flow) = self.flow_of(client, &target) {
                flow.last = Instant::now();
                // A datagram may be lost: that is what they are.
                send(
                    &flow.server,
                    buffer.get(..length).unwrap_or_default(),
                    SendFlags::DONTWAIT,
                )
                .map(drop)
                .unwrap_or_default();
            }
        }
    }

    fn flow_of(
        &mut self,
        client: SocketAddr,
        target: impl Fn(IpAddr) -> Option<SocketAddr>,
    ) -> Option<&mut Flow> {
        if let Some(number) = self.flows.iter().position(|flow| flow.client == client) {
            return self.flows.get_mut(number);
        }
        if self.flows.len() >= MOST
            && let Some(number) =
                (0..self.flows.len()).min_by_key(|number| self.flows.get(*number).map(|it| it.last))
        {
            self.flows.swap_remove(number);
        }
        let server = super::connect_to(target(client.ip())?, SocketType::DGRAM, client.ip())?;
        self.flows.push(Flow {
            client,
            server,
            last: Instant::now(),
        });
        self.flows.last_mut()
    }

    /// Passes answers of the container back to a client.
    pub(super) fn answer(&mut self, number: usize, port: BorrowedFd<'_>) {
        let mut buffer = vec![0; DATAGRAM];
        let Some(flow) = self.flows.get_mut(number) else {
            return;
        };
        for _ in 0..AT_ONCE {
            match recv(&flow.server, buffer.as_mut_slice(), RecvFlags::DONTWAIT) {
                Ok((length, _)) => {
                    flow.last = Instant::now();
                    let datagram = buffer.get(..length).unwrap_or_default();
                    sendto(port, datagram, SendFlags::DONTWAIT, &flow.client)
                        .map(drop)
                        .unwrap_or_default();
                }
                // Nothing more, or nobody listens there: the client hears nothing.
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn answers_find_their_client() {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let clients = [0, 1].map(|_| {
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.connect(port.local_addr().unwrap()).unwrap();
            client
        });
        let mut flows = Flows::default();
        for (client, word) in clients.iter().zip([b"a", b"b"]) {
            client.send(word).unwrap();
        }
        flows.pass_on(port.as_fd(), |_| server.local_addr().ok());
        for _ in 0..2 {
            let mut buffer = [0; 8];
            let (length, from) = server.recv_from(&mut buffer).unwrap();
            server.send_to(&buffer[..length], from).unwrap();
        }
        for number in 0..2 {
            flows.answer(number, port.as_fd());
        }
        for (client, word) in clients.iter().zip([b"a", b"b"]) {
            let mut buffer = [0; 8];
            assert_eq!(client.recv(&mut buffer).unwrap(), 1);
            assert_eq!(buffer[0], word[0]);
        }
        assert!(flows.deadline().is_some());
    }
}
