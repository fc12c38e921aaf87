//! System call names and numbers, see syscalls(2).
//!
//! The rows stand readably in `syscalls/table.rs`; the compiler packs them into
//! one string of names and one array of records, so that the executable has no
//! pointers to relocate at start.

mod table;

use super::arch::{Arch, X32_BIT};
use table::{N, ROW_COUNT, ROWS};

/// The first of arm's private calls (`__ARM_NR_BASE`): above every ordinary number.
pub const ARM_PRIVATE_BASE: u32 = 0x000f_0000;

/// `ARM_PRIVATE_BASE` in the packed form.
const PACKED_PRIVATE: u16 = 0xf000;
/// "No such call" in the packed form.
const PACKED_NONE: u16 = u16::MAX;

const NAMES_LENGTH: usize = {
    let mut length = 0;
    let mut row = 0;
    while row < ROW_COUNT {
        length += ROWS[row].0.len();
        row += 1;
    }
    length
};

/// All names, one after the other.
static NAMES: [u8; NAMES_LENGTH] = {
    let mut names = [0; NAMES_LENGTH];
    let mut at = 0;
    let mut row = 0;
    while row < ROW_COUNT {
        let name = ROWS[row].0.as_bytes();
        let mut byte = 0;
        while byte < name.len() {
            names[at] = name[byte];
            at += 1;
            byte += 1;
        }
        row += 1;
    }
    names
};

/// Where a name lies in `NAMES`, and its numbers.
#[derive(Clone, Copy)]
struct Record {
    start: u16,
    length: u8,
    numbers: [u16; 5],
}

static RECORDS: [Record; ROW_COUNT] = {
    let mut records = [Record {
        start: 0,
        length: 0,
        numbers: [PACKED_NONE; 5],
    }; ROW_COUNT];
    let mut start = 0;
    let mut row = 0;
    while row < ROW_COUNT {
        let (name, numbers) = ROWS[row];
        records[row].start = narrow(start);
        records[row].length = name.len().to_le_bytes()[0];
        let mut column = 0;
        while column < numbers.len() {
            records[row].numbers[column] = pack(numbers[column]);
            column += 1;
        }
        start += name.len();
        row += 1;
    }
    records
};

/// The low 16 bits; refuses to compile where there are more.
const fn narrow(value: usize) -> u16 {
    let bytes = value.to_le_bytes();
    let narrowed = u16::from_le_bytes([bytes[0], bytes[1]]);
    assert!(
        narrowed as usize == value,
        "a table value needs more than 16 bits"
    );
    narrowed
}

const fn pack(number: u32) -> u16 {
    if number == N {
        return PACKED_NONE;
    }
    let (base, add) = if number >= ARM_PRIVATE_BASE {
        (ARM_PRIVATE_BASE, PACKED_PRIVATE)
    } else {
        (0, 0)
    };
    narrow((number - base) as usize) + add
}

fn unpack(packed: u16) -> Option<u32> {
    match packed {
        PACKED_NONE => None,
        private if private >= PACKED_PRIVATE => Some(u32::from(private - PACKED_PRIVATE) + ARM_PRIVATE_BASE),
        ordinary => Some(u32::from(ordinary)),
    }
}

impl Record {
    fn name(&self) -> &'static [u8] {
        let start = usize::from(self.start);
        NAMES
            .get(start..start + usize::from(self.length))
            .unwrap_or_default()
    }

    fn number(&self, arch: Arch) -> Option<u32> {
        let [x86_64, x86, x32, aarch64, arm] = self.numbers;
        match arch {
            Arch::X86_64 => unpack(x86_64),
            Arch::X86 => unpack(x86),
            Arch::X32 => unpack(x32).map(|number| number | X32_BIT),
            Arch::Aarch64 => unpack(aarch64),
            Arch::Arm => unpack(arm),
            Arch::Foreign(_) => None,
        }
    }
}

fn record(name: &str) -> Option<&'static Record> {
    let at = RECORDS
        .binary_search_by(|record| record.name().cmp(name.as_bytes()))
        .ok()?;
    RECORDS.get(at)
}

/// The number of `name` on `arch` (with the x32 bit on x32), or nothing where
/// the architecture has no such call or the table does not know the name.
#[must_use]
pub fn number(name: &str, arch: Arch) -> Option<u32> {
    record(name)?.number(arch)
}

/// Whether any architecture of the table has a call of that name.
#[must_use]
pub fn is_known(name: &str) -> bool {
    record(name).is_some()
}

/// The name of call `number` on `arch`; for messages, it searches the whole table.
#[must_use]
pub fn name(number: u32, arch: Arch) -> Option<&'static str> {
    RECORDS
        .iter()
        .find(|record| record.number(arch) == Some(number))
        .and_then(|record| std::str::from_utf8(record.name()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_packed_without_loss() {
        for pair in ROWS.windows(2) {
            assert!(
                pair[0].0.as_bytes() < pair[1].0.as_bytes(),
                "{} before {}",
                pair[0].0,
                pair[1].0
            );
        }
        let arches = [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::Arm];
        for (row, numbers) in ROWS {
            assert!(is_known(row));
            for (arch, wanted) in arches.into_iter().zip(numbers) {
                let bit = if arch == Arch::X32 { X32_BIT } else { 0 };
                let wanted = (wanted != N).then_some(wanted | bit);
                assert_eq!(number(row, arch), wanted, "{row} on {arch:?}");
            }
        }
    }

    #[test]
    fn knows_the_numbers_of_each_architecture() {
        let cases = [
            ("read", Arch::X86_64, Some(0)),
            ("read", Arch::X86, Some(3)),
            ("read", Arch::X32, Some(X32_BIT)),
            ("read", Arch::Aarch64, Some(63)),
            ("read", Arch::Arm, Some(3)),
            ("rt_sigaction", Arch::X32, Some(512 | X32_BIT)),
            ("open", Arch::Aarch64, None),
            ("socketcall", Arch::X86, Some(102)),
            ("socketcall", Arch::Arm, None),
            ("set_tls", Arch::Arm, Some(0xf_0005)),
            ("clone3", Arch::Aarch64, Some(435)),
            ("file_setattr", Arch::X86, Some(469)),
            ("uprobe", Arch::X86_64, Some(336)),
            ("read", Arch::Foreign("SCMP_ARCH_PPC"), None),
            ("no_such_call", Arch::X86_64, None),
        ];
        for (name, arch, wanted) in cases {
            assert_eq!(number(name, arch), wanted, "{name} on {arch:?}");
        }
        assert_eq!(name(435, Arch::X86_64), Some("clone3"));
        assert_eq!(name(99_999, Arch::X86_64), None);
    }
}
