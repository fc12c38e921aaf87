//! The `cais` command.
fn main() {}
