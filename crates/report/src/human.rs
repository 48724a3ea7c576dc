//! Numbers as people read them.

use std::time::Duration;

/// `1234567` as `1,234,567`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `14022532` bytes as `14.02 MB` (1 MB = 1,000,000 bytes).
pub fn megabytes(bytes: u64) -> String {
    let megabytes = bytes as f64 / 1e6;
    let digits = if megabytes < 100.0 { 2 } else { 1 };
    format!("{} MB", decimal(megabytes, digits))
}

/// `14022532` bytes as `14,022,532 bytes (14.02 MB)`; the brackets only from 10,000 bytes on.
pub fn bytes(bytes: u64) -> String {
    match bytes {
        1 => "1 byte".to_owned(),
        0..10_000 => format!("{} bytes", count(bytes)),
        _ => format!("{} bytes ({})", count(bytes), megabytes(bytes)),
    }
}

/// `value` with `digits` decimal places and separated thousands: `1,234.50`.
pub fn decimal(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let unsigned = text.trim_start_matches('-');
    let (whole, rest) = unsigned.split_at(unsigned.find('.').unwrap_or(unsigned.len()));
    let Ok(whole) = whole.parse() else { return text };
    let rounds_to_zero = unsigned.chars().all(|c| matches!(c, '0' | '.'));
    let sign = if text.starts_with('-') && !rounds_to_zero { "-" } else { "" };
    format!("{sign}{}{rest}", count(whole))
}

/// `850 µs`, `12.3 ms`, `1.24 s`, `2 min 05 s`, `1 h 02 min`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    // A value that would round up to the next unit's first is shown in that unit.
    if seconds < 0.000_999_5 {
        format!("{:.0} µs", seconds * 1e6)
    } else if seconds < 0.999_95 {
        format!("{} ms", significant(seconds * 1e3))
    } else if seconds < 59.95 {
        format!("{} s", significant(seconds))
    } else if seconds < 3599.5 {
        let seconds = seconds.round() as u64;
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    } else {
        let minutes = (seconds / 60.0).round() as u64;
        format!("{} h {:02} min", minutes / 60, minutes % 60)
    }
}

/// Three significant digits of a number from 1 to 1000.
fn significant(value: f64) -> String {
    let digits = match value {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

/// `0.71345` as `71.3 %`.
pub fn percent(share: f64) -> String {
    format!("{} %", decimal(share * 100.0, 1))
}

/// A signal-to-noise ratio: `45.2 dB`, or `exact` where there is no noise.
pub fn decibels(ratio: Option<f64>) -> String {
    match ratio {
        Some(ratio) if ratio != f64::INFINITY => format!("{} dB", decimal(ratio, 1)),
        _ => "exact".to_owned(),
    }
}

/// How many times as much: `2.51x`.
pub fn times(ratio: f64) -> String {
    format!("{}x", decimal(ratio, 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        for (value, text) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567"), (12_345, "12,345")]
        {
            assert_eq!(count(value), text);
        }
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
        assert_eq!(decimal(-1234.5, 2), "-1,234.50");
        assert_eq!(decimal(999.96, 1), "1,000.0");
        assert_eq!(decimal(-0.01, 1), "0.0");
        assert_eq!(decimal(f64::NAN, 1), "NaN");
        assert_eq!(decimal(f64::NEG_INFINITY, 1), "-inf");
        assert_eq!(decimal(7.0, 0), "7");
    }

    #[test]
    fn sizes_are_given_in_bytes_and_megabytes() {
        assert_eq!(bytes(1), "1 byte");
        assert_eq!(bytes(9_999), "9,999 bytes");
        assert_eq!(bytes(14_022_532), "14,022,532 bytes (14.02 MB)");
        assert_eq!(megabytes(528_000_000), "528.0 MB");
        assert_eq!(megabytes(80_000), "0.08 MB");
    }

    #[test]
    fn durations_take_a_fitting_unit() {
        for (seconds, text) in [
            (0.0, "0 µs"),
            (0.00085, "850 µs"),
            (0.000_999_9, "1.00 ms"),
            (0.0123, "12.3 ms"),
            (0.456, "456 ms"),
            (0.999_99, "1.00 s"),
            (1.237, "1.24 s"),
            (59.99, "1 min 00 s"),
            (125.2, "2 min 05 s"),
            (3599.9, "1 h 00 min"),
            (3725.0, "1 h 02 min"),
        ] {
            assert_eq!(duration(Duration::from_secs_f64(seconds)), text);
        }
    }

    #[test]
    fn ratios_have_their_units() {
        assert_eq!(percent(0.71345), "71.3 %");
        assert_eq!(percent(1.0), "100.0 %");
        assert_eq!(decibels(Some(45.23)), "45.2 dB");
        assert_eq!(decibels(None), "exact");
        assert_eq!(decibels(Some(f64::INFINITY)), "exact");
        assert_eq!(times(2.512), "2.51x");
    }
}
