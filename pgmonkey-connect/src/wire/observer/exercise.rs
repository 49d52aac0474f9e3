//! Support for the fuzz targets.

use pgmonkey_config::RequireAuth;

use super::{Observer, Tracker};

/// Checks that pieces (whether from the server, and the bytes) lead to the same state as they are
/// and cut into pieces of `cut` bytes.
pub(crate) fn exercise(pieces: &[(bool, &[u8])], cut: usize, required: &RequireAuth) {
    let run = |cut: usize| {
        let (observer, mut tracker) = (Observer::default(), Tracker::requiring(required.clone()));
        for (from_server, piece) in pieces {
            for bytes in piece.chunks(cut) {
                match from_server {
                    true => tracker.received(&observer, bytes),
                    false => tracker.sent(&observer, bytes),
                }
                if tracker.refusal(&observer).is_some() {
                    return (true, observer, tracker);
                }
            }
        }
        (false, observer, tracker)
    };
    let (refused, observer, tracker) = run(usize::MAX);
    let (also_refused, other, other_tracker) = run(cut);
    assert_eq!(refused, also_refused);
    let known = observer.parameters().known.len();
    assert!(known <= 128, "{known} settings are kept");
    // How much of a refused piece was observed depends on the cuts.
    if !refused {
        assert_eq!(observer.state(), other.state());
        assert_eq!(observer.requests(), other.requests());
        assert_eq!(tracker.at_boundary(), other_tracker.at_boundary());
        assert_eq!(observer.was_read_only(), other.was_read_only());
        assert_eq!(observer.in_recovery(), other.in_recovery());
    }
}
