use std::fmt::Write;

use crate::schema::keys::{self, Key, Kind};

/// The sections that have a table of keys.
const SECTIONS: [(&str, &str); 4] = [
    ("", "Top level"),
    ("connection_settings", "connection_settings"),
    ("pool_settings", "pool_settings and async_pool_settings"),
    ("async_pool_settings", "async_pool_settings only"),
];

/// Returns the reference of all keys as Markdown, as in `docs/reference.md`.
///
/// ```
/// assert!(pgmonkey_config::reference().contains("| `port` |"));
/// ```
pub fn reference() -> String {
    let mut out = String::from(INTRODUCTION);
    for (index, (section, title)) in SECTIONS.into_iter().enumerate() {
        let shared = SECTIONS[2].0;
        let rows: Vec<&Key> = keys::of_section(section)
            .unwrap_or_default()
            .into_iter()
            .filter(|key| index != 3 || keys::find(shared, key.name).is_none())
            .collect();
        table(&mut out, title, &rows);
    }
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
