//! The password file: which line applies, how it is read, and what takes precedence over it.

use pgmonkey_tests::Outcome;

use super::rig::Rig;
use super::row::{Row, row};

const EXACT: &str = "127.0.0.1:<a>:shop:app:secret-a\n";
const NONE: &str = "no password supplied";
const MISSING: &str = "the server asks for a password and there is none";
const WRONG: &str = "password authentication failed for user \"app\"";

/// No password but the one in `~/.pgpass`.
fn asks(name: &'static str) -> Row {
    row(name).without("PGPASSWORD")
}

fn home(name: &'static str, content: impl Into<String>) -> Row {
    asks(name).file(".pgpass", content)
}

/// The line is found.
fn found(name: &'static str, content: impl Into<String>) -> Row {
    home(name, content).ok("app@shop:<a> ")
}

/// No line is found.
fn passed_over(name: &'static str, content: impl Into<String>) -> Row {
    home(name, content).no(NONE).but_says(MISSING)
}

fn unfound(row: Row) -> Row {
    row.no(NONE).but_says(MISSING)
}

#[rustfmt::skip]
fn fields() -> Vec<Row> {
    vec![
        found("every field exact", EXACT),
        found("any host", "*:<a>:shop:app:secret-a\n"),
        found("any port", "127.0.0.1:*:shop:app:secret-a\n"),
        found("any database", "127.0.0.1:<a>:*:app:secret-a\n"),
        found("any user", "127.0.0.1:<a>:shop:*:secret-a\n"),
        found("any of all", "*:*:*:*:secret-a\n"),
        passed_over("another host", "127.0.0.2:<a>:shop:app:secret-a\n"),
        passed_over("another name of the host", "localhost:<a>:shop:app:secret-a\n"),
        passed_over("another port", "127.0.0.1:<b>:shop:app:secret-a\n"),
        passed_over("another database", "127.0.0.1:<a>:app:app:secret-a\n"),
        passed_over("another user", "127.0.0.1:<a>:shop:other:secret-a\n"),
        passed_over("the beginning of a field", "127.0.0:<a>:sho:ap:secret-a\n"),
        passed_over("a * within a field", "127.*:<a>:shop:app:secret-a\n"),
        passed_over("a port with a zero before it", "127.0.0.1:0<a>:shop:app:secret-a\n"),
        passed_over("an empty field", ":<a>:shop:app:secret-a\n"),
        passed_over("another case", "127.0.0.1:<a>:SHOP:app:secret-a\n"),
        found("the database that is named as the user", "127.0.0.1:<a>:app:app:secret-a\n").without("PGDATABASE").ok("app@app:<a> "),
        home("the user of the operating system", "127.0.0.1:<a>:shop:<me>:mine-a\n").without("PGUSER").ok("<me>@shop:<a> "),
        home("backslash and colon in user and database", "127.0.0.1:<a>:d\\:b\\\\x:o\\:d\\\\d:p\\:w\\\\d'\" %40/?#é\n").env("PGUSER", "o:d\\d").env("PGDATABASE", "d:b\\x").ok("o:d\\d@d:b\\x:<a> ").but_we("decision 088: a name is no login", Err("connection_settings.user: contains a colon")),
        home("a colon that is not escaped ends the password", "*:*:*:*:p:w\\\\d'\" %40/?#é\n").env("PGUSER", "o:d\\d").no("password authentication failed for user \"o:d\\d\"").but_says("connection_settings.user: contains a colon"),
        found("an escaped letter", "127.0.0.1:<a>:sh\\op:\\app:s\\ecret-a\n"),
        found("an escaped letter of the host", "12\\7.0.0.1:<a>:shop:app:secret-a\n"),
        found("more fields", "127.0.0.1:<a>:shop:app:secret-a:more\n"),
        found("a backslash at the end of the password of another", "*:*:*:other:x\\\n127.0.0.1:<a>:shop:app:secret-a\n"),
    ]
}

