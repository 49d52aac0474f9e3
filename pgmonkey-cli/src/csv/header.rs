//! Matches the header of a file to the columns of a table.

/// PostgreSQL truncates longer names, with only a notice.
const LONGEST: usize = 63;

/// Normalizes a header to a column name by the Python tool's rule: lower case, and `_` for
/// everything but ASCII letters, digits and `_`.
pub(crate) fn clean(header: &str) -> String {
    sanitise(&header.to_lowercase())
}

fn sanitise(header: &str) -> String {
    header
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect()
}

/// Names for the columns of a new table, with notes about the changes.
///
/// A name that would begin with a digit gets `_` in front, an empty one becomes `column_N`, and a
/// duplicate gets a numeric suffix.
pub(crate) fn columns(headers: &[String], keep_case: bool) -> (Vec<String>, Vec<String>) {
    let mut names: Vec<String> = Vec::new();
    let mut notes = Vec::new();
    for (index, header) in headers.iter().enumerate() {
        let (mut name, empty) = created_name(header, index, keep_case);
        if empty {
            notes.push(format!(
                "column {} has no header: it is named {name}",
                index + 1
            ));
        }
        if names.contains(&name) {
            let first = names
                .iter()
                .position(|known| *known == name)
                .unwrap_or_default();
            let free = numbered(&name, &names);
            notes.push(format!(
                "the headers of columns {} and {} are both {name}: the second is named {free}",
                first + 1,
                index + 1
            ));
            name = free;
        }
        names.push(name);
    }
    (names, notes)
}

/// The name for one header, unless another column has it, and whether the header is empty.
fn created_name(header: &str, index: usize, keep_case: bool) -> (String, bool) {
    let header = header.trim();
    let mut name = match keep_case {
        true => sanitise(header),
        false => clean(header),
    };
    let empty = name.is_empty();
    if empty {
        name = format!("column_{}", index + 1);
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    name.truncate(LONGEST);
    (name, empty)
}

/// The first free name of `name_2`, `name_3`, ….
fn numbered(name: &str, taken: &[String]) -> String {
    let free = (2..).map(|number| {
        let ending = format!("_{number}");
        let room = name.len().min(LONGEST - ending.len());
        format!("{}{ending}", &name[..room])
    });
    free.into_iter()
        .find(|free| !taken.contains(free))
        .unwrap_or_default()
}

/// The column names for a file without a header.
pub(crate) fn numbered_columns(width: usize) -> Vec<String> {
    (1..=width)
        .map(|number| format!("column_{number}"))
        .collect()
}

/// Why a file's header does not fit a table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// The table has no such column.
    Unknown(String),
    /// More than one column matches.
    Ambiguous(String),
    /// Two headers match the same column.
    Twice {
        column: String,
        first: String,
        second: String,
    },
}

/// Finds the table's column for each header: by the exact names, then by the names that a table
/// made from this file has, then one by one: by the exact, the lower-case and the normalized name.
pub(crate) fn matched(headers: &[String], table: &[String]) -> Result<Vec<usize>, Mismatch> {
    let created = || [false, true].map(|keep_case| columns(headers, keep_case).0);
    let exact = all(headers, table);
    if let Some(found) = exact.or_else(|| created().iter().find_map(|names| all(names, table))) {
        return Ok(found);
    }
    let mut found: Vec<usize> = Vec::new();
    for (index, header) in headers.iter().enumerate() {
        let column = one(header, index, table)?;
        if let Some(first) = found.iter().position(|known| *known == column) {
            return Err(Mismatch::Twice {
                column: table[column].clone(),
                first: headers[first].clone(),
                second: header.clone(),
            });
        }
        found.push(column);
    }
    Ok(found)
}

/// The columns with exactly these names, if each name is a column of its own.
fn all(names: &[String], table: &[String]) -> Option<Vec<usize>> {
    let mut found: Vec<usize> = Vec::new();
    for name in names {
        let column = table.iter().position(|column| column == name)?;
        if found.contains(&column) {
            return None;
        }
        found.push(column);
    }
    Some(found)
}

