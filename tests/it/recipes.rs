//! The recipes of the book are the programs that run here.

use pgmonkey_tests::Outcome;
use pgmonkey_tests::kitchen::{Kitchen, said};

mod observed;
mod pages;
mod readers;
mod readme;
mod rolled_back;
mod shared_pool;
mod web;
mod worker;

#[test]
fn values_of_other_crates_and_own_types_are_the_same_when_read() -> Outcome {
    let kitchen = Kitchen::new("SELECT");
    let output = kitchen.cook(env!("CARGO_BIN_EXE_recipe_types"), &[]);
    assert!(output.status.success(), "{output:?}");
    let expected = r#"numeric: 19.99
NULL: None
json: ["id","name"]
in the array: 2
composite: Spot { room: "left", height: 2 }
"#;
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    Ok(())
}

#[test]
fn a_script_moves_all_or_nothing_and_says_so_by_its_exit_code() -> Outcome {
    let kitchen = Kitchen::new(
        "CREATE TABLE orders (id int, placed date); CREATE TABLE orders_archive (id int, placed date); \
         INSERT INTO orders SELECT n, current_date - n FROM generate_series(1, 100) n",
    );
    let script = env!("CARGO_BIN_EXE_recipe_script");
    assert_eq!(said(&kitchen.cook(script, &["30"])), "70 orders moved\n");
    assert_eq!(
        kitchen.number("SELECT count(*) FROM $schema.orders_archive"),
        70
    );

    kitchen
        .on
        .run(&format!("DROP TABLE {}.orders_archive", kitchen.schema));
    let failed = kitchen.cook(script, &["10"]);
    assert_eq!(failed.status.code(), Some(1));
    let reason = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(
        reason.contains("orders_archive") && reason.contains("42P01"),
        "{reason}"
    );
    assert_eq!(kitchen.number("SELECT count(*) FROM $schema.orders"), 30);
    kitchen
        .on
        .until("no session is left", || kitchen.on.sessions() == 0);
    Ok(())
}

fn accounts() -> Kitchen {
    Kitchen::new(
        "CREATE TABLE accounts (name text, money int); \
         INSERT INTO accounts VALUES ('alice', 100), ('bob', 50)",
    )
}

#[test]
fn every_way_to_have_a_transaction() -> Outcome {
    let kitchen = accounts();
    let output = kitchen.cook(env!("CARGO_BIN_EXE_recipe_transactions"), &[]);
    assert_eq!(said(&output), "acme: alice has 98\nalice: 98\nbob: 66\n");
    Ok(())
}

#[test]
fn every_way_to_have_a_transaction_in_a_task() -> Outcome {
    let kitchen = accounts();
    let output = kitchen.cook(env!("CARGO_BIN_EXE_recipe_transactions_async"), &[]);
    assert_eq!(said(&output), "alice: 98\nbob: 66\n");
    Ok(())
}

#[test]
fn a_repository_is_written_once() -> Outcome {
    let kitchen = accounts();
    let output = kitchen.cook(env!("CARGO_BIN_EXE_recipe_repository"), &[]);
    assert_eq!(
        said(&output),
        "Some(100)\nthere is no such account\nSome(93)\n"
    );
    Ok(())
}

#[test]
fn one_handle_from_a_storm_to_the_end() -> Outcome {
    let kitchen = Kitchen::new("SELECT 1");
    let text = said(&kitchen.cook(env!("CARGO_BIN_EXE_recipe_lifecycle"), &[]));
    assert!(text.starts_with("16 callers, 1 handle\n"), "{text}");
    assert!(text.ends_with("closed 1\n"), "{text}");
    kitchen
        .on
        .until("no session is left", || kitchen.on.sessions() == 0);
    Ok(())
}

#[test]
fn a_password_out_of_a_token_file() -> Outcome {
    let kitchen = Kitchen::new("SELECT 1");
    let server = kitchen.on.server();
    let secret = format!("'{}'", server.password().replace('\'', "''"));
    kitchen.write(&kitchen.on.yaml("").replace(&secret, "'not this one'"));
    let program = env!("CARGO_BIN_EXE_recipe_credentials");

    let failed = kitchen.cook(program, &[]);
    let reason = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(reason.contains("the password provider failed"), "{reason}");

    let token = format!("{}\n", server.password());
    std::fs::write(kitchen.folder.path().join("token"), token)?;
    let text = said(&kitchen.cook(program, &[]));
    assert_eq!(text.trim(), server.user());
    Ok(())
}

#[test]
fn a_file_the_environment_and_the_program() -> Outcome {
    let kitchen = Kitchen::new("SELECT 1");
    let server = kitchen.on.server();
    kitchen.write(
        "connection_settings: { host: '${DB_HOST}', port: 1, dbname: '${DB_NAME:-postgres}', \
         user: { from_env: DB_USER }, password: { from_file: secret }, sslmode: disable }",
    );
    std::fs::write(kitchen.folder.path().join("secret"), server.password())?;
    let output = kitchen
        .command(env!("CARGO_BIN_EXE_recipe_environment"))
        .env("DB_HOST", server.host())
        .env("DB_USER", server.user())
        .env("DB_NAME", server.dbname())
        .env(
            "PGMONKEY_CONNECTION_SETTINGS__PORT",
            server.port().to_string(),
        )
        .output()?;
    let text = said(&output);
    assert!(text.ends_with("\nshop\n"), "{text}");
    assert!(!text.contains(server.password()), "{text}");
    Ok(())
}
