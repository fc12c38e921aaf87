//! Names: what a container hears when it asks 127.0.0.11.
//!
//! There is no DNS daemon. The monitor of each container holds a [`Resolver`]: a state
//! machine over non-blocking sockets behind one descriptor that becomes readable when
//! there is something to do. The sockets that listen were opened inside the container's
//! network namespace ([`listen`]); those that ask upstream servers belong to the host's.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `name` | a domain name in the form of the wire (RFC 1035, 3.1) |
//! | `message` | what a client may ask, and the answers that we make (RFC 1035, 4; RFC 6891) |
//! | `reply` | what an upstream server's reply says; how a reply ages |
//! | `name_file` | the names of one network: a sorted file, replaced by rename |
//! | `name_reader` | questions to that file |
//! | `lookup` | a question against the names of a container's networks |
//! | `resolv_conf` | resolv.conf(5): the host's, and the one that a container gets |
//! | `config` | what one container's resolver knows, as a file |
//! | `cache` | replies of upstream servers, for as long as they may be kept |
//! | `exchange` | one question on its way to upstream servers |
//! | `ask` | the host's own questions: where a registry is |
//! | `clients` | connections of clients over TCP |
//! | `resolver` | all of it together, driven by events |
//! | `listen` | the sockets at 127.0.0.11 |
//!
//! A container is not trusted, nor is an upstream server: every message is parsed with
//! bounds, no name is followed through compression pointers, and what is kept for either
//! side is limited.

pub mod ask;
pub mod cache;
mod clients;
pub mod config;
mod exchange;
pub mod listen;
pub mod lookup;
pub mod message;
pub mod name;
pub mod name_file;
pub mod name_reader;
pub mod reply;
pub mod resolv_conf;
mod resolver;

pub use resolver::{AllowAddresses, Resolver};
