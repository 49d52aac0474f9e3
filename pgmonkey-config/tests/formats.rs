//! Formats whose feature is off.

#[cfg(not(feature = "toml"))]
#[test]
fn toml_without_its_feature_is_refused_by_name() {
    use pgmonkey_config::{Config, Loader};

    let text = "[pool_settings]\nmax_size = 20\n";
    let error = Config::from_toml(text).unwrap_err().to_string();
    assert!(error.contains("the feature `toml` of pgmonkey"), "{error}");

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pgmonkey.toml");
    std::fs::write(&path, text).unwrap();
    let error = Loader::new().file(&path).load().unwrap_err().to_string();
    for part in ["pgmonkey.toml", "the feature `toml`", "YAML"] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
}
