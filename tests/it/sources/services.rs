//! The service file: where it is looked for, how it is read, and what it takes precedence over.

use pgmonkey_tests::Outcome;

use super::rig::Rig;
use super::row::{Row, bare, row};

const SHOP: &str = "[shop]\nhost=127.0.0.1\nport=<a>\nuser=app\ndbname=shop\npassword=secret-a\n";
const OTHER: &str = "[shop]\nhost=127.0.0.1\nport=<a>\nuser=other\ndbname=shop\npassword=other-a\n";

/// Service `shop` by variable, with this file in its usual place.
fn shop(name: &'static str, content: impl Into<String>) -> Row {
    bare(name)
        .env("PGSERVICE", "shop")
        .file(".pg_service.conf", content)
}

/// The usual group with more lines.
fn with(lines: &str) -> String {
    format!("{SHOP}{lines}")
}

#[rustfmt::skip]
fn places() -> Vec<Row> {
    vec![
        shop("~/.pg_service.conf by PGSERVICE", SHOP).ok("app@shop:<a> "),
        bare("~/.pg_service.conf by service").set("service", "shop").file(".pg_service.conf", SHOP).ok("app@shop:<a> "),
        shop("service beats PGSERVICE", SHOP).env("PGSERVICE", "none").set("service", "shop").ok("app@shop:<a> "),
        bare("PGSERVICEFILE").env("PGSERVICE", "shop").env("PGSERVICEFILE", "<home>/own.conf").file("own.conf", SHOP).ok("app@shop:<a> "),
        bare("PGSERVICEFILE from the working directory").env("PGSERVICE", "shop").env("PGSERVICEFILE", "own.conf").file("own.conf", SHOP).ok("app@shop:<a> "),
        shop("PGSERVICEFILE beats ~/.pg_service.conf", OTHER).env("PGSERVICEFILE", "<home>/own.conf").file("own.conf", SHOP).ok("app@shop:<a> "),
        shop("PGSERVICEFILE without the group does not lead home", SHOP).env("PGSERVICEFILE", "<home>/own.conf").file("own.conf", "[x]\n").no("definition of service \"shop\" not found").but_says("no service `shop`"),
        shop("PGSERVICEFILE is not there", SHOP).env("PGSERVICEFILE", "<home>/own.conf").no("own.conf\" not found").but_says("there is no service file"),
        bare("PGSERVICEFILE is not there but the system's file is").env("PGSERVICE", "shop").env("PGSERVICEFILE", "<home>/own.conf").env("PGSYSCONFDIR", "<home>/etc").file("etc/pg_service.conf", SHOP).no("own.conf\" not found").but_says("there is no service file"),
        bare("PGSYSCONFDIR").env("PGSERVICE", "shop").env("PGSYSCONFDIR", "<home>/etc").file("etc/pg_service.conf", SHOP).ok("app@shop:<a> "),
        shop("~/.pg_service.conf beats PGSYSCONFDIR", SHOP).env("PGSYSCONFDIR", "<home>/etc").file("etc/pg_service.conf", OTHER).ok("app@shop:<a> "),
        shop("~/.pg_service.conf without the group leads to PGSYSCONFDIR", "[x]\nhost=h\n").env("PGSYSCONFDIR", "<home>/etc").file("etc/pg_service.conf", SHOP).ok("app@shop:<a> "),
        bare("PGSERVICEFILE without the group leads to PGSYSCONFDIR").env("PGSERVICE", "shop").env("PGSERVICEFILE", "<home>/own.conf").file("own.conf", "[x]\n").env("PGSYSCONFDIR", "<home>/etc").file("etc/pg_service.conf", SHOP).ok("app@shop:<a> "),
        bare("no service file at all").env("PGSERVICE", "shop").no("definition of service \"shop\" not found").but_says("no service `shop`"),
        shop("unknown service", SHOP).env("PGSERVICE", "none").no("definition of service \"none\" not found").but_says("environment variable PGSERVICE: connection_settings.service: no service `none`"),
        bare("unknown service in the settings").set("service", "none").file(".pg_service.conf", SHOP).no("definition of service \"none\" not found").but_says("line 1, column 25: connection_settings.service: no service `none`"),
        shop("the name is case-sensitive", SHOP).env("PGSERVICE", "Shop").no("definition of service \"Shop\" not found").but_says("no service `Shop`"),
        shop("the beginning of a name is no name", SHOP).env("PGSERVICE", "sho").no("definition of service \"sho\" not found").but_says("no service `sho`"),
        row("no service is asked for").file(".pg_service.conf", "[shop]\nnonsense\n").ok("app@shop:<a> "),
    ]
}

