//! Docker's default profile, and its programs compiled ahead of time.
//!
//! The lists are those of `moby/profiles`, `seccomp/default.json`, as vendored
//! in moby of May 2026 (Docker 29.4.3). io_uring is not in them. Differences:
//!
//! - `socket`: Docker refuses the address families AF_ALG (CVE-2026-31431) and
//!   AF_VSOCK by comparing all 64 bits of the argument, but the kernel reads 32
//!   of them, so `socket(AF_ALG + 2^32, …)` passes. Here the low 32 bits are
//!   compared, and families above 63, which no kernel has, are refused too.
//! - `ptrace` and `process_vm_*` depend on Linux 4.8 there; we need a newer
//!   kernel anyhow, so they are always in.
//! - rules for architectures that we are not built for are left out.
//!
//! `socketcall` stays allowed, as in Docker: 32-bit glibc makes every socket
//! through it. Its family lies behind a pointer, so a 32-bit program can still
//! have AF_ALG and AF_VSOCK where no AppArmor or SELinux profile forbids it.

use super::arch::Arch;
use super::compile::{CompileError, compile};
#[cfg(target_arch = "aarch64")]
use super::default_aarch64::PROGRAM as PRECOMPILED;
#[cfg(target_arch = "x86_64")]
use super::default_x86_64::PROGRAM as PRECOMPILED;
use super::profile::{Action, ArgRule, Flag, Operator, Profile, Rule};
use cais_sys::seccomp::{FLAG_SPEC_ALLOW, SockFilter};
use std::borrow::Cow;

/// The flags of seccomp(2) that go with [`default_program`].
pub const DEFAULT_FLAGS: u32 = FLAG_SPEC_ALLOW;

/// The 14 capabilities that Docker gives a container, bit n for capability n.
pub const DOCKER_CAPABILITIES: u64 = bit(0) // CHOWN
    | bit(1) // DAC_OVERRIDE
    | bit(3) // FOWNER
    | bit(4) // FSETID
    | bit(5) // KILL
    | bit(6) // SETGID
    | bit(7) // SETUID
    | bit(8) // SETPCAP
    | bit(10) // NET_BIND_SERVICE
    | bit(13) // NET_RAW
    | CAP_SYS_CHROOT
    | bit(27) // MKNOD
    | bit(29) // AUDIT_WRITE
    | bit(31); // SETFCAP

const CAP_DAC_READ_SEARCH: u64 = bit(2);
const CAP_SYS_MODULE: u64 = bit(16);
const CAP_SYS_RAWIO: u64 = bit(17);
const CAP_SYS_CHROOT: u64 = bit(18);
const CAP_SYS_PTRACE: u64 = bit(19);
const CAP_SYS_PACCT: u64 = bit(20);
const CAP_SYS_ADMIN: u64 = bit(21);
const CAP_SYS_BOOT: u64 = bit(22);
const CAP_SYS_NICE: u64 = bit(23);
const CAP_SYS_TIME: u64 = bit(25);
const CAP_SYS_TTY_CONFIG: u64 = bit(26);
const CAP_SYSLOG: u64 = bit(34);
const CAP_PERFMON: u64 = bit(38);
const CAP_BPF: u64 = bit(39);

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET of sched.h.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;

const fn bit(number: u32) -> u64 {
    1 << number
}

/// Some system calls that are treated alike, under a condition.
struct Group {
    /// Only with this capability; 0 for always.
    with: u64,
    /// Only without this capability; 0 for always.
    without: u64,
    /// Only where the native architecture is one of these; empty for any.
    arches: &'static [Arch],
    action: Action,
    errno: Option<u32>,
    /// Conditions, each a rule of its own; empty for none.
    any_of: &'static [ArgRule],
    /// Separated by white space.
    names: &'static str,
}

const ALLOW: Group = Group {
    with: 0,
    without: 0,
    arches: &[],
    action: Action::Allow,
    errno: None,
    any_of: &[],
    names: "",
};

const fn allow(names: &'static str) -> Group {
    Group { names, ..ALLOW }
}

const fn allow_with(with: u64, names: &'static str) -> Group {
    Group { with, names, ..ALLOW }
}

const fn equal(value: u64) -> ArgRule {
    ArgRule {
        index: 0,
        value,
        value_two: 0,
        op: Operator::Equal,
    }
}

const fn masked(mask: u64, datum: u64) -> ArgRule {
    ArgRule {
        index: 0,
        value: mask,
        value_two: datum,
        op: Operator::MaskedEqual,
    }
}

/// Address families 0 to 63 but 38 (AF_ALG) and 40 (AF_VSOCK), by the 32 bits
/// that the kernel reads.
const SOCKET_FAMILIES: [ArgRule; 8] = [
    masked(0xffff_ffe0, 0),  // 0 to 31
    masked(0xffff_fffc, 32), // 32 to 35
    masked(0xffff_fffe, 36), // 36, 37
    masked(0xffff_ffff, 39),
    masked(0xffff_ffff, 41),
    masked(0xffff_fffe, 42), // 42, 43
    masked(0xffff_fffc, 44), // 44 to 47
    masked(0xffff_fff0, 48), // 48 to 63
];

/// PER_LINUX, PER_LINUX32, UNAME26, both, and "tell me which it is".
const PERSONALITIES: [ArgRule; 5] = [
    equal(0),
    equal(0x8),
    equal(0x2_0000),
    equal(0x2_0008),
    equal(0xffff_ffff),
];

