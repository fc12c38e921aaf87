//! The ports that a container publishes, kept before anything is published. The kernel takes some
//! microseconds for each: where they are many, threads on other processors keep them while the
//! container is made, and close them while the rest is given back. Whoever has to wait for them
//! helps.

use super::proxy::{Forwarding, Targets, targets};
use crate::engine::Engine;
use crate::error::Result;
use crate::run::Prepared;
use cais_linux::limits::rlimit::raise_descriptors;
use cais_net::NetError;
use cais_net::network::NetworkStore;
use cais_net::publish::{PortMapping, PortRange, PublishedPort};
use cais_net::reserve::{HostWays, Reserved, reserve};
use cais_sys::process::close_together;
use rustix::event::epoll;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::thread::{sched_getaffinity, sched_getcpu, sched_setaffinity, sched_yield};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

/// From so many on, threads keep them: below, to make one takes longer.
const MANY: u32 = 64;
/// Who shares the work takes so many at once.
const PIECE: u16 = 32;

/// What the user wants published.
#[derive(Debug)]
struct Wanted {
    networks: NetworkStore,
    mappings: Vec<PortMapping>,
    /// The address of those that name none.
    fallback: Option<IpAddr>,
    targets: Targets,
}

/// Ports that are wanted in networks of ours, and the threads that keep them, where there are.
#[derive(Debug, Default)]
pub(crate) struct Keeping {
    ports: Option<(Arc<Pieces>, Vec<JoinHandle<Kept>>)>,
    /// Whether there are so many.
    by_threads: bool,
}

/// Mappings that several threads share.
#[derive(Debug)]
struct Pieces {
    wanted: Wanted,
    mappings: Vec<PortMapping>,
    /// The first that nobody has taken.
    next: AtomicUsize,
}

/// What one thread kept: the ports of each piece, by its number, and what went wrong.
type Kept = (Vec<(usize, Vec<Reserved>)>, Option<NetError>);

impl Keeping {
    /// Finds out what there is to keep.
    ///
    /// # Errors
    /// Where a network is gone.
    pub(crate) fn of(engine: &Engine, prepared: &Prepared) -> Result<Self> {
        let Some(wanted) = Wanted::of_networks(engine, prepared)? else {
            return Ok(Self::default());
        };
        let pieces = Arc::new(Pieces::of(wanted));
        let count = pieces
            .mappings
            .iter()
            .map(|mapping| mapping.container_ports.count())
            .sum();
        // The processes of a rootless start are copied, which takes one thread.
        let by_threads = count >= MANY && !engine.rootless && make_room(count).is_ok();
        Ok(Self {
            ports: Some((pieces, Vec::new())),
            by_threads,
        })
    }

    /// Begins where there are many ports: once the container's process is made, which would have
    /// to wait for a processor else.
    pub(crate) fn begin(&mut self) {
        let Some((pieces, threads)) = &mut self.ports else {
            return;
        };
        if self.by_threads {
            let pieces = Arc::clone(pieces);
            *threads = beside(2, move || pieces.keep(true));
            sched_yield();
        }
    }

    /// Whether it goes on without this thread.
    pub(super) fn goes_on(&self) -> bool {
        self.ports
            .as_ref()
            .is_some_and(|(_, threads)| !threads.is_empty())
    }

    /// The ports, kept.
    ///
    /// # Errors
    /// Where a port is taken.
    pub(super) fn finish(&mut self) -> Result<Forwarding> {
        let Some((pieces, threads)) = self.ports.take() else {
            return Ok(Forwarding::default());
        };
        let mut parts = vec![pieces.keep(false)];
        parts.extend(threads.into_iter().filter_map(|thread| thread.join().ok()));
        Ok(pieces.together(parts)?)
    }
}

impl Drop for Keeping {
    /// A start that failed has given its ports back when it says so.
    fn drop(&mut self) {
        if let Some((pieces, threads)) = self.ports.take() {
            pieces.stop();
            for thread in threads {
                thread.join().map(drop).unwrap_or_default();
            }
        }
    }
}

impl Pieces {
    fn of(wanted: Wanted) -> Self {
        Self {
            mappings: cut(&wanted.mappings),
            wanted,
            next: AtomicUsize::new(0),
        }
    }

