//! execve(2) and execveat(2) with vectors that are already in memory.

use crate::syscall::{check, number, syscall6};
use core::ffi::{CStr, c_char};
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;

const AT_FDCWD: usize = (-100isize).cast_unsigned();
const AT_EMPTY_PATH: usize = 0x1000;

/// A null-terminated vector of nul-terminated strings, as execve(2) takes it.
#[derive(Debug, Clone, Copy)]
pub struct Vector<'a> {
    pointers: &'a [*const c_char],
}

impl<'a> Vector<'a> {
    /// Fills `slots` with pointers to the strings of `block` (each ends with a
    /// nul byte) and a null pointer at the end. Returns `None` where the block
    /// does not end with a nul byte or `slots` is too short.
    pub fn fill(slots: &'a mut [*const c_char], block: &'a [u8]) -> Option<Self> {
        if block.last().is_some_and(|last| *last != 0) {
            return None;
        }
        let mut used = 0;
        let mut start = 0;
        for (index, byte) in block.iter().enumerate() {
            if *byte == 0 {
                *slots.get_mut(used)? = block.get(start..)?.as_ptr().cast();
                used += 1;
                start = index + 1;
            }
        }
        *slots.get_mut(used)? = core::ptr::null();
        Some(Self {
            pointers: slots.get(..=used)?,
        })
    }

    /// The first string, unless the vector is empty.
    #[must_use]
    pub fn first(&self) -> Option<&'a CStr> {
        let first = *self.pointers.first()?;
        if first.is_null() {
            return None;
        }
        // SAFETY: `fill` made the pointer from a string that ends with a nul
        // byte inside a block that lives for 'a.
        Some(unsafe { CStr::from_ptr(first) })
    }
}

/// Replaces the program with the one at `path`. Returns only on failure.
#[must_use]
pub fn execve(path: &CStr, arguments: Vector<'_>, environment: Vector<'_>) -> Errno {
    execveat(AT_FDCWD, path, arguments, environment, 0)
}

/// Replaces the program with the file behind `file`. Returns only on failure.
#[must_use]
pub fn fexecve(file: BorrowedFd<'_>, arguments: Vector<'_>, environment: Vector<'_>) -> Errno {
    execveat(
        file.as_raw_fd().cast_unsigned() as usize,
        c"",
        arguments,
        environment,
        AT_EMPTY_PATH,
    )
}

fn execveat(dir: usize, path: &CStr, arguments: Vector<'_>, environment: Vector<'_>, flags: usize) -> Errno {
    let arguments = [
        dir,
        path.as_ptr() as usize,
        arguments.pointers.as_ptr() as usize,
        environment.pointers.as_ptr() as usize,
        flags,
        0,
    ];
    // SAFETY: the path is nul-terminated; `Vector::fill` made both vectors end
    // with a null pointer and point to nul-terminated strings that still live.
    let result = unsafe { syscall6(number::EXECVEAT, arguments) };
    check(result).err().unwrap_or(Errno::INVAL)
}
