use std::fmt::Write;

use crate::schema::keys::{self, Key, Kind};

/// The sections that have a table of keys.
const SECTIONS: [(&str, &str); 5] = [
    ("", "Top level"),
    ("connection_settings", "connection_settings"),
    ("pool_settings", "pool_settings and async_pool_settings"),
    ("async_pool_settings", "async_pool_settings only"),
    (keys::READERS, keys::READERS),
];

/// Returns the reference of all keys as Markdown, as in `docs/reference.md`.
///
/// ```
/// assert!(pgmonkey_config::reference().contains("| `port` |"));
/// ```
pub fn reference() -> String {
    let mut out = String::from(INTRODUCTION);
    for (section, title) in SECTIONS {
        // The section whose keys have been listed, and are those of this one too.
        let shared = match section {
            "async_pool_settings" => Some("pool_settings"),
            keys::READERS => Some(""),
            _ => None,
        };
        let listed =
            |key: &&Key| shared.is_some_and(|shared| keys::find(shared, key.name).is_some());
        let mut rows = keys::of_section(section).unwrap_or_default();
        rows.retain(|key| !listed(key));
        table(&mut out, title, &rows);
    }
    out.push_str(READERS);
    out.push_str(PARAMETERS);
    let refused = keys::UNSUPPORTED.iter().map(|key| match key.harmless {
        [] => format!("`{}`", key.name),
        harmless => format!("`{}` (except {})", key.name, harmless.join(", ")),
    });
    out.push_str(&refused.collect::<Vec<_>>().join(", "));
    out.push_str(".\n");
    out.push_str(WAY_BACK);
    out
}

fn table(out: &mut String, title: &str, rows: &[&Key]) {
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "\n## {title}\n\n| key | value | default | meaning |\n|---|---|---|---|\n"
    );
    for key in rows {
        let value = key.kind.expected().replace('|', "\\|");
        let default = match (key.default, key.kind) {
            ("", Kind::Section) => "empty",
            ("", _) => "not set",
            (default, _) => default,
        };
        let _ = writeln!(
            out,
            "| `{}` | {value} | {default} | {} |",
            key.name, key.doc
        );
    }
}

const INTRODUCTION: &str = "# Configuration reference

<!-- Rendered from pgmonkey-config/src/schema/keys.rs: UPDATE=1 cargo test -p pgmonkey-config --test reference -->

One file serves all four connection types. YAML is the main format; files whose names end in `.toml`
(with the feature `toml`) or `.json` are read as TOML or JSON. Numbers and booleans may be quoted. An empty text or null means
\"not set\". Relative paths are resolved from the folder of the file; `~/` is the home directory.
Unknown keys and duplicate keys are errors. References such as `${VAR}` are resolved
([environment and secrets](environment.md)).

Sources, weakest first: defaults, `PG*` variables, the service file, the file, `PGMONKEY_*` variables
(if enabled), values set by the program.
";

const READERS: &str = "
`readers` may also have `connection_settings`, `sync_settings`, `async_settings`, `pool_settings` and
`async_pool_settings`. They are laid over those of the file: what the section does not set is as for the writer.
Profiles, references, `PGMONKEY_READERS__CONNECTION_SETTINGS__HOST` and relative paths work in it as elsewhere.

* `target_session_attrs` is `prefer-standby` and `load_balance_hosts` is `random` unless the section sets them; the
  writer's values of these two do not carry over, nor do `PGTARGETSESSIONATTRS` and `PGLOADBALANCEHOSTS`.
* If the section names servers with `host`, `hostaddr`, a `url` that has a host, or a `service`, then `host`,
  `hostaddr` and `port` of the writer do not carry over, nor do `PGHOST` and `PGHOSTADDR` if a host is named; the port is that
  of the section, `PGPORT`, or 5432. A `port` alone applies to the writer's hosts, as behind a proxy that
  has a port for each role.
* A `url` in it overrides the parts that it names. A `service` in it is weaker than the keys of the file, apart from the
  servers.
* A section that is absent in both places is taken from its counterpart.
* `readers: {}` is the section with its defaults: the standbys among the writer's hosts.

```yaml
connection_settings: { host: db.internal, user: app, dbname: shop, target_session_attrs: read-write }
async_pool_settings: { max_size: 20 }
readers:
  connection_settings: { host: [standby1.internal, standby2.internal] }
  async_pool_settings: { max_size: 50 }
  max_lag: 10s
```

`readers` is not part of the writer's fingerprint: the pool of the writer is the same with and without it.
";

/// The links to other pages of the book at the end of every page.
const WAY_BACK: &str = "
[Start](index.md) · [Best practices](best-practices.md) · [Troubleshooting](troubleshooting.md)
";

const PARAMETERS: &str = "
## sync_settings and async_settings

Any server parameter, for example `statement_timeout: '30000'`. Values are text, numbers, booleans,
or lists, which are joined with commas. Null is skipped; an empty text is a value.

## Absent sections

A section that is not written, or null, is taken from its counterpart: `pool_settings` and `async_pool_settings`,
`sync_settings` and `async_settings`. One that is written, even as `{}`, is used as it is.

## Not supported

The Rust drivers cannot honour these settings of libpq. They are refused, not ignored: ";
