//! Encoded parameter values that no longer borrow from the caller.

use std::error::Error as StdError;
use std::fmt;

use bytes::{BufMut, BytesMut};
use postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

use crate::session::answer::Params;

/// A value in wire format, encoded for one type.
#[derive(Clone)]
pub(crate) struct Encoded {
    kind: Type,
    is_text: bool,
    /// `None` is NULL.
    value: Option<BytesMut>,
}

/// Encodes the values for these types. Returns `None` if they do not fit; the driver then reports
/// the error.
pub(crate) fn encode(params: Params<'_>, types: &[Type]) -> Option<Vec<Encoded>> {
    if params.len() != types.len() {
        return None;
    }
    let one = |(value, kind): (&&(dyn ToSql + Sync), &Type)| {
        let mut bytes = BytesMut::new();
        let is_null = value.to_sql_checked(kind, &mut bytes).ok()?;
        Some(Encoded {
            kind: kind.clone(),
            is_text: matches!(value.encode_format(kind), Format::Text),
            value: matches!(is_null, IsNull::No).then_some(bytes),
        })
    };
    params.iter().zip(types).map(one).collect()
}

impl Encoded {
    pub(crate) fn kind(&self) -> &Type {
        &self.kind
    }
}

impl ToSql for Encoded {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        // The statement may have been prepared again in the meantime.
        if *kind != self.kind {
            return Err(format!("the parameter was {} and is now {kind}", self.kind).into());
        }
        match &self.value {
            Some(bytes) => {
                out.put_slice(bytes);
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        match self.is_text {
            true => Format::Text,
            false => Format::Binary,
        }
    }

    to_sql_checked!();
}

/// Hides the value, because the driver logs parameters.
impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({})", self.kind)
    }
}
