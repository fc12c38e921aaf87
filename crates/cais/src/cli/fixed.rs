//! Flags of `run` that have one value, or none.

use super::flags::{flag_kind, flag_take, flag_type, flags};

flags! {
    /// Docker's flags of which cais knows one value only, or none: they are read so that the answer
    /// says what to do instead.
    pub struct FixedArgs {
        /// Who runs the container: only "cais"
        runtime: one "runtime" as "NAME";
        /// How it is isolated: only "default"
        isolation: one "isolation" as "KIND";
        /// Driver of volumes: only "local"
        volume_driver: one "volume-driver" as "DRIVER";
        /// Whether signatures are not looked at: only "true"
        disable_content_trust: one "disable-content-trust", alone "true", hidden true;
        /// Not supported: devices are handed in by --device
        gpus: exact "gpus", hidden true;
        /// Not supported: --memory counts it
        kernel_memory: exact "kernel-memory", hidden true;
        /// Not supported: layers have no quota of their own
        storage_opt: exact "storage-opt", hidden true;
    }
}

impl FixedArgs {
    /// Flag, what was given, the one value that there is (none where it is empty), and what to
    /// do instead.
    #[must_use]
    pub fn table(&self) -> [(&'static str, Option<&String>, &'static str, &'static str); 7] {
        [
            (
                "--runtime",
                self.runtime.as_ref(),
                "cais",
                "cais is the runtime; another engine can use it as `cais-runtime`",
            ),
            (
                "--isolation",
                self.isolation.as_ref(),
                "default",
                "the others are of Windows",
            ),
            (
                "--volume-driver",
                self.volume_driver.as_ref(),
                "local",
                "mount the file system on the host and bind it with --volume",
            ),
            (
                "--disable-content-trust",
                self.disable_content_trust.as_ref(),
                "true",
                "name the image by its digest",
            ),
            (
                "--gpus",
                self.gpus.as_ref(),
                "",
                "hand in the devices and libraries: --device /dev/nvidia0 --device /dev/nvidiactl --device /dev/nvidia-uvm, or --device /dev/dri",
            ),
            (
                "--kernel-memory",
                self.kernel_memory.as_ref(),
                "0",
                "--memory counts the kernel's memory too",
            ),
            (
                "--storage-opt",
                self.storage_opt.as_ref(),
                "",
                "layers have no quota of their own; --read-only with --tmpfs DIR:size=SIZE bounds what is written",
            ),
        ]
    }
}
