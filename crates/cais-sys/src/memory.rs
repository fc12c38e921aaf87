//! Anonymous memory and mapped files for a program without an allocator: mmap(2).

use core::slice;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous};

/// Maps `length` bytes of `file` privately, for reading, until the process ends.
///
/// The file must be sealed against shrinking (memfd_create(2), `F_SEAL_SHRINK`),
/// else a read could meet SIGBUS.
///
/// # Errors
/// As mmap(2).
pub fn map_file(file: BorrowedFd<'_>, length: usize) -> Result<&'static [u8], Errno> {
    if length == 0 {
        return Ok(&[]);
    }
    // SAFETY: no address is asked for, so the mapping replaces nothing.
    let start = unsafe {
        mmap(
            core::ptr::null_mut(),
            length,
            ProtFlags::READ,
            MapFlags::PRIVATE,
            file,
            0,
        )
    }?;
    // SAFETY: the mapping has this length, is readable, and is never unmapped.
    Ok(unsafe { slice::from_raw_parts(start.cast(), length) })
}

/// Zeroed memory for `count` values of a type for which zero is a value, until
/// the process ends.
///
/// # Errors
/// As mmap(2), or `EOVERFLOW` for a size that does not fit.
pub fn allocate_pointers(count: usize) -> Result<&'static mut [*const core::ffi::c_char], Errno> {
    let bytes = count
        .checked_mul(size_of::<usize>())
        .ok_or(Errno::OVERFLOW)?
        .max(1);
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: no address is asked for, so the mapping replaces nothing.
    let start = unsafe { mmap_anonymous(core::ptr::null_mut(), bytes, protection, MapFlags::PRIVATE) }?;
    // SAFETY: the mapping is page-aligned, large enough, zeroed (null pointers),
    // writable, ours alone, and never unmapped.
    Ok(unsafe { slice::from_raw_parts_mut(start.cast(), count) })
}
