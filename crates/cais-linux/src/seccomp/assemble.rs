//! Writes classic BPF from the last instruction to the first.
//!
//! A jump of classic BPF goes forward only, so whoever writes backwards knows
//! every target. Conditional jumps reach 255 instructions; for a farther target
//! a `ja` (or, for a return, the return itself) is put right behind the jump.

use super::resolve::{Comparison, Conditional, Test};
use cais_sys::seccomp::SockFilter;

// The operations of linux/bpf_common.h that seccomp takes.
pub(super) const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
pub(super) const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
pub(super) const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
pub(super) const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
pub(super) const JUMP_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
pub(super) const JUMP_GREATER_EQUAL: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
pub(super) const JUMP_SET: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
pub(super) const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Offsets in `struct seccomp_data`.
pub(super) const NUMBER_OFFSET: u32 = 0;
/// As above.
pub(super) const ARCH_OFFSET: u32 = 4;
/// Of the first argument; each has eight bytes, the low half first (both
/// architectures that we are built for are little-endian).
pub(super) const ARGUMENTS_OFFSET: u32 = 16;

/// A jump counts as near up to here: one instruction less than the format
/// allows for each of the two helpers that may still come between.
const NEAR: usize = 253;

/// Where control goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// The filter's answer.
    Return(u32),
    /// The instruction at this distance from the end of the program.
    At(usize),
}

/// What a range of system call numbers leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaf {
    /// The filter's answer.
    Return(u32),
    /// The conditions with this index.
    Chain(usize),
}

/// The program so far, last instruction first.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    reversed: Vec<SockFilter>,
    /// The latest return of each value.
    returns: Vec<(u32, usize)>,
}

