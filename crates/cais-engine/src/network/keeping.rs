//! The ports that a container publishes, kept before anything is written down. The kernel
//! takes some microseconds for each: where they are many, two threads keep them while the
//! container is made, and two others let them go while the rest is given back.

use super::proxy::{Forwarding, Targets, targets};
use crate::engine::Engine;
use crate::error::Result;
use crate::run::Prepared;
use cais_linux::limits::rlimit::raise_descriptors;
use cais_net::NetError;
use cais_net::network::NetworkStore;
use cais_net::publish::{PortMapping, PortRange, PublishedPort};
use cais_net::reserve::reserve;
use rustix::event::epoll;
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use std::net::IpAddr;
use std::sync::Mutex;
use std::thread::{Builder, JoinHandle};

/// From so many on, threads keep them: below, to make one takes longer.
const MANY: u32 = 64;

/// What the user wants published.
#[derive(Debug)]
struct Wanted {
    networks: NetworkStore,
    mappings: Vec<PortMapping>,
    /// The address of those that name none.
    fallback: Option<IpAddr>,
    targets: Targets,
}

/// Ports that a thread keeps, where one does.
#[derive(Debug, Default)]
pub(crate) struct Keeping(Option<JoinHandle<cais_net::Result<Forwarding>>>);

impl Keeping {
    /// Begins where there are many ports. What goes wrong is met again by [`Self::finish`].
    pub(crate) fn begin(engine: &Engine, prepared: &Prepared) -> Self {
        let count: u32 = prepared
            .record
            .options
            .network
            .publish
            .iter()
            .map(|mapping| mapping.container_ports.count())
            .sum();
        // The processes of a rootless start are copied, which takes one thread.
        if count < MANY || engine.rootless {
            return Self(None);
        }
        let Ok(Some(wanted)) = Wanted::of_networks(engine, prepared) else {
            return Self(None);
        };
        raise_descriptors();
        if make_room(count).is_err() {
            return Self(None);
        }
        Self(Builder::new().spawn(move || wanted.keep()).ok())
    }

    /// The ports of a container in networks of ours, kept.
    ///
    /// # Errors
    /// Where a port is taken.
    pub(super) fn finish(&mut self, engine: &Engine, prepared: &Prepared) -> Result<Forwarding> {
        if let Some(Ok(kept)) = self.0.take().map(JoinHandle::join) {
            return Ok(kept?);
        }
        match Wanted::of_networks(engine, prepared)? {
            Some(wanted) => Ok(wanted.keep()?),
            None => Ok(Forwarding::default()),
        }
    }
}

impl Drop for Keeping {
    /// A start that failed has given its ports back when it says so.
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            thread.join().map(drop).unwrap_or_default();
        }
    }
}

/// Has the kernel make the table of descriptors large enough while there is one thread: later,
/// each time that it grows, all that two threads open waits for a grace period of RCU.
fn make_room(count: u32) -> rustix::io::Result<()> {
    /// What a start has open beside.
    const OTHERS: u32 = 128;
    let highest = i32::try_from(count + OTHERS).or(Err(Errno::MFILE))?;
    let some = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    fcntl_dupfd_cloexec(some, highest).map(drop)
}

/// Keeps the ports of a container that networks of others lead to.
///
/// # Errors
/// Where a port is taken.
pub(super) fn keep_all(engine: &Engine, prepared: &Prepared, targets: Targets) -> Result<Forwarding> {
    Ok(Wanted::of(engine, prepared, None, targets).keep()?)
}

/// Who closes sockets at this moment. A process that ends need not wait for it: its descriptors
/// are closed before anybody hears of its end.
static CLOSING: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

/// Closes the sockets of many ports beside this thread.
pub(super) fn let_go<T: Send + 'static>(mut ports: Vec<T>) {
    if u32::try_from(ports.len()).unwrap_or(u32::MAX) < MANY {
        return;
    }
    await_closed();
    let half = ports.split_off(ports.len() / 2);
    for some in [ports, half] {
        // Where there can be no thread, they are closed here.
        if let (Ok(thread), Ok(mut closing)) = (Builder::new().spawn(move || drop(some)), CLOSING.lock()) {
            closing.push(thread);
        }
    }
}

