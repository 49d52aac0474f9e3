//! Checks the reference page and the template against the table of keys.

use std::path::Path;

use pgmonkey_config::{Config, ConnectionType, Loader, reference, template};

/// Returns the names in the first column of the page's tables.
fn keys() -> Vec<String> {
    let page = reference();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_page_is_up_to_date() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&page, reference()).unwrap();
    }
    let written = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(
        written == reference(),
        "docs/reference.md differs from the table of keys; \
         run UPDATE=1 cargo test -p pgmonkey-config --test reference"
    );
}

#[test]
fn the_template_names_every_key() {
    assert!(keys().len() > 50);
    for key in keys() {
        let named = template().lines().any(|line| {
            let line = line.trim_start().trim_start_matches("# ").trim_start();
            line.strip_prefix(&key)
                .is_some_and(|rest| rest.starts_with(':'))
        });
        assert!(named, "{key} is missing");
    }
}

fn load(text: &str) -> Config {
    let none = std::iter::empty::<(String, String)>();
    Loader::new().yaml(text).variables(none).load().unwrap()
}

#[test]
fn the_template_loads_as_it_is() {
    let config = load(template());
    assert_eq!(config.connection_type, ConnectionType::Normal);
    for pool in [&config.pool_settings, &config.async_pool_settings] {
        assert_eq!((pool.min_size, pool.max_size), (5, 20));
        assert_eq!(pool.max_idle.as_secs(), 300);
    }
    assert_eq!(config.async_settings.value("lock_timeout"), Some("10000"));
    assert!(config.connection_settings.password.is_none());
}

/// Each commented-out key, enabled alone, is accepted as well.
#[test]
fn what_the_template_comments_out_is_right() {
    let lines: Vec<&str> = template().lines().collect();
    let mut tried = 0;
    for (index, line) in lines.iter().enumerate() {
        let bare = line.trim_start();
        let Some(setting) = bare.strip_prefix("# ") else {
            continue;
        };
        let name = setting.split(':').next().unwrap();
        if !keys().contains(&name.to_owned()) || name == "profiles" {
            continue;
        }
        let indent = &line[..line.len() - bare.len()];
        let mut changed = lines.clone();
        let setting = format!("{indent}{setting}");
        changed[index] = &setting;
        let text = changed.join("\n");
        if ["service", "password_file"].contains(&name) {
            continue; // They need the file that they name.
        }
        load(&text);
        tried += 1;
    }
    assert!(tried > 30, "{tried}");
}
