//! seccomp(2): installing a filter whose instructions are given as bytes.

use crate::syscall::{check, number, syscall6};
use rustix::fd::{FromRawFd, OwnedFd};
use rustix::io::Errno;

const SECCOMP_SET_MODE_FILTER: usize = 1;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`: the call returns a notification descriptor.
pub const FLAG_NEW_LISTENER: u32 = 1 << 3;
/// Size of one `struct sock_filter` in bytes.
pub const INSTRUCTION_SIZE: usize = 8;

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
/// `CAP_SYS_ADMIN` in the user namespace nor no_new_privs.
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
        return Ok(None);
    }
    let fd = i32::try_from(value).or(Err(Errno::BADF))?;
    // SAFETY: with NEW_LISTENER the result is a descriptor made for us.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
}
