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
use cais_linux::probe::{KernelVersion, read_kernel_version};
use cais_order::InOrder;
use rustix::io::Errno;
use rustix::thread::clock_nanosleep_absolute;
use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};
use std::time::Duration;

/// From here on an element that is there can be given an end; kernels before say yes and do
/// nothing, unless that was brought to them: so they are asked.
const EXPIRES_BY_UPDATE: KernelVersion = KernelVersion::new(6, 12);
/// How often a table is made anew because somebody else changed the rule set meanwhile.
const TRIES: u32 = 1000;

/// A connection to nf_tables.
#[derive(Debug)]
pub struct Firewall {
    socket: Socket,
    store: NetworkStore,
    /// When those elements count no more that were given an end last.
    end: Option<Timespec>,
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
    let (no_routing, old_bridges) = host::read_no_routing(store);
    Ok(TableState {
        bridges,
        ports,
        no_routing,
        old_bridges,
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
            end: None,
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
    /// socket of netfilter wait for it, with the lock that all transactions need.
    /// [`Self::await_end`] waits for the tick, where it matters.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn remove(&mut self, elements: &Elements) -> Result<()> {
        let (mut expiring, mut rest) = (Elements::new(), Elements::new());
        for set in SETS {
            for element in elements.get(set.name).into_iter().flatten() {
                let part = if set.expires { &mut expiring } else { &mut rest };
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
        let sent = self.send(|transaction| expire_all(transaction, elements, tick));
        // The kernel counts from the last tick, whose time this is.
        self.end = Some(
            clock_gettime(ClockId::MonotonicCoarse)
                + Timespec {
                    tv_sec: 0,
                    tv_nsec: tick.as_nanos().try_into().unwrap_or(0),
                },
        );
        match sent {
            Ok(()) => {}
            Err(Errno::EXIST | Errno::BUSY | Errno::NOTEMPTY) => {
                self.expire_each(elements, tick);
                return true;
            }
            Err(_) => return false,
        }
        if read_kernel_version() >= EXPIRES_BY_UPDATE {
            return true;
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

    /// Waits until elements count no more to which [`Self::remove`] gave an end: half a tick on
    /// the average. Whoever goes on sending by UDP until then is led to the old place, and from
    /// there on as long as it sends, unless its connection is forgotten after this.
    pub fn await_end(&mut self) {
        if let Some(end) = self.end.take() {
            // Interrupted it would be early, which costs a client its next datagrams.
            while let Err(Errno::INTR) = clock_nanosleep_absolute(ClockId::Monotonic, &end) {}
        }
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
