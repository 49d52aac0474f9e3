//! Public items of the handles, the managers and the loader that have no example.

use std::fs;
use std::path::Path;

use anyhow::Context;

/// The files that have them, in both driver crates.
const TWINS: [&str; 11] = [
    "builder",
    "connection",
    "database",
    "guard",
    "hooks",
    "listener",
    "manager",
    "pool",
    "prepared",
    "statements",
    "transaction",
];
/// And elsewhere.
const OTHERS: [&str; 4] = [
    "pgmonkey/src/manager.rs",
    "pgmonkey-config/src/config.rs",
    "pgmonkey-config/src/loaded.rs",
    "pgmonkey-config/src/loader.rs",
];

/// Read as text, for some of them are made by macros.
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

/// Names of public items without a block of code in their documentation.
fn without_example(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut has_example = false;
    for line in text.lines().map(str::trim_start) {
        if line.starts_with("///") || line.starts_with("#[") {
            has_example |= line.contains("```");
            continue;
        }
        found.extend(public_item(line).filter(|_| !has_example));
        has_example = false;
    }
    found
}

/// The name, if the line begins a public item, or one of those that the umbrella forwards.
fn public_item(line: &str) -> Option<&str> {
    let forwarded = line.strip_prefix("fn ").filter(|rest| rest.ends_with(';'));
    let rest = match line.strip_prefix("pub ") {
        Some(rest) => {
            let rest = rest.strip_prefix("const ").unwrap_or(rest);
            let rest = rest.strip_prefix("async ").unwrap_or(rest);
            ["fn ", "struct ", "enum ", "trait "]
                .iter()
                .find_map(|kind| rest.strip_prefix(kind))?
        }
        None => forwarded.filter(|rest| rest.contains("(config: ") || rest.contains("(path: "))?,
    };
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    // Empty where a macro fills it in.
    Some(&rest[..end.unwrap_or(rest.len())]).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_without_an_example_is_named() {
        let text = "/// Asks.\n///\n/// ```\n/// ask();\n/// ```\n#[must_use]\npub fn ask() {}\n\n\
                    /// Tells.\n    pub async fn tell<T>(t: T) {}\n\npub(crate) fn inner() {}\n\
                    /// Is.\npub struct Thing;\n/// The pool.\nfn pool(config: &Config) -> Pool = pool;\n";
        assert_eq!(without_example(text), ["tell", "Thing", "pool"]);
    }
}
