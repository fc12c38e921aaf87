//! Hands a program to the kernel, and asks which actions it knows; see seccomp(2).

use super::profile::Action;
use crate::error::{Result, SysError};
use cais_sys::seccomp::{self as sys, INSTRUCTION_SIZE, SockFilter};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

/// The bytes of `program`, as the init stub's plan carries it.
#[must_use]
pub fn program_bytes(program: &[SockFilter]) -> Vec<u8> {
    program
        .iter()
        .flat_map(|instruction| instruction.to_bytes())
        .collect()
}

/// The program in `bytes`, or nothing where they are not whole instructions.
#[must_use]
pub fn parse_program(bytes: &[u8]) -> Option<Vec<SockFilter>> {
    let (instructions, rest) = bytes.as_chunks::<INSTRUCTION_SIZE>();
    let program = instructions.iter().copied().map(SockFilter::from_bytes);
    rest.is_empty().then(|| program.collect())
}

/// Installs `program` on the calling thread, for good. The listener comes back
/// where `flags` asks for one.
///
/// # Errors
/// `EACCES` without no_new_privs and `CAP_SYS_ADMIN`, `EINVAL` for a program or
/// flags that the kernel refuses, `EBUSY` beside another listener.
pub fn install_filter(program: &[SockFilter], flags: u32) -> Result<Option<OwnedFd>> {
    sys::set_mode_filter(flags, &program_bytes(program)).map_err(|errno| {
        let arguments = format!(
            "SECCOMP_SET_MODE_FILTER, {flags:#x}, {} instructions",
            program.len()
        );
        SysError::new("seccomp", arguments, errno)
    })
}

/// Whether this kernel knows `action`.
///
/// # Errors
/// Whatever seccomp(2) says but that it does not know the action, such as
/// `ENOSYS` from a kernel without seccomp.
pub fn probe_action(action: Action) -> Result<bool> {
    match sys::action_available(action.return_value()) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(SysError::new(
            "seccomp",
            format!("SECCOMP_GET_ACTION_AVAIL, {}", action.oci_name()),
            errno,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_both_ways() {
        let program = [
            SockFilter {
                code: 0x20,
                jt: 0,
                jf: 0,
                k: 4,
            },
            SockFilter {
                code: 0x15,
                jt: 1,
                jf: 255,
                k: 0xc000_003e,
            },
            SockFilter {
                code: 0x06,
                jt: 0,
                jf: 0,
                k: 0x7fff_0000,
            },
        ];
        let bytes = program_bytes(&program);
        assert_eq!(bytes.len(), 24);
        assert_eq!(parse_program(&bytes).unwrap(), program);
        assert_eq!(parse_program(&bytes[..23]), None);
    }
}
