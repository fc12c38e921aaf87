//! Sizes in bytes and fractions of CPUs.

use super::error::OptionError;

const EXPECTED: &str =
    "a size: digits, optionally with a fraction, and one of b, k, m, g, t (powers of 1024), e.g. 512m";

/// Reads a size as Docker writes it: `512`, `64k`, `1.5g`, `10MiB`.
///
/// # Errors
/// For anything else, and for sizes above 8 EiB.
pub fn parse_size(flag: &'static str, text: &str) -> Result<u64, OptionError> {
    let bad = || OptionError::form(flag, text, EXPECTED);
    let split = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let unit = unit.trim_start().to_ascii_lowercase();
    let shift = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(bad()),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || fraction.len() > 9 || (digits.contains('.') && fraction.is_empty()) {
        return Err(bad());
    }
    let too_large = || OptionError::range(flag, text, "the largest size is 8 EiB less one byte");
    let whole: u64 = whole.parse().or(Err(too_large()))?;
    let bytes = u128::from(whole) << shift;
    let part = match fraction {
        "" => 0,
        digits => {
            let scale = 10u128.pow(u32::try_from(digits.len()).or(Err(bad()))?);
            (digits.parse::<u128>().or(Err(bad()))? << shift) / scale
        }
    };
    let bytes = i64::try_from(bytes + part).or(Err(too_large()))?;
    Ok(bytes.cast_unsigned())
}

/// Reads a size that may be -1 for "unlimited".
///
/// # Errors
/// As [`parse_size`].
pub fn parse_size_or_unlimited(flag: &'static str, text: &str) -> Result<i64, OptionError> {
    if text == "-1" {
        return Ok(-1);
    }
    parse_size(flag, text).map(u64::cast_signed)
}

/// Whether a number is 0, which is Docker's word for no limit.
#[must_use]
pub fn is_zero(text: &str) -> bool {
    text.parse() == Ok(0.0)
}

/// Reads `--cpus`: a number of CPUs with at most nine decimals, as billionths.
///
/// # Errors
/// For anything else, and for less than a hundredth of a CPU.
pub fn parse_cpus(text: &str) -> Result<u64, OptionError> {
    const FLAG: &str = "--cpus";
    let bad = || OptionError::form(FLAG, text, "a number of CPUs such as 2 or 0.5");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) || fraction.len() > 9
    {
        return Err(bad());
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().or(Err(bad()))?
    };
    let part: u64 = format!("{fraction:0<9}").parse().or(Err(bad()))?;
    let nano = whole
        .checked_mul(1_000_000_000)
        .and_then(|nano| nano.checked_add(part))
        .ok_or_else(bad)?;
    // The kernel's smallest quota is a millisecond in a period of a tenth of a second.
    if nano < 10_000_000 {
        return Err(OptionError::range(FLAG, text, "at least 0.01"));
    }
    Ok(nano)
}

/// Reads `--cpus` where it is given; 0 is no limit.
///
/// # Errors
/// As [`parse_cpus`].
pub fn parse_some_cpus(text: Option<&str>) -> Result<Option<u64>, OptionError> {
    text.filter(|text| !is_zero(text)).map(parse_cpus).transpose()
}

/// Checks a list of CPUs or memory nodes: `0-3,5`.
///
/// # Errors
/// For anything else.
pub fn check_cpu_list(flag: &'static str, text: &str) -> Result<String, OptionError> {
    let bad = || OptionError::form(flag, text, "a list such as 0-3,5");
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| {
            text.parse::<u32>()
                .ok()
                .filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
        };
        match (number(from), number(to)) {
            (Some(from), Some(to)) if from <= to => {}
            _ => return Err(bad()),
        }
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_docker_writes_them() {
        for (text, want) in [
            ("0", 0),
            ("512", 512),
            ("512b", 512),
            ("1k", 1024),
            ("10kb", 10_240),
            ("64m", 64 << 20),
            ("1.5g", 3 << 29),
            ("2GiB", 2 << 30),
            ("1 M", 1 << 20),
        ] {
            assert_eq!(parse_size("-m", text), Ok(want), "{text}");
        }
        for bad in ["", "12q", "m", "-1", "1.", ".5m", "1..2", "0x10", "1e3", " 1"] {
            assert!(parse_size("-m", bad).is_err(), "{bad}");
        }
        assert!(matches!(
            parse_size("-m", "10000000000000000000"),
            Err(OptionError::Range { .. })
        ));
        assert!(matches!(
            parse_size("-m", "8192p"),
            Err(OptionError::Range { .. })
        ));
        assert_eq!(parse_size_or_unlimited("--memory-swap", "-1"), Ok(-1));
    }

    #[test]
    fn cpus_are_exact() {
        for (text, want) in [
            ("1", 1_000_000_000),
            ("0.5", 500_000_000),
            (".25", 250_000_000),
            ("1.000000001", 1_000_000_001),
        ] {
            assert_eq!(parse_cpus(text), Ok(want), "{text}");
        }
        for bad in [
            "",
            ".",
            "-1",
            "NaN",
            "1e3",
            "0",
            "0.001",
            "1.0000000001",
            "99999999999999999999",
        ] {
            assert!(parse_cpus(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cpu_lists() {
        for good in ["0", "0-3", "0,2,4-7"] {
            assert!(check_cpu_list("--cpuset-cpus", good).is_ok(), "{good}");
        }
        for bad in ["", ",", "3-1", "a", "0-", "+1", "0,,1"] {
            assert!(check_cpu_list("--cpuset-cpus", bad).is_err(), "{bad}");
        }
    }
}
