//! Bytes in Docker's words (docker/go-units, size.go).

const DECIMAL: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
const BINARY: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Bytes with three digits and powers of 1000: `1.98MB`.
#[must_use]
pub fn human_size(bytes: u64) -> String {
    render(bytes, 1000, 3, &DECIMAL)
}

/// Bytes with four digits and powers of 1024: `23.54GiB`.
#[must_use]
pub fn bytes_size(bytes: u64) -> String {
    render(bytes, 1024, 4, &BINARY)
}

/// So many significant digits, without zeros at the end of a fraction, rounded as Go rounds
/// the same number.
fn render(bytes: u64, base: u32, digits: usize, units: &[&str; 7]) -> String {
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= f64::from(base) && unit + 1 < units.len() {
        value /= f64::from(base);
        unit += 1;
    }
    let whole_digits = format!("{value:.0}").len();
    let text = format!("{value:.*}", digits.saturating_sub(whole_digits));
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{}", units.get(unit).unwrap_or(&"B"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_dockers_words() {
        for (bytes, want) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1_500, "1.5kB"),
            (1_982_452, "1.98MB"),
            (12_345_678, "12.3MB"),
            (123_456_789, "123MB"),
            (1_005_000_000, "1GB"),
            (u64::MAX, "18.4EB"),
        ] {
            assert_eq!(human_size(bytes), want);
        }
        for (bytes, want) in [
            (0, "0B"),
            (336 << 10, "336KiB"),
            (64 << 20, "64MiB"),
            (25_276_502_016, "23.54GiB"),
            (1023, "1023B"),
        ] {
            assert_eq!(bytes_size(bytes), want);
        }
    }
}
