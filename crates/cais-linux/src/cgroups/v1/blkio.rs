//! Block devices (admin-guide/cgroup-v1/blkio-controller.rst).

use crate::cgroups::plan::Write;
use crate::cgroups::resources::{BlockIo, Throttle};

pub(crate) fn plan(block_io: &BlockIo, writes: &mut Vec<Write>) {
    if let Some(weight) = block_io.weight {
        // The second name is that of the BFQ scheduler, the only one left since Linux 5.0.
        let files = ["blkio.weight", "blkio.bfq.weight"].map(str::to_owned).to_vec();
        writes.push(Write {
            files,
            ..Write::new("blkio", "", weight)
        });
    }
    if let Some(weight) = block_io.leaf_weight {
        writes.push(Write::new("blkio", "blkio.leaf_weight", weight));
    }
    for (major, minor, weight, leaf_weight) in &block_io.device_weights {
        if let Some(weight) = weight {
            let files = ["blkio.weight_device", "blkio.bfq.weight_device"]
                .map(str::to_owned)
                .to_vec();
            writes.push(Write {
                files,
                ..Write::new("blkio", "", format!("{major}:{minor} {weight}"))
            });
        }
        if let Some(weight) = leaf_weight {
            writes.push(Write::new(
                "blkio",
                "blkio.leaf_weight_device",
                format!("{major}:{minor} {weight}"),
            ));
        }
    }
    for (file, throttles) in [
        ("blkio.throttle.read_bps_device", &block_io.read_bps),
        ("blkio.throttle.write_bps_device", &block_io.write_bps),
        ("blkio.throttle.read_iops_device", &block_io.read_iops),
        ("blkio.throttle.write_iops_device", &block_io.write_iops),
    ] {
        for Throttle { major, minor, rate } in throttles {
            writes.push(Write::new("blkio", file, format!("{major}:{minor} {rate}")));
        }
    }
}
