//! System calls that are made only to learn whether the kernel has them.

use crate::process::exit_now;
use crate::syscall::{check, number, syscall6};
use rustix::fd::{FromRawFd, OwnedFd};
use rustix::io::Errno;

/// Asks clone3(2) for a process in the cgroup of a descriptor that cannot be open, and
/// returns why it was refused: `EBADF` where the kernel knows `CLONE_INTO_CGROUP`,
/// `EINVAL` where it knows clone3 only, `ENOSYS` where not even that. No process is made.
#[must_use]
pub fn refused_clone_into_cgroup() -> Errno {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    const SIGCHLD: u64 = 17;
    let mut args = [0u64; 11];
    args[0] = CLONE_INTO_CGROUP;
    args[4] = SIGCHLD;
    // No process may have this many descriptors (fs.nr_open is at most 2^30).
    args[10] = u64::from(i32::MAX.cast_unsigned());
    let size = size_of_val(&args);
    // SAFETY: without CLONE_VM a child, if there were one, would have a copy of the
    // memory; the structure outlives the call.
    match check(unsafe { syscall6(number::CLONE3, [args.as_ptr() as usize, size, 0, 0, 0, 0]) }) {
        Err(errno) => errno,
        Ok(0) => exit_now(0),
        Ok(_) => Errno::ISCONN,
    }
}

/// Closes no descriptor with close_range(2).
///
/// # Errors
/// `ENOSYS` before Linux 5.9.
pub fn close_empty_range() -> Result<(), Errno> {
    const CLOSE_RANGE: usize = 436;
    let last = u32::MAX as usize;
    // SAFETY: no descriptor has this number, so none that is in use is closed.
    check(unsafe { syscall6(CLOSE_RANGE, [last, last, 0, 0, 0, 0]) }).map(drop)
}

/// One eBPF instruction of `struct bpf_insn`.
#[repr(C)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// The part of `union bpf_attr` that `BPF_PROG_LOAD` needs.
#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// Loads an eBPF program that would allow every device, and attaches it nowhere: it is
/// gone with its descriptor.
///
/// # Errors
/// As bpf(2): `EPERM` without `CAP_BPF` and `CAP_NET_ADMIN` or `CAP_SYS_ADMIN`, `EINVAL` where the kernel
/// has no such programs, `ENOSYS` without bpf.
pub fn load_device_program() -> Result<OwnedFd, Errno> {
    const BPF_PROG_LOAD: usize = 5;
    const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
    // r0 = 1; exit
    let program = [
        Instruction {
            code: 0xb7,
            registers: 0,
            offset: 0,
            immediate: 1,
        },
        Instruction {
            code: 0x95,
            registers: 0,
            offset: 0,
            immediate: 0,
        },
    ];
    let attr = LoadAttr {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: 2,
        insns: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
    };
    let arguments = [
        BPF_PROG_LOAD,
        core::ptr::from_ref(&attr) as usize,
        size_of::<LoadAttr>(),
        0,
        0,
        0,
    ];
    // SAFETY: attributes, instructions and licence live for the call and are only read.
    let fd = check(unsafe { syscall6(number::BPF, arguments) })?;
    let fd = i32::try_from(fd).or(Err(Errno::BADF))?;
    // SAFETY: the kernel has just made this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_only_ask() {
        assert!(matches!(
            refused_clone_into_cgroup(),
            Errno::BADF | Errno::INVAL | Errno::NOSYS | Errno::PERM
        ));
        assert!(matches!(close_empty_range(), Ok(()) | Err(Errno::NOSYS)));
    }
}
