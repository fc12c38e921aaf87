//! sched_setattr(2) and ioprio_set(2).

use crate::syscall::{check, syscall6};
use rustix::io::Errno;
use rustix::process::Pid;

const SCHED_SETATTR: usize = if cfg!(target_arch = "x86_64") { 314 } else { 274 };
const IOPRIO_SET: usize = if cfg!(target_arch = "x86_64") { 251 } else { 30 };

/// The parameters of sched_setattr(2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SchedAttr {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For `SCHED_OTHER` and `SCHED_BATCH`: -20 to 19.
    pub nice: i32,
    /// For `SCHED_FIFO` and `SCHED_RR`: 1 to 99.
    pub priority: u32,
    /// For `SCHED_DEADLINE`, nanoseconds.
    pub runtime: u64,
    /// For `SCHED_DEADLINE`, nanoseconds.
    pub deadline: u64,
    /// For `SCHED_DEADLINE`, nanoseconds.
    pub period: u64,
}

/// `struct sched_attr` in its first version (`SCHED_ATTR_SIZE_VER0`, without the clamps).
#[repr(C)]
struct KernelSchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// What the kernel calls the size of the first version.
const SCHED_ATTR_SIZE_VER0: u32 = 48;
const _: () = assert!(size_of::<KernelSchedAttr>() == 48);

fn id(pid: Option<Pid>) -> usize {
    Pid::as_raw(pid).cast_unsigned() as usize
}

/// Sets policy and parameters of a thread; `None` is the calling one.
///
/// # Errors
/// As sched_setattr(2).
pub fn sched_setattr(pid: Option<Pid>, attr: &SchedAttr) -> Result<(), Errno> {
    let attr = KernelSchedAttr {
        size: SCHED_ATTR_SIZE_VER0,
        policy: attr.policy,
        flags: attr.flags,
        nice: attr.nice,
        priority: attr.priority,
        runtime: attr.runtime,
        deadline: attr.deadline,
        period: attr.period,
    };
    let attr = core::ptr::from_ref(&attr) as usize;
    // SAFETY: the structure lives for the call, is only read, and states its true size.
    check(unsafe { syscall6(SCHED_SETATTR, [id(pid), attr, 0, 0, 0, 0]) }).map(drop)
}

/// Sets the execution domain of the calling process.
///
/// # Errors
/// As personality(2).
pub fn set_personality(domain: u32) -> Result<(), Errno> {
    const PERSONALITY: usize = if cfg!(target_arch = "x86_64") { 135 } else { 92 };
    // SAFETY: takes a number; memory is not touched.
    check(unsafe { syscall6(PERSONALITY, [domain as usize, 0, 0, 0, 0, 0]) }).map(drop)
}

/// Sets the NUMA memory policy of the calling thread. `nodes` is a bit map in whole bytes.
///
/// # Errors
/// As set_mempolicy(2): `EINVAL` for nodes that are not there, `ENOSYS` without NUMA.
pub fn set_memory_policy(mode: u32, nodes: &[u8]) -> Result<(), Errno> {
    const SET_MEMPOLICY: usize = if cfg!(target_arch = "x86_64") { 238 } else { 237 };
    let mut words = [0u64; 16];
    for (index, byte) in nodes.iter().enumerate() {
        let word = words.get_mut(index / 8).ok_or(Errno::INVAL)?;
        *word |= u64::from(*byte) << (8 * (index % 8));
    }
    // The kernel takes one bit less than it is told.
    let bits = words.len() * 64;
    let (address, bits) = if nodes.is_empty() {
        (0, 0)
    } else {
        (words.as_ptr() as usize, bits)
    };
    // SAFETY: the kernel reads `bits` bits, which the array has.
    check(unsafe { syscall6(SET_MEMPOLICY, [mode as usize, address, bits, 0, 0, 0]) }).map(drop)
}

/// Sets the CPUs that a thread may use; `None` is the calling one. `mask` is a bit map in
/// whole bytes.
///
/// # Errors
/// As sched_setaffinity(2): `EINVAL` where none of them may be used.
pub fn set_affinity(pid: Option<Pid>, mask: &[u8]) -> Result<(), Errno> {
    const SCHED_SETAFFINITY: usize = if cfg!(target_arch = "x86_64") { 203 } else { 122 };
    let arguments = [id(pid), mask.len(), mask.as_ptr() as usize, 0, 0, 0];
    // SAFETY: the kernel reads as many bytes as the slice has.
    check(unsafe { syscall6(SCHED_SETAFFINITY, arguments) }).map(drop)
}

/// Sets the I/O priority of a thread; `None` is the calling one.
///
/// # Errors
/// As ioprio_set(2).
pub fn ioprio_set(pid: Option<Pid>, priority: u16) -> Result<(), Errno> {
    const IOPRIO_WHO_PROCESS: usize = 1;
    let arguments = [IOPRIO_WHO_PROCESS, id(pid), usize::from(priority), 0, 0, 0];
    // SAFETY: takes numbers; memory is not touched.
    check(unsafe { syscall6(IOPRIO_SET, arguments) }).map(drop)
}
