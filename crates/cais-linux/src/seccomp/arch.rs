//! The architectures of a filter. One kernel runs programs of several: an
//! x86_64 kernel takes x86 (i386) and x32 calls too, an aarch64 kernel arm.

/// The bit that marks an x32 call (`__X32_SYSCALL_BIT`); `seccomp_data.arch` is
/// that of x86_64 for both.
pub const X32_BIT: u32 = 0x4000_0000;

/// An architecture by its OCI name (`SCMP_ARCH_…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86 (i386).
    X86,
    /// 32-bit pointers on 64-bit x86.
    X32,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM, EABI.
    Arm,
    /// An architecture that the specification names and no kernel we run on
    /// can produce: a rule for it has no effect. Holds the OCI name.
    Foreign(&'static str),
}

/// The OCI names without a table here.
const FOREIGN: [&str; 18] = [
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
];

impl Arch {
    /// The architecture that this executable was built for.
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Self = Self::X86_64;
    /// The architecture that this executable was built for.
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Self = Self::Aarch64;

    /// The architecture of an OCI name, or nothing where the specification has no such name.
    #[must_use]
    pub fn parse_oci(name: &str) -> Option<Self> {
        match name {
            "SCMP_ARCH_X86_64" => Some(Self::X86_64),
            "SCMP_ARCH_X86" => Some(Self::X86),
            "SCMP_ARCH_X32" => Some(Self::X32),
            "SCMP_ARCH_AARCH64" => Some(Self::Aarch64),
            "SCMP_ARCH_ARM" => Some(Self::Arm),
            _ => FOREIGN
                .iter()
                .find(|foreign| **foreign == name)
                .map(|foreign| Self::Foreign(foreign)),
        }
    }

    /// The OCI name.
    #[must_use]
    pub const fn oci_name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::X86 => "SCMP_ARCH_X86",
            Self::X32 => "SCMP_ARCH_X32",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
            Self::Arm => "SCMP_ARCH_ARM",
            Self::Foreign(name) => name,
        }
    }

    /// The name in the conditions (`arches`) of Docker's profile format.
    #[must_use]
    pub fn docker_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::X86 => "x86",
            Self::X32 => "x32",
            Self::Aarch64 => "arm64",
            Self::Arm => "arm",
            Self::Foreign(name) => name,
        }
    }

    /// `seccomp_data.arch` of its calls (`AUDIT_ARCH_…` of `linux/audit.h`).
    #[must_use]
    pub const fn audit(self) -> Option<u32> {
        match self {
            Self::X86_64 | Self::X32 => Some(0xc000_003e),
            Self::X86 => Some(0x4000_0003),
            Self::Aarch64 => Some(0xc000_00b7),
            Self::Arm => Some(0x4000_0028),
            Self::Foreign(_) => None,
        }
    }

    /// Whether comparisons look at all 64 bits of an argument. The 32-bit
    /// architectures, and x32 with them, compare the low half, as libseccomp does.
    #[must_use]
    pub const fn compares_64_bits(self) -> bool {
        matches!(self, Self::X86_64 | Self::Aarch64)
    }

    /// The architectures whose calls a kernel of this one takes, itself first.
    #[must_use]
    pub fn family(self) -> &'static [Self] {
        match self {
            Self::X86_64 => &[Self::X86_64, Self::X86, Self::X32],
            Self::Aarch64 => &[Self::Aarch64, Self::Arm],
            Self::X86 => &[Self::X86],
            Self::X32 => &[Self::X32],
            Self::Arm => &[Self::Arm],
            Self::Foreign(_) => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for arch in [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::Arm] {
            assert_eq!(Arch::parse_oci(arch.oci_name()), Some(arch));
        }
        assert_eq!(
            Arch::parse_oci("SCMP_ARCH_S390X"),
            Some(Arch::Foreign("SCMP_ARCH_S390X"))
        );
        for bad in ["", "amd64", "scmp_arch_x86", "SCMP_ARCH_VAX"] {
            assert_eq!(Arch::parse_oci(bad), None);
        }
    }
}
