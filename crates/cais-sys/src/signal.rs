//! Signal dispositions and masks: rt_sigaction(2), rt_sigprocmask(2), signalfd(2).

use crate::syscall::{check, number, syscall6};
use rustix::fd::{BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::Signal;

const SIG_BLOCK: usize = 0;
const SIG_SETMASK: usize = 2;
/// Size of the kernel's `sigset_t` in bytes.
const SET_SIZE: usize = 8;
const SFD_CLOEXEC: usize = 0o2_000_000;
const SFD_NONBLOCK: usize = 0o4000;

/// A set of signals: bit `n - 1` is signal `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalSet(u64);

impl SignalSet {
    /// No signal.
    pub const EMPTY: Self = Self(0);
    /// Every signal (the kernel leaves out SIGKILL and SIGSTOP).
    pub const ALL: Self = Self(u64::MAX);

    /// The set with `signal` added; numbers outside 1 to 64 are not signals and change nothing.
    #[must_use]
    pub const fn with(self, signal: u32) -> Self {
        if signal >= 1 && signal <= 64 {
            Self(self.0 | 1 << (signal - 1))
        } else {
            self
        }
    }

    /// The set without `signal`.
    #[must_use]
    pub const fn without(self, signal: u32) -> Self {
        if signal >= 1 && signal <= 64 {
            Self(self.0 & !(1 << (signal - 1)))
        } else {
            self
        }
    }
}

/// The kernel's `struct sigaction`, as rt_sigaction(2) takes it.
#[repr(C)]
struct KernelSigaction {
    handler: usize,
    flags: usize,
    #[cfg(target_arch = "x86_64")]
    restorer: usize,
    mask: u64,
}

/// Sets every signal that can be set to its default action: an ignored one would stay so across
/// exec (signal(7)).
pub fn reset_all() {
    for signal in 1..=64 {
        reset(signal);
    }
}

/// Sets a signal to its default action. SIGCHLD, where a caller ignores it, would have the
/// kernel forget how our children ended (wait(2)).
pub fn reset(signal: u32) {
    let action = KernelSigaction {
        handler: 0,
        flags: 0,
        #[cfg(target_arch = "x86_64")]
        restorer: 0,
        mask: 0,
    };
    let (signal, action) = (signal as usize, core::ptr::from_ref(&action) as usize);
    // SAFETY: the structure is read only and lives for the call; SIG_DFL runs no code of
    // ours. SIGKILL and SIGSTOP answer EINVAL, which is right.
    unsafe { syscall6(number::RT_SIGACTION, [signal, action, 0, SET_SIZE, 0, 0]) };
}

/// Replaces the set of blocked signals of this thread. Returns the one before.
pub fn set_mask(set: SignalSet) -> SignalSet {
    mask(SIG_SETMASK, set)
}

/// Adds to the set of blocked signals of this thread.
pub fn block(set: SignalSet) {
    mask(SIG_BLOCK, set);
}

/// Does `work` while all signals of this thread wait.
#[cfg(not(feature = "stub"))]
pub fn while_deferred(work: &mut dyn FnMut()) {
    let before = set_mask(SignalSet::ALL);
    work();
    set_mask(before);
}

/// Changes the mask. Returns the one before.
fn mask(how: usize, set: SignalSet) -> SignalSet {
    let mut before = 0u64;
    let (new, old) = (core::ptr::from_ref(&set.0), core::ptr::from_mut(&mut before));
    let arguments = [how, new as usize, old as usize, SET_SIZE, 0, 0];
    // SAFETY: the new set is read and the old one written, as long as the kernel's; both live
    // for the call.
    unsafe { syscall6(number::RT_SIGPROCMASK, arguments) };
    SignalSet(before)
}

/// A descriptor that becomes readable when one of `set` arrives; the signals
/// must be blocked. Close-on-exec and non-blocking. See signalfd(2).
///
/// # Errors
/// `EMFILE`, `ENFILE`, `ENOMEM`.
pub fn signalfd(set: SignalSet) -> Result<OwnedFd, Errno> {
    let arguments = [
        usize::MAX,
        core::ptr::from_ref(&set.0) as usize,
        SET_SIZE,
        SFD_CLOEXEC | SFD_NONBLOCK,
        0,
        0,
    ];
    // SAFETY: -1 asks for a new descriptor; the set is read only.
    let result = unsafe { syscall6(number::SIGNALFD4, arguments) };
    let fd = check(result)?;
    // SAFETY: the kernel just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap_or(-1)) })
}

/// The signal with this number, real-time ones included; `None` outside 1 to 64.
#[must_use]
pub fn from_number(number: i32) -> Option<Signal> {
    if !(1..=64).contains(&number) {
        return None;
    }
    // SAFETY: no C library reserves signals here: the numbers are only passed to
    // kill(2), which takes every one from 1 to 64.
    Some(unsafe { Signal::from_raw_unchecked(number) })
}

/// Takes one signal from a [`signalfd`]; `None` where none waits.
#[must_use]
pub fn read_signalfd(signals: BorrowedFd<'_>) -> Option<i32> {
    // struct signalfd_siginfo has 128 bytes; the first four are the number.
    let mut info = [0u8; 128];
    let count = rustix::io::retry_on_intr(|| rustix::io::read(signals, &mut info[..])).ok()?;
    (count == info.len()).then(|| i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))
}
