//! What the standard library is not told of the stack.

use core::ffi::{c_int, c_void};

/// `ENOSYS`.
const NOT_HERE: c_int = 38;

/// Stands in for the C library's function (pthread_getattr_np(3)), which the standard library
/// asks, before `main` begins, where the stack ends: only to say of a fault there that it is an
/// overflow. glibc reads `/proc/self/maps` for that with `sscanf`, which takes 20 µs at each
/// start and 35 KB of the executable. The guard page is there all the same: an overflow ends
/// the process with SIGSEGV.
// SAFETY: the name is the C library's own, the signature and the meaning of what is returned
// are those of pthread_getattr_np(3), and nothing else of this program calls it.
#[unsafe(no_mangle)]
extern "C" fn pthread_getattr_np(_thread: usize, _attributes: *mut c_void) -> c_int {
    NOT_HERE
}
