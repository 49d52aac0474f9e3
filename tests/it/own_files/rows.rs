//! The rows: the user's own files, and files named by variables.

use std::fs;

use pgmonkey_testserver::Certificates;

use super::Row;

/// All rows, for a server that requires client certificates.
pub(super) fn all(made: &Certificates) -> std::io::Result<Vec<Row>> {
    let root = fs::read_to_string(made.ca())?;
    let other_root = fs::read_to_string(made.certificate("other-ca"))?;
    let certificate = fs::read_to_string(made.certificate("client"))?;
    let key = fs::read_to_string(made.key("client"))?;
    let list = fs::read_to_string(made.certificate("crl"))?;
    let old_list = fs::read_to_string(made.certificate("expired-crl"))?;
    let row = Row::new;
    let own = |name, mode| {
        row(name, mode)
            .file(".postgresql/postgresql.crt", &certificate)
            .file(".postgresql/postgresql.key", &key)
    };
    Ok(vec![
        own("own certificate", "require"),
        own("own certificate, prefer", "prefer"),
        own("own certificate, allow", "allow"),
        own("own certificate, key open to others", "require").open_to_others(),
        row("own certificate without its key", "require")
            .file(".postgresql/postgresql.crt", &certificate),
        own("own root", "verify-full").file(".postgresql/root.crt", &root),
        own("own root makes require check", "require").file(".postgresql/root.crt", &other_root),
        own("own root makes prefer check", "prefer").file(".postgresql/root.crt", &other_root),
        own("verify-ca without a root", "verify-ca"),
        own("verify-full without a root", "verify-full"),
        own("own list", "verify-full")
            .file(".postgresql/root.crt", &root)
            .file(".postgresql/root.crl", &list),
        own("own list out of date", "verify-full")
            .file(".postgresql/root.crt", &root)
            .file(".postgresql/root.crl", &old_list),
        row("PGSSLROOTCERT, PGSSLCERT, PGSSLKEY", "verify-full")
            .env("PGSSLROOTCERT", "{certs}/ca.pem")
            .env("PGSSLCERT", "{certs}/client.pem")
            .env("PGSSLKEY", "{certs}/client.key"),
        row("PGSSLCERT goes before the own one", "require")
            .env("PGSSLCERT", "{certs}/other-client.pem")
            .env("PGSSLKEY", "{certs}/other-client.key")
            .file(".postgresql/postgresql.crt", &certificate)
            .file(".postgresql/postgresql.key", &key),
        own("PGSSLROOTCERT of another authority", "verify-ca")
            .env("PGSSLROOTCERT", "{certs}/other-ca.pem"),
        own("PGSSLCRL out of date", "verify-full")
            .env("PGSSLROOTCERT", "{certs}/ca.pem")
            .env("PGSSLCRL", "{certs}/expired-crl.pem"),
        own("PGSSLSNI", "require").env("PGSSLSNI", "0"),
        own("PGSSLMINPROTOCOLVERSION", "require").env("PGSSLMINPROTOCOLVERSION", "TLSv1.3"),
        own("PGCHANNELBINDING", "require").env("PGCHANNELBINDING", "require"),
    ])
}
