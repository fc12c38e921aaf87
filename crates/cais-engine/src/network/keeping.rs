//! The ports that a container publishes, kept before anything is written down. The kernel
//! takes some microseconds for each: where they are many, a thread keeps them while the
//! container is made, and another lets them go while the rest is given back.

use super::proxy::{Forwarding, Targets, targets};
use crate::engine::Engine;
use crate::error::Result;
use crate::run::Prepared;
use cais_linux::limits::rlimit::raise_descriptors;
use cais_net::NetError;
use cais_net::network::NetworkStore;
use cais_net::publish::PortMapping;
use cais_net::reserve::{Reserved, reserve};
use rustix::event::epoll;
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use std::net::IpAddr;
use std::sync::Mutex;
use std::thread::{Builder, JoinHandle};

/// From so many on, a thread keeps them: below, to make one takes longer.
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
static CLOSING: Mutex<Option<JoinHandle<()>>> = Mutex::new(None);

/// Closes the sockets of many ports beside this thread.
pub(super) fn let_go<T: Send + 'static>(ports: Vec<T>) {
    if u32::try_from(ports.len()).unwrap_or(u32::MAX) < MANY {
        return;
    }
    await_closed();
    // Where there can be no thread, they are closed here.
    if let (Ok(thread), Ok(mut closing)) = (Builder::new().spawn(move || drop(ports)), CLOSING.lock()) {
        *closing = Some(thread);
    }
}

/// Waits until this process has none of the ports any more that it let go.
fn await_closed() {
    let closing = CLOSING.lock().map(|mut closing| closing.take());
    if let Ok(Some(thread)) = closing {
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
        let mut reserved: Vec<Reserved> = Vec::new();
        for mapping in &self.mappings {
            let more = reserve(&self.networks, mapping, self.fallback);
            reserved.extend(more.map_err(|error| name_ourselves(error, &reserved))?);
        }
        Ok(Forwarding::of(self.targets, reserved))
    }
}

/// A port that this container has by another `--publish`.
fn name_ourselves(mut error: NetError, reserved: &[Reserved]) -> NetError {
    if let NetError::PortTaken {
        port,
        protocol,
        holder,
    } = &mut error
    {
        let ends = |each: &&Reserved| port.rsplit(':').next() == Some(&each.port.host_port.to_string());
        if reserved
            .iter()
            .filter(ends)
            .any(|each| each.port.protocol.to_string() == *protocol)
        {
            *holder = "another --publish of this container".to_owned();
        }
    }
    error
}
