//! Gives typed settings, from a file or from code, one form for "not set".

use crate::model::connection::{Host, RootCert};
use crate::model::secret_source::SecretSource;
use crate::model::settings::Settings;

/// Normalises "not set": an empty text and a zero limit become `None`.
pub(crate) fn settings(mut settings: Settings) -> Settings {
    let c = &mut settings.connection_settings;
    for host in &mut c.host {
        if let Host::Name(name) = host {
            *host = Host::new(name);
        }
    }
    for text in [
        &mut c.dbname,
        &mut c.user,
        &mut c.service,
        &mut c.application_name,
        &mut c.options,
    ] {
        text.take_if(|text| text.is_empty());
    }
    for path in [
        &mut c.passfile,
        &mut c.sslcert,
        &mut c.sslkey,
        &mut c.sslcrl,
    ] {
        path.take_if(|path| path.as_os_str().is_empty());
    }
    c.sslrootcert
        .take_if(|root| matches!(root, RootCert::Path(path) if path.as_os_str().is_empty()));
    for secret in [&mut c.password, &mut c.sslpassword] {
        secret.take_if(|source| match source {
            SecretSource::Value(secret) => secret.expose().is_empty(),
            SecretSource::File(path) => path.as_os_str().is_empty(),
            SecretSource::Command(command) => {
                command.ttl.take_if(|ttl| ttl.is_zero());
                false
            }
        });
    }
    for limit in [
        &mut c.connect_timeout,
        &mut c.keepalives_idle,
        &mut c.keepalives_interval,
        &mut c.tcp_user_timeout,
    ] {
        limit.take_if(|limit| limit.is_zero());
    }
    c.keepalives_count.take_if(|count| *count == 0);
    let s = &mut settings.statements;
    for limit in [&mut s.slow_statement, &mut s.slow_acquire] {
        limit.take_if(|limit| limit.is_zero());
    }
    s.statements_per_checkout.take_if(|count| *count == 0);
    for pool in [
        &mut settings.pool_settings,
        &mut settings.async_pool_settings,
    ] {
        pool.max_lifetime.take_if(|limit| limit.is_zero());
        pool.reconnect_timeout.take_if(|limit| limit.is_zero());
        pool.leak_warning.take_if(|limit| limit.is_zero());
        pool.max_waiting.take_if(|limit| *limit == 0);
    }
    settings
}
