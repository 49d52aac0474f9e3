//! Generates programs that use a configuration: Rust source with the lines for `Cargo.toml` on top.

pub(crate) mod drivers;
pub(crate) mod paved;

/// The text as a Rust string literal.
fn literal(text: &str) -> String {
    format!("{text:?}")
}

/// The comment above a program: what it is and which dependencies it needs.
fn heading(about: &str, dependencies: &[&str]) -> String {
    let mut text =
        format!("//! {about}\n//!\n//! Cargo.toml needs:\n//!\n//! ```toml\n//! [dependencies]\n");
    for line in dependencies {
        text.push_str(&format!("//! {line}\n"));
    }
    text.push_str("//! ```\n\n");
    text
}

/// The runtime of async programs.
const TOKIO: &str = r#"tokio = { version = "1", features = ["macros", "rt-multi-thread"] }"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_means_the_text() {
        assert_eq!(literal("it's \"here\"\\n"), r#""it's \"here\"\\n""#);
        assert_eq!(literal("größe\n"), "\"größe\\n\"");
    }
}
