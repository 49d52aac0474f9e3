//! The canonical form: equal bytes for configurations that describe the same sessions.
//!
//! Written by hand from the typed settings, so that no serialiser's order or format can change it.
//! Each field consists of its number, the length of its value, and the value; lists nest the same
//! way.
//! Change [`VERSION`] whenever the meaning of the bytes changes.

use std::time::Duration;

use crate::model::connection::{ConnectionSettings, RootCert, Target};
use crate::model::pool::PoolSettings;
use crate::model::secret_source::{SecretCommand, SecretSource};
use crate::model::session::SessionSettings;
use crate::model::settings::Settings;
use crate::model::statements::StatementSettings;
use crate::schema::choice::{ConnectionType, SettingsDelivery};
use crate::schema::keys;

const VERSION: u8 = 3;

/// Whether secrets are part of the bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrets {
    Included,
    /// Without `password` and `sslpassword`.
    CredentialsLeft,
    Left,
}

/// Returns the canonical bytes of the settings that apply to a connection of the given type.
pub(crate) fn bytes(settings: &Settings, kind: ConnectionType, secrets: Secrets) -> Vec<u8> {
    let mut out = Writer {
        bytes: vec![VERSION],
        secrets,
    };
    out.nested(1, |out| connection(out, &settings.connection_settings));
    out.nested(2, |out| session(out, settings.session_settings(kind)));
    if kind.is_pool() {
        out.nested(3, |out| pool(out, settings.pool_settings_for(kind)));
    } else {
        // The only key of that section that applies to a single connection.
        let kept = settings.pool_settings_for(kind).statement_cache;
        out.number(4, kept as u64);
    }
    if settings.statements != StatementSettings::default() {
        out.nested(5, |out| statements(out, &settings.statements));
    }
    out.bytes
}

fn connection(out: &mut Writer, settings: &ConnectionSettings) {
    // Destructured, so that a new field cannot be forgotten here.
    let ConnectionSettings {
        host: _,
        hostaddr: _,
        port: _,
        dbname: _,
        user: _,
        password,
        passfile,
        // The settings of the service have been merged into the others.
        service: _,
        // Written by `encryption`.
        sslmode: _,
        sslrootcert: _,
        sslcert: _,
        sslkey: _,
        sslpassword: _,
        sslcrl: _,
        sslsni: _,
        sslnegotiation: _,
        ssl_min_protocol_version: _,
        ssl_max_protocol_version: _,
        channel_binding: _,
        require_auth: _,
        connect_timeout,
        application_name,
        options,
        keepalives,
        keepalives_idle,
        keepalives_interval,
        keepalives_count,
        tcp_user_timeout,
        target_session_attrs,
        load_balance_hosts,
        follow_dns,
        pooler,
        session_settings,
        autocommit,
    } = settings;
    for target in settings.targets() {
        out.nested(1, |out| write_target(out, &target));
    }
    out.text(2, &settings.effective_user());
    out.text(3, &settings.effective_dbname());
    out.secret(4, password.as_ref());
    out.path(5, passfile.as_deref());
    encryption(out, settings);
    out.duration(19, *connect_timeout);
    out.optional_text(20, application_name.as_deref());
    out.optional_text(21, options.as_deref());
    out.flag(22, *keepalives);
    out.duration(23, *keepalives_idle);
    out.duration(24, *keepalives_interval);
    out.optional_number(25, keepalives_count.map(u64::from));
    out.duration(26, *tcp_user_timeout);
    out.text(27, target_session_attrs.as_str());
    out.text(28, load_balance_hosts.as_str());
    out.flag(29, *autocommit);
    out.optional_text(30, pooler.map(|pooler| pooler.as_str()));
    let delivery = (*session_settings != SettingsDelivery::default()).then_some(session_settings);
    out.optional_text(31, delivery.map(|delivery| delivery.as_str()));
    out.optional_text(36, follow_dns.then_some("true"));
}

