//! Benchmarks: ours and the peers in one run, one after the other in turn, so that
//! whatever else the machine does hits all alike. They print figures and ratios, and
//! judge nothing.

mod engine;
mod images;
pub(crate) mod namespace;
mod network;
pub(crate) mod peers;
mod plot;
pub(crate) mod runtime;
pub(crate) mod start;
mod stats;
mod tables;

use crate::Outcome;

pub(crate) fn run(arguments: &[&str]) -> Outcome {
    match arguments {
        ["start", rest @ ..] => start::run(rest),
        ["network", rest @ ..] => network::run(rest),
        ["runtime", rest @ ..] => runtime::run(rest),
        ["engine", rest @ ..] => engine::run(rest),
        ["images", rest @ ..] => images::run(rest),
        _ => Err("cargo xtask bench start|runtime|network|images|engine".to_owned()),
    }
}
