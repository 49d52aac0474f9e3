//! The text of `pg_hba.conf`, for what the server's view of it does not show: quotes.

use super::hba::Rule;

/// Records which names of the rules are in quotes in the text of their file.
pub(crate) fn mark_quoted(rules: &mut [Rule], file: Option<&str>, text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    for rule in rules
        .iter_mut()
        .filter(|rule| rule.file_name.as_deref() == file)
    {
        let first = usize::try_from(rule.line_number).unwrap_or(0).max(1) - 1;
        let mut whole = String::new();
        for line in lines.iter().skip(first) {
            let Some(line) = line.strip_suffix('\\') else {
                whole.push_str(line);
                break;
            };
            whole.push_str(line);
        }
        // The type of the line is the first field, databases and users are the next two.
        let fields = fields(&whole);
        let names = fields.into_iter().skip(1).take(2).flatten();
        rule.literal = names
            .filter(|(_, quoted)| *quoted)
            .map(|(name, _)| name)
            .collect();
    }
}

/// The fields of a line, each a list of names, with whether they begin with a quote.
fn fields(line: &str) -> Vec<Vec<(String, bool)>> {
    let mut fields: Vec<Vec<(String, bool)>> = Vec::new();
    let mut letters = line.chars().peekable();
    let mut goes_on = false;
    loop {
        while letters
            .next_if(|letter| letter.is_ascii_whitespace())
            .is_some()
        {}
        if letters.peek().is_none_or(|letter| *letter == '#') {
            return fields;
        }
        let quoted = letters.peek() == Some(&'"');
        let (mut name, mut inside, mut comma) = (String::new(), false, false);
        while let Some(letter) = letters.next_if(|letter| inside || !letter.is_ascii_whitespace()) {
            match letter {
                '"' if inside && letters.next_if_eq(&'"').is_some() => name.push('"'),
                '"' => inside = !inside,
                ',' if !inside => {
                    comma = true;
                    break;
                }
                letter => name.push(letter),
            }
        }
        match fields.last_mut().filter(|_| goes_on) {
            Some(field) => field.push((name, quoted)),
            None => fields.push(vec![(name, quoted)]),
        }
        goes_on = comma;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_found() {
        let text = "# first\nlocal \"all\", shop  +a,\"+b c\",d\"e\" trust\nhost \\\n all \"all\" all md5\n";
        let rule = |line_number| Rule {
            line_number,
            ..Rule::default()
        };
        let mut rules = vec![rule(2), rule(3), rule(9)];
        mark_quoted(&mut rules, None, text);
        assert_eq!(rules[0].literal, ["all", "+b c"]);
        assert_eq!(rules[1].literal, ["all"]);
        assert!(rules[2].literal.is_empty());
    }
}