#[rustfmt::skip]
fn texts() -> Vec<Row> {
    vec![
        shop("comments and blank lines", "# one\n\n  # two\n[shop]\n# three\n\nhost=127.0.0.1\nport=<a>\n\t\nuser=app\ndbname=shop\npassword=secret-a").ok("app@shop:<a> "),
        shop("Windows line ends", SHOP.replace('\n', "\r\n")).ok("app@shop:<a> "),
        shop("no line end at the end", SHOP.trim_end()).ok("app@shop:<a> "),
        shop("blanks around a line", "  [shop]  \n  host=127.0.0.1  \n\tport=<a>\t\n user=app \n dbname=shop \n password=secret-a \n").ok("app@shop:<a> "),
        shop("something behind the name of a group", SHOP.replace("[shop]", "[shop] # production")).ok("app@shop:<a> "),
        shop("blanks in the name of a group", SHOP.replace("[shop]", "[ shop ]")).no("definition of service \"shop\" not found").but_says("no service `shop`"),
        shop("a name with blanks", SHOP.replace("[shop]", "[the shop]")).env("PGSERVICE", "the shop").ok("app@shop:<a> "),
        shop("lines before any group", format!("host=nowhere\nnonsense\n{SHOP}")).ok("app@shop:<a> "),
        shop("nonsense in another group", format!("[x]\nnonsense\n{SHOP}[y]\nnonsense\n")).ok("app@shop:<a> "),
        shop("a second group of the name", format!("{SHOP}[shop]\nuser=other\n")).ok("app@shop:<a> "),
        shop("a key twice", with("user=other\n")).ok("app@shop:<a> "),
        shop("a line without =", with("nonsense\n")).no("syntax error in service file").but_says("expected key=value"),
        shop("a key that does not exist", with("nonsense=1\n")).no("syntax error in service file").but_says("nonsense"),
        shop("a service within", with("service=x\n")).no("nested service specifications not supported").but_says("a service cannot set `service`"),
        shop("a blank before =", SHOP.replace("user=", "user =")).no("syntax error in service file")
            .but_we("source/service.rs: what `key = value` means is clear enough", Ok("app@shop:<a> ")),
        shop("a blank after =", SHOP.replace("user=", "user= ")).no("password authentication failed for user \" app\""),
        shop("quotes are part of a value", SHOP.replace("user=app", "user='app'")).no("password authentication failed for user \"'app'\""),
        shop("= in a value", with("options=-c work_mem=99MB\n")).ok(" mem=99MB "),
        shop("# in a value", with("application_name=a # b\n")).ok(" app=a # b "),
        shop("a senseless port", SHOP.replace("<a>", "abc")).no("invalid integer value \"abc\"").but_says("abc"),
        shop("an empty group", "[shop]\n[x]\nuser=other\n").env("PGHOST", "127.0.0.1").env("PGPORT", "<a>").env("PGUSER", "app").env("PGPASSWORD", "secret-a").ok("app@app:<a> "),
        shop("a setting that asks for nothing", with("gssencmode=disable\n")).ok("app@shop:<a> "),
        shop("a passfile", format!("{}passfile=<home>/pw\n", SHOP.replace("password=secret-a\n", ""))).file("pw", "*:*:*:app:secret-a\n").ok("app@shop:<a> "),
    ]
}

#[rustfmt::skip]
fn ranks() -> Vec<Row> {
    let beside = |name, variable, value: &str| shop(name, SHOP).env(variable, value).ok("app@shop:<a> ");
    vec![
        beside("host beats PGHOST", "PGHOST", "no-such-host.invalid"),
        beside("port beats PGPORT", "PGPORT", "<closed>"),
        beside("user beats PGUSER", "PGUSER", "stranger"),
        beside("dbname beats PGDATABASE", "PGDATABASE", "none"),
        beside("password beats PGPASSWORD", "PGPASSWORD", "wrong"),
        shop("application_name beats PGAPPNAME", with("application_name=service\n")).env("PGAPPNAME", "variable").ok(" app=service "),
        shop("options replace PGOPTIONS", with("options=-c search_path=q\n")).env("PGOPTIONS", "-c work_mem=99MB").ok(" mem=4MB path=q "),
        shop("PGHOSTADDR stays beside the service's host", SHOP.replace("127.0.0.1", "no-such-host.invalid")).env("PGHOSTADDR", "127.0.0.1").ok("app@shop:<a> "),
        shop("variables fill what the service leaves", "[shop]\nhost=127.0.0.1\nport=<a>\n").env("PGUSER", "app").env("PGDATABASE", "shop").env("PGPASSWORD", "secret-a").ok("app@shop:<a> "),
        shop("settings beat the service", OTHER).set("user", "app").set("password", "secret-a").ok("app@shop:<a> "),
        shop("a wrong password in the settings beats the service's", SHOP).set("password", "wrong").no("password authentication failed for user \"app\""),
        shop("a wrong password of the service beats PGPASSWORD", SHOP.replace("secret-a", "wrong")).env("PGPASSWORD", "secret-a").no("password authentication failed for user \"app\""),
        shop("the service's password beats the passfile", SHOP).file(".pgpass", "*:*:*:*:wrong\n").ok("app@shop:<a> "),
        shop("settings beat a senseless value of the service", SHOP.replace("<a>", "abc")).set("port", "<a>").ok("app@shop:<a> "),
        shop("an empty value of the service", SHOP.replace("dbname=shop", "dbname=")).env("PGDATABASE", "shop").ok("app@app:<a> ")
            .but_we("decision 012: empty is not set, so PGDATABASE applies", Ok("app@shop:<a> ")),
    ]
}

#[test]
fn services_mean_what_they_mean_to_libpq() -> Outcome {
    let Some(rig) = Rig::new()? else {
        return Ok(());
    };
    let rows = [places(), texts(), ranks()].into_iter().flatten();
    rig.compare(rows.collect())?;
    Ok(())
}
