//! `cargo xtask bench weight`: what a hello world with TLS costs to build with this library and with
//! others: crates, processor time, and the size of the program.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use pgmonkey_testserver::ScratchDir;

use crate::process::{cargo, root};

/// A library, with the dependencies and the main function of its hello world.
struct Library {
    name: &'static str,
    dependencies: &'static str,
    program: &'static str,
}

const TOKIO: &str = "tokio = { version = \"1\", features = [\"macros\", \"rt-multi-thread\"] }\n";
/// What the drivers need for TLS: rustls with ring and the system's roots.
const RUSTLS: &str = "tokio-postgres = \"0.7\"
tokio-postgres-rustls = \"0.14\"
rustls = { version = \"0.23\", default-features = false, features = [\"ring\", \"std\", \"tls12\"] }
rustls-native-certs = \"0.8\"
";
const CONNECTOR: &str = "fn tls() -> tokio_postgres_rustls::MakeRustlsConnect {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tokio_postgres_rustls::MakeRustlsConnect::new(config)
}
";

const LIBRARIES: [Library; 4] = [
    Library {
        name: "pgmonkey",
        dependencies: "pgmonkey = { path = \"ROOT/pgmonkey\" }\n",
        program: "let config = pgmonkey::Config::from_file(\"pgmonkey.yaml\").unwrap();
    let pool = pgmonkey::ConnectionManager::global().async_pool(&config).await.unwrap();
    let row = pool.query_one(\"SELECT 1\", &[]).await.unwrap();",
    },
    Library {
        name: "deadpool-postgres",
        dependencies: "deadpool-postgres = \"0.14\"\n",
        program: "let config = std::env::var(\"URL\").unwrap().parse().unwrap();
    let manager = deadpool_postgres::Manager::new(config, tls());
    let pool = deadpool_postgres::Pool::builder(manager).build().unwrap();
    let client = pool.get().await.unwrap();
    let row = client.query_one(\"SELECT 1\", &[]).await.unwrap();",
    },
    Library {
        name: "bb8-postgres",
        dependencies: "bb8 = \"0.9\"\nbb8-postgres = \"0.9\"\n",
        program: "let url = std::env::var(\"URL\").unwrap();
    let manager = bb8_postgres::PostgresConnectionManager::new_from_stringlike(url, tls()).unwrap();
    let pool = bb8::Pool::builder().build(manager).await.unwrap();
    let client = pool.get().await.unwrap();
    let row = client.query_one(\"SELECT 1\", &[]).await.unwrap();",
    },
    Library {
        name: "sqlx",
        dependencies: "sqlx = { version = \"0.9\", default-features = false, features = [\"postgres\", \
                       \"runtime-tokio\", \"tls-rustls-ring-native-roots\"] }\n",
        program: "use sqlx::Row;
    let pool = sqlx::PgPool::connect(&std::env::var(\"URL\").unwrap()).await.unwrap();
    let row = sqlx::query(\"SELECT 1\").fetch_one(&pool).await.unwrap();",
    },
];

/// What one hello world costs.
struct Weight {
    crates: usize,
    seconds: f64,
    bytes: u64,
}

/// Measures the libraries named, or all, and prints a table as Markdown.
pub(crate) fn run(names: &[String]) -> anyhow::Result<()> {
    let chosen = |library: &&Library| names.is_empty() || names.iter().any(|n| n == library.name);
    println!("| library | crates | processor seconds | program, stripped |\n|---|---|---|---|");
    for library in LIBRARIES.iter().filter(chosen) {
        let weight = measure(library).with_context(|| library.name)?;
        println!(
            "| {} | {} | {:.0} | {:.1} MB |",
            library.name,
            weight.crates,
            weight.seconds,
            weight.bytes as f64 / 1e6
        );
    }
    Ok(())
}

/// Builds it from nothing, in release, with the versions of this workspace where it has them.
fn measure(library: &Library) -> anyhow::Result<Weight> {
    let scratch = ScratchDir::new()?;
    let folder = scratch.path();
    write(library, folder)?;
    let manifest = folder.join("Cargo.toml");
    let command = |args: &[&str]| {
        let mut command = cargo(args);
        command.arg("--manifest-path").arg(&manifest);
        command
    };
    let tree = command(&["tree", "--prefix", "none", "--edges", "normal,build"]).output()?;
    ensure!(
        tree.status.success(),
        "{}",
        String::from_utf8_lossy(&tree.stderr)
    );
    let text = String::from_utf8(tree.stdout)?;
    let mut crates: Vec<&str> = text
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .collect();
    crates.sort_unstable();
    crates.dedup();
    // The shell tells what its children took.
    let build = command(&["build", "--release", "--quiet"]);
    let mut words = vec![build.get_program()];
    words.extend(build.get_args());
    let output = Command::new("sh")
        .args(["-c", "\"$@\" || exit 1; times", "sh"])
        .args(words)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "it does not build");
    let times = String::from_utf8(output.stdout)?;
    let program = folder.join("target/release/hello");
    Ok(Weight {
        // Without the program itself.
        crates: crates.len() - 1,
        seconds: seconds(&times).with_context(|| format!("`times` printed {times:?}"))?,
        bytes: fs::metadata(program)?.len(),
    })
}

fn write(library: &Library, folder: &Path) -> anyhow::Result<()> {
    let own = library.name == "pgmonkey" || library.name == "sqlx";
    let (rustls, connector) = if own { ("", "") } else { (RUSTLS, CONNECTOR) };
    let root = root().display().to_string();
    let dependencies = library.dependencies.replace("ROOT", &root);
    let manifest = format!(
        "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [profile.release]\nstrip = true\n\n[dependencies]\n{dependencies}{rustls}{TOKIO}"
    );
    let get = match library.name {
        "sqlx" => "row.get::<i32, _>(0)",
        _ => "row.get::<_, i32>(0)",
    };
    let program = format!(
        "#[tokio::main]\nasync fn main() {{\n    {}\n    println!(\"{{}}\", {get});\n}}\n{connector}",
        library.program
    );
    fs::create_dir(folder.join("src"))?;
    fs::write(folder.join("Cargo.toml"), manifest)?;
    fs::write(folder.join("src/main.rs"), program)?;
    fs::copy(format!("{root}/Cargo.lock"), folder.join("Cargo.lock"))?;
    Ok(())
}

/// User and system time of the children, from the second line of `times`: `1m2.5s 0m3s`.
fn seconds(times: &str) -> Option<f64> {
    let of = |word: &str| {
        let (minutes, seconds) = word.trim_end_matches('s').split_once('m')?;
        Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
    };
    times.lines().nth(1)?.split_whitespace().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_shell_are_added_up() {
        let times = "0m0.00s 0m0.01s\n2m10.500s 0m1.25s\n";
        assert_eq!(seconds(times), Some(131.75));
        assert_eq!(seconds("0m0s 0m0s\n"), None);
    }
}
