//! Runs a filter on one system call, as the kernel would: to test the compiler,
//! and to tell a user why a call was refused.

use super::assemble::{
    AND, ARCH_OFFSET, ARGUMENTS_OFFSET, JUMP, JUMP_EQUAL, JUMP_GREATER, JUMP_GREATER_EQUAL, JUMP_SET, LOAD,
    NUMBER_OFFSET, RETURN,
};
use cais_sys::seccomp::SockFilter;

/// What a filter sees of a call: `struct seccomp_data`, without the
/// instruction pointer, which our filters never read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// The number.
    pub number: u32,
    /// The architecture, `AUDIT_ARCH_…`.
    pub audit: u32,
    /// The arguments.
    pub args: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> Option<u32> {
        match offset {
            NUMBER_OFFSET => Some(self.number),
            ARCH_OFFSET => Some(self.audit),
            _ => {
                let at = usize::try_from(offset.checked_sub(ARGUMENTS_OFFSET)?).ok()?;
                let bytes = self.args.get(at / 8)?.to_le_bytes();
                let half = bytes.get(at % 8..)?.first_chunk::<4>()?;
                at.is_multiple_of(4).then(|| u32::from_le_bytes(*half))
            }
        }
    }
}

/// A program that the kernel's checker would refuse, or one that uses what our
/// compiler never writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InterpretError {
    /// An instruction that the interpreter does not know.
    #[error("instruction {at} has the unknown operation {code:#x}")]
    UnknownOperation {
        /// Its index.
        at: usize,
        /// `sock_filter.code`.
        code: u16,
    },
    /// A load outside `struct seccomp_data`, or not of a whole word in it.
    #[error("instruction {at} loads from offset {offset}, where no word of the call lies")]
    BadLoad {
        /// Its index.
        at: usize,
        /// The offset.
        offset: u32,
    },
    /// Control left the program.
    #[error("control reaches instruction {at}, behind the end of the program")]
    End {
        /// The index.
        at: usize,
    },
}

/// The filter's return value for `call`.
///
/// # Errors
/// A program that is not a filter; the compiler's programs never fail.
pub fn run(program: &[SockFilter], call: &Call) -> Result<u32, InterpretError> {
    let mut accumulator = 0_u32;
    let mut at = 0_usize;
    loop {
        let instruction = program.get(at).ok_or(InterpretError::End { at })?;
        let k = instruction.k;
        let test = match instruction.code {
            RETURN => return Ok(k),
            LOAD => {
                accumulator = call.word(k).ok_or(InterpretError::BadLoad { at, offset: k })?;
                at += 1;
                continue;
            }
            AND => {
                accumulator &= k;
                at += 1;
                continue;
            }
            JUMP => {
                let skip = usize::try_from(k).unwrap_or(usize::MAX);
                at = at.saturating_add(skip).saturating_add(1);
                continue;
            }
            JUMP_EQUAL => accumulator == k,
            JUMP_GREATER => accumulator > k,
            JUMP_GREATER_EQUAL => accumulator >= k,
            JUMP_SET => accumulator & k != 0,
            code => return Err(InterpretError::UnknownOperation { at, code }),
        };
        let skip = if test { instruction.jt } else { instruction.jf };
        at += 1 + usize::from(skip);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_filter() {
        let call = Call {
            number: 0,
            audit: 0,
            args: [0; 6],
        };
        let one = |code, k| {
            [SockFilter {
                code,
                jt: 0,
                jf: 0,
                k,
            }]
        };
        assert_eq!(run(&[], &call), Err(InterpretError::End { at: 0 }));
        assert_eq!(
            run(&one(JUMP, u32::MAX), &call).unwrap_err(),
            InterpretError::End { at: 4_294_967_296 }
        );
        assert_eq!(
            run(&one(LOAD, 18), &call),
            Err(InterpretError::BadLoad { at: 0, offset: 18 })
        );
        assert_eq!(
            run(&one(LOAD, 64), &call),
            Err(InterpretError::BadLoad { at: 0, offset: 64 })
        );
        assert_eq!(
            run(&one(0x16, 0), &call),
            Err(InterpretError::UnknownOperation { at: 0, code: 0x16 })
        );
        assert_eq!(run(&one(RETURN, 7), &call), Ok(7));
    }
}
