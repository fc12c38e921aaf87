//! keyctl(2): a session keyring of its own for each container (session-keyring(7)).

use crate::syscall::{check, number, syscall6};
use rustix::io::Errno;

const KEYCTL_JOIN_SESSION_KEYRING: usize = 1;

/// Gives this process a new anonymous session keyring.
///
/// # Errors
/// As keyctl_join_session_keyring(3): `ENOSYS` without `CONFIG_KEYS`, `EDQUOT`
/// when the user's quota of keys is used up.
pub fn join_new_session_keyring() -> Result<(), Errno> {
    // SAFETY: a null name asks for an anonymous keyring; nothing is read.
    let result = unsafe { syscall6(number::KEYCTL, [KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0, 0]) };
    check(result).map(drop)
}
