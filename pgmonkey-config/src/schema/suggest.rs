//! "Did you mean …": finds the nearest known word, if one is near enough.

/// Returns the candidate that differs from `word` by the fewest typing errors, if they are few for
/// its length.
///
/// An error is an extra, missing or wrong letter, or two neighbours swapped; case is ignored. One
/// is allowed from three letters on, two from six, three from nine. Of equals the first wins.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = letters(word);
    let allowed = allowed_slips(word.len());
    candidates
        .into_iter()
        .filter_map(|candidate| Some((slips(&word, &letters(candidate), allowed)?, candidate)))
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

fn letters(word: &str) -> Vec<char> {
    word.chars().flat_map(char::to_lowercase).collect()
}

fn allowed_slips(length: usize) -> usize {
    (length / 3).min(3)
}

/// Returns the Damerau-Levenshtein distance (neighbours swapped at most once), or `None` above
/// `allowed`.
fn slips(a: &[char], b: &[char], allowed: usize) -> Option<usize> {
    // The difference in length is a lower bound; this also returns early for a huge word.
    if a.len().abs_diff(b.len()) > allowed {
        return None;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = a[i - 1] == b[j - 1];
            let mut best = (last[j] + 1)
                .min(row[j - 1] + 1)
                .min(last[j - 1] + usize::from(!same));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    Some(last[b.len()]).filter(|distance| *distance <= allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 8] = [
        "host",
        "hostaddr",
        "port",
        "dbname",
        "user",
        "password",
        "sslmode",
        "connect_timeout",
    ];

    fn near(word: &str) -> Option<&'static str> {
        nearest(word, KEYS)
    }

    #[test]
    fn finds_each_kind_of_slip() {
        assert_eq!(near("hosst"), Some("host"), "one too many");
        assert_eq!(near("hst"), Some("host"), "one missing");
        assert_eq!(near("pirt"), Some("port"), "one wrong");
        assert_eq!(near("prot"), Some("port"), "swapped");
        assert_eq!(near("SSLMODE"), Some("sslmode"), "case");
        assert_eq!(near("connect-timout"), Some("connect_timeout"), "two");
        assert_eq!(near("pasword"), Some("password"));
    }

    #[test]
    fn says_nothing_when_nothing_is_near() {
        for word in [
            "",
            "x",
            "hs",
            "kangaroo",
            "timeout",
            "ssl",
            "usr_name_of_the_owner",
        ] {
            assert_eq!(near(word), None, "{word}");
        }
        assert_eq!(nearest("host", []), None);
    }

    #[test]
    fn prefers_the_nearest_then_the_first() {
        assert_eq!(nearest("hosts", ["hostaa", "host"]), Some("host"));
        assert_eq!(nearest("bat", ["cat", "hat"]), Some("cat"));
    }

    #[test]
    fn a_huge_word_costs_nothing() {
        let word = "h".repeat(10_000_000);
        assert_eq!(near(&word), None);
    }

    #[test]
    fn counts_characters_not_bytes() {
        assert_eq!(nearest("größe", ["grösse", "größer"]), Some("größer"));
    }
}
