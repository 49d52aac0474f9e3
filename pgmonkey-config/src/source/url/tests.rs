use super::*;
use proptest::prelude::*;

/// Returns the pairs of `text` as one line, sorted by keyword.
fn line(text: &str) -> String {
    let mut pairs = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    pairs.sort();
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(" ")
}

fn error(text: &str) -> UrlError {
    parse(text).expect_err(text)
}

#[test]
fn uris_are_read_as_libpq_reads_them() {
    for (uri, expected) in [
        ("postgres://", ""),
        ("postgresql://localhost", "host=localhost"),
        ("postgres://h:5433", "host=h port=5433"),
        ("postgres://h:/d", "dbname=d host=h"),
        ("postgres://h/shop", "dbname=shop host=h"),
        ("postgres://u@h", "host=h user=u"),
        (
            "postgres://u:pw@h:1/d",
            "dbname=d host=h password=pw port=1 user=u",
        ),
        ("postgres://:pw@h", "host=h password=pw"),
        ("postgres://u:@h", "host=h user=u"),
        ("postgres://@h", "host=h"),
        ("postgres://u:a:b@h", "host=h password=a:b user=u"),
        (
            "postgres://u:p%40%2F%3a%25w@h",
            "host=h password=p@/:%w user=u",
        ),
        ("postgres://u:p?w@h", "host=h password=p?w user=u"),
        ("postgres:///d", "dbname=d"),
        ("postgres:///d?host=/run/pg", "dbname=d host=/run/pg"),
        ("postgres://%2Frun%2Fpg/d", "dbname=d host=/run/pg"),
        ("postgres://[::1]:5433/d", "dbname=d host=::1 port=5433"),
        ("postgres://[fe80::1%25eth0]", "host=fe80::1%eth0"),
        ("postgres://[::1],[::2]:7", "host=::1,::2 port=5432,7"),
        (
            "postgres://a:1,b,c:3/d",
            "dbname=d host=a,b,c port=1,5432,3",
        ),
        ("postgres://a,b", "host=a,b port=5432,5432"),
        (
            "postgres://h?sslmode=require&connect_timeout=5",
            "connect_timeout=5 host=h sslmode=require",
        ),
        ("postgres://h?ssl=true", "host=h sslmode=require"),
        ("postgres://h/d?host=other&", "dbname=d host=other"),
        ("postgres://h?application_name=", "application_name= host=h"),
        (
            "postgres://h?options=-c%20geqo%3Doff",
            "host=h options=-c geqo=off",
        ),
        ("postgres://h/größe%C3%A4", "dbname=größeä host=h"),
        ("postgres://h/a%40b", "dbname=a@b host=h"),
        (
            "postgres://h:1/d?user=me@server",
            "dbname=d host=h port=1 user=me@server",
        ),
        ("postgres://h/d ", "dbname=d host=h"),
    ] {
        assert_eq!(line(uri), expected, "{uri}");
    }
}

#[test]
fn wrong_uris_say_what_and_where() {
    for (uri, expected) in [
        ("mysql://u:pw@h", UrlError::Scheme),
        ("POSTGRES://h", UrlError::Scheme),
        ("postgres://h/%", UrlError::Percent { at: 14 }),
        ("postgres://h/%zz", UrlError::Percent { at: 14 }),
        ("postgres://h/ä%+1", UrlError::Percent { at: 15 }),
        ("postgres://h/%ä", UrlError::Percent { at: 14 }),
        ("postgres://u:a%00b@h", UrlError::Text { at: 14 }),
        ("postgres://u:%ff@h", UrlError::Text { at: 14 }),
        ("postgres://u:a b@h", UrlError::Blank { at: 15 }),
        ("postgres://[::1", UrlError::Bracket { at: 12 }),
        ("postgres://[]", UrlError::Bracket { at: 12 }),
        ("postgres://[::1]x", UrlError::Bracket { at: 12 }),
        ("postgres://h:12x", UrlError::Port { at: 14 }),
        ("postgres://u:pa/ss@h", UrlError::Port { at: 14 }),
        ("postgres://u:/7MrEdHz@h/d", UrlError::Slash { at: 14 }),
        ("postgres://u:12/7MrEd@h/d", UrlError::Slash { at: 16 }),
        ("postgres://us/er@h", UrlError::Slash { at: 14 }),
        ("postgres://u:p@ss/word@h/d", UrlError::Slash { at: 18 }),
        ("postgres://u:/a?user=b@h/d", UrlError::Slash { at: 14 }),
        ("postgres://h?user", UrlError::Separator { at: 14 }),
        ("postgres://h?user=a=b", UrlError::Separator { at: 14 }),
        ("postgres://h?user=a&&", UrlError::Separator { at: 21 }),
        ("postgres://h?usr=a", UrlError::Keyword { at: 14 }),
        ("postgres://h?tls=false", UrlError::Keyword { at: 14 }),
    ] {
        assert_eq!(error(uri), expected, "{uri}");
    }
}

