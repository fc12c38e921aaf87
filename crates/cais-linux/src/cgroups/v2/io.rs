//! Block devices (cgroup-v2.rst, "IO").

use crate::cgroups::plan::Write;
use crate::cgroups::resources::{BlockIo, Throttle};

pub(crate) fn plan(block_io: &BlockIo, writes: &mut Vec<Write>) {
    if let Some(weight) = block_io.weight {
        // The BFQ scheduler takes 1 to 1000, the cost model 1 to 10000; a kernel offers
        // the one or the other. `Group` writes the second form where it must.
        let files = ["io.bfq.weight", "io.weight"].map(str::to_owned).to_vec();
        writes.push(Write {
            files,
            ..Write::new("io", "", weight)
        });
    }
    for (major, minor, weight, _) in &block_io.device_weights {
        if let Some(weight) = weight {
            writes.push(Write::new(
                "io",
                "io.bfq.weight",
                format!("{major}:{minor} {weight}"),
            ));
        }
    }
    for (key, throttles) in [
        ("rbps", &block_io.read_bps),
        ("wbps", &block_io.write_bps),
        ("riops", &block_io.read_iops),
        ("wiops", &block_io.write_iops),
    ] {
        for Throttle { major, minor, rate } in throttles {
            writes.push(Write::new(
                "io",
                "io.max",
                format!("{major}:{minor} {key}={rate}"),
            ));
        }
    }
}

/// The weight for `io.weight` (1 to 10000) from Docker's (10 to 1000).
#[must_use]
pub fn io_weight(weight: u64) -> u64 {
    1 + (weight.clamp(10, 1000) - 10) * 9999 / 990
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_span_the_range() {
        assert_eq!([10, 500, 1000].map(io_weight), [1, 4950, 10_000]);
    }
}