static GROUPS: [Group; 23] = [
    allow(EVERYONE),
    allow("process_vm_readv process_vm_writev ptrace"),
    Group {
        any_of: &SOCKET_FAMILIES,
        ..allow("socket")
    },
    Group {
        any_of: &PERSONALITIES,
        ..allow("personality")
    },
    Group {
        arches: &[Arch::Arm, Arch::Aarch64],
        ..allow("arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls")
    },
    Group {
        arches: &[Arch::X86_64, Arch::X32],
        ..allow("arch_prctl")
    },
    Group {
        arches: &[Arch::X86_64, Arch::X32, Arch::X86],
        ..allow("modify_ldt")
    },
    allow_with(CAP_DAC_READ_SEARCH, "open_by_handle_at"),
    allow_with(
        CAP_SYS_ADMIN,
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr \
         lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl \
         quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    // Threads and processes, but no namespaces.
    Group {
        without: CAP_SYS_ADMIN,
        any_of: &[masked(CLONE_NAMESPACES, 0)],
        ..allow("clone")
    },
    // Its flags lie behind a pointer; with ENOSYS the C library falls back to clone.
    Group {
        without: CAP_SYS_ADMIN,
        action: Action::Errno,
        errno: Some(ENOSYS),
        ..allow("clone3")
    },
    allow_with(CAP_SYS_BOOT, "reboot"),
    allow_with(CAP_SYS_CHROOT, "chroot"),
    allow_with(CAP_SYS_MODULE, "delete_module init_module finit_module"),
    allow_with(CAP_SYS_PACCT, "acct"),
    allow_with(
        CAP_SYS_PTRACE,
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    ),
    allow_with(CAP_SYS_RAWIO, "iopl ioperm"),
    allow_with(CAP_SYS_TIME, "settimeofday stime clock_settime clock_settime64"),
    allow_with(CAP_SYS_TTY_CONFIG, "vhangup"),
    allow_with(
        CAP_SYS_NICE,
        "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    ),
    allow_with(CAP_SYSLOG, "syslog"),
    allow_with(CAP_BPF, "bpf"),
    allow_with(CAP_PERFMON, "perf_event_open"),
];

/// What every container may call.
const EVERYONE: &str = "\
    accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 \
    clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 \
    clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 \
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old \
    eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate \
    fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync \
    fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync \
    ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat \
    getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups \
    getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid \
    getresgid32 getresuid getresuid32 getrlimit get_robust_list getrusage getsid getsockname getsockopt \
    get_thread_area gettid gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init \
    inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy io_getevents io_pgetevents \
    io_pgetevents_time64 ioprio_get ioprio_set io_setup io_submit ipc kill landlock_add_rule \
    landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount \
    listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise \
    map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 \
    mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 \
    mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock \
    munlockall munmap name_to_handle_at nanosleep newfstatat _newselect open openat openat2 pause \
    pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 \
    prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev \
    pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg \
    remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall riscv_hwprobe \
    rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend \
    rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity sched_getattr \
    sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval \
    sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler \
    sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64 \
    sendmmsg sendmsg sendto setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 \
    setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid \
    setreuid32 setrlimit set_robust_list setsid setsockopt set_thread_area set_tid_address setuid setuid32 \
    setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask \
    sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx symlink symlinkat \
    sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun \
    timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime \
    timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask \
    uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid \
    waitpid write writev";

/// The capabilities that change the profile.
const RELEVANT: u64 = {
    let mut relevant = 0;
    let mut group = 0;
    while group < GROUPS.len() {
        relevant |= GROUPS[group].with | GROUPS[group].without;
        group += 1;
    }
    relevant
};

/// Docker's default profile for a process whose bounding set is `capabilities`
/// (bit n for capability n) on a kernel of architecture `native`.
#[must_use]
pub fn default_profile(capabilities: u64, native: Arch) -> Profile {
    let applies = |group: &&Group| {
        (group.with == 0 || group.with & capabilities != 0)
            && group.without & capabilities == 0
            && (group.arches.is_empty() || group.arches.contains(&native))
    };
    Profile {
        default_action: Action::Errno,
        default_errno: Some(EPERM),
        architectures: native.family().to_vec(),
        flags: vec![Flag::SpecAllow],
        listener_path: None,
        listener_metadata: None,
        rules: GROUPS.iter().filter(applies).flat_map(rules).collect(),
    }
}

fn rules(group: &'static Group) -> impl Iterator<Item = Rule> {
    let conditions = group.any_of.iter().map(|condition| vec![*condition]);
    let unconditional = group.any_of.is_empty().then(Vec::new);
    conditions.chain(unconditional).map(|args| Rule {
        names: group.names.split_ascii_whitespace().map(Cow::Borrowed).collect(),
        action: group.action,
        errno: group.errno,
        args,
    })
}

/// The program of [`default_profile`] on the native architecture. Where the
/// capabilities that matter are those of [`DOCKER_CAPABILITIES`], it is the one
/// in the executable, else it is compiled now.
///
/// # Errors
/// None that a test has not ruled out; the type is that of the compiler.
pub fn default_program(capabilities: u64) -> Result<Cow<'static, [SockFilter]>, CompileError> {
    if capabilities & RELEVANT == DOCKER_CAPABILITIES & RELEVANT {
        return Ok(Cow::Borrowed(PRECOMPILED));
    }
    let compiled = compile(&default_profile(capabilities, Arch::NATIVE), Arch::NATIVE)?;
    Ok(Cow::Owned(compiled.program))
}
