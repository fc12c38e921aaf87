//! Flags of `run` that have one value, or none.

use clap::Args;

/// Docker's flags of which cais knows one value only, or none: they are read so that the answer
/// says what to do instead.
#[derive(Debug, Args)]
pub struct FixedArgs {
    /// Who runs the container: only "cais"
    #[arg(long, value_name = "NAME")]
    pub runtime: Option<String>,
    /// How it is isolated: only "default"
    #[arg(long, value_name = "KIND")]
    pub isolation: Option<String>,
    /// Driver of volumes: only "local"
    #[arg(long, value_name = "DRIVER")]
    pub volume_driver: Option<String>,
    /// Whether signatures are not looked at: only "true"
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub disable_content_trust: Option<String>,
    /// Not supported: devices are handed in by --device
    #[arg(long, hide = true)]
    pub gpus: Option<String>,
    /// Not supported: --memory counts it
    #[arg(long, hide = true)]
    pub kernel_memory: Option<String>,
    /// Not supported: layers have no quota of their own
    #[arg(long, hide = true)]
    pub storage_opt: Option<String>,
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
                "",
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
