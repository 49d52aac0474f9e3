//! A section that is absent is taken from its counterpart.

use pgmonkey_config::{Config, ConnectionType, Loader};

use super::{bad, good, has, loader};

fn sizes(config: &Config) -> (u32, u32) {
    (
        config.pool_settings.max_size,
        config.async_pool_settings.max_size,
    )
}

#[test]
fn one_pool_section_serves_both_pools() {
    for (yaml, expected) in [
        ("pool_settings: { max_size: 20 }", (20, 20)),
        ("async_pool_settings: { max_size: 20 }", (20, 20)),
        (
            "pool_settings: { max_size: 20 }\nasync_pool_settings:",
            (20, 20),
        ),
        (
            "pool_settings: ''\nasync_pool_settings: { max_size: 20 }",
            (20, 20),
        ),
        // A section is taken as a whole, or not at all.
        (
            "pool_settings: { max_size: 20 }\nasync_pool_settings: { min_size: 2 }",
            (20, 10),
        ),
        (
            "pool_settings: { max_size: 20 }\nasync_pool_settings: {}",
            (20, 10),
        ),
        (
            "pool_settings: { max_size: 20 }\nasync_pool_settings: { min_size: null }",
            (20, 10),
        ),
        (
            "pool_settings: {}\nasync_pool_settings: { max_size: 20 }",
            (10, 20),
        ),
        ("{}", (10, 10)),
    ] {
        assert_eq!(sizes(&good(yaml)), expected, "{yaml}");
    }
    let config = good("pool_settings: { timeout: 5, reset: none }");
    assert_eq!(config.async_pool_settings, config.pool_settings);
}

#[test]
fn a_blocking_pool_does_not_multiplex() {
    let config = good("async_pool_settings: { max_size: 7, multiplex: true }");
    let (blocking, parallel) = (&config.pool_settings, &config.async_pool_settings);
    assert!(!blocking.multiplex && parallel.multiplex);
    assert_eq!(sizes(&config), (7, 7));
}

#[test]
fn one_section_of_server_parameters_serves_both() {
    for (yaml, expected) in [
        ("sync_settings: { a: 1 }", [Some("1"), Some("1")]),
        ("async_settings: { a: 1 }", [Some("1"), Some("1")]),
        (
            "sync_settings: { a: 1 }\nasync_settings: null",
            [Some("1"), Some("1")],
        ),
        (
            "sync_settings: { a: 1 }\nasync_settings: { a: null }",
            [Some("1"), None],
        ),
        (
            "sync_settings: { a: 1 }\nasync_settings: {}",
            [Some("1"), None],
        ),
        (
            "sync_settings: { a: 1 }\nasync_settings: { b: 2 }",
            [Some("1"), None],
        ),
    ] {
        let config = good(yaml);
        let found = [&config.sync_settings, &config.async_settings].map(|s| s.value("a"));
        assert_eq!(found, expected, "{yaml}");
    }
}

/// `PGTZ` and its like set parameters for both, but make no section.
#[test]
fn the_variables_of_libpq_make_no_section() {
    let load = |yaml: &str| loader(&[("PGTZ", "UTC")]).yaml(yaml).load().unwrap();
    let config = load("sync_settings: { a: 1 }");
    assert_eq!(config.async_settings, config.sync_settings);
    assert_eq!(config.async_settings.len(), 2);
    let config = load("sync_settings: { a: 1 }\nasync_settings: {}");
    assert_eq!(config.async_settings.len(), 1);
}

#[test]
fn the_source_is_the_other_section() {
    let loaded = loader(&[("PGTZ", "UTC")])
        .yaml("sync_settings:\n  a: 1\npool_settings:\n  max_size: 20\n")
        .load_with_sources()
        .unwrap();
    let source = |key: &str| loaded.source(key).map(ToString::to_string);
    let says = |key: &str, text: &str| assert_eq!(source(key).as_deref(), Some(text), "{key}");
    says("pool_settings.max_size", "line 4, column 3");
    says(
        "async_pool_settings.max_size",
        "pool_settings (line 4, column 3)",
    );
    says("async_settings.a", "sync_settings (line 2, column 3)");
    says("async_settings.TimeZone", "environment variable PGTZ");
    assert_eq!(source("async_pool_settings.min_size"), None);
    let values = loaded.values();
    let value = values
        .iter()
        .find(|value| value.key == "async_pool_settings.max_size")
        .unwrap();
    assert_eq!(value.value, 20);
    let place = value.source.clone().unwrap();
    let text = "sync_settings:\n  a: 1\npool_settings:\n  max_size: 20\n";
    assert_eq!(
        place.excerpt(text, &value.key).unwrap().text,
        "  max_size: 20"
    );
    let loaded = loader(&[])
        .yaml("async_pool_settings: { multiplex: true }")
        .load_with_sources();
    assert!(loaded.unwrap().source("pool_settings.multiplex").is_none());
}

#[test]
fn a_problem_is_reported_once() {
    for yaml in [
        "pool_settings: { min_size: 5, max_size: 3 }",
        "sync_settings: { a b: 1 }",
        "async_pool_settings: { min_size: 5, max_size: 3 }",
    ] {
        let error = loader(&[]).yaml(yaml).load().unwrap_err();
        assert_eq!(error.problems().len(), 1, "{error}");
        has(
            &error.to_string(),
            &["line 1", &yaml[..yaml.find(':').unwrap()]],
        );
    }
    has(
        &bad("pool_settings: { multiplex: true }"),
        &["pool_settings.multiplex"],
    );
}

#[test]
fn layers_are_merged_first() {
    let base = "pool_settings: { max_size: 20, timeout: 5 }
profiles: { test: { async_pool_settings: { max_size: 3 } } }";
    let load = |loader: Loader| sizes(&loader.load().unwrap());
    assert_eq!(load(loader(&[]).yaml(base)), (20, 20));
    assert_eq!(load(loader(&[]).yaml(base).profile("test")), (20, 3));
    assert_eq!(
        load(
            loader(&[])
                .yaml(base)
                .yaml("async_pool_settings: { max_size: 4 }")
        ),
        (20, 4)
    );
    assert_eq!(
        load(loader(&[]).yaml(base).set("pool_settings.max_size", 9)),
        (9, 9)
    );
}

#[test]
fn the_fingerprint_follows_the_effective_values() {
    let print = |yaml: &str, kind| *good(yaml).fingerprint(kind);
    let one = "pool_settings: { max_size: 20 }\nsync_settings: { a: 1 }";
    let both = "pool_settings: { max_size: 20 }\nsync_settings: { a: 1 }
async_pool_settings: { max_size: 20 }\nasync_settings: { a: 1 }";
    for kind in ConnectionType::ALL {
        assert_eq!(print(one, kind), print(both, kind));
    }
    assert_ne!(
        print(one, ConnectionType::AsyncPool),
        print("{}", ConnectionType::AsyncPool)
    );
}

#[test]
fn what_is_written_keeps_an_empty_section() {
    for yaml in [
        "sync_settings: { a: 1 }\nasync_settings: {}",
        "async_settings: { a: 1 }",
        "{}",
    ] {
        let config = good(yaml);
        let json = serde_json::to_string(&config.exposed()).unwrap();
        assert_eq!(loader(&[]).json(&json).load().unwrap(), config);
        let toml = toml::to_string(&config.exposed()).unwrap();
        assert_eq!(loader(&[]).toml(&toml).load().unwrap(), config);
    }
}
