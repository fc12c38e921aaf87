//! bpf(2): loading a program and attaching it to a cgroup.

use crate::syscall::{check, number, syscall6};
use core::ffi::CStr;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Errno;

const BPF_PROG_LOAD: usize = 5;
const BPF_PROG_ATTACH: usize = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// The part of `union bpf_attr` that `BPF_PROG_LOAD` reads.
#[repr(C)]
struct LoadAttr {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
}

/// The part that `BPF_PROG_ATTACH` reads.
#[repr(C)]
struct AttachAttr {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Loads a program that decides on the devices of a cgroup. The kernel verifies it.
///
/// # Errors
/// As bpf(2): `EPERM` without `CAP_BPF` or `CAP_SYS_ADMIN`, `EINVAL` or `EACCES` for a
/// program that the verifier refuses.
pub fn load_device_program(instructions: &[[u8; 8]]) -> Result<OwnedFd, Errno> {
    let license: &CStr = c"Apache-2.0";
    let attr = LoadAttr {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(instructions.len()).or(Err(Errno::TOOBIG))?,
        instructions: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
        kernel_version: 0,
        flags: 0,
    };
    let arguments = [
        BPF_PROG_LOAD,
        core::ptr::from_ref(&attr) as usize,
        size_of::<LoadAttr>(),
        0,
        0,
        0,
    ];
    // SAFETY: the attributes point to `count` instructions and a terminated text, all
    // live for the call and only read.
    let fd = check(unsafe { syscall6(number::BPF, arguments) })?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).or(Err(Errno::BADF))?) })
}

/// Attaches a program to the cgroup behind `cgroup`; those of groups above keep their say.
///
/// # Errors
/// As bpf(2).
pub fn attach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), Errno> {
    let attr = AttachAttr {
        target: cgroup.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    let arguments = [
        BPF_PROG_ATTACH,
        core::ptr::from_ref(&attr) as usize,
        size_of::<AttachAttr>(),
        0,
        0,
        0,
    ];
    // SAFETY: the attributes are read only and live for the call.
    check(unsafe { syscall6(number::BPF, arguments) }).map(drop)
}
