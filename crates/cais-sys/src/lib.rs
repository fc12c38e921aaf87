//! The system calls that rustix lacks, each as a safe function where that is
//! possible. This is the only crate of the workspace that holds `unsafe` code.
//!
//! It is `no_std` and never allocates, because the init stub (`cais-init`)
//! runs it between clone and exec.
#![no_std]
#![allow(unsafe_code)]

pub mod bpf;
pub mod clone;
pub mod cred;
pub mod exec;
#[cfg(not(feature = "stub"))]
pub mod idle;
pub mod keyring;
pub mod landlock;
pub mod memory;
pub mod mount;
pub mod namespace;
#[cfg(not(feature = "stub"))]
pub mod notify;
#[cfg(not(feature = "stub"))]
pub mod pidfd;
pub mod probe;
pub mod process;
pub mod sched;
pub mod seccomp;
pub mod signal;
pub mod socket;
#[cfg(not(feature = "stub"))]
mod stack;
#[cfg(feature = "stub")]
pub mod start;
pub mod syscall;
pub mod tty;
#[cfg(not(feature = "stub"))]
pub mod turns;
