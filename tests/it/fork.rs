//! Processes that fork.

use std::process::Command;

use pgmonkey_tests::{Fixture, Outcome};

const REFUSED: &str =
    "was opened before fork, in the parent process: open handles in the child, after the fork";

/// The output of the program that opens handles and forks.
fn run(family: &str, how: &str) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let on = Fixture::new();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("pgmonkey.yaml");
    let sizes = "{ min_size: 1, max_size: 3 }";
    let pools = format!("pool_settings: {sizes}\nasync_pool_settings: {sizes}\n");
    std::fs::write(&path, on.yaml(&pools))?;
    let output = Command::new(env!("CARGO_BIN_EXE_forks"))
        .arg(&path)
        .args([family, how])
        .output()?;
    let told = String::from_utf8(output.stdout)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{family} {how}: {told}{errors}");
    Ok(told)
}

/// What a child prints that inherited handles of both kinds; the parent's sessions survive.
fn forked(family: &str, how: &str) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let told = run(family, how)?;
    let (child, parent) = told.split_once('\n').expect("two lines");
    assert_eq!(parent, "parent: the same sessions\n", "{family} {how}");
    Ok(child.to_owned())
}

macro_rules! forked {
    ($($(#[$meta:meta])* fn $name:ident($how:literal) = $told:expr;)*) => {
        $(
            $(#[$meta])*
            mod $name {
                use super::*;

                #[test]
                fn sync() -> Outcome {
                    assert_eq!(forked("sync", $how)?, format!("child: {}", $told));
                    Ok(())
                }

                #[test]
                fn aio() -> Outcome {
                    assert_eq!(forked("async", $how)?, format!("child: {}", $told));
                    Ok(())
                }
            }
        )*
    };
}

forked! {
    fn a_child_that_exits_leaves_the_parents_sessions_alone("exit") = "nothing";
    fn a_child_that_drops_what_it_inherited_ends_no_session("drop") = "dropped";
    fn a_child_that_closes_what_it_inherited_ends_no_session("close") = "closed";
    fn an_inherited_pool_lends_nothing("acquire") = format!("the pool {REFUSED}");
    fn an_inherited_handle_runs_no_statement("statement") = format!("the connection {REFUSED}");
    fn an_inherited_guard_runs_no_statement("guard") = format!("the session {REFUSED}");
    fn an_inherited_transaction_runs_no_statement("transaction") = format!("the session {REFUSED}");
    fn an_inherited_transaction_commits_nothing("commit") = format!("the session {REFUSED}");
    fn an_inherited_listener_subscribes_to_nothing("listen") = format!("the listener {REFUSED}");
    fn an_inherited_listener_hears_nothing("hear") = format!("the listener {REFUSED}");
}

#[test]
fn the_blocking_drivers_own_calls_are_refused_too() -> Outcome {
    let told = forked("sync", "deref")?;
    assert!(told.contains(&format!("the session {REFUSED}")), "{told}");
    Ok(())
}

/// What both families guarantee to a child that opens its own handles.
fn opens_its_own(family: &str) -> Outcome {
    assert_eq!(forked(family, "new")?, "child: answered", "{family}");
    assert_eq!(forked(family, "manager")?, "child: answered", "{family}");
    let told = run(family, "busy")?;
    assert_eq!(told, "child: answered\n".repeat(20), "{family}");
    Ok(())
}

#[test]
fn a_child_opens_async_handles_of_its_own() -> Outcome {
    opens_its_own("async")
}

#[test]
fn a_child_opens_blocking_handles_of_its_own() -> Outcome {
    opens_its_own("sync")
}
