//! Signals by name or number.

use super::error::OptionError;

/// The number of a signal: `15`, `TERM`, `SIGTERM`.
#[must_use]
pub fn parse_signal_number(text: &str) -> Option<i32> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    // Real-time signals as the C library counts them: 34 to 64.
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return real_time(rest, '+').map(|offset| 34 + offset);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return real_time(rest, '-').map(|offset| 64 - offset);
    }
    let index = NAMES.iter().position(|known| *known == name)?;
    i32::try_from(index + 1).ok()
}

/// The distance from one end of the real-time signals: nothing, or a sign and up to 30.
fn real_time(rest: &str, sign: char) -> Option<i32> {
    if rest.is_empty() {
        return Some(0);
    }
    let digits = rest.strip_prefix(sign)?;
    digits.parse().ok().filter(|offset| (0..=30).contains(offset))
}

/// Checks a signal's name or number.
///
/// # Errors
/// For anything that is no signal.
pub fn check_signal(text: &str) -> Result<String, OptionError> {
    match parse_signal_number(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(OptionError::form(
            "--stop-signal",
            text,
            "a signal such as TERM, SIGTERM, RTMIN+3 or 15",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, want) in [
            ("TERM", 15),
            ("sigterm", 15),
            ("9", 9),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("RTMIN", 34),
            ("IO", 29),
        ] {
            assert_eq!(parse_signal_number(text), Some(want), "{text}");
        }
        for bad in [
            "", "0", "65", "MOON", "SIG", "-1", "RTMIN+31", "RTMAX-31", "RTMIN+x",
        ] {
            assert_eq!(parse_signal_number(bad), None, "{bad}");
        }
        assert!(check_signal("MOON").is_err());
    }
}
