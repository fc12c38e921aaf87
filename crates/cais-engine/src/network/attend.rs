//! What the monitor does for a container in networks: it keeps the ports of the host, passes
//! on what the kernel cannot lead to the container, and restores the table when somebody
//! has flushed it.

use super::connect::{Connected, keep_again};
use super::guard::Guard;
use super::proxy::{Forwarding, targets};
use crate::error::Result;
use crate::id::ContainerId;
use crate::monitor::attendant::{Attendant, Attention, Program, Wanted};
use crate::store::Store;
use cais_net::network::{Driver, NetworkStore};
use rustix::event::PollFlags;
use std::time::Instant;

/// The attendants of a container; none where it is in no network.
///
/// # Errors
/// Where the monitor cannot listen for changes of the packet filter.
pub(crate) fn attendants(
    store: &Store,
    id: &ContainerId,
    connected: Connected,
) -> Result<Vec<Box<dyn Attendant>>> {
    let mut all: Vec<Box<dyn Attendant>> = Vec::new();
    let Some(endpoints) = connected.endpoints else {
        return Ok(all);
    };
    let networks = store.networks();
    if endpoints
        .endpoints
        .iter()
        .any(|each| each.driver == Driver::Bridge && each.host_interface.is_some())
    {
        all.push(Box::new(Guard::new(store, id)));
    }
    let mut ports = Ports {
        networks,
        container: id.as_str().to_owned(),
        forwarding: connected.forwarding,
    };
    ports.forwarding.set_targets(targets(&endpoints));
    all.push(Box::new(ports));
    Ok(all)
}

/// Keeps the ports.
#[derive(Debug)]
struct Ports {
    networks: NetworkStore,
    container: String,
    forwarding: Forwarding,
}

impl Attendant for Ports {
    fn want<'a>(&'a self, wanted: &mut Wanted<'a>) {
        self.forwarding.want(wanted);
    }

    fn deadline(&self) -> Option<Instant> {
        self.forwarding.deadline()
    }

    fn attend(&mut self, ready: &[PollFlags], _program: &Program<'_>) -> Attention {
        self.forwarding.attend(ready);
        Attention::Stays
    }

    fn look_again(&mut self) {
        let Ok(Some(endpoints)) = self.networks.read_endpoints(&self.container) else {
            return;
        };
        self.forwarding.set_targets(targets(&endpoints));
        self.forwarding.retain(&endpoints.ports);
        for port in &endpoints.ports {
            if !self.forwarding.has(port) {
                self.forwarding.keep(keep_again(&self.networks, *port));
            }
        }
    }
}
