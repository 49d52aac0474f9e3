//! Parses durations: plain seconds, or a number with a unit.

use std::time::Duration;

/// The longest accepted duration, about 136 years: a deadline is computed as now plus a duration,
/// and that addition must never overflow.
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

/// Parses `30` (seconds), `1.5`, `500ms`, `30s`, `5m` or `1h`; spaces around number and unit are
/// allowed.
///
/// Returns `None` for everything else: signs, exponents, unknown units, and more than about 136
/// years.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let millis = unit_millis(unit.trim_start())?;
    let duration = match number.parse::<u64>() {
        Ok(whole) => Duration::from_millis(whole.checked_mul(millis)?),
        Err(_) => fraction(number, millis)?,
    };
    (duration <= LONGEST).then_some(duration)
}

fn unit_millis(unit: &str) -> Option<u64> {
    match unit {
        "ms" => Some(1),
        "" | "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    }
}

fn fraction(number: &str, millis: u64) -> Option<Duration> {
    // `parse` has limited the text to digits and points, so no sign, `inf`, `nan` or exponent.
    let value: f64 = number.parse().ok()?;
    Duration::try_from_secs_f64(value * millis as f64 / 1000.0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_numbers_and_units() {
        for (text, millis) in [
            ("0", 0),
            ("30", 30_000),
            ("1.5", 1500),
            (".5", 500),
            ("5.", 5000),
            ("500ms", 500),
            ("0.5ms", 0),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1.5h", 5_400_000),
            ("  10 s\t", 10_000),
        ] {
            let parsed = parse(text).map(|d| d.as_millis());
            assert_eq!(parsed, Some(millis), "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            " ",
            "s",
            "ms",
            ".",
            "-1",
            "+1",
            "1e3",
            "nan",
            "inf",
            "1.2.3",
            "1d",
            "1S",
            "1 2",
            "1s2",
            "٣",
            "4294967296",
            "18446744073709551616",
            "99999999999h",
            "1h30m",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_longest_is_taken_and_can_be_added_to_now() {
        let longest = parse("4294967295").expect("the limit itself");
        assert!(std::time::Instant::now().checked_add(longest).is_some());
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = parse(&text);
        }

        #[test]
        fn never_panics_on_near_misses(text in "[0-9.]{0,400} ?(ms|s|m|h|)") {
            let _ = parse(&text);
        }

        #[test]
        fn whole_seconds_are_exact(seconds in 0..=u32::MAX) {
            prop_assert_eq!(parse(&seconds.to_string()), Some(Duration::from_secs(seconds.into())));
        }
    }
}
