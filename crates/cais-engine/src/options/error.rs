//! What is wrong with a flag's value, in words for the user.

/// Why a flag cannot be used as written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// A value that does not have the form of its kind.
    #[error("{flag}: {value:?} is not {expected}")]
    Form {
        /// The flag.
        flag: &'static str,
        /// What was written.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A value outside what is possible.
    #[error("{flag}: {value} is out of range: {allowed}")]
    Range {
        /// The flag.
        flag: &'static str,
        /// What was written.
        value: String,
        /// What may be written.
        allowed: &'static str,
    },
    /// Something that cais does not do.
    #[error("{flag}: {what} is not supported: {instead}")]
    Unsupported {
        /// The flag.
        flag: &'static str,
        /// What was asked.
        what: String,
        /// What to do instead.
        instead: &'static str,
    },
    /// Two flags that exclude each other.
    #[error("conflicting options: {one} and {other}{why}")]
    Conflict {
        /// One of them.
        one: &'static str,
        /// The other.
        other: &'static str,
        /// Why, with a leading separator, or nothing.
        why: &'static str,
    },
    /// A file that a flag names cannot be read.
    #[error("{flag}: cannot read {path}: {reason}")]
    File {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
}

impl OptionError {
    /// A value that does not have the form `expected`.
    pub(crate) fn form(flag: &'static str, value: &str, expected: &'static str) -> Self {
        Self::Form {
            flag,
            value: value.to_owned(),
            expected,
        }
    }

    /// A value outside what is possible.
    pub(crate) fn range(flag: &'static str, value: impl std::fmt::Display, allowed: &'static str) -> Self {
        Self::Range {
            flag,
            value: format!("{value}"),
            allowed,
        }
    }

    /// Something that cais does not do.
    pub(crate) fn unsupported(flag: &'static str, what: impl Into<String>, instead: &'static str) -> Self {
        Self::Unsupported {
            flag,
            what: what.into(),
            instead,
        }
    }
}
