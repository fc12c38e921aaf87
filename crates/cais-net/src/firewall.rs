//! The table in the kernel: whether it is there, making it, changing its elements.
//!
//! Whoever changes the state writes its file first and then the elements. Whoever makes the
//! whole table reads the number of the rule set first, then the files, and lets the kernel
//! refuse the table where the number has changed meanwhile: so no change is lost.

use crate::error::{NetError, Result};
use crate::host;
use crate::netlink::nftables::{self, Element, Transaction};
use crate::netlink::{Batch, Protocol, Socket};
use crate::network::{Driver, Network, NetworkStore};
use crate::table::{
    BridgeEntry, CHAINS, Elements, PortEntry, SETS, TableState, add_all, delete_all, expire_all, uses_of,
};
use cais_order::InOrder;
use rustix::io::Errno;
use rustix::time::{ClockId, clock_getres};
use std::time::Duration;

/// How often a table is made anew because somebody else changed the rule set meanwhile.
const TRIES: u32 = 1000;

/// A connection to nf_tables.
#[derive(Debug)]
pub struct Firewall {
    socket: Socket,
    store: NetworkStore,
}

/// What a bridge network adds to the table.
#[must_use]
pub fn bridge_entry(network: &Network) -> BridgeEntry {
    BridgeEntry {
        interface: network.interface.clone(),
        subnets: network.pools.iter().map(|pool| pool.subnet).collect(),
        internal: network.internal,
        masquerade: network.masquerade,
    }
}

/// Reads all that the table is made of.
///
/// # Errors
/// Where a file cannot be read or is damaged.
pub fn read_state(store: &NetworkStore) -> Result<TableState> {
    let bridges = store
        .list()?
        .iter()
        .filter(|network| network.driver == Driver::Bridge)
        .map(bridge_entry)
        .collect();
    let ports = store
        .list_endpoints()?
        .iter()
        .flat_map(|endpoints| endpoints.port_entries())
        .collect();
    Ok(TableState {
        bridges,
        ports,
        no_routing: host::read_no_routing(store),
    })
}

fn refused(action: &str) -> impl FnOnce(Errno) -> NetError {
    NetError::netlink(action.to_owned(), "nf_tables")
}

impl Firewall {
    /// Connects where the bridges are.
    ///
    /// # Errors
    /// Where the kernel has no nf_tables.
    pub fn open(store: &NetworkStore) -> Result<Self> {
        Socket::open(Protocol::Netfilter).map(|socket| Self {
            socket,
            store: store.clone(),
        })
    }

    /// The number of the rule set.
    ///
    /// # Errors
    /// Where the kernel does not say.
    pub fn generation(&mut self) -> Result<u32> {
        let mut batch = Batch::default();
        nftables::ask_generation(&mut batch);
        let mut found = None;
        self.socket
            .ask(&batch, |message| {
                found = found.or(nftables::parse_generation(message));
            })
            .and_then(|()| found.ok_or(Errno::BADMSG))
            .map_err(refused("ask for the packet filter's rule set"))
    }

    /// Whether the table is there with all its chains and rules: one send, a few microseconds.
    /// Elements are not looked at.
    ///
    /// # Errors
    /// Where the kernel does not say.
    pub fn is_intact(&mut self) -> Result<bool> {
        let mut batch = Batch::default();
        for chain in &CHAINS {
            nftables::ask_chain(&mut batch, &self.store.table, chain.name);
        }
        let mut sound = 0;
        let asked = self.socket.ask(&batch, |message| {
            let Some(found) = nftables::parse_chain(message) else {
                return;
            };
            let known = CHAINS.iter().find(|chain| chain.name == found.name);
            sound += usize::from(known.is_some_and(|chain| uses_of(chain) == found.uses));
        });
        match asked {
            Ok(()) => Ok(sound == CHAINS.len()),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(refused("ask for the table inet cais")(errno)),
        }
    }

