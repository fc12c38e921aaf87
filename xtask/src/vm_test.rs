//! The integration tests in a virtual machine: Debian's own kernel and systemd with cgroup
//! v2, and with `--all` the hybrid and the old layout too, each as root and then as an ordinary
//! user. QEMU emulates the processor, so this is for correctness and says nothing of speed.
//!
//! The image is built once from Debian's packages and kept below target/vm; each run gets
//! a second disk with the executables, and its writes to the image are dropped.

use crate::{Outcome, workspace};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PACKAGES: [&str; 5] = [
    "qemu-system-x86",
    "mmdebstrap",
    "e2fsprogs",
    "busybox-static",
    "cpio",
];
/// What the machine has beside the base system: all that `tests.rs` installs for the tests, but
/// for the browser, which is as large as the rest together.
const INSIDE: &str = "systemd,systemd-sysv,busybox-static,bsdutils,procps,util-linux,uidmap,criu,iptables,iproute2,kmod,socat,passt,nftables,curl,bind9-dnsutils,nginx-light,iperf3,strace,e2fsprogs,containernetworking-plugins,docker.io,containerd,podman,buildah,runc,docker-registry,skopeo,umoci,oci-image-tool,openssl,postgresql,python3-psycopg2,git,perl,gcc,libc6-dev,apparmor";
/// Services of these packages, which the tests start themselves.
const MASKED: [&str; 9] = [
    "docker.service",
    "docker.socket",
    "containerd.service",
    "docker-registry.service",
    "podman.service",
    "podman.socket",
    "podman-restart.service",
    "postgresql.service",
    "nginx.service",
];
/// The layouts of cgroups, with what systemd is told on the kernel's command line.
const LAYOUTS: [(&str, &str); 3] = [
    ("v2", "systemd.unified_cgroup_hierarchy=1"),
    (
        "hybrid",
        "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=0",
    ),
    (
        "v1",
        "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1",
    ),
];
/// The modules of Debian's cloud kernel for a disk, in this order; then what containers use.
const MODULES: [&str; 7] = [
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "drivers/block/virtio_blk.ko",
    "fs/overlayfs/overlay.ko",
];
/// The longest that one machine may take, for the small set and for all tests.
const LIMIT: Duration = Duration::from_secs(1500);
const LIMIT_OF_ALL: Duration = Duration::from_secs(3 * 3600);
/// The line that ends a run, with the exit code behind it.
const MARK: &str = "cais-vm-test-result:";

/// What runs in the machine. Where a test asks for it, the machine is booted anew, and what is
/// there then is looked at.
const SCRIPT: &str = "#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root CAIS_BIN=/mnt/cais CAIS_TEST_PATIENCE=6
cd /
failed=0
if [ -e /var/lib/cais-vm-booted ]; then
    echo 'booted anew'
    /mnt/it containers_that_run_after_a_boot || failed=$?
    echo \"@MARK@ $failed\"
    exit
fi
touch /run/cais-vm-boots
grep cgroup /proc/self/mounts
criu check
/mnt/cais doctor
@RUNS@
if [ -e /var/lib/cais-vm-booted ] && [ $failed = 0 ]; then
    # An orderly end, which does not switch the machine off.
    mkdir -p /run/systemd/system/cais-test.service.d
    printf '[Service]\\nExecStopPost=\\n' > /run/systemd/system/cais-test.service.d/again.conf
    systemctl daemon-reload
    systemctl --no-block reboot
    sleep infinity
fi
echo \"@MARK@ $failed\"
";

/// The tests that CI runs in a machine.
const SMALL_SET: &str = "basic";
/// What no machine runs: three_tier wants a browser, which is not in the image, and a thousand
/// containers more memory and an hour.
const LEFT_OUT: &str = "--skip three_tier --skip life_many";
/// The tests of an ordinary user's containers have this in their names.
const ROOTLESS: &str = "rootless";

