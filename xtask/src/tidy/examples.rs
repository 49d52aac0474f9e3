//! Public types of the handles, the managers and the loader that have no example.

use std::fs;
use std::path::Path;

use anyhow::Context;

/// The files that have them, in both driver crates.
const TWINS: [&str; 9] = [
    "builder",
    "client/guard",
    "client/transaction",
    "handle/connection",
    "handle/database",
    "handle/pool",
    "listener",
    "manager",
    "session/hooks",
];
/// And elsewhere.
const OTHERS: [&str; 7] = [
    "pgmonkey/src/manager.rs",
    "pgmonkey-config/src/model/config.rs",
    "pgmonkey-config/src/show/effective.rs",
    "pgmonkey-config/src/load/loaded.rs",
    "pgmonkey-config/src/load/loader.rs",
    "pgmonkey-config/src/load/loader/rules.rs",
    "pgmonkey-config/src/model/settings.rs",
];

pub(super) fn missing(root: &Path) -> anyhow::Result<Vec<String>> {
    let twins = ["sync", "async"]
        .into_iter()
        .flat_map(|family| TWINS.map(|name| format!("pgmonkey-{family}/src/{name}.rs")));
    let mut problems = Vec::new();
    for file in twins.chain(OTHERS.map(str::to_owned)) {
        let text = fs::read_to_string(root.join(&file)).with_context(|| file.clone())?;
        let found = without_example(&text).into_iter();
        problems.extend(found.map(|name| format!("{file}: {name} has no example")));
    }
    Ok(problems)
}

/// Names of public types without a block of code in their documentation.
fn without_example(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut has_example = false;
    for line in text.lines().map(str::trim_start) {
        if line.starts_with("///") || line.starts_with("#[") {
            has_example |= line.contains("```");
            continue;
        }
        found.extend(public_type(line).filter(|_| !has_example));
        has_example = false;
    }
    found
}

/// The name, if the line begins a public type.
fn public_type(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("pub ")?;
    let rest = ["struct ", "enum ", "trait "]
        .iter()
        .find_map(|kind| rest.strip_prefix(kind))?;
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    Some(&rest[..end.unwrap_or(rest.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_without_an_example_is_named() {
        let text = "/// Asks.\n///\n/// ```\n/// Ask;\n/// ```\n#[must_use]\npub struct Ask;\n\n\
                    /// Tells.\n    pub async fn tell<T>(t: T) {}\n\npub(crate) struct Inner;\n\
                    /// Is.\npub struct Thing;\n/// One.\npub trait One: Send {}\n";
        assert_eq!(without_example(text), ["Thing", "One"]);
    }
}