/// Waits until this process has none of the ports any more that it let go.
fn await_closed() {
    let closing = CLOSING.lock().map(|mut closing| std::mem::take(&mut *closing));
    for thread in closing.into_iter().flatten() {
        thread.join().unwrap_or_default();
    }
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

    fn keep(self) -> cais_net::Result<Forwarding> {
        await_closed();
        let (ahead, behind) = halve(&self.mappings);
        let (one, other) = std::thread::scope(|scope| {
            let beside = (!behind.is_empty())
                .then(|| {
                    Builder::new()
                        .spawn_scoped(scope, || self.keep_some(&behind))
                        .ok()
                })
                .flatten();
            let one = self.keep_some(&ahead);
            let other = beside.and_then(|thread| thread.join().ok());
            (one, other.unwrap_or_else(|| self.keep_some(&behind)))
        });
        match (one, other) {
            ((one, None), (other, None)) => Ok(one.join(other)),
            ((one, Some(error)), (other, _)) | ((one, None), (other, Some(error))) => {
                let ports: Vec<&PublishedPort> = one.ports().chain(other.ports()).collect();
                Err(name_ourselves(error, &ports))
            }
        }
    }

    /// Keeps the ports of some mappings, up to the first that is taken.
    fn keep_some(&self, mappings: &[PortMapping]) -> (Forwarding, Option<NetError>) {
        let mut kept = Forwarding::of(self.targets, Vec::new());
        for mapping in mappings {
            match reserve(&self.networks, mapping, self.fallback) {
                Ok(reserved) => reserved.into_iter().for_each(|reserved| kept.keep(reserved)),
                Err(error) => return (kept, Some(error)),
            }
        }
        (kept, None)
    }
}

/// Many ports in two parts of one length, as far as ranges can be parted; few in one.
fn halve(mappings: &[PortMapping]) -> (Vec<PortMapping>, Vec<PortMapping>) {
    let count: u32 = mappings
        .iter()
        .map(|mapping| mapping.container_ports.count())
        .sum();
    let mut left = if count < MANY { count } else { count / 2 };
    let (mut ahead, mut behind) = (Vec::new(), Vec::new());
    for mapping in mappings {
        let own = mapping.container_ports.count();
        match part(mapping, left) {
            _ if own <= left => ahead.push(*mapping),
            Some((one, other)) => {
                ahead.push(one);
                behind.push(other);
            }
            None => behind.push(*mapping),
        }
        left = left.saturating_sub(own);
    }
    (ahead, behind)
}

/// A mapping in two, the first of so many ports; `None` where that would mean something else.
fn part(mapping: &PortMapping, count: u32) -> Option<(PortMapping, PortMapping)> {
    let inside = mapping.container_ports;
    let count = u16::try_from(count).ok().filter(|count| *count > 0)?;
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
fn name_ourselves(mut error: NetError, kept: &[&PublishedPort]) -> NetError {
    if let NetError::PortTaken {
        port,
        protocol,
        holder,
    } = &mut error
    {
        let number = port.rsplit(':').next();
        if kept
            .iter()
            .filter(|each| number == Some(&each.host_port.to_string()))
            .any(|each| each.protocol.to_string() == *protocol)
        {
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
    fn many_ports_are_parted() {
        for (given, one, other) in [
            ("8080:80", "8080:80", ""),
            ("1-63", "1-63", ""),
            ("1000-1063:1-64", "1000-1031:1-32", "1032-1063:33-64"),
            ("101-200", "101-150", "151-200"),
            ("9:9 101-200:1-100", "9:9 101-149:1-49", "150-200:50-100"),
            ("101-200:1-100 9:9", "101-150:1-50", "151-200:51-100 9:9"),
            ("1-40 41-80", "1-40", "41-80"),
            (
                "65436-65535:65436-65535",
                "65436-65485:65436-65485",
                "65486-65535:65486-65535",
            ),
        ] {
            let mappings: Vec<PortMapping> = given.split(' ').map(|text| text.parse().unwrap()).collect();
            let (ahead, behind) = halve(&mappings);
            assert_eq!(
                (shown(&ahead).as_str(), shown(&behind).as_str()),
                (one, other),
                "{given}"
            );
        }
        // One port of the container at any of many of the host.
        let any: PortMapping = "8000-8100:80".parse().unwrap();
        assert_eq!(part(&any, 1), None);
    }
}
