//! CPU time: weight and bandwidth (cgroup-v2.rst, "CPU").

use crate::cgroups::plan::Write;
use crate::cgroups::resources::Cpu;

/// The kernel's own period in microseconds.
const PERIOD: u64 = 100_000;

pub(crate) fn plan(cpu: &Cpu, writes: &mut Vec<Write>) {
    if let Some(idle) = cpu.idle {
        writes.push(Write::new("cpu", "cpu.idle", idle));
    }
    // A group that only runs idle has no weight.
    if let Some(shares) = cpu
        .shares
        .filter(|shares| *shares != 0 && cpu.idle.unwrap_or(0) == 0)
    {
        writes.push(Write::new("cpu", "cpu.weight", weight_of_shares(shares)));
    }
    if cpu.quota.is_some() || cpu.period.is_some() {
        let quota = cpu
            .quota
            .filter(|quota| *quota > 0)
            .map_or("max".to_owned(), |quota| quota.to_string());
        let period = cpu.period.unwrap_or(PERIOD);
        writes.push(Write::new("cpu", "cpu.max", format!("{quota} {period}")));
    }
    if let Some(burst) = cpu.burst {
        writes.push(Write::new("cpu", "cpu.max.burst", burst));
    }
}

/// The weight (1 to 10000) for the shares of version 1 (2 to 262144).
///
/// A curve through the ends of both ranges and through both defaults, 1024 and 100, as
/// runc 1.3.2 and crun 1.23 have it; the straight line of before gave the default shares a
/// weight of 39 (kubernetes/kubernetes#131216).
#[must_use]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "bounded on both sides"
)]
pub fn weight_of_shares(shares: u64) -> u64 {
    let shares = shares.clamp(2, 262_144);
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    (10f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_defaults_and_both_ends_meet() {
        for (shares, weight) in [
            (0, 1),
            (2, 1),
            (512, 59),
            (1024, 100),
            (2048, 174),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ] {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
    }
}
