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
