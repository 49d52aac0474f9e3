//! The types of columns: inferred from the first rows, checked in every row.
//!
//! A type is right for a column if it gives every value back: as the same text, or in another
//! spelling that the type itself treats as equal. A leading zero, a sign, an exponent or a digit
//! that the type does not keep is not spelling.

use super::record::Field;

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text. It is not checked.
    Text,
    Boolean,
    Bigint,
    Numeric,
    Date,
    Timestamp,
    TimestampWithZone,
    Uuid,
}

/// The types that are inferred, the narrowest first.
const INFERRED: [Kind; 7] = [
    Kind::Boolean,
    Kind::Bigint,
    Kind::Numeric,
    Kind::Date,
    Kind::Timestamp,
    Kind::TimestampWithZone,
    Kind::Uuid,
];

/// Words that other programs write for a missing value.
const MISSING: [&str; 8] = ["NA", "N/A", "NULL", "null", "\\N", "None", "nan", "-"];

/// `numeric` keeps no more digits before and after the decimal point.
const WHOLE_DIGITS: usize = 131_072;
const FRACTION_DIGITS: usize = 16_383;
/// Timestamps keep microseconds.
const SECOND_DIGITS: usize = 6;

impl Kind {
    /// The type's name in SQL.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Boolean => "boolean",
            Self::Bigint => "bigint",
            Self::Numeric => "numeric",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::TimestampWithZone => "timestamptz",
            Self::Uuid => "uuid",
        }
    }

    /// The type of an existing column, by the server's name; `Text` for one that is not inferred.
    pub(crate) fn of_column(name: &str) -> Self {
        match name {
            "timestamp without time zone" => Self::Timestamp,
            "timestamp with time zone" => Self::TimestampWithZone,
            _ => INFERRED
                .into_iter()
                .find(|kind| kind.name() == name)
                .unwrap_or(Self::Text),
        }
    }

    /// Whether the type gives the value back.
    pub(crate) fn keeps(self, value: &[u8]) -> bool {
        match self {
            Self::Text => true,
            Self::Boolean => is_boolean(value),
            Self::Bigint => is_integer(value),
            Self::Numeric => is_decimal(value),
            Self::Date => is_date(value),
            Self::Timestamp => is_timestamp(value),
            Self::TimestampWithZone => is_timestamp_with_zone(value),
            Self::Uuid => is_uuid(value),
        }
    }
}

/// The type of one column, inferred.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Inferred {
    pub(crate) kind: Kind,
    /// For text: the word without which the column would have another type, and that type.
    pub(crate) except: Option<(&'static str, Kind)>,
}

/// The type of each of `width` columns: the narrowest that keeps every value in `rows`, otherwise
/// text. An unquoted field that is one of `nulls` is no value. A column without values is text.
pub(crate) fn infer(rows: &[Vec<Field>], width: usize, nulls: &[String]) -> Vec<Inferred> {
    let is_null = |field: &Field| !field.quoted && nulls.contains(&field.text);
    let column = |index: usize| {
        let fields = rows.iter().filter_map(|row| row.get(index));
        let values: Vec<&Field> = fields.filter(|field| !is_null(field)).collect();
        let kind = narrowest(&values, None);
        let except = MISSING.into_iter().find_map(|word| {
            let missing = |field: &&Field| !field.quoted && field.text == word;
            let other = narrowest(&values, Some(word));
            (kind == Kind::Text && other != Kind::Text && values.iter().any(missing))
                .then_some((word, other))
        });
        Inferred { kind, except }
    };
    (0..width).map(column).collect()
}

/// The narrowest type that keeps the values, apart from a word that would mean NULL.
fn narrowest(values: &[&Field], except: Option<&str>) -> Kind {
    let counted = |field: &&&Field| field.quoted || except != Some(&field.text);
    let values = || values.iter().filter(counted).map(|field| &*field.text);
    if values().next().is_none() {
        return Kind::Text;
    }
    let keeps_all = |kind: &Kind| {
        values().all(|value| kind.keeps(value.as_bytes()))
            && (*kind != Kind::Boolean || is_boolean_column(values()))
    };
    INFERRED.into_iter().find(keeps_all).unwrap_or(Kind::Text)
}

/// Whether letters stand for booleans: `t` and `f` occur both, or a word does. `f` alone may as
/// well be a code.
fn is_boolean_column<'a>(mut values: impl Iterator<Item = &'a str>) -> bool {
    let (mut t, mut f) = (false, false);
    values.any(|value| {
        t |= value == "t";
        f |= value == "f";
        value.len() > 1 || (t && f)
    })
}

fn is_boolean(text: &[u8]) -> bool {
    let words: [&[u8]; 8] = [
        b"t", b"f", b"true", b"false", b"TRUE", b"FALSE", b"True", b"False",
    ];
    words.contains(&text)
}

fn is_integer(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if !is_digits(digits) || digits.len() > 19 || (digits[0] == b'0' && text.len() > 1) {
        return false;
    }
    digits.len() < 19 || std::str::from_utf8(text).is_ok_and(|text| text.parse::<i64>().is_ok())
}

fn is_decimal(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let point = memchr::memchr(b'.', digits);
    let (whole, fraction) = match point {
        Some(at) => (&digits[..at], &digits[at + 1..]),
        None => (digits, &b"0"[..]),
    };
    // Zero has no sign.
    let zero = || digits.iter().all(|digit| matches!(digit, b'0' | b'.'));
    is_digits(whole)
        && is_digits(fraction)
        && (whole == b"0" || whole[0] != b'0')
        && whole.len() <= WHOLE_DIGITS
        && fraction.len() <= FRACTION_DIGITS
        && (digits.len() == text.len() || !zero())
}

