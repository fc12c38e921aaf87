//! What every use case needs: the store, who we are, and the tests' checkpoints.

use crate::checkpoint::Checkpoints;
use crate::config::Config;
use crate::error::Result;
use crate::service::Service;
use crate::store::Store;
use rustix::fd::OwnedFd;
use std::cell::OnceCell;

/// The engine of one command.
#[derive(Debug)]
pub struct Engine {
    /// Where things lie.
    pub store: Store,
    /// The moments at which tests kill it.
    pub checkpoints: Checkpoints,
    /// What the administrator and the user set for all commands.
    pub config: Config,
    /// Whether this process has no privilege on the host.
    pub rootless: bool,
    /// What a service manager gave this command.
    pub service: Service,
    /// Holds the images for a start (`images::hold_for_start`).
    pub(crate) images_held: OnceCell<OwnedFd>,
}

impl Engine {
    /// The engine over a store that is known, without tests' checkpoints, for containers that
    /// are there already: the configuration went into their records.
    #[must_use]
    pub fn over(store: &Store) -> Self {
        let rootless = !rustix::process::geteuid().is_root();
        if rootless {
            crate::network::home::register(store);
        }
        Self {
            store: store.clone(),
            checkpoints: Checkpoints::default(),
            config: Config::default(),
            rootless,
            service: Service::default(),
            images_held: OnceCell::new(),
        }
    }

    /// The engine of this user. `var` reads the environment.
    ///
    /// # Errors
    /// Where the store cannot be located, or the configuration is wrong.
    pub fn new(var: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let rootless = !rustix::process::geteuid().is_root();
        let checkpoints = Checkpoints::new(var("CAIS_TEST_KILL").as_deref());
        let store = Store::locate(!rootless, &var)?;
        if rootless {
            crate::network::home::register(&store);
        }
        Ok(Self {
            store,
            checkpoints,
            config: Config::load(&var)?,
            rootless,
            service: Service::read(&var),
            images_held: OnceCell::new(),
        })
    }
}
