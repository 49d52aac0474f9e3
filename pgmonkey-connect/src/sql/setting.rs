//! A setting of one transaction, as a statement.

use std::fmt::Write;

use super::{identifier, literal};

/// The longest name: the server cuts longer ones, which could then be the names of other settings.
const LONGEST_NAME: usize = 63;

/// The settings whose value is a list of names, each of which is a string of its own in `SET`. A
/// single string would be taken for a single name.
const LISTS: [&str; 2] = ["search_path", "temp_tablespaces"];

/// The statement that sets `name` to `value`, as a config file writes it, until the end of the
/// transaction.
///
/// # Errors
///
/// The reason why no statement does so: an invalid name, a list of names that cannot be read, or text
/// that no statement can contain.
pub(crate) fn set_local(name: &str, value: &str) -> Result<String, &'static str> {
    let names = |part: &str| (1..=LONGEST_NAME).contains(&part.len());
    if !name.split('.').all(names) || name.contains('\0') {
        return Err("not the name of a setting");
    }
    if value.contains('\0') {
        return Err("the value contains a zero byte");
    }
    let mut text = String::from("SET LOCAL ");
    for (at, part) in name.split('.').enumerate() {
        let dot = if at > 0 { "." } else { "" };
        let _ = write!(text, "{dot}{}", identifier(part));
    }
    text.push_str(" = ");
    match LISTS.iter().any(|list| name.eq_ignore_ascii_case(list)) {
        true => match names_of(value) {
            Some(names) => text.push_str(&names.join(", ")),
            None => return Err("not a list of names: quote them with \"\""),
        },
        false => text.push_str(&literal(value)),
    }
    Ok(text)
}

/// The names in a list, as literals: names are separated by commas, in lower case unless they are
/// in double quotes. `None` if it is not such a list.
fn names_of(list: &str) -> Option<Vec<String>> {
    if list.trim().is_empty() {
        return Some(vec![literal("")]);
    }
    let mut names = Vec::new();
    let mut rest = list.trim_start();
    loop {
        let (name, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_name(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let name = rest[..end].trim_end();
                let is_plain = |letter: char| letter != '"' && !letter.is_ascii_whitespace();
                if name.is_empty() || !name.chars().all(is_plain) {
                    return None;
                }
                (name.to_ascii_lowercase(), &rest[end..])
            }
        };
        names.push(literal(&name));
        match after.trim_start() {
            "" => return Some(names),
            after => rest = after.strip_prefix(',')?.trim_start(),
        }
    }
}

/// The name before the closing quote, and the text after it; a doubled quote is part of the name.
fn quoted_name(mut rest: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    loop {
        let (before, after) = rest.split_once('"')?;
        name.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_and_values_are_quoted() {
        let text = |name, value| set_local(name, value).expect("a setting");
        assert_eq!(
            text("app.tenant", "it's"),
            r#"SET LOCAL "app"."tenant" = 'it''s'"#
        );
        assert_eq!(
            text("x\"; DROP TABLE t", "1"),
            r#"SET LOCAL "x""; DROP TABLE t" = '1'"#
        );
    }

    #[test]
    fn a_list_of_names_stays_a_list() {
        let text = |value| set_local("Search_Path", value);
        let set = |names: &str| Ok(format!(r#"SET LOCAL "Search_Path" = {names}"#));
        assert_eq!(
            text(r#"App, "$user" ,"a "", b""#),
            set(r#"'app', '$user', 'a ", b'"#)
        );
        assert_eq!(text("  "), set("''"));
        for wrong in ["a,", ",", "a b", "\"a", "a\"b\"", "\"a\"b"] {
            assert!(text(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_a_setting_is_refused() {
        let long = "n".repeat(64);
        for name in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a\0b",
            &long,
            &format!("a.{long}"),
        ] {
            assert_eq!(
                set_local(name, "1"),
                Err("not the name of a setting"),
                "{name}"
            );
        }
        assert!(set_local("a", "1\0").is_err());
    }

    proptest! {
        /// The value is one literal; there is a single statement whatever it contains.
        #[test]
        fn a_value_ends_where_it_should(value in "([a-z'\\\\\";, -]|\\PC){0,40}") {
            let text = set_local("app.tenant", &value).expect("no zero byte");
            prop_assert_eq!(text, format!("SET LOCAL \"app\".\"tenant\" = {}", literal(&value)));
        }

        #[test]
        fn a_quoted_list_gives_its_names(names in proptest::collection::vec("\\PC{1,12}", 1..5)) {
            let list: Vec<String> = names.iter().map(|name| identifier(name)).collect();
            let wanted: Vec<String> = names.iter().map(|name| literal(name)).collect();
            prop_assert_eq!(names_of(&list.join(" , ")), Some(wanted));
        }
    }
}
