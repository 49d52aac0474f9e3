//! The sentences of two documentations, compared.

/// A sentence with one of these, or with a word that begins with one, may be on one side only.
const BY_NATURE: [&str; 15] = [
    "async",
    "await",
    "block",
    "cancel",
    "drop",
    "future",
    "pipelin",
    "poll",
    "runtime",
    "sink",
    "stream",
    "synchronous",
    "task",
    "thread",
    "tokio",
];
/// And one with this.
const EXCLUSIVE: &str = "&mut";

/// Signs that end a part of a sentence.
const ENDS: [char; 5] = ['.', ';', ':', '?', '!'];

/// A sentence or a part of one, headed by the title of its section.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sentence {
    pub(super) line: usize,
    pub(super) text: String,
    /// How its paragraph begins.
    pub(super) paragraph: String,
    /// The text with the names that both sides have.
    compared: String,
}

/// What differs and must not.
#[derive(Debug, PartialEq)]
pub(super) enum Difference<'a> {
    OnlyLeft(&'a Sentence),
    OnlyRight(&'a Sentence),
    Changed(&'a Sentence, &'a Sentence),
}

/// Of lines without their marks. What is in a block of code counts for nothing.
pub(super) fn sentences(
    lines: &[(usize, String)],
    renamed: impl Fn(&str) -> String,
) -> Vec<Sentence> {
    let mut found: Vec<Sentence> = Vec::new();
    let (mut title, mut paragraph) = (String::new(), None);
    let (mut in_code, mut ended) = (false, true);
    for (line, text) in lines {
        let text = text.trim();
        let is_fence = text.starts_with("```");
        in_code ^= is_fence;
        if text.starts_with('#') && !in_code {
            title = format!("{text}: ");
        }
        if is_fence || in_code || text.is_empty() || text.starts_with('#') {
            paragraph = None;
            continue;
        }
        if paragraph.is_none() || text.starts_with(['*', '-', '|']) {
            (paragraph, ended) = (Some(format!("{title}{text}")), true);
        }
        for part in parts(text) {
            match found.last_mut().filter(|_| !ended) {
                Some(last) => last.text.extend([" ", part]),
                None => found.push(Sentence {
                    line: *line,
                    text: format!("{title}{part}"),
                    paragraph: paragraph.clone().unwrap_or_default(),
                    compared: String::new(),
                }),
            }
            ended = part.ends_with(ENDS);
        }
    }
    for sentence in &mut found {
        sentence.compared = renamed(&sentence.text);
    }
    found
}

/// A line, cut behind each sign that ends a part of a sentence.
fn parts(line: &str) -> Vec<&str> {
    let line = line.trim();
    let mut parts = Vec::new();
    let mut start = 0;
    for (space, _) in line.match_indices(' ') {
        let before = &line[..space];
        let in_code = before.matches('`').count() % 2 == 1;
        if before.ends_with(ENDS) && !in_code {
            parts.push(line[start..space].trim());
            start = space;
        }
    }
    parts.push(line[start..].trim());
    parts
}

/// What stands on one side only or reads differently, unless it is about what differs by nature.
pub(super) fn differences<'a>(left: &'a [Sentence], right: &'a [Sentence]) -> Vec<Difference<'a>> {
    let common = common(left, right);
    let mut found = Vec::new();
    let (mut l, mut r) = (0, 0);
    let (mut only_left, mut only_right) = (Vec::new(), Vec::new());
    while l < left.len() || r < right.len() {
        if l < left.len() && r < right.len() && left[l].is_as(&right[r]) {
            found.extend(judge(&only_left, &only_right));
            (only_left, only_right) = (Vec::new(), Vec::new());
            (l, r) = (l + 1, r + 1);
        } else if r == right.len() || l < left.len() && common[l + 1][r] >= common[l][r + 1] {
            only_left.push(&left[l]);
            l += 1;
        } else {
            only_right.push(&right[r]);
            r += 1;
        }
    }
    found.extend(judge(&only_left, &only_right));
    found
}

/// How many sentences at most are in both, in the same order, from each two places on.
fn common(left: &[Sentence], right: &[Sentence]) -> Vec<Vec<usize>> {
    let mut common = vec![vec![0; right.len() + 1]; left.len() + 1];
    for l in (0..left.len()).rev() {
        for r in (0..right.len()).rev() {
            common[l][r] = match left[l].is_as(&right[r]) {
                true => common[l + 1][r + 1] + 1,
                false => common[l + 1][r].max(common[l][r + 1]),
            };
        }
    }
    common
}

/// What is between two sentences that both sides have.
fn judge<'a>(left: &[&'a Sentence], right: &[&'a Sentence]) -> Vec<Difference<'a>> {
    let mut found = Vec::new();
    let mut right = right.to_vec();
    for one in left {
        let twin = right.iter().position(|other| one.is_like(other));
        match twin.map(|at| right.remove(at)) {
            Some(twin) => {
                let mut differing = one.words_beyond(twin);
                differing.extend(twin.words_beyond(one));
                if !differing.iter().any(|word| is_by_nature(word)) {
                    found.push(Difference::Changed(one, twin));
                }
            }
            None if one.is_by_nature() => {}
            None => found.push(Difference::OnlyLeft(one)),
        }
    }
    let left_over = right.into_iter().filter(|one| !one.is_by_nature());
    found.extend(left_over.map(Difference::OnlyRight));
    found
}

impl Sentence {
    /// However the sentence goes on.
    fn is_as(&self, other: &Self) -> bool {
        self.compared.trim_end_matches(ENDS) == other.compared.trim_end_matches(ENDS)
    }

    /// Half of the words are the same.
    fn is_like(&self, other: &Self) -> bool {
        let all = self.words().len().max(other.words().len());
        let own = self.words().len() - self.words_beyond(other).len();
        own * 2 >= all
    }

    fn words(&self) -> Vec<&str> {
        let is_of_word = |c: char| c.is_alphanumeric() || c == '_' || c == '&';
        let words = self.compared.split(|c| !is_of_word(c));
        words.filter(|word| !word.is_empty()).collect()
    }

    /// Those that the other has not, or not as often.
    fn words_beyond(&self, other: &Self) -> Vec<&str> {
        let mut others = other.words();
        let mut words = self.words();
        words.retain(|word| match others.iter().position(|other| other == word) {
            Some(at) => {
                others.swap_remove(at);
                false
            }
            None => true,
        });
        words
    }

    fn is_by_nature(&self) -> bool {
        self.words().iter().any(|word| is_by_nature(word))
    }
}

fn is_by_nature(word: &str) -> bool {
    let word = word.to_lowercase();
    word == EXCLUSIVE || BY_NATURE.iter().any(|start| word.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Sentence> {
        let lines = text.lines().enumerate();
        let lines: Vec<_> = lines.map(|(at, text)| (at + 1, text.to_owned())).collect();
        sentences(&lines, |text| text.replace("task", "thread"))
    }

    fn found(left: &str, right: &str) -> Vec<String> {
        let (left, right) = (read(left), read(right));
        let told = |difference| match difference {
            Difference::OnlyLeft(one) => format!("left {}", one.text),
            Difference::OnlyRight(one) => format!("right {}", one.text),
            Difference::Changed(one, other) => format!("{} / {}", one.text, other.text),
        };
        differences(&left, &right).into_iter().map(told).collect()
    }

    #[test]
    fn a_text_is_cut_into_the_parts_of_its_sentences() {
        let text = "Runs\nit; a `b: c` e. F\n\n```\nlet x; y\n```\nG\n\n# Errors\n\n* h\n* i\n";
        let found: Vec<_> = read(text).into_iter().map(|s| (s.line, s.text)).collect();
        let expected = [
            (1, "Runs it;"),
            (2, "a `b: c` e."),
            (2, "F"),
            (7, "G"),
            (11, "# Errors: * h"),
            (12, "# Errors: * i"),
        ];
        assert_eq!(found, expected.map(|(line, text)| (line, text.to_owned())));
    }

    #[test]
    fn what_is_said_on_one_side_only_is_found() {
        assert_eq!(found("A. B. C.", "A. C."), ["left B."]);
        assert_eq!(found("A. C.", "A; B. C."), ["right B."]);
        assert_eq!(found("A.\n\n# Errors\nB.", "A. B.").len(), 1);
        assert_eq!(found("A. B.", "B. A.").len(), 2);
    }

    #[test]
    fn a_sentence_about_what_differs_by_nature_may_stand_alone() {
        assert!(found("A. Blocks for B. C.", "A. C. D is a future.").is_empty());
        assert!(
            found(
                "A is lost or B is lost.",
                "A is lost, B is lost, or dropped."
            )
            .is_empty()
        );
    }

    #[test]
    fn a_changed_sentence_is_found_even_if_it_is_about_a_task() {
        let changed = found("Starts one task for each.", "Starts a task for each.");
        assert_eq!(
            changed,
            ["Starts one task for each. / Starts a task for each."]
        );
    }
}
