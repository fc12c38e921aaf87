//! Seccomp: which system calls a process may make, see seccomp(2) and the
//! kernel's `Documentation/userspace-api/seccomp_filter.rst`.
//!
//! A [`Profile`] has the shape of the OCI runtime specification's
//! `linux.seccomp`; [`compile`](compile::compile) turns it into one classic BPF
//! program for all its architectures, without I/O; [`load`] hands the program
//! to the kernel. Docker's default profile is in [`default`], compiled ahead of
//! time for the capabilities that containers usually have. Programs of user
//! profiles are kept by [`cache`].
//!
//! | file | subject |
//! | --- | --- |
//! | `arch` | architectures: OCI names, audit numbers, which share a kernel |
//! | `syscalls` | name ↔ number |
//! | `profile` | the typed profile and the OCI words in it |
//! | `resolve` | profile + architecture → a verdict for each number |
//! | `assemble` | verdicts → instructions, written from the last to the first |
//! | `compile` | the two steps above for all architectures, and the limits |
//! | `interpret` | runs a program on one system call, for tests and explanations |

#![allow(unexpected_cfgs, reason = "cfg(fuzzing) is set where fuzz targets are built")]

pub mod arch;
mod assemble;
pub mod cache;
pub mod compile;
pub mod default;
#[cfg(any(test, target_arch = "aarch64"))]
mod default_aarch64;
#[cfg(any(test, target_arch = "x86_64"))]
mod default_x86_64;
pub mod interpret;
pub mod load;
pub mod profile;
mod resolve;
pub mod syscalls;
#[cfg(test)]
mod tests;

#[cfg(fuzzing)]
pub mod reading;

pub use arch::Arch;
pub use cais_sys::seccomp::SockFilter;
pub use compile::{CompileError, Compiled, compile};
pub use profile::{Action, ArgRule, Flag, Operator, Profile, Rule};
