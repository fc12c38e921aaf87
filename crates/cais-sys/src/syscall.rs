//! The raw system call instruction. See syscall(2), section "Architecture
//! calling conventions".

use core::arch::asm;
use rustix::io::Errno;

/// Issues system call `number` with six arguments and returns what the kernel
/// put into the result register (a value in `-4095..0` is a negated errno).
///
/// # Safety
/// The arguments must be what the system call expects: each pointer valid for
/// what the kernel reads or writes through it, each descriptor one that the
/// caller may use.
#[cfg(target_arch = "x86_64")]
#[inline]
pub unsafe fn syscall6(number: usize, args: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the instruction clobbers rcx, r11 and rax only, all declared; the
    // caller answers for the arguments.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Issues system call `number` with six arguments and returns what the kernel
/// put into the result register (a value in `-4095..0` is a negated errno).
///
/// # Safety
/// The arguments must be what the system call expects: each pointer valid for
/// what the kernel reads or writes through it, each descriptor one that the
/// caller may use.
#[cfg(target_arch = "aarch64")]
#[inline]
pub unsafe fn syscall6(number: usize, args: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the instruction clobbers x0 only, declared; the caller answers
    // for the arguments.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") args[0] => result,
            in("x1") args[1],
            in("x2") args[2],
            in("x3") args[3],
            in("x4") args[4],
            in("x5") args[5],
            options(nostack),
        );
    }
    result
}

/// Turns a raw result into a value or an errno.
///
/// # Errors
/// The errno that the kernel returned.
#[inline]
pub fn check(result: isize) -> Result<usize, Errno> {
    match result {
        -4095..0 => Err(Errno::from_raw_os_error(
            i32::try_from(-result).unwrap_or(i32::MAX),
        )),
        value => Ok(value.cast_unsigned()),
    }
}

/// System call numbers that rustix does not use itself. The new ones are equal
/// on every architecture; the old ones are not.
pub mod number {
    #![allow(missing_docs, reason = "each is the name in syscalls(2)")]
    pub const PIDFD_SEND_SIGNAL: usize = 424;
    pub const OPEN_TREE: usize = 428;
    pub const CLONE3: usize = 435;
    pub const MOUNT_SETATTR: usize = 442;
    pub const LANDLOCK_CREATE_RULESET: usize = 444;
    pub const LANDLOCK_ADD_RULE: usize = 445;
    pub const LANDLOCK_RESTRICT_SELF: usize = 446;

    #[cfg(target_arch = "x86_64")]
    mod arch {
        pub const FORK: usize = 57;
        pub const EXIT: usize = 60;
        pub const EXIT_GROUP: usize = 231;
        pub const SETFSUID: usize = 122;
        pub const SETFSGID: usize = 123;
        pub const PRCTL: usize = 157;
        pub const KEYCTL: usize = 250;
        pub const SECCOMP: usize = 317;
        pub const BPF: usize = 321;
        pub const EXECVEAT: usize = 322;
        pub const RT_SIGACTION: usize = 13;
        pub const RT_SIGPROCMASK: usize = 14;
        pub const SET_TID_ADDRESS: usize = 218;
        pub const SIGNALFD4: usize = 289;
        pub const IOCTL: usize = 16;
        pub const FSCONFIG: usize = 431;
        pub const RECVMSG: usize = 47;
        pub const SENDMSG: usize = 46;
    }
    #[cfg(target_arch = "aarch64")]
    mod arch {
        pub const EXIT: usize = 93;
        pub const EXIT_GROUP: usize = 94;
        pub const SETFSUID: usize = 151;
        pub const SETFSGID: usize = 152;
        pub const PRCTL: usize = 167;
        pub const KEYCTL: usize = 219;
        pub const SECCOMP: usize = 277;
        pub const BPF: usize = 280;
        pub const EXECVEAT: usize = 281;
        pub const RT_SIGACTION: usize = 134;
        pub const RT_SIGPROCMASK: usize = 135;
        pub const SET_TID_ADDRESS: usize = 96;
        pub const SIGNALFD4: usize = 74;
        pub const IOCTL: usize = 29;
        pub const FSCONFIG: usize = 431;
        pub const RECVMSG: usize = 212;
        pub const SENDMSG: usize = 211;
    }
    pub use arch::*;
}
