//! What a test needs from the machine it runs on.

use pgmonkey_testserver::Binaries;

/// Returns PostgreSQL's server programs. Without them the test prints that it is skipped, and fails
/// if `CI=true`.
pub(crate) fn binaries() -> Option<Binaries> {
    match Binaries::find() {
        Ok(binaries) => Some(binaries),
        Err(error) => {
            absent(&format!("{error:#}"));
            None
        }
    }
}

/// Prints that a test did not run, and why.
pub(crate) fn absent(why: &str) {
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!ci, "{why}");
    eprintln!("SKIPPED, nothing was tested: {why}");
}
