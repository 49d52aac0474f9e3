//! What a test needs from the machine it runs on.

use pgmonkey_testserver::Binaries;

/// PostgreSQL's server programs; without them the test is skipped loudly, and fails where
/// `CI=true` promises that they are there.
pub(crate) fn binaries() -> Option<Binaries> {
    match Binaries::find() {
        Ok(binaries) => Some(binaries),
        Err(error) => {
            absent(&format!("{error:#}"));
            None
        }
    }
}

/// Says that a test did not run, and why.
pub(crate) fn absent(why: &str) {
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!ci, "{why}");
    eprintln!("SKIPPED, nothing was tested: {why}");
}