/// `[FILTER…]` for the first layout, `--on LAYOUT [FILTER…]` for another one, `--all [FILTER…]`
/// for each layout as root and then as the machine's ordinary user.
pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let (layouts, sets) = match arguments {
        [] => (layout("v2")?, vec![SMALL_SET.to_owned()]),
        ["--all", filters @ ..] => (
            &LAYOUTS[..],
            vec![
                format!("--skip {ROOTLESS} {}", filters.join(" ")),
                ROOTLESS.to_owned(),
            ],
        ),
        ["--on", name, filters @ ..] => (layout(name)?, vec![filters.join(" ")]),
        filters => (layout("v2")?, vec![filters.join(" ")]),
    };
    let limit = if arguments.iter().any(|word| word.starts_with("--")) {
        LIMIT_OF_ALL
    } else {
        LIMIT
    };
    workspace::ensure_packages(&PACKAGES)?;
    if own_executable().is_none() {
        workspace::run("cargo", &["build", "--release", "--locked"], &[])?;
    }
    let bed = Bed::ensure()?;
    let disk = bed.make_disk(&test_executable()?, &sets)?;
    // A machine leaves about half of two processors idle.
    let at_once = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut failed = Vec::new();
    for some in layouts.chunks(at_once) {
        let boot = |(name, options): &(&str, &str)| {
            println!("vm-test: cgroups {name}");
            let outcome = bed.boot(&disk, (name, options), limit);
            outcome.err().map(|error| format!("{name}: {error}"))
        };
        let outcomes: Vec<Option<String>> = std::thread::scope(|scope| {
            let machines: Vec<_> = some.iter().map(|one| scope.spawn(|| boot(one))).collect();
            let ends = machines.into_iter().map(std::thread::ScopedJoinHandle::join);
            ends.map(|end| end.unwrap_or_else(|_| Some("vm-test itself failed".to_owned())))
                .collect()
        });
        failed.extend(outcomes.into_iter().flatten());
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(failed.join("\n"))
}

/// The layout of this name, alone.
fn layout(name: &str) -> Result<&'static [(&'static str, &'static str)], String> {
    let found = LAYOUTS.iter().find(|(known, _)| *known == name);
    found
        .map(std::slice::from_ref)
        .ok_or_else(|| format!("no layout {name}: there are v2, hybrid and v1"))
}

/// The executable under test, where the caller has one already, as for the tests themselves.
fn own_executable() -> Option<PathBuf> {
    std::env::var_os("CAIS_BIN").map(PathBuf::from)
}

/// The kernel and the image.
struct Bed {
    directory: PathBuf,
}