fn is_date(text: &[u8]) -> bool {
    let [a, b, c, d, b'-', e, f, b'-', g, h] = *text else {
        return false;
    };
    let (Some(century), Some(year)) = (two_digits(a, b), two_digits(c, d)) else {
        return false;
    };
    let (Some(month), Some(day)) = (two_digits(e, f), two_digits(g, h)) else {
        return false;
    };
    let year = century * 100 + year;
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let last = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    year > 0 && (1..=last).contains(&day)
}

fn is_timestamp(text: &[u8]) -> bool {
    let Some((date, time)) = text.split_at_checked(10) else {
        return false;
    };
    matches!(time.first(), Some(b' ' | b'T')) && is_date(date) && is_time(&time[1..])
}

fn is_timestamp_with_zone(text: &[u8]) -> bool {
    let Some(clock) = text.get(10..) else {
        return false;
    };
    let Some(at) = memchr::memrchr3(b'Z', b'+', b'-', clock) else {
        return false;
    };
    let (rest, zone) = text.split_at(10 + at);
    let offset = match *zone {
        [b'Z'] => Some((0, 0)),
        [_, a, b] => two_digits(a, b).map(|hours| (hours, 0)),
        [_, a, b, c, d] | [_, a, b, b':', c, d] => two_digits(a, b).zip(two_digits(c, d)),
        _ => None,
    };
    let offset = offset.filter(|_| zone.len() == 1 || zone[0] != b'Z');
    offset.is_some_and(|(hours, minutes)| hours < 16 && minutes < 60) && is_timestamp(rest)
}

/// A time of day, in which seconds may be missing, to the microsecond.
fn is_time(text: &[u8]) -> bool {
    let Some((clock, seconds)) = text.split_at_checked(5) else {
        return false;
    };
    let &[a, b, b':', c, d] = clock else {
        return false;
    };
    let minutes = two_digits(a, b).is_some_and(|hour| hour < 24)
        && two_digits(c, d).is_some_and(|minute| minute < 60);
    let seconds = match seconds {
        [] => true,
        [b':', a, b, rest @ ..] => {
            let fraction = match rest {
                [] => true,
                [b'.', digits @ ..] => is_digits(digits) && digits.len() <= SECOND_DIGITS,
                _ => false,
            };
            two_digits(*a, *b).is_some_and(|second| second < 60) && fraction
        }
        _ => false,
    };
    minutes && seconds
}

fn is_uuid(text: &[u8]) -> bool {
    const HYPHENS: [usize; 4] = [8, 13, 18, 23];
    let mut letters = text.iter().enumerate();
    text.len() == 36
        && letters.all(|(at, letter)| match HYPHENS.contains(&at) {
            true => *letter == b'-',
            false => letter.is_ascii_hexdigit(),
        })
}

fn is_digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

fn two_digits(tens: u8, ones: u8) -> Option<u32> {
    let digit = |letter: u8| letter.is_ascii_digit().then(|| u32::from(letter - b'0'));
    Some(digit(tens)? * 10 + digit(ones)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(text: &str) -> Vec<Field> {
        vec![Field {
            text: text.to_owned(),
            quoted: false,
        }]
    }

    fn inferred(values: &[&str], nulls: &[&str]) -> Inferred {
        let rows: Vec<Vec<Field>> = values.iter().map(|text| field(text)).collect();
        let nulls: Vec<String> = nulls.iter().map(ToString::to_string).collect();
        infer(&rows, 1, &nulls).remove(0)
    }

    fn one(values: &[&str]) -> &'static str {
        inferred(values, &[""]).kind.name()
    }

    #[test]
    fn types_are_the_narrowest_that_keep_all() {
        assert_eq!(one(&["1", "", "-20", "0"]), "bigint");
        assert_eq!(one(&["9223372036854775807"]), "bigint");
        assert_eq!(one(&["9223372036854775808"]), "numeric");
        assert_eq!(one(&["1", "2.50", "0.0", "-0.01"]), "numeric");
        assert_eq!(one(&["12345678901234567890123"]), "numeric");
        assert_eq!(one(&["true", "f"]), "boolean");
        assert_eq!(one(&["t", "f"]), "boolean");
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
            &["02139", "99501"],
            &["+16175550100"],
            &["1E5", "3E7"],
            &["1", "2e10"],
            &["-0"],
            &["-0.00"],
            &["f"],
            &["t"],
            &["yes", "true"],
            &["03/04/2024"],
            &["9999-12-31T23:59:59.9999999Z"],
            &["2024-02-29 10:00:00+16"],
            &["2024-02-29 24:00:00"],
            &["2024-02-29", "2024-02-29 10:00:00"],
            &["1", "x"],
            &["2023-02-29"],
            &["0000-01-01"],
            &["1", "2024-01-01"],
            &[""],
            &[],
            &["0123.5"],
            &[".5"],
            &["1."],
            &[" 1"],
            &["1 "],
            &["NaN"],
            &["1e999"],
        ] {
            assert_eq!(one(values), "text", "{values:?}");
        }
        let quoted = vec![Field {
            text: String::new(),
            quoted: true,
        }];
        let nulls = [String::new()];
        assert_eq!(infer(&[field("1"), quoted], 1, &nulls)[0].kind, Kind::Text);
    }

    #[test]
    fn words_for_null_are_no_values() {
        assert_eq!(inferred(&["NA", "33", ""], &["NA", ""]).kind, Kind::Bigint);
        let text = inferred(&["NA", "33", ""], &[""]);
        assert_eq!(text.kind, Kind::Text);
        assert_eq!(text.except, Some(("NA", Kind::Bigint)));
        assert_eq!(inferred(&["NA", "x"], &[""]).except, None);
        assert_eq!(inferred(&["", "33"], &["NA"]).kind, Kind::Text);
    }
}
