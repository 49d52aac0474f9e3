//! Faults at a text that a client sends.

use std::fmt;
use std::sync::Arc;

use super::Cut;

/// When a fault happens, relative to the data that contains the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Before the data would be forwarded: the server never sees it.
    Before,
    /// Right after the data was forwarded: the client never sees an answer.
    After,
}

/// What happens when a client sends a text.
#[derive(Clone)]
pub(super) struct Tripwire {
    text: Vec<u8>,
    at: At,
    action: Arc<dyn Fn() -> Option<Cut> + Send + Sync>,
}

impl Tripwire {
    pub(super) fn new(
        text: &[u8],
        at: At,
        action: impl Fn() -> Option<Cut> + Send + Sync + 'static,
    ) -> Self {
        Self {
            text: text.to_vec(),
            at,
            action: Arc::new(action),
        }
    }

    /// When the fault happens, if the data contains the text.
    pub(super) fn touched_by(&self, data: &[u8]) -> Option<At> {
        let found = data.windows(self.text.len()).any(|part| part == self.text);
        found.then_some(self.at)
    }

    pub(super) fn act(&self) -> Option<Cut> {
        (self.action)()
    }
}

impl fmt::Debug for Tripwire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tripwire")
            .field("text", &String::from_utf8_lossy(&self.text))
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}
