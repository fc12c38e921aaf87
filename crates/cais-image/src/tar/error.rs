//! What is wrong with an archive, and where.

use std::io;

/// A failure to read or write an archive.
#[derive(Debug, thiserror::Error)]
#[error("tar entry {entry:?} at offset {offset}: {problem}")]
pub struct TarError {
    /// The name of the entry as far as it was known, bytes that are no UTF-8 replaced.
    pub entry: String,
    /// Where the header of the entry begins, in bytes from the beginning of the archive.
    pub offset: u64,
    /// What is wrong.
    pub problem: TarProblem,
}

/// What can be wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum TarProblem {
    /// The archive cannot be read.
    #[error("read: {0}")]
    Read(io::Error),
    /// The archive, or the record of its bytes, cannot be written.
    #[error("write: {0}")]
    Write(io::Error),
    /// The archive ends inside of something.
    #[error("the archive ends in the middle of {0}")]
    Truncated(&'static str),
    /// The header is damaged, or it is none.
    #[error("the checksum of the header is {stored:?}, and the header adds up to {computed}")]
    Checksum {
        /// What the header says; nothing where that is no number.
        stored: Option<i64>,
        /// The sum of its bytes.
        computed: i64,
    },
    /// A field of the header is no number, or not one in its range.
    #[error("{field} {text:?} is no number or out of range")]
    Number {
        /// The field.
        field: &'static str,
        /// What stands there.
        text: String,
    },
    /// One block of zeros and then something else: some readers stop here, some do not.
    #[error("a single block of zeros in the middle of the archive")]
    LoneZeroBlock,
    /// An extended header that does not follow the grammar.
    #[error("extended header: {0}")]
    Pax(&'static str),
    /// Something is longer or more than is accepted.
    #[error("{what}: more than {limit}")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// How much is accepted.
        limit: u64,
    },
    /// A type that stands for no file.
    #[error("entries of type {:?} are not supported", char::from(*.0))]
    Type(u8),
    /// Two headers that say different things, which readers resolve differently.
    #[error("{0}")]
    Ambiguous(&'static str),
    /// A map of a sparse file that makes no sense.
    #[error("sparse file: {0}")]
    Sparse(&'static str),
    /// An extended header that no entry follows.
    #[error("an extended header without an entry after it")]
    Dangling,
    /// A name with a byte 0 in it.
    #[error("{0} contains a byte 0")]
    Nul(&'static str),
    /// Something that a header cannot hold.
    #[error("{0} cannot be written to an archive")]
    Unwritable(&'static str),
    /// Contents that are shorter or longer than their header says.
    #[error("the contents have not the length that the header gives")]
    Length,
}
