//! What a program without a C library needs: the entry point, the memory
//! functions that the compiler calls, and the panic handler.

use crate::process::exit_now;
use core::arch::{asm, global_asm};
use core::ffi::{CStr, c_char};
use rustix::fd::{FromRawFd, OwnedFd};

unsafe extern "Rust" {
    /// The program's own main function; [`crate::stub_main`] defines it.
    safe fn cais_stub_main(channel: &CStr) -> u8;
}

// The kernel enters with the argument count at the top of the stack, the
// pointers behind it, and the stack aligned to 16 bytes (System V ABI, "Process
// Initialization").
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {entry}",
    "ud2",
    entry = sym entry,
);
#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "bl {entry}",
    "brk #1",
    entry = sym entry,
);

/// Reads the second argument and runs the program's main function.
unsafe extern "C" fn entry(stack: *const usize) -> ! {
    // SAFETY: the kernel put the argument count there.
    let count = unsafe { stack.read() };
    if count < 2 {
        exit_now(125);
    }
    // SAFETY: behind the count stand `count` pointers; this is the second one.
    let place = unsafe { stack.add(2) };
    // SAFETY: as above.
    let second = unsafe { place.read() };
    let second = core::ptr::with_exposed_provenance::<c_char>(second);
    // SAFETY: the kernel ends each argument with a nul byte and keeps it for
    // the life of the program.
    let channel = unsafe { CStr::from_ptr(second) };
    exit_now(cais_stub_main(channel))
}

/// Defines the entry of the stub: `stub_main!(path::to::function)`, a
/// `fn(&CStr) -> u8` that gets the second argument and returns the exit status.
#[macro_export]
macro_rules! stub_main {
    ($main:path) => {
        #[unsafe(no_mangle)]
        extern "Rust" fn cais_stub_main(channel: &core::ffi::CStr) -> u8 {
            $main(channel)
        }
    };
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit_now(124)
}

/// Copies `count` bytes forwards.
///
/// # Safety
/// As memcpy(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(target: *mut u8, source: *const u8, count: usize) -> *mut u8 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller gives `count` readable and writable bytes that do not
    // overlap; the direction flag is clear (System V ABI).
    unsafe {
        asm!("rep movsb", inout("rcx") count => _, inout("rdi") target => _, inout("rsi") source => _, options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    for index in 0..count {
        // SAFETY: `index` is within the bytes that the caller gives.
        let place = unsafe { source.add(index) };
        // SAFETY: as above.
        let byte = unsafe { place.read_volatile() };
        // SAFETY: as above.
        let place = unsafe { target.add(index) };
        // SAFETY: as above.
        unsafe { place.write_volatile(byte) };
    }
    target
}

/// Copies `count` bytes that may overlap.
///
/// # Safety
/// As memmove(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(target: *mut u8, source: *const u8, count: usize) -> *mut u8 {
    if target.addr().wrapping_sub(source.addr()) >= count {
        // SAFETY: a forward copy reads each byte before it is overwritten here.
        return unsafe { memcpy(target, source, count) };
    }
    for index in (0..count).rev() {
        // SAFETY: `index` is within the bytes that the caller gives; volatile
        // keeps the compiler from turning the loop into a call of memmove.
        let place = unsafe { source.add(index) };
        // SAFETY: as above.
        let byte = unsafe { place.read_volatile() };
        // SAFETY: as above.
        let place = unsafe { target.add(index) };
        // SAFETY: as above.
        unsafe { place.write_volatile(byte) };
    }
    target
}

/// Fills `count` bytes.
///
/// # Safety
/// As memset(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(target: *mut u8, value: i32, count: usize) -> *mut u8 {
    let byte = value.to_le_bytes()[0];
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller gives `count` writable bytes.
    unsafe {
        asm!("rep stosb", inout("rcx") count => _, inout("rdi") target => _, in("al") byte, options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    for index in 0..count {
        // SAFETY: `index` is within the bytes that the caller gives.
        let place = unsafe { target.add(index) };
        // SAFETY: as above.
        unsafe { place.write_volatile(byte) };
    }
    target
}

/// Compares `count` bytes.
///
/// # Safety
/// As memcmp(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    for index in 0..count {
        // SAFETY: `index` is within the bytes that the caller gives; volatile
        // keeps the compiler from turning the loop into a call of memcmp.
        let place = unsafe { left.add(index) };
        // SAFETY: as above.
        let a = unsafe { place.read_volatile() };
        // SAFETY: as above.
        let place = unsafe { right.add(index) };
        // SAFETY: as above.
        let b = unsafe { place.read_volatile() };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

/// Tells whether `count` bytes differ.
///
/// # Safety
/// As bcmp(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    // SAFETY: as memcmp.
    unsafe { memcmp(left, right, count) }
}

/// Length of a string.
///
/// # Safety
/// As strlen(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const c_char) -> usize {
    let mut length = 0;
    loop {
        // SAFETY: the caller gives a string that ends with a nul byte; this is within it.
        let place = unsafe { text.add(length) };
        // SAFETY: as above.
        if unsafe { place.read_volatile() } == 0 {
            return length;
        }
        length += 1;
    }
}

/// Takes ownership of the descriptor whose number is `digits`. To be called once,
/// at the start: the caller of execve(2) left the descriptor to this program.
#[must_use]
pub fn take_descriptor(digits: &CStr) -> Option<OwnedFd> {
    let number: i32 = digits.to_str().ok()?.parse().ok()?;
    if number < 0 {
        return None;
    }
    // SAFETY: the descriptor was handed over by execve; nothing else in this
    // program knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).ok()?;
    Some(fd)
}
