//! Files that `rcgen` does not generate: RSA keys, Ed25519 keys that OpenSSL reads, legacy key
//! formats.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::{Certificates, write};

/// The names and the purpose of a server certificate.
const SERVER: &str = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n";
const CLIENT: &str = "extendedKeyUsage=clientAuth\nbasicConstraints=CA:FALSE\n";

/// Adds the files that the `openssl` program generates; none if it is not installed.
pub(super) fn add(certificates: &Certificates, user: &str) -> anyhow::Result<()> {
    let found = Command::new("openssl").arg("version").output();
    if !found.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    let maker = Maker(certificates.dir());
    write(&maker.0.join("server.ext"), 0o644, SERVER)?;
    write(&maker.0.join("client.ext"), 0o644, CLIENT)?;
    maker.ed25519()?;
    maker.rsa(user)?;
    maker.forms()
}

/// Runs `openssl` in the directory.
struct Maker<'a>(&'a Path);

impl Maker<'_> {
    fn ed25519(&self) -> anyhow::Result<()> {
        for key in ["ed25519-ca", "ed25519"] {
            self.run(&format!("genpkey -algorithm ed25519 -out {key}.key"))?;
        }
        self.run(
            "req -x509 -new -key ed25519-ca.key -subj /CN=ed25519 -days 3650 -out ed25519-ca.pem",
        )?;
        self.sign("ed25519-ca", "ed25519", "localhost", "server.ext", "")
    }

    fn rsa(&self, user: &str) -> anyhow::Result<()> {
        self.run("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa-ca.key")?;
        self.run("req -x509 -new -key rsa-ca.key -subj /CN=rsa -days 3650 -out rsa-ca.pem")?;
        self.run("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa-client.key")?;
        for server in ["rsa.key", "rsa-pss.key"] {
            fs::copy(self.0.join("rsa-client.key"), self.0.join(server))?;
        }
        self.sign("rsa-ca", "rsa", "localhost", "server.ext", " -sha256")?;
        let pss = " -sha256 -sigopt rsa_padding_mode:pss";
        self.sign("rsa-ca", "rsa-pss", "localhost", "server.ext", pss)?;
        self.sign("rsa-ca", "rsa-client", user, "client.ext", " -sha256")
    }

    fn sign(&self, ca: &str, name: &str, common: &str, ext: &str, how: &str) -> anyhow::Result<()> {
        self.run(&format!(
            "req -new -key {name}.key -subj /CN={common} -out {name}.csr"
        ))?;
        self.run(&format!(
            "x509 -req -in {name}.csr -CA {ca}.pem -CAkey {ca}.key -set_serial 2 -days 3650 -extfile {ext} -out {name}.pem{how}"
        ))
    }

    fn forms(&self) -> anyhow::Result<()> {
        self.run("rsa -in rsa-client.key -traditional -out rsa-client.pkcs1.key")?;
        self.run(
            "rsa -in rsa-client.key -traditional -aes128 -passout pass:secret -out rsa-client.legacy.key",
        )?;
        for name in ["rsa-client", "client"] {
            self.run(&format!(
                "pkcs8 -topk8 -v2 aes-256-cbc -in {name}.key -passout pass:secret -out {name}.encrypted.key"
            ))?;
        }
        self.run("ec -in client.key -out client.sec1.key")
    }

    fn run(&self, arguments: &str) -> anyhow::Result<()> {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(self.0)
            .stdin(Stdio::null())
            .output()
            .context("cannot run openssl")?;
        ensure!(
            output.status.success(),
            "openssl {arguments}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let Some(key) = arguments
            .split(' ')
            .find(|word| word.ends_with(".key") && arguments.ends_with(word))
        else {
            return Ok(());
        };
        close(&self.0.join(key))
    }
}

fn close(key: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(key, fs::Permissions::from_mode(0o600))?)
}
