//! The plan as the stub reads it: the steps, their form in bytes, and the
//! messages on the channel between the stub and the process that made it.
//!
//! The runtime encodes ([`step`], [`message`]); the stub decodes and carries
//! out ([`stage`] and the rooms beside it). Nothing here allocates.
#![no_std]

pub mod enter;
pub mod message;
pub mod stage;
pub mod step;
pub mod wire;