    /// Makes the table where it is not there or not whole. Tells whether it was made.
    ///
    /// # Errors
    /// Where the state cannot be read or the kernel refuses the table.
    pub fn ensure(&mut self) -> Result<bool> {
        if self.is_intact()? {
            return Ok(false);
        }
        self.rebuild().map(|()| true)
    }

    /// Makes the table anew from the files, in one transaction.
    ///
    /// # Errors
    /// As [`Self::ensure`].
    pub fn rebuild(&mut self) -> Result<()> {
        for _ in 0..TRIES {
            let generation = self.generation()?;
            let state = read_state(&self.store)?;
            let batch = state.plan_table(&self.store.table, Some(generation)).finish();
            match self.socket.ask(&batch, |_| {}) {
                Ok(()) => return Ok(()),
                Err(Errno::RESTART) => {}
                Err(errno) => return Err(refused("make the table inet cais")(errno)),
            }
        }
        Err(NetError::Invalid(
            "the packet filter's rule set changes faster than a table can be made".to_owned(),
        ))
    }

    /// Adds elements; makes the table where it is not there.
    ///
    /// # Errors
    /// As [`Self::ensure`].
    pub fn add(&mut self, elements: &Elements) -> Result<()> {
        match self.send(|transaction| add_all(transaction, elements)) {
            // Other elements have the keys. Our files say who has a port, so they are of
            // those who have just given them back.
            Err(Errno::EXIST | Errno::BUSY | Errno::NOTEMPTY) => self.replace(elements, elements),
            // The table or a set is not there.
            Err(Errno::NOENT) => self.rebuild(),
            other => other.map_err(refused("publish ports in the table inet cais")),
        }
    }

    /// Puts elements in the place of others, in one transaction.
    ///
    /// # Errors
    /// As [`Self::ensure`].
    pub fn replace(&mut self, old: &Elements, new: &Elements) -> Result<()> {
        let sent = self.send(|transaction| {
            delete_all(transaction, old);
            add_all(transaction, new);
        });
        match sent {
            Err(Errno::NOENT | Errno::EXIST | Errno::BUSY | Errno::NOTEMPTY) => self.rebuild(),
            other => other.map_err(refused("publish ports in the table inet cais")),
        }
    }

