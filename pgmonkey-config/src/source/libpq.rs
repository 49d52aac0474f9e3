//! Maps the `PG*` environment variables of libpq to keys of this crate.

/// The variables with a key in `connection_settings`: (key, variable).
///
/// libpq has no variable for `sslpassword`, the `keepalives` keys and `tcp_user_timeout`.
const VARIABLES: &[(&str, &str)] = &[
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("dbname", "PGDATABASE"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("passfile", "PGPASSFILE"),
    ("service", "PGSERVICE"),
    ("servicefile", "PGSERVICEFILE"),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("sslcrl", "PGSSLCRL"),
    ("sslsni", "PGSSLSNI"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("require_auth", "PGREQUIREAUTH"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("application_name", "PGAPPNAME"),
    ("options", "PGOPTIONS"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS"),
    ("client_encoding", "PGCLIENTENCODING"),
];

/// The variables that set a server parameter: (parameter, variable). libpq sends these when a
/// session starts; here they are the weakest session settings.
pub(crate) const SESSION_VARIABLES: &[(&str, &str)] = &[
    ("DateStyle", "PGDATESTYLE"),
    ("TimeZone", "PGTZ"),
    ("geqo", "PGGEQO"),
];

/// Returns the variables of `connection_settings` that are set: (key, value, variable).
///
/// Values are raw text (the password `007` stays `007`); an empty variable counts as not set.
pub(crate) fn variables(
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Vec<(&'static str, String, &'static str)> {
    found(VARIABLES, lookup)
}

/// Returns the variables of session settings that are set: (parameter, value, variable).
pub(crate) fn session_variables(
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Vec<(&'static str, String, &'static str)> {
    found(SESSION_VARIABLES, lookup)
}

fn found(
    table: &[(&'static str, &'static str)],
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Vec<(&'static str, String, &'static str)> {
    table
        .iter()
        .filter_map(|&(key, variable)| {
            let value = lookup(variable).filter(|value| !value.is_empty())?;
            Some((key, value, variable))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_text() {
        let found = variables(&|name| (name == "PGPASSWORD").then(|| "007".to_owned()));
        assert_eq!(found, [("password", "007".to_owned(), "PGPASSWORD")]);
    }

    #[test]
    fn empty_is_not_set() {
        assert_eq!(variables(&|_| Some(String::new())), []);
        assert_eq!(session_variables(&|_| None), []);
    }

    #[test]
    fn blanks_are_a_value() {
        let found = variables(&|name| (name == "PGPASSWORD").then(|| " ".to_owned()));
        assert_eq!(found[0].1, " ");
    }

    #[test]
    fn each_key_and_variable_occurs_once() {
        let rows = || VARIABLES.iter().chain(SESSION_VARIABLES);
        for names in [
            rows().map(|row| row.0).collect::<Vec<_>>(),
            rows().map(|row| row.1).collect(),
        ] {
            let unique: std::collections::BTreeSet<_> = names.iter().collect();
            assert_eq!(unique.len(), names.len());
        }
    }

    #[test]
    fn every_variable_is_read() {
        let found = variables(&|name| Some(format!("value of {name}")));
        assert_eq!(found.len(), VARIABLES.len());
        for (_, value, variable) in found {
            assert_eq!(value, format!("value of {variable}"));
        }
        let found = session_variables(&|name| Some(name.to_lowercase()));
        assert_eq!(
            found[0],
            ("DateStyle", "pgdatestyle".to_owned(), "PGDATESTYLE")
        );
        assert_eq!(found[2].0, "geqo");
    }
}