    /// Keeps one piece after the other, as long as there are any, up to the first port that is
    /// taken. `beside` is where nobody waits for it yet: whoever shares the processor goes first.
    fn keep(&self, beside: bool) -> Kept {
        await_closed();
        let mut all = Vec::new();
        let host_ways = HostWays::unknown();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(mapping) = self.mappings.get(number) else {
                return (all, None);
            };
            if beside {
                sched_yield();
            }
            match reserve(&self.wanted.networks, mapping, (self.wanted.fallback, &host_ways)) {
                Ok(reserved) => all.push((number, reserved)),
                Err(error) => {
                    self.stop();
                    return (all, Some(error));
                }
            }
        }
    }

    fn stop(&self) {
        self.next.store(self.mappings.len(), Ordering::Relaxed);
    }

    /// What was kept, in the order in which it was asked for.
    fn together(&self, parts: Vec<Kept>) -> cais_net::Result<Forwarding> {
        let mut in_order: Vec<Vec<Reserved>> = Vec::new();
        in_order.resize_with(self.mappings.len(), Vec::new);
        let mut error = None;
        for (kept, failed) in parts {
            for (number, reserved) in kept {
                if let Some(slot) = in_order.get_mut(number) {
                    *slot = reserved;
                }
            }
            error = error.or(failed);
        }
        let reserved = in_order.into_iter().reduce(|mut all, mut piece| {
            all.append(&mut piece);
            all
        });
        let reserved = reserved.unwrap_or_default();
        match error {
            None => Ok(Forwarding::of(self.wanted.targets, reserved)),
            Some(error) => Err(name_ourselves(error, &reserved)),
        }
    }
}

/// Has the kernel make the table of descriptors large enough while there is one thread: later,
/// each time that it grows, all that two threads open waits for a grace period of RCU.
fn make_room(count: u32) -> rustix::io::Result<()> {
    /// What a start has open beside.
    const OTHERS: u32 = 128;
    raise_descriptors();
    let highest = i32::try_from(count + OTHERS).or(Err(Errno::MFILE))?;
    let some = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    fcntl_dupfd_cloexec(some, highest).map(drop)
}

/// Keeps the ports of a container that networks of others lead to.
///
/// # Errors
/// Where a port is taken.
pub(super) fn keep_all(engine: &Engine, prepared: &Prepared, targets: Targets) -> Result<Forwarding> {
    let wanted = Wanted::of(engine, prepared, None, targets);
    let mut keeping = Keeping {
        ports: Some((Arc::new(Pieces::of(wanted)), Vec::new())),
        by_threads: false,
    };
    keeping.finish()
}

/// Ports that are let go.
struct Closing {
    /// Their sockets, in pieces that nobody has taken yet.
    pieces: Vec<Vec<OwnedFd>>,
    /// Who closes them at this moment.
    threads: Vec<JoinHandle<()>>,
}

static CLOSING: Mutex<Closing> = Mutex::new(Closing {
    pieces: Vec::new(),
    threads: Vec::new(),
});

/// Closes the sockets of ports, those of many beside this thread, which is to call
/// [`await_closed`] before it makes another process: a copy of this one could find the lock or
/// the heap as a thread has it that is not there any more.
pub(super) fn let_go(sockets: Vec<OwnedFd>) {
    if u32::try_from(sockets.len()).unwrap_or(u32::MAX) < MANY {
        return;
    }
    // Several threads opened them by turns; those that follow each other are closed by one call.
    let mut by_number = Vec::new();
    for socket in sockets {
        let number = usize::try_from(socket.as_raw_fd()).unwrap_or(0);
        by_number.resize_with(by_number.len().max(number + 1), || None);
        if let Some(place) = by_number.get_mut(number) {
            *place = Some(socket);
        }
    }
    let mut in_order = by_number.into_iter().flatten();
    // What cannot be shared is closed as it is dropped.
    let Ok(mut closing) = CLOSING.lock() else { return };
    loop {
        let piece: Vec<OwnedFd> = in_order.by_ref().take(usize::from(PIECE)).collect();
        if piece.is_empty() {
            break;
        }
        closing.pieces.push(piece);
    }
    let threads = beside(1, close_pieces);
    let is_alone = threads.is_empty();
    closing.threads.extend(threads);
    drop(closing);
    if is_alone {
        close_pieces();
    }
    sched_yield();
}

fn close_pieces() {
    // The lock is not held while one is closed.
    let next = || CLOSING.lock().ok().and_then(|mut closing| closing.pieces.pop());
    while let Some(piece) = next() {
        close_together(piece);
    }
}

/// Helps to close what is still open, and waits until this process has none of the ports any
/// more that it let go.
pub(crate) fn await_closed() {
    close_pieces();
    let closing = CLOSING
        .lock()
        .map(|mut closing| std::mem::take(&mut closing.threads));
    for thread in closing.into_iter().flatten() {
        thread.join().unwrap_or_default();
    }
}

/// Starts so many threads for some work, at the most one for each other processor. They keep off
/// the one that this thread runs on: where the kernel puts them together, neither gets on, and
/// another one idles. Whoever starts them is to let them go there ([`sched_yield`]).
fn beside<T: Send + 'static>(
    most: usize,
    work: impl Fn() -> T + Clone + Send + 'static,
) -> Vec<JoinHandle<T>> {
    let Ok(mut others) = sched_getaffinity(None) else {
        return Vec::new();
    };
    others.unset(sched_getcpu());
    let count = usize::try_from(others.count()).unwrap_or(0).min(most);
    let spawn = |_| {
        let work = work.clone();
        Builder::new().spawn(move || {
            sched_setaffinity(None, &others).unwrap_or_default();
            work()
        })
    };
    (0..count).filter_map(|number| spawn(number).ok()).collect()
}