#[test]
fn key_value_text_is_read_as_libpq_reads_it() {
    for (text, expected) in [
        ("", ""),
        (" \n", ""),
        ("host=h port=5433", "host=h port=5433"),
        ("  host = h\n\tuser= u ", "host=h user=u"),
        ("password='a b'", "password=a b"),
        (r"password='it\'s \\'", r"password=it's \"),
        (r"password=a\ b\'c", "password=a b'c"),
        ("password=a'b", "password=a'b"),
        ("password=a=b", "password=a=b"),
        ("password='' host=h", "host=h password="),
        ("host=a host=b", "host=b"),
        ("host= user=u", "host=user=u"),
        ("password=postgres://x", "password=postgres://x"),
        ("dbname='größe'user=u", "dbname=größe user=u"),
    ] {
        assert_eq!(line(text), expected, "{text}");
    }
}

#[test]
fn wrong_key_value_text_says_what_and_where() {
    for (text, expected) in [
        ("host", UrlError::Separator { at: 1 }),
        ("host=h user", UrlError::Separator { at: 8 }),
        ("password=a b", UrlError::Separator { at: 12 }),
        ("password=a b=c", UrlError::Keyword { at: 12 }),
        ("=x", UrlError::Keyword { at: 1 }),
        ("password='a b", UrlError::Quote { at: 10 }),
        ("tls=true", UrlError::Keyword { at: 1 }),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn keywords_are_sorted_and_unique() {
    assert!(KEYWORDS.is_sorted_by(|a, b| a < b));
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = parse(&text);
        let _ = parse(&format!("postgres://{text}"));
    }

    #[test]
    fn near_misses_never_panic_nor_show_their_text(text in "[a-z%@/:?&=,'\\[\\] \\\\ä0-9]{0,30}") {
        for text in [format!("postgres://{text}"), text] {
            if let Err(error) = parse(&format!("{text}tRiCkY")) {
                let shown = format!("{error} {error:?}");
                prop_assert!(!shown.contains("tRiCkY"), "{shown}");
            }
        }
    }

    #[test]
    fn any_encoded_password_comes_back(password in "[^\\x00]{1,20}") {
        let encoded: String = password.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let pairs = parse(&format!("postgres://u:{encoded}@h")).expect("well-formed");
        prop_assert!(pairs.contains(&("password".to_owned(), password)));
    }

    #[test]
    fn any_quoted_password_comes_back(password in "[^\\x00]{0,20}") {
        let quoted = password.replace('\\', "\\\\").replace('\'', "\\'");
        let pairs = parse(&format!("password = '{quoted}' user=u")).expect("well-formed");
        prop_assert!(pairs.contains(&("password".to_owned(), password)));
    }
}

#[test]
fn other_programs_connection_strings_are_named() {
    for (text, what) in [
        ("jdbc:postgresql://h/d?user=u&password=pw", "a JDBC URL"),
        ("postgresql+psycopg2://u:pw@h/d", "an SQLAlchemy URL"),
        (
            "Server=h;Database=d;User Id=u;Password=pw;",
            "a connection string of ADO.NET or ODBC",
        ),
        (
            "Host=h;Username=u;Password=pw",
            "a connection string of ADO.NET or ODBC",
        ),
        ("\"postgres://u:pw@h/d\"", "in quotes"),
        ("'postgres://u:pw@h/d'", "in quotes"),
        (
            "DATABASE_URL=postgres://u:pw@h/d",
            "an assignment to a variable",
        ),
        (
            "export DATABASE_URL='postgres://u:pw@h/d'",
            "an assignment to a variable",
        ),
        ("psql 'postgres://u:pw@h/d'", "a command line of psql"),
        ("pgsql:host=h;dbname=d", "a DSN of PHP"),
    ] {
        let error = error(text);
        assert!(
            matches!(error, UrlError::Dialect { what: found, .. } if found == what),
            "{error}"
        );
        assert!(!error.to_string().contains("pw"), "{error}");
    }
    // libpq reads these.
    for text in [
        "host=h password='a;b=c'",
        "host=h password=a;Port=1",
        "dbname=d;",
    ] {
        assert!(parse(text).is_ok(), "{text}");
    }
}

#[test]
fn other_programs_parameters_are_named() {
    for name in [
        "pgbouncer",
        "schema",
        "search_path",
        "connection_limit",
        "supa",
        "sslaccept",
        "sslca",
        "ssl",
        "TimeZone",
        "uselibpqcompat",
        "pool_max_conns",
        "currentSchema",
    ] {
        for text in [
            format!("postgres://u:pw@h/d?{name}=x"),
            format!("host=h {name}=x"),
        ] {
            let said = error(&text).to_string();
            assert!(
                said.to_lowercase()
                    .contains(&format!("`{}`", name.to_lowercase())),
                "{said}"
            );
            assert!(
                ["write", "set", "remove"]
                    .iter()
                    .any(|word| said.contains(word)),
                "{said}"
            );
        }
    }
    assert_eq!(error("postgres://h?secret=1"), UrlError::Keyword { at: 14 });
}

#[test]
fn a_second_at_sign_is_named() {
    assert_eq!(error("postgres://u:p@ss@h/d"), UrlError::At { at: 18 });
    assert_eq!(
        error("postgres://u@srv:pw@srv.postgres.database.azure.com/d"),
        UrlError::At { at: 20 }
    );
    assert!(error("postgres://u:p@ss@h/d").to_string().contains("%40"));
}
