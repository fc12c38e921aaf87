//! Devices: version 2 has no files for them but a program that the kernel asks at each
//! access (`BPF_PROG_TYPE_CGROUP_DEVICE`; cgroup-v2.rst, "Device controller").
//!
//! The program reads the last rule first and answers with the first that matches; a
//! rule asks for the kind, the numbers and the access in turn.

use crate::cgroups::resources::{DeviceKind, DeviceRule};

/// One eBPF instruction (`struct bpf_insn`), as eight bytes.
pub type Instruction = [u8; 8];

const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;
const ACCESS_MKNOD: i32 = 1;
const ACCESS_READ: i32 = 2;
const ACCESS_WRITE: i32 = 4;

fn instruction(code: u8, target: u8, source: u8, offset: i16, value: i32) -> Instruction {
    let [o0, o1] = offset.to_ne_bytes();
    let [v0, v1, v2, v3] = value.to_ne_bytes();
    [code, source << 4 | target, o0, o1, v0, v1, v2, v3]
}

/// `BPF_LDX | BPF_MEM | BPF_W`: load a word of the context in r1.
fn load(target: u8, offset: i16) -> Instruction {
    instruction(0x61, target, 1, offset, 0)
}

/// Compiles rules to a program. Without a matching rule access is refused.
///
/// `struct bpf_cgroup_dev_ctx` has the access in the upper and the kind in the lower half
/// of its first word, then the major and the minor number.
#[must_use]
pub fn compile(rules: &[DeviceRule]) -> Vec<Instruction> {
    let mut program = vec![
        // r2 = kind, r3 = access, r4 = major, r5 = minor
        load(2, 0),
        instruction(0x54, 2, 0, 0, 0xffff), // r2 &= 0xffff
        load(3, 0),
        instruction(0x74, 3, 0, 0, 16), // r3 >>= 16
        load(4, 4),
        load(5, 8),
    ];
    for rule in rules.iter().rev() {
        let body = compile_rule(rule);
        program.extend(body);
        if rule.is_everything() {
            // Nothing behind it can be reached; the kernel refuses such code.
            return program;
        }
    }
    program.extend(answer(false));
    program
}

fn answer(allow: bool) -> [Instruction; 2] {
    [
        instruction(0xb4, 0, 0, 0, i32::from(allow)),
        instruction(0x95, 0, 0, 0, 0),
    ]
}

fn compile_rule(rule: &DeviceRule) -> Vec<Instruction> {
    // Each condition jumps over the rest of the rule where it does not hold; the distance
    // is filled in afterwards.
    let mut body: Vec<Instruction> = Vec::new();
    let kind = match rule.kind {
        DeviceKind::All => None,
        DeviceKind::Block => Some(BLOCK),
        DeviceKind::Character => Some(CHARACTER),
    };
    let jump_unless_equal = |register, value| instruction(0x55, register, 0, 0, value);
    body.extend(kind.map(|kind| jump_unless_equal(2, kind)));
    let access = [
        (rule.read, ACCESS_READ),
        (rule.write, ACCESS_WRITE),
        (rule.mknod, ACCESS_MKNOD),
    ];
    let mask = access
        .iter()
        .filter(|(set, _)| *set)
        .map(|(_, bit)| bit)
        .sum::<i32>();
    if mask != ACCESS_READ | ACCESS_WRITE | ACCESS_MKNOD {
        body.push(instruction(0xbc, 1, 3, 0, 0)); // r1 = r3
        body.push(instruction(0x54, 1, 0, 0, !mask)); // r1 &= what the rule does not give
        body.push(jump_unless_equal(1, 0));
    }
    for (register, number) in [(4, rule.major), (5, rule.minor)] {
        // Device numbers have 12 and 20 bits.
        body.extend(
            number
                .and_then(|number| i32::try_from(number).ok())
                .map(|number| jump_unless_equal(register, number)),
        );
    }
    body.extend(answer(rule.allow));
    let length = body.len();
    for (index, instruction) in body.iter_mut().enumerate() {
        if instruction[0] == 0x55 {
            let distance = i16::try_from(length - index - 1).unwrap_or(i16::MAX);
            instruction[2..4].copy_from_slice(&distance.to_ne_bytes());
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program: just the instructions that `compile` makes.
    fn run(program: &[Instruction], kind: i32, access: i32, major: i32, minor: i32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0i32; 6];
        let mut at = 0usize;
        loop {
            let code = program[at];
            let (target, source) = (usize::from(code[1] & 15), usize::from(code[1] >> 4));
            let offset = i16::from_ne_bytes([code[2], code[3]]);
            let value = i32::from_ne_bytes([code[4], code[5], code[6], code[7]]);
            at += 1;
            match code[0] {
                0x61 => registers[target] = context[usize::try_from(offset / 4).unwrap()],
                0x54 => registers[target] &= value,
                0x74 => registers[target] = (registers[target].cast_unsigned() >> value).cast_signed(),
                0xbc => registers[target] = registers[source],
                0xb4 => registers[target] = value,
                0x55 if registers[target] != value => at += usize::try_from(offset).unwrap(),
                0x55 => {}
                0x95 => return registers[0] != 0,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn later_rules_win_and_access_must_be_covered() {
        let none = DeviceRule {
            allow: false,
            kind: DeviceKind::All,
            major: None,
            minor: None,
            read: true,
            write: true,
            mknod: true,
        };
        let nodes = DeviceRule {
            allow: true,
            kind: DeviceKind::Character,
            read: false,
            write: false,
            ..none
        };
        let null = DeviceRule {
            allow: true,
            kind: DeviceKind::Character,
            major: Some(1),
            minor: Some(3),
            ..none
        };
        let program = compile(&[none, nodes, null]);
        for (kind, access, major, minor, want) in [
            (CHARACTER, ACCESS_READ, 1, 3, true),
            (CHARACTER, ACCESS_READ | ACCESS_WRITE, 1, 3, true),
            (CHARACTER, ACCESS_READ, 1, 5, false),
            (CHARACTER, ACCESS_MKNOD, 9, 9, true),
            (CHARACTER, ACCESS_MKNOD | ACCESS_READ, 9, 9, false),
            (BLOCK, ACCESS_MKNOD, 9, 9, false),
            (BLOCK, ACCESS_READ, 1, 3, false),
        ] {
            assert_eq!(
                run(&program, kind, access, major, minor),
                want,
                "{kind} {access} {major}:{minor}"
            );
        }
        let everything = compile(&[DeviceRule { allow: true, ..none }]);
        assert!(run(&everything, BLOCK, ACCESS_WRITE, 8, 0));
        assert!(!run(&compile(&[]), CHARACTER, ACCESS_READ, 1, 3));
    }
}