impl Bed {
    /// Builds what is missing.
    fn ensure() -> Result<Self, String> {
        let directory = workspace::built("release").join("../../vm");
        fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let bed = Self { directory };
        // The last one to be made tells that all were, and of what.
        let stamp = bed.path("packages");
        let is_built = fs::read_to_string(&stamp).is_ok_and(|packages| packages == INSIDE);
        if !is_built || !bed.path("root.img").exists() {
            bed.build()?;
            fs::write(&stamp, INSIDE).map_err(|error| error.to_string())?;
        }
        Ok(bed)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn build(&self) -> Outcome {
        let began = Instant::now();
        let root = self.path("root");
        let kernel = self.path("kernel");
        for path in [&root, &kernel] {
            fs::remove_dir_all(path).unwrap_or_default();
        }
        let suite = debian_suite();
        self.command(
            "mmdebstrap",
            &[
                "--quiet",
                "--variant=minbase",
                &format!("--include={INSIDE}"),
                &suite,
                &text(&root),
            ],
        )?;
        let package = first_line(
            Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]),
            "Depends: ",
        )?;
        self.command("apt-get", &["-qq", "download", &package])?;
        let archive = find(&self.directory, &package).ok_or("the kernel's package was not downloaded")?;
        self.command("dpkg-deb", &["-x", &text(&archive), &text(&kernel)])?;
        let boot = find(&kernel.join("boot"), "vmlinuz-").ok_or("there is no kernel in its package")?;
        fs::copy(&boot, self.path("vmlinuz")).map_err(|error| error.to_string())?;
        self.make_initramfs(&kernel)?;
        self.add_modules(&kernel, &root)?;
        write_service(&root)?;
        let image = self.path("root.img.new");
        fs::remove_file(&image).unwrap_or_default();
        self.command(
            "mke2fs",
            &["-q", "-t", "ext4", "-d", &text(&root), &text(&image), "5G"],
        )?;
        fs::rename(&image, self.path("root.img")).map_err(|error| error.to_string())?;
        for path in [&root, &kernel, &archive] {
            fs::remove_dir_all(path)
                .or_else(|_| fs::remove_file(path))
                .unwrap_or_default();
        }
        println!("vm-test: image built in {:.0} s", began.elapsed().as_secs_f64());
        Ok(())
    }

    /// All of the kernel's modules, which the machine loads when it is asked for what they do.
    fn add_modules(&self, kernel: &Path, root: &Path) -> Outcome {
        let versions =
            find(&kernel.join("lib/modules"), "").ok_or("there are no modules in the kernel's package")?;
        let version = versions
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let place = root.join("lib/modules");
        fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
        self.command("cp", &["-a", &text(&versions), &text(&place)])?;
        self.command("chroot", &[&text(root), "depmod", &version])
    }

    /// An initramfs that loads the modules and goes on to the disk.
    fn make_initramfs(&self, kernel: &Path) -> Outcome {
        let tree = self.path("initramfs");
        fs::remove_dir_all(&tree).unwrap_or_default();
        let failed = |error: std::io::Error| format!("initramfs: {error}");
        for name in ["bin", "dev", "proc", "root", "modules"] {
            fs::create_dir_all(tree.join(name)).map_err(failed)?;
        }
        fs::copy("/bin/busybox", tree.join("bin/busybox")).map_err(failed)?;
        let versions =
            find(&kernel.join("lib/modules"), "").ok_or("there are no modules in the kernel's package")?;
        let mut load = String::new();
        for module in MODULES {
            let name = Path::new(module)
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            fs::copy(
                versions.join("kernel").join(module),
                tree.join("modules").join(&name),
            )
            .map_err(failed)?;
            load.push_str(&format!("busybox insmod /modules/{name}\n"));
        }
        let script = format!(
            "#!/bin/busybox sh\nexport PATH=/bin\nbusybox mount -t devtmpfs dev /dev\nbusybox mount -t proc proc /proc\n{load}busybox mount -t ext4 /dev/vda /root\nbusybox mount --move /dev /root/dev\nbusybox umount /proc\nexec busybox switch_root /root /sbin/init\n"
        );
        fs::write(tree.join("init"), script).map_err(failed)?;
        self.command("chmod", &["755", &text(&tree.join("init"))])?;
        let pack = format!(
            "cd {} && find . | cpio -o -H newc --quiet > {}",
            text(&tree),
            text(&self.path("initramfs.img"))
        );
        self.command("sh", &["-c", &pack])?;
        fs::remove_dir_all(&tree).map_err(failed)
    }

    /// The second disk: the executables and the script that runs them.
    fn make_disk(&self, tests: &Path, sets: &[String]) -> Result<PathBuf, String> {
        let tree = self.path("disk");
        fs::remove_dir_all(&tree).unwrap_or_default();
        let failed = |error: std::io::Error| format!("disk: {error}");
        fs::create_dir_all(&tree).map_err(failed)?;
        let executable = own_executable().unwrap_or_else(|| workspace::built("release").join("cais"));
        fs::copy(executable, tree.join("cais")).map_err(failed)?;
        fs::copy(tests, tree.join("it")).map_err(failed)?;
        let runs: String = sets
            .iter()
            .map(|set| format!("/mnt/it --test-threads 2 --include-ignored {LEFT_OUT} {set} || failed=$?\n"))
            .collect();
        let script = SCRIPT.replace("@RUNS@", &runs).replace("@MARK@", MARK);
        fs::write(tree.join("run"), script).map_err(failed)?;
        self.command("chmod", &["755", &text(&tree.join("run"))])?;
        let image = self.path("disk.img");
        fs::remove_file(&image).unwrap_or_default();
        self.command(
            "mke2fs",
            &["-q", "-t", "ext4", "-d", &text(&tree), &text(&image), "256M"],
        )?;
        Ok(image)
    }

    /// Boots the machine, shows what the tests print, and tells how they ended.
    fn boot(&self, disk: &Path, (name, options): (&str, &str), limit: Duration) -> Outcome {
        let began = Instant::now();
        let drive = |path: &Path| format!("file={},if=virtio,format=raw,snapshot=on", path.display());
        let append = format!(
            "console=ttyS0 root=/dev/vda rw no_timer_check quiet loglevel=3 panic=-1 systemd.show_status=0 {options}"
        );
        let mut machine = Command::new("qemu-system-x86_64")
            .args([
                "-M",
                "q35",
                "-cpu",
                "max",
                "-accel",
                "tcg,thread=multi",
                "-smp",
                "2",
                "-m",
                "4096",
                "-nographic",
            ])
            .args([
                "-kernel",
                &text(&self.path("vmlinuz")),
                "-initrd",
                &text(&self.path("initramfs.img")),
            ])
            .args([
                "-drive",
                &drive(&self.path("root.img")),
                "-drive",
                &drive(disk),
                "-append",
                &append,
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("qemu-system-x86_64: {error}"))?;
        let result = listen(name, &mut machine, began, limit);
        // It powers off by itself, unless something went wrong.
        machine.kill().unwrap_or_default();
        machine.wait().map(drop).unwrap_or_default();
        result
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Outcome {
        let status = Command::new(program)
            .args(arguments)
            .current_dir(&self.directory)
            .status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("{program} {}: {status}", arguments.join(" "))),
            Err(error) => Err(format!("{program}: {error}")),
        }
    }
}

