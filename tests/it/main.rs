//! Integration tests: real containers, as root, leaving no trace.
#![allow(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "it is all tests"
)]

mod basic;
mod support;
