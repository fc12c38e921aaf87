//! Moments as users give them to `--filter until=`, `--since` and `--until`: a date with
//! or without a time, seconds since 1970, or how long ago (Go's durations: `1h30m`).

use crate::time;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Reads a moment. `now` is what "ago" counts from. Times without a zone are UTC.
#[must_use]
pub fn parse_moment(text: &str, now: SystemTime) -> Option<SystemTime> {
    parse_seconds(text)
        .or_else(|| parse_duration(text).and_then(|ago| now.checked_sub(ago)))
        .or_else(|| parse_date(text))
}

/// Seconds since 1970, with at most nine decimals.
fn parse_seconds(text: &str) -> Option<SystemTime> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let nanoseconds: u32 = format!("{fraction:0<9}").parse().ok()?;
    UNIX_EPOCH.checked_add(Duration::new(whole.parse().ok()?, nanoseconds))
}

/// A duration as Go writes it: `300ms`, `1.5h`, `2h45m`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut nanoseconds: u128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let scale: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.len() > 18 || whole.len() > 12 {
            return None;
        }
        let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        nanoseconds = nanoseconds.checked_add(whole * scale)?;
        if !fraction.is_empty() {
            let digits: u128 = fraction.parse().ok()?;
            nanoseconds += digits * scale / 10u128.pow(u32::try_from(fraction.len()).ok()?);
        }
        rest = after;
    }
    let seconds = u64::try_from(nanoseconds / 1_000_000_000).ok()?;
    Some(Duration::new(
        seconds,
        u32::try_from(nanoseconds % 1_000_000_000).ok()?,
    ))
}

/// RFC 3339, or a beginning of it.
fn parse_date(text: &str) -> Option<SystemTime> {
    let (date, clock) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
    // The sign of a zone stands behind the time.
    let (clock, offset) = match clock.find(['Z', 'z', '+', '-']) {
        Some(at) => clock.split_at(at),
        None => (clock, "Z"),
    };
    let clock = match clock.matches(':').count() {
        0 => format!("{clock}:00:00"),
        1 => format!("{clock}:00"),
        _ => clock.to_owned(),
    };
    let moment = time::parse(&format!("{date}T{clock}Z"))?;
    if matches!(offset, "Z" | "z") {
        return Some(moment);
    }
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let seconds = hours.parse::<u64>().ok()? * 3600 + minutes.parse::<u64>().ok()? * 60;
    let offset_by = Duration::from_secs(seconds);
    if offset.starts_with('+') {
        moment.checked_sub(offset_by)
    } else {
        moment.checked_add(offset_by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_as_users_give_them() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let at = |seconds| Some(UNIX_EPOCH + Duration::from_secs(seconds));
        for (text, want) in [
            ("0", at(0)),
            ("86400", at(86_400)),
            ("1h30m", at(1_000_000 - 5400)),
            ("1970-01-02", at(86_400)),
            ("1970-01-02T01", at(86_400 + 3600)),
            ("1970-01-02T01:02", at(86_400 + 3720)),
            ("1970-01-02T01:02:03Z", at(86_400 + 3723)),
            ("1970-01-02T01:02:03+01:00", at(86_400 + 123)),
            ("1970-01-01T23:30:00-00:30", at(86_400)),
            (
                "1970-01-01T00:00:01.5",
                Some(UNIX_EPOCH + Duration::from_millis(1500)),
            ),
            ("", None),
            ("yesterday", None),
            ("1970-13-01", None),
            ("1d", None),
            ("-5", None),
            ("1970-01-01T00:00:00+1", None),
        ] {
            assert_eq!(parse_moment(text, now), want, "{text}");
        }
        assert_eq!(parse_duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(
            parse_duration("2h45m10ms"),
            Some(Duration::from_millis(9_900_010))
        );
        assert_eq!(parse_duration("5"), None);
    }
}