/// Shows what the machine prints, and waits for its result.
fn listen(name: &str, machine: &mut std::process::Child, began: Instant, limit: Duration) -> Outcome {
    let output = machine.stdout.take().ok_or("no console")?;
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if sender
                .send(String::from_utf8_lossy(&line).trim_end().to_owned())
                .is_err()
            {
                return;
            }
        }
    });
    loop {
        let left = limit.saturating_sub(began.elapsed());
        let Ok(line) = lines.recv_timeout(left) else {
            return Err(format!(
                "the machine ended, or took more than {} s, without a result",
                limit.as_secs()
            ));
        };
        println!("{name:>6}| {line}");
        if let Some(code) = line.split_once(MARK).map(|(_, code)| code.trim()) {
            println!("vm-test: {name}: {:.0} s", began.elapsed().as_secs_f64());
            return if code == "0" {
                Ok(())
            } else {
                Err(format!("the tests in the machine failed ({code})"))
            };
        }
    }
}

/// A service that runs the script of the second disk and ends the machine.
fn write_service(root: &Path) -> Outcome {
    let failed = |error: std::io::Error| format!("the service: {error}");
    let unit = "[Unit]\nAfter=local-fs.target\n[Service]\nType=oneshot\nExecStartPre=/bin/mount -t ext4 /dev/vdb /mnt\nExecStart=/mnt/run\nExecStopPost=/bin/systemctl poweroff --force --force\nStandardOutput=tty\nStandardError=tty\nTTYPath=/dev/ttyS0\nTimeoutStartSec=infinity\nDelegate=yes\nTasksMax=infinity\n[Install]\nWantedBy=multi-user.target\n";
    let units = root.join("etc/systemd/system");
    fs::create_dir_all(units.join("multi-user.target.wants")).map_err(failed)?;
    fs::write(units.join("cais-test.service"), unit).map_err(failed)?;
    std::os::unix::fs::symlink(
        "../cais-test.service",
        units.join("multi-user.target.wants/cais-test.service"),
    )
    .map_err(failed)?;
    // A login on the console would take the output.
    for name in MASKED.into_iter().chain(["serial-getty@ttyS0.service"]) {
        let unit = units.join(name);
        fs::remove_file(&unit).unwrap_or_default();
        std::os::unix::fs::symlink("/dev/null", unit).map_err(failed)?;
    }
    fs::write(root.join("etc/fstab"), "").map_err(failed)
}

/// The test executable, built but not run.
fn test_executable() -> Result<PathBuf, String> {
    let output = Command::new("cargo")
        .args([
            "test",
            "--locked",
            "-p",
            "cais-tests",
            "--test",
            "it",
            "--no-run",
            "--message-format=json",
        ])
        .current_dir(workspace::root())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo test: {error}"))?;
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let executables = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    executables
        .filter(|message| message["target"]["name"] == "it")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .ok_or_else(|| "cargo built no test executable".to_owned())
}

/// The name of this machine's Debian, for the same inside.
fn debian_suite() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    name.unwrap_or("bookworm").to_owned()
}

/// What stands behind `key` in the first line of a command's output that has it.
fn first_line(command: &mut Command, key: &str) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.trim().strip_prefix(key));
    line.map(str::to_owned).ok_or_else(|| {
        format!(
            "{:?} did not answer: apt-get update may help",
            command.get_program()
        )
    })
}

/// The first entry of a directory whose name begins so.
fn find(directory: &Path, beginning: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?.flatten();
    entries.map(|entry| entry.path()).find(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(beginning))
    })
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
