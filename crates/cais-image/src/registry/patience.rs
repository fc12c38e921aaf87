//! Patience: how often and after which time something is tried again.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The time, replaced in tests.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time since some fixed moment.
    fn now(&self) -> Duration;
    /// The time of day, for dates in answers.
    fn wall(&self) -> SystemTime;
    /// Lets time pass.
    fn wait(&self, time: Duration);
}

/// The machine's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the server wants this time to pass; there is no event"
    )]
    fn wait(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// How often, and how long between.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Tries in all; at least one is made.
    pub tries: u32,
    /// The wait before the second try; each further wait is twice as long.
    pub first: Duration,
    /// No wait of our own is longer.
    pub longest: Duration,
    /// A `Retry-After` beyond this is not waited for: Docker Hub's may be hours.
    pub longest_asked: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            tries: 5,
            first: Duration::from_millis(500),
            longest: Duration::from_secs(15),
            longest_asked: Duration::from_secs(60),
        }
    }
}

impl Patience {
    /// The wait after the `failed`-th failure (from 1), or `None` if that was the last try.
    /// `asked` is what the server wants.
    pub(super) fn next(&self, failed: u32, asked: Option<Duration>, clock: &dyn Clock) -> Option<Duration> {
        if failed >= self.tries || asked.is_some_and(|asked| asked > self.longest_asked) {
            return None;
        }
        let doubled = self.first.saturating_mul(1 << failed.saturating_sub(1).min(16));
        let own = doubled.min(self.longest);
        // Up to a quarter more, so that many clients do not come back at one moment.
        let nanos = clock
            .wall()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.subsec_nanos());
        let jitter = own.mul_f64(f64::from(nanos % 1000) / 4000.0);
        Some(asked.unwrap_or(Duration::ZERO).max(own + jitter))
    }
}

/// The value of `Retry-After`: seconds or a date (RFC 9110 §10.2.3).
pub(super) fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = parse_date(value)?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7; the two obsolete forms are not read).
fn parse_date(text: &str) -> Option<SystemTime> {
    let (_, rest) = text.split_once(", ")?;
    let parts: Vec<&str> = rest.split(' ').collect();
    let [day, month, year, time, "GMT"] = *parts.as_slice() else {
        return None;
    };
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = u64::try_from(months.iter().position(|name| *name == month)?).ok()?;
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let clock: Vec<u64> = time.split(':').filter_map(|part| part.parse().ok()).collect();
    let [hour, minute, second] = *clock.as_slice() else {
        return None;
    };
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 1970, in a calendar whose years begin in March.
    let (year, month) = if month < 2 {
        (year - 1, month + 10)
    } else {
        (year, month - 2)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let seconds = (days - 719_468) * 86_400 + hour * 3600 + minute * 60 + second;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (text, expected) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Tue, 29 Feb 2028 23:59:59 GMT", Some(1_835_481_599)),
            ("Sun, 06 Nov 1994 08:49:37 CET", None),
            ("Sun, 06 Foo 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 94 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 99:49:37 GMT", None),
            ("x", None),
        ] {
            let seconds = parse_date(text).map(|date| date.duration_since(UNIX_EPOCH).unwrap().as_secs());
            assert_eq!(seconds, expected, "{text}");
        }
    }

    #[test]
    fn waits() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let after = |value| parse_retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(after("120"), Some(120));
        assert_eq!(after("Sun, 06 Nov 1994 08:50:07 GMT"), Some(30));
        assert_eq!(after("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        assert_eq!(after("-1"), None);
        let patience = Patience::default();
        let clock = SystemClock::default();
        let next = |failed, asked: Option<u64>| patience.next(failed, asked.map(Duration::from_secs), &clock);
        assert!((500..626).contains(&next(1, None).unwrap().as_millis()));
        assert!((4000..5001).contains(&next(4, None).unwrap().as_millis()));
        assert_eq!(next(5, None), None);
        assert_eq!(next(1, Some(10)), Some(Duration::from_secs(10)));
        assert_eq!(next(1, Some(61)), None);
    }
}