#[rustfmt::skip]
fn lines() -> Vec<Row> {
    vec![
        found("comments and blank lines", format!("# one\n\n#{EXACT}   \n{EXACT}# two\n")),
        passed_over("a commented line", format!("#{EXACT}")),
        passed_over("a blank before a line", format!(" {EXACT}")),
        found("the first match counts", format!("{EXACT}*:*:*:*:wrong\n")),
        home("a wrong password in the first match has no second chance", format!("*:*:*:*:wrong\n{EXACT}")).no(WRONG),
        passed_over("an empty password in the first match", format!("*:*:*:*:\n{EXACT}")),
        found("a line that ends before the password", format!("*:*:*:app\n{EXACT}")),
        found("a line of one word", format!("nonsense\n{EXACT}")),
        found("Windows line ends", "*:*:*:other:x\r\n127.0.0.1:<a>:shop:app:secret-a\r\n"),
        found("no line end at the end", EXACT.trim_end()),
        found("several ends of a line", "127.0.0.1:<a>:shop:app:secret-a\r\r\n"),
        home("a blank behind the password", "127.0.0.1:<a>:shop:app:secret-a \n").no(WRONG),
        found("a long line before", format!("*:*:*:{}:x\n{EXACT}", "u".repeat(5_000))),
        found("a long comment before", format!("# {}\n{EXACT}", "-".repeat(100_000))),
        home("a long password", format!("*:*:*:app:{}\n", "p".repeat(900))).no(WRONG),
        passed_over("an empty file", ""),
        passed_over("a byte order mark", format!("\u{feff}{EXACT}")),
    ]
}

#[rustfmt::skip]
fn files() -> Vec<Row> {
    let mode = |name, mode| asks(name).file_with(".pgpass", EXACT, mode);
    vec![
        mode("for the owner alone", 0o600).ok("app@shop:<a> "),
        mode("for the owner to read", 0o400).ok("app@shop:<a> "),
        mode("for the owner to run", 0o700).ok("app@shop:<a> "),
        unfound(mode("for the group to read", 0o640)),
        unfound(mode("for the group to write", 0o620)),
        unfound(mode("for others to read", 0o604)),
        unfound(mode("for all", 0o644)),
        unfound(asks("no file")),
        unfound(asks("a directory").file(".pgpass/x", "")),
        asks("PGPASSFILE").env("PGPASSFILE", "<home>/pw").file("pw", EXACT).ok("app@shop:<a> "),
        asks("PGPASSFILE from the working directory").env("PGPASSFILE", "pw").file("pw", EXACT).ok("app@shop:<a> "),
        home("PGPASSFILE beats ~/.pgpass", EXACT.replace("secret", "wrong")).env("PGPASSFILE", "<home>/pw").file("pw", EXACT).ok("app@shop:<a> "),
        unfound(home("PGPASSFILE without the line does not lead home", EXACT).env("PGPASSFILE", "<home>/pw").file("pw", "")),
        unfound(home("PGPASSFILE is not there", EXACT).env("PGPASSFILE", "<home>/pw")),
        unfound(home("PGPASSFILE for all", EXACT).env("PGPASSFILE", "<home>/pw").file_with("pw", EXACT, 0o644)),
        home("PGPASSFILE empty", EXACT).env("PGPASSFILE", "").ok("app@shop:<a> "),
        asks("passfile").set("passfile", "<home>/pw").file("pw", EXACT).ok("app@shop:<a> "),
        home("passfile beats PGPASSFILE and ~/.pgpass", "*:*:*:*:wrong\n").env("PGPASSFILE", "<home>/.pgpass").set("passfile", "<home>/pw").file("pw", EXACT).ok("app@shop:<a> "),
        unfound(home("passfile is not there", EXACT).set("passfile", "<home>/pw")),
        row("PGPASSWORD beats the passfile").file(".pgpass", "*:*:*:*:wrong\n").ok("app@shop:<a> "),
        row("a wrong PGPASSWORD beats the passfile").env("PGPASSWORD", "wrong").file(".pgpass", EXACT).no(WRONG),
        home("password beats the passfile", "*:*:*:*:wrong\n").set("password", "secret-a").ok("app@shop:<a> "),
        home("PGPASSWORD empty", EXACT).env("PGPASSWORD", "").ok("app@shop:<a> "),
        home("an empty password in the settings", EXACT).set("password", "").ok("app@shop:<a> "),
    ]
}

