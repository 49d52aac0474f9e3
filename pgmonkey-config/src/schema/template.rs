/// Returns a file to start from: every key with a comment and a common value. It loads unchanged.
///
/// ```
/// use pgmonkey_config::{Config, ConnectionType, template};
///
/// let config = Config::from_yaml(template()).unwrap();
/// assert_eq!(config.connection_type, ConnectionType::Normal);
/// assert_eq!(config.pool_settings.max_size, 20);
/// ```
pub fn template() -> &'static str {
    include_str!("template.yaml")
}
