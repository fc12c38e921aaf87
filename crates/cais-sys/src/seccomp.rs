//! seccomp(2): the instruction of a filter, installing a filter whose
//! instructions are given as bytes, and which actions the kernel knows.

use crate::syscall::{check, number, syscall6};
use rustix::fd::{FromRawFd, OwnedFd};
use rustix::io::Errno;

const SECCOMP_SET_MODE_FILTER: usize = 1;
const SECCOMP_GET_ACTION_AVAIL: usize = 2;

/// `SECCOMP_FILTER_FLAG_TSYNC`: every thread of the process (Linux 3.17).
pub const FLAG_TSYNC: u32 = 1;
/// `SECCOMP_FILTER_FLAG_LOG`: every action but allow is logged (Linux 4.14).
pub const FLAG_LOG: u32 = 1 << 1;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`: speculative store bypass stays on (Linux 4.17).
pub const FLAG_SPEC_ALLOW: u32 = 1 << 2;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`: the call returns a notification descriptor (Linux 5.0).
pub const FLAG_NEW_LISTENER: u32 = 1 << 3;
/// `SECCOMP_FILTER_FLAG_TSYNC_ESRCH`: a failed TSYNC is an errno, not a thread
/// id, which a listener needs beside TSYNC (Linux 5.7).
pub const FLAG_TSYNC_ESRCH: u32 = 1 << 4;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`: only a fatal signal interrupts the
/// wait for a listener's answer (Linux 5.19).
pub const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// Size of one `struct sock_filter` in bytes.
pub const INSTRUCTION_SIZE: usize = 8;
/// The most instructions that the kernel takes in one filter (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// One classic BPF instruction: `struct sock_filter` of `linux/filter.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SockFilter {
    /// The operation.
    pub code: u16,
    /// Instructions to skip where the test holds.
    pub jt: u8,
    /// Instructions to skip where it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

impl SockFilter {
    /// The instruction as the kernel reads it, in the byte order of the machine.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; INSTRUCTION_SIZE] {
        let code = self.code.to_ne_bytes();
        let k = self.k.to_ne_bytes();
        [code[0], code[1], self.jt, self.jf, k[0], k[1], k[2], k[3]]
    }

    /// The instruction that [`Self::to_bytes`] wrote.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; INSTRUCTION_SIZE]) -> Self {
        let [c0, c1, jt, jf, k0, k1, k2, k3] = bytes;
        Self {
            code: u16::from_ne_bytes([c0, c1]),
            jt,
            jf,
            k: u32::from_ne_bytes([k0, k1, k2, k3]),
        }
    }
}

/// `struct sock_fprog` with the padding of a 64-bit machine.
#[repr(C)]
struct Program {
    length: u16,
    padding: [u16; 3],
    instructions: *const u8,
}

/// Installs the classic BPF program `instructions` (each 8 bytes, in the byte
/// order of the machine). With [`FLAG_NEW_LISTENER`] the descriptor is returned.
///
/// # Errors
/// `EINVAL` for a program that the kernel refuses, `EACCES` with neither
/// `CAP_SYS_ADMIN` in the user namespace nor no_new_privs, `EBUSY` where the
/// process has a listener already, `ESRCH` where TSYNC could not reach a thread.
pub fn set_mode_filter(flags: u32, instructions: &[u8]) -> Result<Option<OwnedFd>, Errno> {
    if !instructions.len().is_multiple_of(INSTRUCTION_SIZE) {
        return Err(Errno::INVAL);
    }
    let length = u16::try_from(instructions.len() / INSTRUCTION_SIZE).or(Err(Errno::INVAL))?;
    let program = Program {
        length,
        padding: [0; 3],
        instructions: instructions.as_ptr(),
    };
    let arguments = [
        SECCOMP_SET_MODE_FILTER,
        flags as usize,
        core::ptr::from_ref(&program) as usize,
        0,
        0,
        0,
    ];
    // SAFETY: the program points to `length` whole instructions, read only, and
    // the kernel copies them; it verifies the code itself.
    let result = unsafe { syscall6(number::SECCOMP, arguments) };
    let value = check(result)?;
    if flags & FLAG_NEW_LISTENER == 0 {
        // Without TSYNC_ESRCH a failed TSYNC is the id of the thread in the way.
        return if value == 0 { Ok(None) } else { Err(Errno::SRCH) };
    }
    let fd = i32::try_from(value).or(Err(Errno::BADF))?;
    // SAFETY: with NEW_LISTENER the result is a descriptor made for us.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Whether the kernel knows the filter's return value `action` (without data).
///
/// # Errors
/// `EOPNOTSUPP` where it does not; `EINVAL` where it cannot say (before Linux 4.14).
pub fn action_available(action: u32) -> Result<(), Errno> {
    let arguments = [
        SECCOMP_GET_ACTION_AVAIL,
        0,
        core::ptr::from_ref(&action) as usize,
        0,
        0,
        0,
    ];
    // SAFETY: the kernel reads the four bytes of `action`, which outlives the
    // call, and writes nothing.
    let result = unsafe { syscall6(number::SECCOMP, arguments) };
    check(result).map(|_zero| ())
}