impl Wanted {
    fn of_networks(engine: &Engine, prepared: &Prepared) -> Result<Option<Self>> {
        let options = &prepared.record.options.network;
        let planned = prepared.network.as_ref();
        let Some((planned, target)) = planned.and_then(|planned| Some((planned, planned.published_to()?)))
        else {
            return Ok(None);
        };
        if options.publish.is_empty() && !options.publish_all {
            return Ok(None);
        }
        let own = engine.store.networks().find(&target.network)?.publish_address;
        Ok(Some(Self::of(engine, prepared, own, targets(planned))))
    }

    /// `own` is the address that the network names for those that name none.
    fn of(engine: &Engine, prepared: &Prepared, own: Option<IpAddr>, targets: Targets) -> Self {
        let options = &prepared.record.options.network;
        let mut mappings = options.publish.clone();
        if options.publish_all {
            let all = options.expose.iter().map(|exposed| PortMapping {
                host: None,
                host_ports: None,
                container_ports: exposed.ports,
                protocol: exposed.protocol,
            });
            mappings.extend(all);
        }
        Self {
            networks: engine.store.networks(),
            mappings,
            fallback: own.or(engine.config.publish_address.value),
            targets,
        }
    }
}

/// The mappings, ranges of many ports in pieces.
fn cut(mappings: &[PortMapping]) -> Vec<PortMapping> {
    let mut pieces = Vec::new();
    for mapping in mappings {
        let mut rest = *mapping;
        while let Some((piece, others)) = part(&rest, PIECE) {
            pieces.push(piece);
            rest = others;
        }
        pieces.push(rest);
    }
    pieces
}

/// A mapping in two, the first of so many ports; `None` where that would mean something else, or
/// there are no more.
fn part(mapping: &PortMapping, count: u16) -> Option<(PortMapping, PortMapping)> {
    let inside = mapping.container_ports;
    let cut = |ports: PortRange| {
        let middle = ports
            .first
            .checked_add(count)
            .filter(|middle| *middle <= ports.last)?;
        let (mut one, mut other) = (ports, ports);
        (one.last, other.first) = (middle - 1, middle);
        Some((one, other))
    };
    let (one, other) = cut(inside)?;
    let host = match mapping.host_ports {
        Some(ports) if ports.count() == inside.count() => {
            cut(ports).map(|(one, other)| (Some(one), Some(other)))?
        }
        Some(_) => return None,
        None => (None, None),
    };
    let with = |container_ports, host_ports| PortMapping {
        container_ports,
        host_ports,
        ..*mapping
    };
    Some((with(one, host.0), with(other, host.1)))
}

/// A port that this container has by another `--publish`.
fn name_ourselves(mut error: NetError, kept: &[Reserved]) -> NetError {
    if let NetError::PortTaken {
        port,
        protocol,
        holder,
    } = &mut error
    {
        let number = port.rsplit(':').next().and_then(|number| number.parse().ok());
        let is_same =
            |each: &PublishedPort| number == Some(each.host_port) && each.protocol.to_string() == *protocol;
        if kept.iter().any(|each| is_same(&each.port)) {
            *holder = "another --publish of this container".to_owned();
        }
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(mappings: &[PortMapping]) -> String {
        let range = |ports: PortRange| match ports.count() {
            1 => ports.first.to_string(),
            _ => format!("{}-{}", ports.first, ports.last),
        };
        let each = |mapping: &PortMapping| {
            let host = mapping.host_ports.map(|ports| format!("{}:", range(ports)));
            format!("{}{}", host.unwrap_or_default(), range(mapping.container_ports))
        };
        mappings.iter().map(each).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn ranges_are_cut_in_pieces() {
        for (given, want) in [
            ("8080:80", "8080:80"),
            ("1-32", "1-32"),
            ("1000-1063:1-64", "1000-1031:1-32 1032-1063:33-64"),
            ("9:9 101-170:1-70", "9:9 101-132:1-32 133-164:33-64 165-170:65-70"),
            ("101-133 9:9", "101-132 133 9:9"),
            (
                "65500-65535:65500-65535",
                "65500-65531:65500-65531 65532-65535:65532-65535",
            ),
            // One port of the container at any of many of the host.
            ("8000-8100:80", "8000-8100:80"),
        ] {
            let mappings: Vec<PortMapping> = given.split(' ').map(|text| text.parse().unwrap()).collect();
            assert_eq!(shown(&cut(&mappings)), want, "{given}");
        }
    }
}
