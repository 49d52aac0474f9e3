//! Tables for people.

use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, ContentLineStyle, LineStyle, TableStyle};

use pgmonkey::printable;

use super::style::styled;

/// Rows under a header. Cells are folded at words if the terminal is too narrow.
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// A rule under the header and a blank between columns.
const STYLE: TableStyle = TableStyle::new()
    .header_lines(ContentLineStyle::none().junction(' '))
    .header_separator(LineStyle::none().fill('-').junction(' '))
    .content_lines(ContentLineStyle::none().junction(' '));

/// Status words at the end of a line, and their colours.
const WORDS: &[(&str, AnsiColor)] = &[
    ("ok", AnsiColor::Green),
    ("OK", AnsiColor::Green),
    ("REVIEW", AnsiColor::Yellow),
    ("UNKNOWN", AnsiColor::Yellow),
    ("MISMATCH", AnsiColor::Red),
    ("FAILED", AnsiColor::Red),
];

impl Table {
    /// A table with these columns.
    pub(crate) fn new<T: Into<String>>(header: impl IntoIterator<Item = T>) -> Self {
        Self {
            header: header.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row: as many cells as there are columns.
    pub(crate) fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        // Text from a server may contain control characters, which a terminal would obey.
        let cells = cells
            .into_iter()
            .map(|cell| printable::lines(&cell.into()).into_owned());
        self.rows.push(cells.collect());
    }

    /// The table as text, one line per row unless `width` makes cells fold.
    pub(crate) fn render(&self, width: Option<u16>, colour: bool) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(STYLE);
        table.set_header(&self.header);
        table.add_rows(&self.rows);
        if let Some(width) = width {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(width);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 0));
        }
        let lines = table
            .lines()
            .map(|line| paint(line.trim_end(), colour) + "\n");
        lines.collect()
    }
}

/// Colours the word at the end of a line if it is a status word.
fn paint(line: &str, colour: bool) -> String {
    let start = line.rfind(' ').map_or(0, |at| at + 1);
    let (rest, word) = line.split_at(start);
    match WORDS.iter().find(|(known, _)| *known == word) {
        Some((_, shade)) => {
            let style = Style::new().fg_color(Some((*shade).into()));
            format!("{rest}{}", styled(colour, style, word))
        }
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Table {
        let mut table = Table::new(["Setting", "Value", "Status"]);
        table.row(["max_connections", "100", "OK"]);
        table.row(["listen_addresses", "*, and some more of them", "REVIEW"]);
        table
    }

    #[test]
    fn columns_line_up() {
        assert_eq!(
            example().render(None, false),
            "Setting          Value                    Status\n\
             ---------------- ------------------------ ------\n\
             max_connections  100                      OK\n\
             listen_addresses *, and some more of them REVIEW\n"
        );
    }

    #[test]
    fn no_line_is_longer_than_the_terminal() {
        let text = example().render(Some(40), false);
        assert!(text.lines().all(|line| line.len() <= 40), "{text}");
        assert!(text.contains("of them"), "{text}");
    }

    #[test]
    fn a_terminal_is_not_told_what_to_do() {
        let mut table = Table::new(["Name"]);
        table.row(["a\u{1b}[31mb\u{202e}c"]);
        let text = table.render(None, true);
        assert!(text.contains("\\u{202e}c"), "{text}");
        assert!(text.contains("a\\u{1b}[31mb"), "{text}");
    }

    #[test]
    fn only_the_verdict_is_coloured() {
        let text = example().render(None, true);
        assert!(text.contains("\u{1b}[32mOK\u{1b}[0m"), "{text:?}");
        assert_eq!(text.matches("\u{1b}[0m").count(), 2, "{text:?}");
    }
}
