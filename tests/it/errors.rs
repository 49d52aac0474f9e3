//! What a handler can query of an error, and the error's text. Over TCP.

use pgmonkey::{Config, Error, ErrorKind};
use pgmonkey_tests::{Fixture, twin};

/// Tables with a constraint of each kind.
fn constrain(on: &Fixture) {
    on.run(&format!(
        "ALTER TABLE {0} ADD CONSTRAINT {0}_key UNIQUE (n), ADD CONSTRAINT {0}_small CHECK (n < 100), \
         ALTER n SET NOT NULL, ADD COLUMN parent int CONSTRAINT {0}_parent REFERENCES {0} (n)",
        on.name
    ));
}

twin! {
    fn a_handler_learns_which_constraint_was_violated(on, driver, go, work) {
        constrain(&on);
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1 }")))?;
        let insert = format!("INSERT INTO {} VALUES ($1, $2)", on.name);
        let none: Option<i32> = None;
        go!(pool.execute(&insert, &[&7_i32, &none]))?;
        let unique = go!(pool.execute(&insert, &[&7_i32, &none])).expect_err("there already");
        assert!(unique.is_unique_violation() && !unique.is_check_violation(), "{unique}");
        assert_eq!(unique.constraint(), Some(format!("{}_key", on.name).as_str()));
        assert_eq!(unique.table(), Some(on.name.as_str()));
        assert_eq!(unique.detail(), Some("Key (n)=(7) already exists."));
        let check = go!(pool.execute(&insert, &[&100_i32, &none])).expect_err("too large");
        assert!(check.is_check_violation() && !check.is_unique_violation(), "{check}");
        assert_eq!(check.constraint(), Some(format!("{}_small", on.name).as_str()));
        let null = go!(pool.execute(&insert, &[&none, &none])).expect_err("no value");
        assert!(null.is_not_null_violation(), "{null}");
        assert_eq!((null.column(), null.constraint()), (Some("n"), None));
        let foreign = go!(pool.execute(&insert, &[&8_i32, &9_i32])).expect_err("no parent");
        assert!(foreign.is_foreign_key_violation(), "{foreign}");
        assert_eq!(foreign.constraint(), Some(format!("{}_parent", on.name).as_str()));
        for error in [unique, check, null, foreign] {
            assert!(!error.is_transient() && !error.is_conflict() && !error.is_no_row(), "{error}");
        }
        Ok(())
    }
}

twin! {
    fn values_of_rows_are_shown_only_when_asked_for(on, driver, go, work) {
        constrain(&on);
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1 }")))?;
        let insert = format!("INSERT INTO {} VALUES (77)", on.name);
        go!(pool.execute(&insert, &[]))?;
        let error = go!(pool.execute(&insert, &[])).expect_err("there already");
        for text in [format!("{error}"), format!("{error:?}"), format!("{error:#?}")] {
            assert!(text.contains("duplicate key value") && !text.contains("(77)"), "{text}");
        }
        assert!(format!("{error:#}").ends_with("; Key (n)=(77) already exists."), "{error:#}");
        Ok(())
    }
}

twin! {
    fn no_row_is_told_from_too_many(on, driver, go, work) {
        for cache in [256, 0] {
            let settings = format!("{{ max_size: 1, statement_cache: {cache} }}");
            let pool = go!(driver::Pool::new(&on.pools(&settings)))?;
            let none = go!(pool.query_one("SELECT 1 WHERE $1", &[&false])).expect_err("none");
            assert!(none.is_no_row() && !none.is_transient(), "{none}");
            let many = go!(pool.query_one("SELECT generate_series(1, $1)", &[&2_i32]));
            let many = many.expect_err("two");
            assert!(!many.is_no_row(), "{many}");
        }
        Ok(())
    }
}

twin! {
    fn a_conflict_is_transient(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1 }")))?;
        for code in ["40001", "40P01"] {
            let raise = format!("DO $$ BEGIN RAISE SQLSTATE '{code}'; END $$");
            let error = go!(pool.batch_execute(&raise)).expect_err("it was raised");
            assert!(error.is_conflict() && error.is_transient(), "{error}");
            assert_eq!(error.kind(), ErrorKind::Transient);
        }
        let other = go!(pool.batch_execute("DO $$ BEGIN RAISE SQLSTATE '40002'; END $$"));
        let other = other.expect_err("it was raised");
        assert!(!other.is_conflict() && !other.is_transient(), "{other}");
        assert!(!Error::NoRow.is_conflict());
        Ok(())
    }
}

// The drivers accept no more than 100,000, and would only say that the message is invalid.
twin! {
    fn a_key_of_too_many_iterations_is_named(on, driver, go, work) {
        let key = format!("{}=", "A".repeat(43));
        on.run(&format!(
            "CREATE ROLE {} LOGIN PASSWORD 'SCRAM-SHA-256$150000:c2FsdHNhbHRzYWx0${key}:{key}'",
            on.name
        ));
        let mut settings = on.config("").to_settings();
        settings.connection_settings.user = Some(on.name.clone());
        let error = match go!(driver::Pool::new(&Config::new(settings)?)) {
            Ok(_) => panic!("the drivers accept it by now"),
            Err(error) => error,
        };
        assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
        let text = error.to_string();
        for part in ["150000 iterations", "at most 100000", "set scram_iterations to"] {
            assert!(text.contains(part), "{text}");
        }
        on.run(&format!("DROP ROLE {}", on.name));
        Ok(())
    }
}