/// How the session is encrypted, and how both sides authenticate.
fn encryption(out: &mut Writer, settings: &ConnectionSettings) {
    out.text(6, settings.sslmode.as_str());
    match &settings.sslrootcert {
        None => {}
        Some(RootCert::System) => out.text(7, ""),
        Some(RootCert::Path(path)) => out.path(8, Some(path)),
    }
    out.path(9, settings.sslcert.as_deref());
    out.path(10, settings.sslkey.as_deref());
    out.secret(11, settings.sslpassword.as_ref());
    out.path(12, settings.sslcrl.as_deref());
    out.flag(13, settings.sslsni);
    out.text(14, settings.sslnegotiation.as_str());
    out.text(15, settings.ssl_min_protocol_version.as_str());
    out.optional_text(
        16,
        settings
            .ssl_max_protocol_version
            .map(|version| version.as_str()),
    );
    out.text(17, settings.channel_binding.as_str());
    out.text(18, &settings.require_auth.to_string());
}

/// The arguments may hold secrets; the program does not.
fn write_command(out: &mut Writer, source: &SecretCommand) {
    let SecretCommand {
        command,
        ttl,
        timeout,
    } = source;
    match out.secrets {
        Secrets::Included => command.iter().for_each(|item| out.text(1, item)),
        Secrets::CredentialsLeft | Secrets::Left => out.text(1, source.program()),
    }
    out.duration(2, *ttl);
    out.duration(3, Some(*timeout));
}

fn write_target(out: &mut Writer, target: &Target) {
    out.text(1, &target.host.to_string());
    out.optional_text(2, target.hostaddr.map(|ip| ip.to_string()).as_deref());
    out.number(3, target.port.into());
}

/// Sorts parameters by lower-case name: to the server neither order nor case matters.
fn session(out: &mut Writer, settings: &SessionSettings) {
    let parameters = settings.iter();
    let mut parameters: Vec<_> = parameters
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    parameters.sort_unstable();
    for (name, value) in parameters {
        let shown = out.secrets != Secrets::Left || !keys::is_secret(&name);
        out.nested(1, |out| {
            out.text(1, &name);
            out.optional_text(2, shown.then_some(value));
        });
    }
}

fn pool(out: &mut Writer, settings: &PoolSettings) {
    let PoolSettings {
        min_size,
        max_size,
        timeout,
        max_idle,
        max_lifetime,
        check_on_checkout,
        max_waiting,
        reconnect_timeout,
        num_workers,
        reset,
        statement_cache,
        leak_warning,
        multiplex,
    } = settings;
    out.number(1, (*min_size).into());
    out.number(2, (*max_size).into());
    out.duration(3, Some(*timeout));
    out.duration(4, Some(*max_idle));
    out.duration(5, *max_lifetime);
    out.flag(6, *check_on_checkout);
    out.optional_number(7, max_waiting.map(u64::from));
    out.duration(8, *reconnect_timeout);
    out.number(9, (*num_workers).into());
    out.text(10, reset.as_str());
    out.number(11, *statement_cache as u64);
    out.duration(12, *leak_warning);
    out.flag(13, *multiplex);
}

fn statements(out: &mut Writer, settings: &StatementSettings) {
    let StatementSettings {
        slow_statement,
        slow_acquire,
        statements_per_checkout,
        statement_text,
        statement_stats,
        sqlcommenter,
    } = settings;
    out.duration(1, *slow_statement);
    out.duration(2, *slow_acquire);
    out.optional_number(3, statements_per_checkout.map(u64::from));
    out.text(4, statement_text.as_str());
    out.flag(5, *statement_stats);
    out.flag(6, *sqlcommenter);
}

struct Writer {
    bytes: Vec<u8>,
    secrets: Secrets,
}

impl Writer {
    fn field(&mut self, number: u8, value: &[u8]) {
        self.bytes.push(number);
        self.bytes.extend((value.len() as u64).to_be_bytes());
        self.bytes.extend(value);
    }