impl Assembler {
    /// The program, first instruction first.
    pub(super) fn finish(mut self) -> Vec<SockFilter> {
        self.reversed.reverse();
        self.reversed
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> usize {
        self.reversed.push(SockFilter { code, jt, jf, k });
        self.reversed.len() - 1
    }

    fn is_near(&self, at: usize) -> bool {
        self.reversed.len() - at <= NEAR
    }

    /// An instruction within reach of a conditional jump that leads to `target`.
    fn within_reach(&mut self, target: Target) -> usize {
        match target {
            Target::At(at) if self.is_near(at) => at,
            Target::At(at) => {
                let skip = u32::try_from(self.reversed.len() - at - 1).unwrap_or(u32::MAX);
                self.push(JUMP, 0, 0, skip)
            }
            Target::Return(value) => {
                let known = self.returns.iter().position(|(known, _)| *known == value);
                if let Some((_, at)) = known.and_then(|index| self.returns.get(index))
                    && self.is_near(*at)
                {
                    return *at;
                }
                if let Some(index) = known {
                    self.returns.swap_remove(index);
                }
                let at = self.push(RETURN, 0, 0, value);
                self.returns.push((value, at));
                at
            }
        }
    }

    /// `if test(A, k) then go to yes else go to no`.
    pub(super) fn branch(&mut self, code: u16, k: u32, yes: Target, no: Target) -> Target {
        if yes == no {
            return yes;
        }
        let yes = self.within_reach(yes);
        let no = self.within_reach(no);
        let end = self.reversed.len();
        // Both fit: within_reach() saw to it.
        let skip = |at: usize| u8::try_from(end - at - 1).unwrap_or(u8::MAX);
        let (jt, jf) = (skip(yes), skip(no));
        Target::At(self.push(code, jt, jf, k))
    }

    /// Loads the word at `offset` of `struct seccomp_data`, then goes on at `next`.
    pub(super) fn load(&mut self, offset: u32, next: Target) -> Target {
        self.fall_into(next);
        Target::At(self.push(LOAD, 0, 0, offset))
    }

    /// Makes the instruction that is pushed next be followed by `next`.
    fn fall_into(&mut self, next: Target) {
        match next {
            Target::At(at) if at + 1 == self.reversed.len() => {}
            Target::At(at) => {
                let skip = u32::try_from(self.reversed.len() - at - 1).unwrap_or(u32::MAX);
                self.push(JUMP, 0, 0, skip);
            }
            Target::Return(value) => {
                self.push(RETURN, 0, 0, value);
            }
        }
    }

    /// A binary search for the system call number in A. `segments` are the first
    /// numbers of ranges and where those lead, sorted, the first one from 0.
    pub(super) fn search(
        &mut self,
        segments: &[(u32, Leaf)],
        chains: &[Vec<Conditional>],
        default: u32,
    ) -> Target {
        let mut emitted = vec![None; chains.len()];
        let mut leaf = |assembler: &mut Self, leaf: Leaf| match leaf {
            Leaf::Return(value) => Target::Return(value),
            Leaf::Chain(index) => {
                let known = emitted.get(index).copied().flatten();
                known.unwrap_or_else(|| {
                    let conditionals = chains.get(index).map_or(&[][..], Vec::as_slice);
                    let target = assembler.chain(conditionals, default);
                    if let Some(slot) = emitted.get_mut(index) {
                        *slot = Some(target);
                    }
                    target
                })
            }
        };
        self.search_part(segments, &mut leaf)
    }

    fn search_part(
        &mut self,
        segments: &[(u32, Leaf)],
        leaf: &mut impl FnMut(&mut Self, Leaf) -> Target,
    ) -> Target {
        match segments {
            [] => Target::Return(super::profile::Action::KillProcess.return_value()),
            [(_, only)] => leaf(self, *only),
            // One number between two ranges of one fate needs one comparison, not two.
            [(_, below), (number, only), (above_from, above)]
                if below == above && *above_from == number + 1 =>
            {
                let no = leaf(self, *below);
                let yes = leaf(self, *only);
                self.branch(JUMP_EQUAL, *number, yes, no)
            }
            _ => {
                let (below, above) = segments.split_at(segments.len() / 2);
                let from = above.first().map_or(0, |(from, _)| *from);
                let yes = self.search_part(above, leaf);
                let no = self.search_part(below, leaf);
                self.branch(JUMP_GREATER_EQUAL, from, yes, no)
            }
        }
    }

    /// The first of `conditionals` that holds, else `default`.
    fn chain(&mut self, conditionals: &[Conditional], default: u32) -> Target {
        let mut next = Target::Return(default);
        for conditional in conditionals.iter().rev() {
            let mut holds = Target::Return(conditional.outcome);
            for test in conditional.tests.iter().rev() {
                holds = self.test(*test, holds, next);
            }
            next = holds;
        }
        next
    }

    fn test(&mut self, test: Test, yes: Target, no: Target) -> Target {
        let (yes, no) = if test.negated { (no, yes) } else { (yes, no) };
        let low_offset = ARGUMENTS_OFFSET + 8 * u32::from(test.argument);
        let high_offset = low_offset + 4;
        match test.comparison {
            Comparison::MaskedEqual { mask, datum } => {
                let low = self.masked_equal(low_offset, (low(mask), low(datum)), yes, no);
                if test.wide {
                    self.masked_equal(high_offset, (high(mask), high(datum)), low, no)
                } else {
                    low
                }
            }
            Comparison::Greater(value) | Comparison::GreaterEqual(value) => {
                let code = match test.comparison {
                    Comparison::Greater(_) => JUMP_GREATER,
                    _ => JUMP_GREATER_EQUAL,
                };
                let low_part = self.branch(code, low(value), yes, no);
                let low_part = self.load(low_offset, low_part);
                if !test.wide {
                    return low_part;
                }
                // The high halves decide unless they are equal.
                let equal = self.branch(JUMP_EQUAL, high(value), low_part, no);
                let above = self.branch(JUMP_GREATER, high(value), yes, equal);
                self.load(high_offset, above)
            }
        }
    }

    /// `word & mask == datum` for the word at `offset`.
    fn masked_equal(&mut self, offset: u32, (mask, datum): (u32, u32), yes: Target, no: Target) -> Target {
        if mask == 0 {
            return yes;
        }
        let decision = self.branch(JUMP_EQUAL, datum, yes, no);
        if mask == u32::MAX {
            return self.load(offset, decision);
        }
        self.fall_into(decision);
        let masked = Target::At(self.push(AND, 0, 0, mask));
        self.load(offset, masked)
    }
}

fn low(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn high(value: u64) -> u32 {
    low(value >> 32)
}
