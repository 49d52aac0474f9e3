use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A shared handle to a `T` that can make further handles with a separate reference count, for
/// [`Cache::sharded`](crate::Cache::sharded).
///
/// `T` is itself cheap to clone: an `Arc`, or a few of them.
///
/// ```
/// use std::sync::Arc;
/// use pgmonkey_cache::Sharded;
///
/// let pool: Sharded<Arc<str>> = Sharded::new("db/shop".into());
/// let another = pool.shard();
/// assert!(Arc::ptr_eq(&pool, &another), "both lead to the same");
/// ```
pub struct Sharded<T>(Arc<CacheLine<T>>);

/// Two cache lines wide, because processors fetch lines in pairs.
#[repr(align(128))]
struct CacheLine<T>(T);

impl<T> Sharded<T> {
    /// Wraps `value` in the first shard.
    pub fn new(value: T) -> Self {
        Self(Arc::new(CacheLine(value)))
    }

    /// Returns another shard of the same value, with its own reference count.
    #[must_use]
    pub fn shard(&self) -> Self
    where
        T: Clone,
    {
        Self::new(T::clone(self))
    }
}

impl<T> Clone for Sharded<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Sharded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Sharded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_count_together_and_others_apart() {
        let first = Sharded::new(Arc::new(1));
        let (clone, other) = (first.clone(), first.shard());
        assert_eq!(
            (Arc::strong_count(&first.0), Arc::strong_count(&other.0)),
            (2, 1)
        );
        assert!(Arc::ptr_eq(&first, &other) && **clone == 1);
        let address = |one: &Sharded<_>| std::ptr::from_ref(&*one.0).addr();
        assert!(
            address(&first).abs_diff(address(&other)) >= 128,
            "on lines of their own"
        );
    }
}