fn one(header: &str, index: usize, table: &[String]) -> Result<usize, Mismatch> {
    let exact = table.iter().position(|column| column == header);
    if let Some(column) = exact.or_else(|| table.iter().position(|column| column == header.trim()))
    {
        return Ok(column);
    }
    let header = header.trim();
    let lower = header.to_lowercase();
    let same = |test: &dyn Fn(&str) -> bool| -> Vec<usize> {
        let all = table.iter().enumerate();
        all.filter(|(_, column)| test(column))
            .map(|(index, _)| index)
            .collect()
    };
    let cleaned = created_name(header, index, false).0;
    let tests: [&dyn Fn(&str) -> bool; 3] = [
        &|column| column.to_lowercase() == lower,
        &|column| column == cleaned,
        &|column| !header.is_empty() && clean(column) == clean(header),
    ];
    for test in tests {
        match same(test).as_slice() {
            [] => {}
            [column] => return Ok(*column),
            _ => return Err(Mismatch::Ambiguous(header.to_owned())),
        }
    }
    Err(Mismatch::Unknown(header.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_are_those_of_the_python_tool() {
        for (header, name) in [
            ("größe", "gr__e"),
            ("名前", "__"),
            ("First Name", "first_name"),
            ("a-b.c", "a_b_c"),
            ("ID", "id"),
        ] {
            assert_eq!(clean(header), name);
        }
    }

    #[test]
    fn d35_every_header_becomes_a_column() {
        let (names, notes) = columns(&strings(&["2020", "", "a b", "a-b", "A_B", "x"]), false);
        assert_eq!(names, ["_2020", "column_2", "a_b", "a_b_2", "a_b_3", "x"]);
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert!(notes[1].contains("columns 3 and 4"), "{notes:?}");
        assert_eq!(columns(&strings(&["Name"]), true).0, ["Name"]);
    }

    #[test]
    fn d35_long_names_stay_apart() {
        let long = "x".repeat(70);
        let (names, _) = columns(&strings(&[&long, &long]), false);
        assert_eq!(names[0], "x".repeat(63));
        assert_eq!(names[1], format!("{}_2", "x".repeat(61)));
    }

    #[test]
    fn d35_columns_are_matched_by_name_in_any_order() {
        let table = strings(&["id", "Full Name", "größe", "note"]);
        let headers = strings(&["GRÖSSE?", "ID", "full name"]);
        assert_eq!(
            matched(&headers, &table),
            Err(Mismatch::Unknown("GRÖSSE?".to_owned()))
        );
        let headers = strings(&["größe", "ID", "full_name"]);
        assert_eq!(matched(&headers, &table), Ok(vec![2, 0, 1]));
    }

    #[test]
    fn what_could_be_two_is_said() {
        let table = strings(&["a", "A"]);
        assert_eq!(matched(&strings(&["A", "a"]), &table), Ok(vec![1, 0]));
        let table = strings(&["a b", "a-b"]);
        assert_eq!(
            matched(&strings(&["a_b"]), &table),
            Err(Mismatch::Ambiguous("a_b".to_owned()))
        );
        let table = strings(&["a"]);
        assert!(matches!(
            matched(&strings(&["a", "A"]), &table),
            Err(Mismatch::Twice { .. })
        ));
    }

    proptest! {
        /// What was created from a file, the same file can fill again.
        #[test]
        fn matched_is_the_inverse_of_columns(
            headers in prop::collection::vec("[aA_2 é]{0,3}|(column_[1-5])|(x{60,66}_?2?)", 1..7),
            keep_case: bool,
        ) {
            let (table, _) = columns(&headers, keep_case);
            prop_assert_eq!(matched(&headers, &table), Ok((0..headers.len()).collect()));
            // Another column that was added since makes no difference.
            let more: Vec<String> = table.into_iter().chain(["added".to_owned()]).collect();
            prop_assert_eq!(matched(&headers, &more), Ok((0..headers.len()).collect()));
        }
    }
}