#[rustfmt::skip]
fn hosts() -> Vec<Row> {
    let both = "127.0.0.1:<a>:*:*:wrong\n127.0.0.1:<b>:*:*:secret-b\n";
    vec![
        home("a host by name", "localhost:<a>:shop:app:secret-a\n").env("PGHOST", "localhost").ok("app@shop:<a> "),
        passed_over("a host by name, a line by address", EXACT).env("PGHOST", "localhost"),
        home("host and hostaddr: the host's line", "no-such-host.invalid:<a>:shop:app:secret-a\n").env("PGHOST", "no-such-host.invalid").env("PGHOSTADDR", "127.0.0.1").ok("app@shop:<a> "),
        passed_over("host and hostaddr: not the address's line", EXACT).env("PGHOST", "no-such-host.invalid").env("PGHOSTADDR", "127.0.0.1"),
        found("hostaddr alone", EXACT).without("PGHOST").env("PGHOSTADDR", "127.0.0.1"),
        passed_over("hostaddr alone is not localhost", "localhost:<a>:shop:app:secret-a\n").without("PGHOST").env("PGHOSTADDR", "127.0.0.1"),
        home("a socket's directory", "<socket>:<a>:shop:app:secret-a\n").env("PGHOST", "<socket>").ok("app@shop:socket "),
        passed_over("a socket's directory is not localhost", "localhost:<a>:shop:app:secret-a\n").env("PGHOST", "<socket>"),
        passed_over("a socket's directory with a slash more", "<socket>:<a>:shop:app:secret-a\n").env("PGHOST", "<socket>/"),
        home("two hosts, the first one closed", "127.0.0.1:<closed>:*:*:wrong\n127.0.0.1:<b>:*:*:secret-b\n").env("PGHOST", "127.0.0.1,127.0.0.1").env("PGPORT", "<closed>,<b>").ok("app@shop:<b> "),
        home("two hosts, each with a line", both.replace("wrong", "secret-a")).env("PGHOST", "127.0.0.1,127.0.0.1").env("PGPORT", "<b>,<a>").ok("app@shop:<b> "),
        home("two hosts, the first one's password wrong", both).env("PGHOST", "127.0.0.1,127.0.0.1").env("PGPORT", "<a>,<b>").no(WRONG),
        passed_over("two hosts, no line for the first one", "127.0.0.1:<b>:*:*:secret-b\n").env("PGHOST", "127.0.0.1,127.0.0.1").env("PGPORT", "<a>,<b>"),
        home("two hosts, one name, lines by port", both.replace("127.0.0.1", "localhost").replace("wrong", "secret-a")).env("PGHOST", "localhost,localhost").env("PGPORT", "<closed>,<a>").ok("app@shop:<a> "),
    ]
}

#[rustfmt::skip]
fn usual_sockets() -> Vec<Row> {
    let usual = |name, content: &str| asks(name).env("PGHOST", "/var/run/postgresql").file(".pgpass", content);
    vec![
        usual("the usual socket counts as localhost", "localhost:<a>:shop:app:secret-a\n").ok("app@shop:socket "),
        unfound(usual("the usual socket does not count by its path", "/var/run/postgresql:<a>:shop:app:secret-a\n")),
        usual("no host is the usual socket", "localhost:<a>:shop:app:secret-a\n").without("PGHOST").ok("app@shop:socket "),
        usual("an empty host is the usual socket", "localhost:<a>:shop:app:secret-a\n").env("PGHOST", "").ok("app@shop:socket "),
        unfound(usual("a socket that is usual for another build", "localhost:<a>:shop:app:secret-a\n").env("PGHOST", "/tmp"))
            .but_we("passfile.rs: libpq knows only the directory it was built with", Ok("app@shop:socket ")),
    ]
}

#[test]
fn passfiles_mean_what_they_mean_to_libpq() -> Outcome {
    let Some(rig) = Rig::new()? else {
        return Ok(());
    };
    let tables = [fields(), lines(), files(), hosts()];
    let mut rows: Vec<Row> = tables.into_iter().flatten().collect();
    if rig.listens_on_usual_sockets()? {
        rows.extend(usual_sockets());
    }
    rig.compare(rows)?;
    Ok(())
}
