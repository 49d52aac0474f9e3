use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::*;

fn made() -> (tempfile::TempDir, Certificates) {
    let dir = tempfile::tempdir().unwrap();
    let made = Certificates::generate(dir.path(), "app").unwrap();
    (dir, made)
}

/// Whether `openssl` succeeded, and its output; `None` if it is not installed.
fn openssl(made: &Certificates, arguments: &str) -> Option<(bool, String)> {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(made.dir())
        .output();
    let Ok(output) = output else {
        let ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!ci, "openssl is not installed");
        eprintln!("SKIPPED, nothing was tested: openssl is not installed");
        return None;
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    Some((output.status.success(), text))
}

#[test]
fn every_key_is_readable_by_its_owner_only() {
    let (dir, made) = made();
    for name in ["server", "expired", "wrong-name", "version-1", "client"] {
        assert!(made.has(name) && made.key(name).is_file(), "{name}");
    }
    for file in dir.path().read_dir().unwrap().map(Result::unwrap) {
        if file.path().extension().is_some_and(|end| end == "key") {
            let mode = file.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{:?}", file.path());
        }
    }
}

#[test]
fn openssl_takes_and_refuses_what_it_should() {
    let (_dir, made) = made();
    let rows = [
        ("ca server", "OK"),
        ("ca expired", "certificate has expired"),
        ("ca other-server", "unable to get local issuer"),
        ("both-roots other-server", "OK"),
        ("ca self-signed", "self-signed certificate"),
        ("self-signed self-signed", "OK"),
        ("ca -untrusted:chained.pem chained", "OK"),
        ("ca chained", "unable to get local issuer"),
        (
            "ca -crl_check:-CRLfile:crl.pem revoked",
            "certificate revoked",
        ),
        ("ca -crl_check:-CRLfile:crl.pem server", "OK"),
        ("ca -crl_check:-CRLfile:empty-crl.pem revoked", "OK"),
        (
            "ca -crl_check:-CRLfile:expired-crl.pem server",
            "CRL has expired",
        ),
        ("ca -verify_hostname:localhost server", "OK"),
        (
            "ca -verify_hostname:localhost wrong-name",
            "ostname mismatch",
        ),
        ("ca -verify_hostname:localhost ip-only", "ostname mismatch"),
        ("ca -verify_ip:127.0.0.1 ip-only", "OK"),
        ("ca -verify_ip:127.0.0.1 cn-only", "IP address mismatch"),
        ("ca version-1", "OK"),
        ("p384-ca p384", "OK"),
        ("ed25519-ca ed25519", "OK"),
        ("rsa-ca rsa", "OK"),
        ("rsa-ca rsa-pss", "OK"),
        ("rsa-ca rsa-client", "OK"),
        ("other-ca other-client", "OK"),
    ];
    for (row, expected) in rows {
        let (root, rest) = row.split_once(' ').unwrap();
        let rest = rest.replace(':', " ");
        let Some((taken, text)) = openssl(&made, &format!("verify -CAfile {root}.pem {rest}.pem"))
        else {
            return;
        };
        assert_eq!(taken, expected == "OK", "{row}: {text}");
        let spelt_as_before_3 = text.replace("self signed", "self-signed");
        assert!(spelt_as_before_3.contains(expected), "{row}: {text}");
    }
}

#[test]
fn each_kind_is_what_its_name_says() {
    let (_dir, made) = made();
    let rows = [
        ("version-1", "Version: 1 (0x0)"),
        ("cn-only", "Version: 3 (0x2)"),
        ("server", "Signature Algorithm: ecdsa-with-SHA256"),
        ("p384", "Signature Algorithm: ecdsa-with-SHA384"),
        ("ed25519", "Signature Algorithm: ED25519"),
        ("rsa", "Signature Algorithm: sha256WithRSAEncryption"),
        ("rsa-pss", "Signature Algorithm: rsassaPss"),
        ("self-signed", "CA:TRUE"),
        ("rsa-client", "CN = app"),
    ];
    for (name, expected) in rows {
        let shown = openssl(&made, &format!("x509 -noout -text -in {name}.pem"));
        let Some((_, text)) = shown else { return };
        // Without the spaces, which newer versions omit.
        let bare = |text: &str| text.replace(' ', "");
        assert!(bare(&text).contains(&bare(expected)), "{name}: {text}");
    }
}

#[test]
fn keys_come_in_the_forms_their_names_say() {
    let (_dir, made) = made();
    if !made.has("rsa-client") {
        eprintln!("SKIPPED, nothing was tested: openssl is not installed");
        return;
    }
    let rows = [
        ("rsa-client", "-----BEGIN PRIVATE KEY-----"),
        ("rsa-client.pkcs1", "-----BEGIN RSA PRIVATE KEY-----"),
        (
            "rsa-client.encrypted",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----",
        ),
        ("rsa-client.legacy", "Proc-Type: 4,ENCRYPTED"),
        ("client.sec1", "-----BEGIN EC PRIVATE KEY-----"),
        ("client.encrypted", "-----BEGIN ENCRYPTED PRIVATE KEY-----"),
    ];
    for (name, expected) in rows {
        let text = fs::read_to_string(made.key(name)).unwrap();
        assert!(text.contains(expected), "{name}");
        let ask = format!("pkey -noout -in {name}.key -passin pass:secret");
        let (opened, text) = openssl(&made, &ask).unwrap();
        assert!(opened, "{name}: {text}");
    }
}
