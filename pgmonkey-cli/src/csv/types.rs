//! Infers column types from the first rows.

use super::record::Field;

/// Whether a type accepts a text unchanged.
type Takes = fn(&str) -> bool;

/// The types that are inferred, the narrowest first.
const TYPES: [(&str, Takes); 8] = [
    ("boolean", is_boolean),
    ("bigint", is_integer),
    ("numeric", is_decimal),
    ("double precision", is_float),
    ("date", is_date),
    ("timestamp", is_timestamp),
    ("timestamptz", is_timestamp_with_zone),
    ("uuid", is_uuid),
];

/// The type of each of `width` columns: the narrowest that accepts every value in `rows`, otherwise
/// text. A column without values, or with an empty quoted one, is text.
pub(crate) fn infer(rows: &[Vec<Field>], width: usize) -> Vec<&'static str> {
    (0..width)
        .map(|index| {
            let fields = || rows.iter().filter_map(|row| row.get(index));
            // Empty and unquoted is NULL, which every type accepts.
            let values = || fields().filter(|field| field.quoted || !field.text.is_empty());
            if values().next().is_none() {
                return "text";
            }
            let takes_all = |takes: Takes| values().all(|field| takes(&field.text));
            let found = TYPES.iter().find(|(_, takes)| takes_all(*takes));
            found.map_or("text", |(name, _)| name)
        })
        .collect()
}

fn is_boolean(text: &str) -> bool {
    ["true", "false", "t", "f", "TRUE", "FALSE", "True", "False"].contains(&text)
}

/// Without leading zeros, which a number would lose.
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    (digits == "0" || !digits.starts_with('0')) && is_digits(digits) && text.parse::<i64>().is_ok()
}

fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    (whole == "0" || !whole.starts_with('0')) && is_digits(whole) && is_digits(fraction)
}

fn is_float(text: &str) -> bool {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else {
        return is_decimal(text);
    };
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    is_decimal(mantissa) && is_digits(exponent) && text.parse::<f64>().is_ok_and(f64::is_finite)
}

fn is_date(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut part = |size| {
        parts
            .next()
            .filter(|part| part.len() == size && is_digits(part))
    };
    let (Some(year), Some(month), Some(day)) = (part(4), part(2), part(2)) else {
        return false;
    };
    let (year, month, day) = (number(year), number(month), number(day));
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    parts.next().is_none() && year > 0 && (1..=last).contains(&day)
}

fn is_timestamp(text: &str) -> bool {
    let halves = text.split_once([' ', 'T']);
    halves.is_some_and(|(date, time)| is_date(date) && is_time(time))
}

fn is_timestamp_with_zone(text: &str) -> bool {
    let zone = text.get(10..).and_then(|time| time.rfind(['Z', '+', '-']));
    let Some(at) = zone.map(|at| at + 10) else {
        return false;
    };
    let (rest, zone) = text.split_at(at);
    let hours = zone[1..].replace(':', "");
    is_timestamp(rest) && (zone == "Z" || ([2, 4].contains(&hours.len()) && is_digits(&hours)))
}

fn is_time(text: &str) -> bool {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let parts: Vec<&str> = clock.split(':').collect();
    let two = |part: &&str| part.len() == 2 && is_digits(part);
    (2..=3).contains(&parts.len())
        && parts.iter().all(two)
        && number(parts[0]) < 24
        && parts[1..].iter().all(|part| number(part) < 60)
        && is_digits(fraction)
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hexadecimal = |part: &&str| part.bytes().all(|b| b.is_ascii_hexdigit());
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]) && parts.iter().all(hexadecimal)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn number(digits: &str) -> u32 {
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(values: &[&str]) -> &'static str {
        let row = |text: &&str| {
            vec![Field {
                text: (*text).to_owned(),
                quoted: false,
            }]
        };
        infer(&values.iter().map(row).collect::<Vec<_>>(), 1)[0]
    }

    #[test]
    fn types_are_the_narrowest_that_take_all() {
        assert_eq!(one(&["1", "", "-20"]), "bigint");
        assert_eq!(one(&["1", "2.50"]), "numeric");
        assert_eq!(one(&["99999999999999999999"]), "numeric");
        assert_eq!(one(&["1", "2e10"]), "double precision");
        assert_eq!(one(&["true", "f"]), "boolean");
        assert_eq!(one(&["2024-02-29"]), "date");
        assert_eq!(
            one(&["2024-02-29 10:00", "2024-02-29T10:00:59.5"]),
            "timestamp"
        );
        assert_eq!(
            one(&["2024-02-29 10:00:00+02", "2024-02-29T10:00:00Z"]),
            "timestamptz"
        );
        assert_eq!(one(&["7d444840-9dc0-11d1-b245-5ffdce74fad2"]), "uuid");
    }

    #[test]
    fn what_a_type_would_change_is_text() {
        for values in [
            &["007"][..],
            &["1", "x"],
            &["2023-02-29"],
            &["1", "2024-01-01"],
            &[""],
            &[],
            &["0123.5"],
            &["+1"],
            &[" 1"],
            &["1e999"],
        ] {
            assert_eq!(one(values), "text", "{values:?}");
        }
        let quoted = vec![Field {
            text: String::new(),
            quoted: true,
        }];
        let number = vec![Field {
            text: "1".to_owned(),
            quoted: false,
        }];
        assert_eq!(infer(&[number, quoted], 1), ["text"]);
    }
}
