//! Cursors, from which the rows of a transaction are fetched in chunks.

/// A cursor and the number of rows fetched at a time.
#[derive(Debug, Clone)]
pub struct Cursor {
    name: String,
    chunk: u32,
}

impl Cursor {
    /// The session's cursor with this number; a chunk has at least one row.
    pub fn new(number: u32, chunk: u32) -> Self {
        Self {
            name: format!("pgmonkey_{number}"),
            chunk: chunk.max(1),
        }
    }

    /// The statement that opens it. It takes the parameters of `text`.
    pub fn declare(&self, text: &str) -> String {
        format!("DECLARE {} NO SCROLL CURSOR FOR {text}", self.name)
    }

    /// The statement that fetches the next chunk.
    pub fn fetch(&self) -> String {
        format!("FETCH FORWARD {} FROM {}", self.chunk, self.name)
    }

    /// The statement that closes it.
    pub fn close(&self) -> String {
        format!("CLOSE {}", self.name)
    }

    /// Whether a chunk of this many rows is the last one.
    pub fn is_last(&self, rows: usize) -> bool {
        rows < self.chunk as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_has_at_least_one_row_and_a_short_one_is_the_last() {
        let cursor = Cursor::new(7, 0);
        assert_eq!(cursor.fetch(), "FETCH FORWARD 1 FROM pgmonkey_7");
        assert!(cursor.is_last(0) && !cursor.is_last(1));
    }
}
