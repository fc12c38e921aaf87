//! The use cases of cais and their state on disk: containers and their logs,
//! names, id ranges, and the monitor. Knows nothing of the terminal's text.
//!
//! There is no daemon and no database. What is kept stands in files below two
//! directories ([`store::Store`]); each command reads what it needs, and one that
//! meets something half made or left behind removes it ([`sweep`]).

mod apart;
pub mod attach;
pub mod boot;
pub mod budget;
pub mod bundle;
pub mod change;
pub mod check;
pub mod cleanup;
pub mod config;
pub mod describe;
pub mod diff;
pub mod disk;
pub mod disk_usage;
pub mod engine;
pub mod error;
pub mod events;
pub mod exec;
pub mod filter;
pub mod health;
pub mod id;
pub mod images;
pub mod info;
pub mod inspect;
pub mod list;
pub mod lock;
pub mod log;
pub mod moment;
pub mod monitor;
pub mod names;
pub mod network;
pub mod options;
pub mod pause;
pub mod prune;
pub mod record;
pub mod remove;
mod resolver;
pub mod rootless;
pub mod run;
pub mod service;
pub mod state;
pub mod stop;
pub mod store;
pub mod sweep;
pub mod top;
pub mod units;
pub mod usage;
pub mod userns;
pub mod volumes;
pub mod wait;

pub use cais_net::publish;
pub use cais_runtime::{checkpoint, time};
pub use error::{EngineError, Result};
