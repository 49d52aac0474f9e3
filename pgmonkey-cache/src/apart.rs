use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A cheap clone of a `T`, of which another one can be made that counts its references apart: what
/// [`Cache::spreading`](crate::Cache::spreading) asks for.
///
/// `T` is itself cheap to clone: an `Arc`, or a few of them.
///
/// ```
/// use std::sync::Arc;
/// use pgmonkey_cache::Apart;
///
/// let pool: Apart<Arc<str>> = Apart::new("db/shop".into());
/// let another = pool.apart();
/// assert!(Arc::ptr_eq(&pool, &another), "both lead to the same");
/// ```
pub struct Apart<T>(Arc<Line<T>>);

/// Two cache lines wide, because processors fetch lines in pairs.
#[repr(align(128))]
struct Line<T>(T);

impl<T> Apart<T> {
    /// The first of them.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Line(value)))
    }

    /// Another one, whose clones do not touch the reference count of this one's.
    #[must_use]
    pub fn apart(&self) -> Self
    where
        T: Clone,
    {
        Self::new(T::clone(self))
    }
}

impl<T> Clone for Apart<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Apart<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Apart<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_count_together_and_others_apart() {
        let first = Apart::new(Arc::new(1));
        let (clone, other) = (first.clone(), first.apart());
        assert_eq!(
            (Arc::strong_count(&first.0), Arc::strong_count(&other.0)),
            (2, 1)
        );
        assert!(Arc::ptr_eq(&first, &other) && **clone == 1);
        let address = |one: &Apart<_>| std::ptr::from_ref(&*one.0).addr();
        assert!(
            address(&first).abs_diff(address(&other)) >= 128,
            "on lines of their own"
        );
    }
}
