//! The steps of a plan: everything that the stub can do. There is no step that
//! runs code of somebody else before the last one, [`Step::Execute`].

use crate::wire::{Field, Malformed, Sink, Source, StrBlock};
use core::ffi::CStr;

/// The place of a descriptor among those that came with the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(pub u16);

impl Field<'_> for Slot {
    fn encode(&self, sink: &mut impl Sink) {
        self.0.encode(sink);
    }
    fn decode(source: &mut Source<'_>) -> Result<Self, Malformed> {
        u16::decode(source).map(Self)
    }
}

/// What must be true of a mount's target, and what to do where it is missing.
pub mod target {
    /// No component may be a symbolic link: for `/proc`, `/sys`, `/dev`, where a
    /// link made by the image redirects set-up (CVE-2019-16884, CVE-2025-54867).
    pub const REAL: u32 = 1;
    /// Make a missing directory, with its parents.
    pub const MAKE_DIRECTORY: u32 = 2;
    /// Make a missing empty file, with its parents. Together with [`MAKE_DIRECTORY`]: make
    /// what the mount is.
    pub const MAKE_FILE: u32 = 4;
    /// A missing target, or a path through something that is no directory, is no error.
    pub const OPTIONAL: u32 = 8;
    /// What is mounted brings its own subtree: attach it recursively.
    pub const RECURSIVE: u32 = 16;
    /// The new file system gets a copy of what the root has at its place, owners and modes
    /// included (`tmpcopyup`).
    pub const COPY_UP: u32 = 32;
}

