//! What a failed system call looks like: the call, its arguments, its errno,
//! printed the way strace(1) prints it.

use rustix::io::Errno;
use std::fmt;

/// The result of anything that asks the kernel.
pub type Result<T> = std::result::Result<T, SysError>;

/// A system call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SysError {
    call: &'static str,
    arguments: String,
    errno: Errno,
}

impl SysError {
    /// A failure of `call`, with its arguments as strace would show them.
    #[must_use]
    pub fn new(call: &'static str, arguments: impl Into<String>, errno: Errno) -> Self {
        Self {
            call,
            arguments: arguments.into(),
            errno,
        }
    }

    /// A failure reported by the standard library; an error without errno becomes `EIO`.
    #[must_use]
    pub fn from_io(call: &'static str, arguments: impl Into<String>, error: &std::io::Error) -> Self {
        let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
        Self::new(call, arguments, errno)
    }

    /// The name of the system call.
    #[must_use]
    pub fn call(&self) -> &'static str {
        self.call
    }

    /// The arguments as they are printed.
    #[must_use]
    pub fn arguments(&self) -> &str {
        &self.arguments
    }

    /// The errno.
    #[must_use]
    pub fn errno(&self) -> Errno {
        self.errno
    }
}

impl fmt::Display for SysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = std::io::Error::from(self.errno).to_string();
        // The standard library appends " (os error N)", which says nothing more.
        let reason = reason
            .split(" (os error")
            .next()
            .unwrap_or(&reason)
            .to_ascii_lowercase();
        write!(f, "{}({}): {reason}", self.call, self.arguments)
    }
}

impl std::error::Error for SysError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_like_strace() {
        let error = SysError::new("openat", "3, \"etc/passwd\", O_RDONLY", Errno::NOENT);
        assert_eq!(
            error.to_string(),
            "openat(3, \"etc/passwd\", O_RDONLY): no such file or directory"
        );
    }
}
