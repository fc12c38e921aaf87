//! Moments as Docker writes them: RFC 3339 in UTC with nanoseconds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, e.g. `2026-11-24T10:12:12.123456789Z`.
#[must_use]
pub fn now() -> String {
    format(SystemTime::now())
}

/// A moment in that form. Moments before 1970 show as 1970.
#[must_use]
pub fn format(moment: SystemTime) -> String {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let nanoseconds = since.subsec_nanos();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}Z")
}

/// Reads that form back; fewer digits of the second's fraction, or none, will do.
#[must_use]
pub fn parse(text: &str) -> Option<SystemTime> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(str::parse::<u64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut clock = clock.split(':').map(str::parse::<u64>);
    let (hour, minute, second) = (clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?);
    if !(1970..=9999).contains(&year)
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || fraction.len() > 9
    {
        return None;
    }
    let nanoseconds: u64 = format!("{fraction:0<9}").parse().ok()?;
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds))
}

/// Reads a moment as Docker's `--since` takes it: RFC 3339 with any offset, a date with or
/// without a time, seconds since 1970, or a duration before `now` (`10m`, `1h30m`).
#[must_use]
pub fn parse_moment(text: &str, now: SystemTime) -> Option<SystemTime> {
    if let Ok(seconds) = text.parse::<f64>()
        && (0.0..1e12).contains(&seconds)
        && !text.contains(['e', 'E'])
    {
        return UNIX_EPOCH.checked_add(Duration::from_secs_f64(seconds));
    }
    if let Some(ago) = parse_duration(text) {
        return now.checked_sub(ago);
    }
    let full = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        16 => format!("{text}:00Z"),
        _ => text.to_owned(),
    };
    if full.ends_with('Z') {
        return parse(&full);
    }
    let (local, offset) = full.split_at_checked(full.len().checked_sub(6)?)?;
    let (sign, clock) = offset.split_at_checked(1)?;
    let Some((hours, minutes)) = clock.split_once(':').filter(|_| sign == "+" || sign == "-") else {
        return parse(&format!("{full}Z"));
    };
    let seconds = hours.parse::<u64>().ok()? * 3600 + minutes.parse::<u64>().ok()? * 60;
    let moment = parse(&format!("{local}Z"))?;
    if sign == "+" {
        moment.checked_sub(Duration::from_secs(seconds))
    } else {
        moment.checked_add(Duration::from_secs(seconds))
    }
}

/// A duration as Go writes it, of hours, minutes, seconds and milliseconds.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let length = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(length);
        let scale = match unit {
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        sum += number.parse::<f64>().ok()? * scale;
        rest = next;
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(sum).ok())?
}

/// Year, month and day of the n-th day since 1970-01-01 in the Gregorian calendar.
/// Years are counted from March, so that the leap day is the last of a year.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The inverse of [`civil_from_days`].
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_both_ways() {
        for (seconds, nanoseconds, text) in [
            (0, 0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400, 5, "2000-02-29T00:00:00.000000005Z"),
            (1793535132, 0, "2026-11-01T12:12:12.000000000Z"),
            (4_102_444_799, 999_999_999, "2099-12-31T23:59:59.999999999Z"),
        ] {
            let moment = UNIX_EPOCH + Duration::new(seconds, nanoseconds);
            assert_eq!(format(moment), text);
            assert_eq!(parse(text), Some(moment));
        }
        for bad in [
            "",
            "2026",
            "2026-13-01T00:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01 00:00:00Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn moments_as_since_takes_them() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let seconds = |seconds| Some(UNIX_EPOCH + Duration::from_secs(seconds));
        for (text, want) in [
            ("10m", seconds(999_400)),
            ("1h30m", seconds(994_600)),
            ("5", seconds(5)),
            ("1970-01-02", seconds(86_400)),
            ("1970-01-02T00:01", seconds(86_460)),
            ("1970-01-02T00:00:05", seconds(86_405)),
            ("1970-01-02T00:00:00Z", seconds(86_400)),
            ("1970-01-02T02:00:00+02:00", seconds(86_400)),
            ("1970-01-01T22:00:00-02:00", seconds(86_400)),
            ("", None),
            ("x", None),
            ("10x", None),
            ("1970-01-02T00:00:00+xx:00", None),
        ] {
            assert_eq!(parse_moment(text, now), want, "{text}");
        }
        let half = UNIX_EPOCH + Duration::from_millis(1500);
        assert_eq!(parse_moment("1.5", now), Some(half));
    }
}