/// Declares the enum, its encoder, its decoder and its names from one list.
macro_rules! steps {
    ($($(#[$doc:meta])* $code:literal $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)? })*) => {
        /// One thing that the stub does.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Step<'a> {
            $($(#[$doc])* #[allow(missing_docs, reason = "the step's text names its fields")] $name { $($(#[$field_doc])* $field: $type),* },)*
        }

        impl<'a> Step<'a> {
            /// The step's name, as error messages and `--explain` show it.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$name { .. } => stringify!($name),)* }
            }

            /// Appends the step's bytes.
            pub fn encode(&self, sink: &mut impl Sink) {
                match self {
                    $(Self::$name { $($field),* } => {
                        sink.put(&[$code]);
                        $($field.encode(sink);)*
                    })*
                }
            }

            /// Takes the next step.
            ///
            /// # Errors
            /// [`Malformed`] for an unknown code or a field that is cut short.
            pub fn decode(source: &mut Source<'a>) -> Result<Self, Malformed> {
                match source.take(1)? {
                    $([$code] => Ok(Self::$name { $($field: Field::decode(source)?),* }),)*
                    _ => Err(Malformed),
                }
            }
        }
    };
}

steps! {
    /// Joins a cgroup v1 hierarchy by writing `0` to its `tasks` file, opened by the
    /// caller. The kernel takes no lock for that, while a pid or `cgroup.procs`
    /// costs an RCU grace period of some 8 ms (facts: `cgroup_procs_write_start`).
    1 JoinCgroup { tasks: Slot }
    /// Enters the namespaces `kinds` of the process or namespace behind `target`
    /// (setns(2)); `kinds` is 0 for a namespace file.
    2 EnterNamespaces { target: Slot, kinds: u32 }
    /// Leaves the caller's namespaces `kinds` (unshare(2)): the cgroup namespace,
    /// whose root is the cgroup at the time of the call, and the time namespace.
    3 LeaveNamespaces { kinds: u32 }
    /// Starts a session of its own (setsid(2)), away from the caller's terminal.
    4 NewSession {}
    /// Takes a new session keyring (keyctl(2)); a kernel without keys is no error.
    5 NewKeyring {}
    /// Sets the host name (sethostname(2)).
    6 SetHostname { name: &'a [u8] }
    /// Sets the domain name (setdomainname(2)).
    7 SetDomainname { name: &'a [u8] }
    /// Brings `lo` up (netdevice(7)).
    8 LoopbackUp {}
    /// Sets the propagation of the whole tree at `/` (`MS_PRIVATE`, `MS_SLAVE`), so
    /// that nothing mounted here reaches the host.
    9 SetTreePropagation { propagation: u64 }
    /// Mounts the root file system at `path` of the host's tree (over `/` where that cannot
    /// be reached) and holds it as the root for the steps that follow.
    10 AttachRoot { mount: Slot, path: &'a CStr }
    /// Makes a file system and mounts it. `parameters` are key and value in turn;
    /// an empty value is a flag. `attributes` are `MOUNT_ATTR_*`.
    11 MountNew { path: &'a CStr, fstype: &'a CStr, parameters: StrBlock<'a>, attributes: u64, target: u32 }
    /// Mounts what the caller opened with open_tree(2) or fsmount(2).
    12 MountTree { mount: Slot, path: &'a CStr, propagation: u64, target: u32 }
    /// Makes a device node (mknod(2)) with exactly this mode and owner.
    13 MakeDevice { path: &'a CStr, mode: u32, major: u32, minor: u32, uid: u32, gid: u32 }
    /// Makes a symbolic link in a directory that holds no link itself.
    14 MakeSymlink { path: &'a CStr, content: &'a CStr }
    /// Hides a path: a file behind the null device (verified by the caller, never the
    /// image's own: CVE-2025-31133), a directory behind an empty read-only tmpfs.
    15 MaskPath { path: &'a CStr, null: Slot }
    /// Makes a path read-only by a bind mount of itself.
    16 ReadonlyPath { path: &'a CStr }
    /// Writes a kernel setting through a procfs instance that nobody else sees
    /// (CVE-2025-52881).
    17 WriteSysctl { name: &'a CStr, value: &'a [u8] }
    /// Makes a directory of the root, with its parents, where it is missing.
    18 MakeDirectory { path: &'a CStr, mode: u32 }
    /// Changes the attributes of the mount at `path` (mount_setattr(2)).
    19 SetMountAttributes { path: &'a CStr, set: u64, clear: u64, recursive: bool }
    /// Sets the propagation of the root mount as the configuration asks.
    20 SetRootPropagation { propagation: u64, recursive: bool }
    /// Makes the held root the root of the mount namespace and detaches the old one
    /// (pivot_root(2)).
    21 PivotRoot {}
    /// Makes the held root the root of the process alone (chroot(2)): for a machine whose root
    /// is a ramdisk, where pivot_root(2) fails.
    48 ChangeRoot {}
    /// Waits for one message on the channel while another process puts this one into its
    /// cgroup (systemd).
    49 AwaitCgroup {}
    /// Makes the descriptors standard input, output and error.
    22 SetStdio { input: Slot, output: Slot, error: Slot }
    /// Opens the container's own `/dev/null` in place of each standard stream that is the
    /// host's: what the program holds lies within its own mounts, as CRIU wants it.
    50 ReopenNull {}
    /// Opens a terminal of the container's own devpts, makes it the controlling terminal
    /// and standard input, output and error, and sends its master to the caller. With
    /// `bind` it is mounted at `/dev/console` too (CVE-2025-52565: by descriptor).
    23 OpenTerminal { bind: bool, rows: u16, columns: u16 }
    /// Makes an overlay of the directories `lower` (the uppermost first) with `upper/` and
    /// `work/` of `changes`, and puts it into the slot: for a caller without the right to
    /// mount, whose user namespace gives it to this process. Attributes are `user.overlay.*`. With `volatile` nothing is synced.
    51 MakeOverlay { slot: Slot, lower: StrBlock<'a>, changes: &'a CStr, volatile: bool }
    /// The same, mounted in the root at once: a tree in many parts would need as many
    /// descriptors otherwise.
    52 MountOverlay { path: &'a CStr, lower: StrBlock<'a>, changes: &'a CStr, volatile: bool }
    /// Mounts a file of the host's tree at the same place of the root, read-only: for what
    /// lies beside the directories of [`Step::MountOverlay`].
    56 MountHostFile { path: &'a CStr }
    /// Sets the file mode mask (umask(2)).
    24 SetUmask { mask: u32 }
    /// Makes the process undumpable, so that nothing in the namespaces that it enters
    /// can open what it holds (CVE-2016-9962).
    25 SetUndumpable {}
    /// Drops capabilities from the bounding set: those that are not in `keep`.
    26 SetBoundingSet { keep: u64 }
    /// Changes to the user and the groups (setgroups(2), setresgid(2), setresuid(2)),
    /// keeping the permitted capabilities for the step after.
    27 SetUser { uid: u32, gid: u32, groups: &'a [u8] }
    /// Sets the four other capability sets (capabilities(7)).
    28 SetCapabilities { effective: u64, permitted: u64, inheritable: u64, ambient: u64 }
    /// Limits the number of descriptors (setrlimit(2)): a limit below what this process itself
    /// has open until it executes the program.
    54 LimitDescriptors { soft: u64, hard: u64 }
    /// Gives up gaining privileges by execve(2) (prctl(2), `PR_SET_NO_NEW_PRIVS`).
    29 SetNoNewPrivs {}
    /// Restricts file system, network and signals (landlock(7)). `rules` is a
    /// sequence of encoded rules; see `stage/landlock.rs`.
    30 RestrictByLandlock { filesystem: u64, network: u64, scoped: u64, rules: &'a [u8] }
    /// Installs a seccomp filter of whole `struct sock_filter` instructions.
    31 InstallSeccomp { flags: u32, program: &'a [u8] }
    /// Marks every descriptor from `first` on close-on-exec (close_range(2)).
    32 CloseDescriptors { first: u32 }
    /// Changes the working directory and verifies that it lies inside the root
    /// (CVE-2024-21626).
    33 SetWorkingDirectory { path: &'a CStr }
    /// Waits for one message on the channel: the start of a container that was created.
    34 AwaitStart {}
    /// Stays as the init of the container: the rest of the plan runs in a child, and
    /// this process reaps and forwards signals.
    35 BecomeInit {}
    /// Writes `text` to /proc/self/attr/`name`: the label of the next exec.
    36 SetSecurityLabel { name: &'a CStr, text: &'a [u8] }
    /// Makes a file with this content in the tmpfs at `scratch`, mounts it at `path`, and
    /// removes its name from the tmpfs: a file that is nowhere but where it is mounted.
    38 MountFile { scratch: &'a CStr, path: &'a CStr, content: &'a [u8] }
    /// Waits for one message on the channel while the caller runs hooks on the host.
    39 AwaitHooks {}
    /// Lets go of the caller, which may end now, and waits until somebody connects to the
    /// socket: the start of a container that was created. What is reported from here on
    /// goes to whoever connected.
    40 AwaitConnection { listener: Slot }
    /// Runs a hook in a child: the state goes to its standard input, with this process's
    /// id between head and tail. `timeout` is in seconds, 0 for none.
    41 RunHook { path: &'a CStr, arguments: StrBlock<'a>, environment: StrBlock<'a>, timeout: u32, head: &'a [u8], tail: &'a [u8] }
    /// Opens a detached copy of what is at `path` of the host's tree, into `slot`: where
    /// the caller has no right to make one, and this process has in its user namespace.
    42 OpenTree { slot: Slot, path: &'a CStr, recursive: bool, peer: bool, set: u64, clear: u64 }
    /// Sets the execution domain (personality(2)).
    43 SetPersonality { domain: u32 }
    /// Sets the NUMA memory policy (set_mempolicy(2)); `nodes` is a bit map.
    44 SetMemoryPolicy { mode: u32, nodes: &'a [u8] }
    /// Sets the CPUs that may be used (sched_setaffinity(2)); `mask` is a bit map.
    45 SetAffinity { mask: &'a [u8] }
    /// Writes the clock offsets of the new time namespace, which this process enters when
    /// it executes the program (time_namespaces(7)).
    46 WriteTimeOffsets { text: &'a [u8] }
    /// Looks for the program, as [`Step::Execute`] will: so that a missing one is told when
    /// the container is created and not when it is started.
    47 FindProgram { name: &'a CStr, environment: StrBlock<'a> }
    /// As the first step: all signals, which are blocked from the first moment, stay so until
    /// [`Step::BecomeInit`] listens to them and the program is executed. Where another step is
    /// the first, they are let go before it.
    55 HoldSignals {}
    /// Executes the program: looked up in `PATH` of `environment` unless it has a slash.
    37 Execute { arguments: StrBlock<'a>, environment: StrBlock<'a> }
}

impl Step<'_> {
    /// The last slot that the step uses.
    #[must_use]
    pub fn last_slot(&self) -> Option<Slot> {
        match self {
            Self::JoinCgroup { tasks: slot }
            | Self::EnterNamespaces { target: slot, .. }
            | Self::AttachRoot { mount: slot, .. }
            | Self::MountTree { mount: slot, .. }
            | Self::MaskPath { null: slot, .. } => Some(*slot),
            Self::SetStdio { input, output, error } => {
                let (Slot(input), Slot(output), Slot(error)) = (*input, *output, *error);
                Some(Slot(input.max(output).max(error)))
            }
            // The message that it waits for comes after all descriptors.
            Self::AwaitStart {} | Self::AwaitHooks {} | Self::AwaitConnection { .. } => Some(Slot(u16::MAX)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Buffer([u8; 512], usize);
    impl Sink for Buffer {
        fn put(&mut self, bytes: &[u8]) {
            self.0[self.1..self.1 + bytes.len()].copy_from_slice(bytes);
            self.1 += bytes.len();
        }
    }

    #[test]
    fn every_form_of_field_survives() {
        let steps = [
            Step::JoinCgroup { tasks: Slot(7) },
            Step::NewSession {},
            Step::SetHostname { name: b"web" },
            Step::MountNew {
                path: c"dev/shm",
                fstype: c"tmpfs",
                parameters: StrBlock(b"size\x0065536\0"),
                attributes: 6,
                target: target::REAL | target::MAKE_DIRECTORY,
            },
            Step::SetMountAttributes {
                path: c"",
                set: 1,
                clear: 2,
                recursive: true,
            },
            Step::SetCapabilities {
                effective: 1 << 40,
                permitted: 2,
                inheritable: 0,
                ambient: u64::MAX,
            },
            Step::Execute {
                arguments: StrBlock(b"true\0"),
                environment: StrBlock(b""),
            },
        ];
        let mut buffer = Buffer([0; 512], 0);
        for step in &steps {
            step.encode(&mut buffer);
        }
        let mut source = Source(&buffer.0[..buffer.1]);
        for step in &steps {
            assert_eq!(Step::decode(&mut source).as_ref(), Ok(step));
        }
        assert!(source.0.is_empty());
    }

    #[test]
    fn every_cut_is_malformed() {
        let mut buffer = Buffer([0; 512], 0);
        Step::MountTree {
            mount: Slot(1),
            path: c"proc",
            propagation: 0,
            target: 0,
        }
        .encode(&mut buffer);
        for length in 0..buffer.1 {
            assert_eq!(
                Step::decode(&mut Source(&buffer.0[..length])),
                Err(Malformed),
                "{length} bytes"
            );
        }
        assert_eq!(Step::decode(&mut Source(&[0])), Err(Malformed));
        assert_eq!(Step::decode(&mut Source(&[255])), Err(Malformed));
    }
}
