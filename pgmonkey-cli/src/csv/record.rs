//! Parses the fields of a file's first rows, for detection. The rest of the file is never parsed.

use super::dialect::Dialect;

/// A field's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) text: String,
    pub(crate) quoted: bool,
}

/// The first rows of `sample`, including blank lines. Unless it is the whole file, its last row is
/// left out.
pub(crate) fn rows(sample: &[u8], dialect: Dialect, whole: bool, most: usize) -> Vec<Vec<Field>> {
    let mut rows = Vec::new();
    let mut at = 0;
    while at < sample.len() && rows.len() < most {
        match row(&sample[at..], dialect) {
            (fields, length, true) => {
                rows.push(fields);
                at += length;
            }
            (fields, _, false) => {
                if whole {
                    rows.push(fields);
                }
                break;
            }
        }
    }
    rows
}

/// The first row, its length, and whether its line end was found.
pub(crate) fn row(text: &[u8], dialect: Dialect) -> (Vec<Field>, usize, bool) {
    let mut fields = Vec::new();
    let mut field = Vec::new();
    let (mut quoted, mut inside) = (false, false);
    let mut at = 0;
    let mut finish = |field: &mut Vec<u8>, quoted: &mut bool| {
        let text = String::from_utf8_lossy(&std::mem::take(field)).into_owned();
        fields.push(Field {
            text,
            quoted: std::mem::take(quoted),
        });
    };
    while at < text.len() {
        let byte = text[at];
        at += 1;
        if inside {
            if Some(byte) != dialect.quote {
                field.push(byte);
            } else if text.get(at) == Some(&byte) {
                field.push(byte);
                at += 1;
            } else {
                inside = false;
            }
        } else if Some(byte) == dialect.quote && field.is_empty() && !quoted {
            (quoted, inside) = (true, true);
        } else if byte == dialect.delimiter {
            finish(&mut field, &mut quoted);
        } else if byte == b'\n' || byte == b'\r' {
            if byte == b'\r' && text.get(at) == Some(&b'\n') {
                at += 1;
            }
            finish(&mut field, &mut quoted);
            return (fields, at, true);
        } else {
            field.push(byte);
        }
    }
    finish(&mut field, &mut quoted);
    (fields, at, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_taken_apart() {
        let dialect = Dialect {
            delimiter: b',',
            quote: Some(b'"'),
        };
        let rows = rows(b"a,\"b\"\"\n\",\r\n\n1,\"\"", dialect, true, 9);
        let texts: Vec<Vec<(&str, bool)>> = rows
            .iter()
            .map(|row| {
                row.iter()
                    .map(|field| (field.text.as_str(), field.quoted))
                    .collect()
            })
            .collect();
        assert_eq!(
            texts,
            [
                vec![("a", false), ("b\"\n", true), ("", false)],
                vec![("", false)],
                vec![("1", false), ("", true)]
            ]
        );
    }
}