    fn nested(&mut self, number: u8, write: impl FnOnce(&mut Self)) {
        let mut inner = Self {
            bytes: Vec::new(),
            secrets: self.secrets,
        };
        write(&mut inner);
        self.field(number, &inner.bytes);
    }

    fn text(&mut self, number: u8, text: &str) {
        self.field(number, text.as_bytes());
    }

    fn optional_text(&mut self, number: u8, text: Option<&str>) {
        if let Some(text) = text {
            self.text(number, text);
        }
    }

    fn path(&mut self, number: u8, path: Option<&std::path::Path>) {
        if let Some(path) = path {
            self.field(number, path.as_os_str().as_encoded_bytes());
        }
    }

    /// A reference is identified by where it points, not by its content, which may change.
    fn secret(&mut self, number: u8, source: Option<&SecretSource>) {
        let hidden = self.secrets == Secrets::Left;
        match source {
            _ if self.secrets == Secrets::CredentialsLeft => {}
            None => {}
            Some(SecretSource::Value(_)) if hidden => {}
            Some(SecretSource::Value(secret)) => {
                self.nested(number, |out| out.text(1, secret.expose()));
            }
            Some(SecretSource::File(path)) => {
                self.nested(number, |out| out.path(2, Some(path)));
            }
            Some(SecretSource::Command(command)) => self.nested(number, |out| {
                out.nested(3, |out| write_command(out, command));
            }),
        }
    }

    fn flag(&mut self, number: u8, flag: bool) {
        self.field(number, &[u8::from(flag)]);
    }

    fn number(&mut self, number: u8, value: u64) {
        self.field(number, &value.to_be_bytes());
    }

    fn optional_number(&mut self, number: u8, value: Option<u64>) {
        if let Some(value) = value {
            self.number(number, value);
        }
    }

    fn duration(&mut self, number: u8, duration: Option<Duration>) {
        if let Some(duration) = duration {
            self.field(number, &duration.as_nanos().to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let mut settings = Settings::default();
        settings.connection_settings.host = vec![crate::Host::new("db")];
        settings.connection_settings.user = Some("app".into());
        settings
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_form_is_stable() {
        // If this fails, configurations of two versions no longer have equal keys: raise VERSION.
        let bytes = bytes(&settings(), ConnectionType::Pool, Secrets::Included);
        let digest = <sha2::Sha256 as sha2::Digest>::digest(&bytes);
        assert_eq!(hex(&digest), STABLE);
    }

    const STABLE: &str = "85206c12ff25e9b05818493d8123b4e98c00cedabed2d9340cfcd7a8ba1e7b99";

    #[test]
    fn secrets_can_be_left_out() {
        let mut with = settings();
        with.connection_settings.password = Some("S3cret".into());
        with.sync_settings.insert("my.token", "T0ken");
        let all = bytes(&with, ConnectionType::Normal, Secrets::Included);
        let left = bytes(&with, ConnectionType::Normal, Secrets::Left);
        for secret in ["S3cret", "T0ken"] {
            let holds = |bytes: &[u8]| bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(holds(&all) && !holds(&left));
        }
    }

    #[test]
    fn the_order_of_parameters_does_not_count() {
        let mut one = settings();
        one.sync_settings = [("a", "1"), ("b", "2")].into_iter().collect();
        let mut other = settings();
        other.sync_settings = [("b", "2"), ("a", "1")].into_iter().collect();
        assert_eq!(
            bytes(&one, ConnectionType::Normal, Secrets::Included),
            bytes(&other, ConnectionType::Normal, Secrets::Included)
        );
    }

    #[test]
    fn neighbours_cannot_run_together() {
        let mut one = settings();
        one.sync_settings.insert("a", "bc");
        let mut other = settings();
        other.sync_settings.insert("ab", "c");
        assert_ne!(
            bytes(&one, ConnectionType::Normal, Secrets::Included),
            bytes(&other, ConnectionType::Normal, Secrets::Included)
        );
    }
}