    /// Removes elements. Those that are not there are no error.
    ///
    /// Ports are given an end instead, at the kernel's next tick. The kernel frees what was
    /// deleted after a grace period of RCU, some ten milliseconds, and lets whoever closes a
    /// socket of netfilter wait for it, with the lock that all transactions need. Those of UDP
    /// are deleted all the same: a client that goes on sending within the tick would be led to
    /// the old place for as long as it sends.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn remove(&mut self, elements: &Elements) -> Result<()> {
        let (mut expiring, mut rest) = (Elements::new(), Elements::new());
        for set in SETS {
            for element in elements.get(set.name).into_iter().flatten() {
                let may_wait = set.expires && !is_udp(element);
                let part = if may_wait { &mut expiring } else { &mut rest };
                part.entry(set.name).or_default().push(element.clone());
            }
        }
        if !expiring.is_empty() && !self.expire(&expiring) {
            rest.append(&mut expiring);
        }
        if rest.is_empty() {
            return Ok(());
        }
        match self.send(|transaction| delete_all(transaction, &rest)) {
            // One of them is not there: each by itself then.
            Err(Errno::NOENT) => self.remove_each(&rest),
            other => other.map_err(refused("take ports out of the table inet cais")),
        }
    }

    /// Whether these elements were given an end. Not by kernels before 6.12, and not in a
    /// table of an earlier version; nor where another element has a key, which is not ours
    /// to take then.
    fn expire(&mut self, elements: &Elements) -> bool {
        let tick = clock_getres(ClockId::MonotonicCoarse);
        // Rounded up: what is less than a tick would mean for ever.
        let tick = Duration::from_millis(
            u64::try_from(tick.tv_nsec)
                .unwrap_or(0)
                .div_ceil(1_000_000)
                .max(1),
        );
        match self.send(|transaction| expire_all(transaction, elements, tick)) {
            Ok(()) => {}
            Err(Errno::EXIST | Errno::BUSY | Errno::NOTEMPTY) => {
                self.expire_each(elements, tick);
                return true;
            }
            Err(_) => return false,
        }
        let last = SETS
            .iter()
            .find_map(|set| Some((*set, elements.get(set.name)?.last()?)));
        let Some((set, element)) = last else { return true };
        let mut batch = Batch::default();
        nftables::ask_element(&mut batch, &self.store.table, set, element);
        let mut still = Vec::new();
        let asked = self
            .socket
            .ask(&batch, |message| nftables::parse_elements(message, &mut still));
        matches!(asked, Ok(()) | Err(Errno::NOENT)) && still.is_empty()
    }

    fn expire_each(&mut self, elements: &Elements, tick: Duration) {
        for set in SETS {
            for element in elements.get(set.name).into_iter().flatten() {
                let one = std::slice::from_ref(element);
                // What is refused is not ours.
                self.send(|transaction| transaction.expire_elements(set, one, tick))
                    .unwrap_or_default();
            }
        }
    }

    fn send(&mut self, fill: impl FnOnce(&mut Transaction)) -> std::result::Result<(), Errno> {
        let mut transaction = Transaction::new(&self.store.table, None);
        fill(&mut transaction);
        self.socket.ask(&transaction.finish(), |_| {})
    }

    fn remove_each(&mut self, elements: &Elements) -> Result<()> {
        for set in SETS {
            for element in elements.get(set.name).into_iter().flatten() {
                match self.send(|transaction| transaction.delete_elements(set, std::slice::from_ref(element)))
                {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => return Err(refused("take ports out of the table inet cais")(errno)),
                }
            }
        }
        Ok(())
    }

    /// The elements that the kernel has, as [`TableState::elements`] writes them. `None` where
    /// there is no table.
    ///
    /// # Errors
    /// Where the kernel does not say.
    pub fn read_elements(&mut self) -> Result<Option<Elements>> {
        let mut all = Elements::new();
        for set in SETS {
            let mut batch = Batch::default();
            nftables::list_elements(&mut batch, &self.store.table, set.name);
            let mut found: Vec<Element> = Vec::new();
            match self
                .socket
                .ask(&batch, |message| nftables::parse_elements(message, &mut found))
            {
                Ok(()) => {}
                Err(Errno::NOENT) => return Ok(None),
                Err(errno) => return Err(refused("list the table inet cais")(errno)),
            }
            found.order();
            if !found.is_empty() {
                all.insert(set.name, found);
            }
        }
        Ok(Some(all))
    }

    /// All chains of all tables.
    ///
    /// # Errors
    /// Where the kernel does not say.
    pub fn list_chains(&mut self) -> Result<Vec<nftables::Chain>> {
        let mut batch = Batch::default();
        nftables::list_chains(&mut batch);
        let mut chains = Vec::new();
        self.socket
            .ask(&batch, |message| chains.extend(nftables::parse_chain(message)))
            .map_err(refused("list the packet filter's chains"))?;
        Ok(chains)
    }

    /// Removes the table.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn remove_table(&mut self) -> Result<()> {
        let mut transaction = Transaction::new(&self.store.table, None);
        transaction.add_table();
        transaction.delete_table();
        self.socket
            .ask(&transaction.finish(), |_| {})
            .map_err(refused("remove the table inet cais"))
    }

    /// The socket, for questions about connections.
    pub fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }
}

/// Whether the element of a port is one of UDP: a key ends with protocol and port.
fn is_udp(element: &Element) -> bool {
    const UDP: u8 = 17;
    let at = element.key.len().checked_sub(8);
    at.and_then(|at| element.key.get(at)) == Some(&UDP)
}

/// The elements of some ports.
#[must_use]
pub fn port_elements(ports: Vec<PortEntry>) -> Elements {
    TableState {
        ports,
        ..TableState::default()
    }
    .elements()
}

/// The elements of one network.
#[must_use]
pub fn network_elements(network: &Network) -> Elements {
    TableState {
        bridges: vec![bridge_entry(network)],
        ..TableState::default()
    }
    .elements()
}
