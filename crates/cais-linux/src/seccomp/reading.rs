//! The tests' second reading of a profile, for the fuzz target.

use super::interpret::Call;
use super::{Arch, Profile};

const ENOSYS: u32 = 0x0005_0026;
const KILL_PROCESS: u32 = 0x8000_0000;

#[path = "tests/evaluate.rs"]
mod evaluate;

/// What the filter of `profile` is to answer.
#[must_use]
pub fn evaluate(profile: &Profile, native: Arch, call: &Call) -> u32 {
    evaluate::evaluate(profile, native, call)
}
