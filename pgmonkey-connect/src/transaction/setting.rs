//! Settings of one transaction, quoted for `SET LOCAL`.

use crate::Error;
use crate::printable::line;
use crate::sql::{self, literal};

/// The statement that sets `name` to `value`, as a config file writes it, until the end of the
/// transaction.
///
/// # Errors
///
/// [`Error::TransactionOption`] for an invalid name, a list of names that cannot be read, and text
/// that no statement can contain.
pub(super) fn set_local(name: &str, value: &str) -> Result<String, Error> {
    sql::set_local(name, value).map_err(|reason| Error::TransactionOption {
        option: format!("set_local({:?})", line(name).to_string()).into(),
        reason,
    })
}

/// The statement that changes the role until the end of the transaction. The name is sent as a
/// string, because the server would cut a long identifier.
///
/// # Errors
///
/// [`Error::TransactionOption`] for a name that no statement can contain.
pub(super) fn role(name: &str) -> Result<String, Error> {
    match name.contains('\0') {
        false => Ok(format!("SET LOCAL ROLE {}", literal(name))),
        true => Err(Error::TransactionOption {
            option: "role".into(),
            reason: "the name contains a zero byte",
        }),
    }
}

/// The statement that undoes one of these before the end of the transaction.
pub(super) fn undo(setting: &str) -> String {
    match setting.split_once(" = ") {
        Some((name, _)) => format!("{name} TO DEFAULT"),
        None => "SET LOCAL ROLE NONE".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_quoted() {
        assert_eq!(role("o'role").expect("a role"), "SET LOCAL ROLE 'o''role'");
        assert!(role("a\0").is_err());
    }

    #[test]
    fn what_cannot_be_a_setting_is_named() {
        let error = set_local("a..b", "1").expect_err("not a name");
        assert!(matches!(error, Error::TransactionOption { .. }));
        assert!(error.to_string().contains("set_local(\"a..b\")"), "{error}");
    }
}
