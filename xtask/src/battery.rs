//! The battery: the checks in which versions of PostgreSQL can differ, a few for each promise.

/// The newest version that the tests know.
pub(crate) const NEWEST: u32 = 18;
/// The other versions that are supported.
pub(crate) const OTHERS: [u32; 4] = [14, 15, 16, 17];

/// The names of tests: module and function, which also match the two forms of a twin.
pub(crate) const BATTERY: [&str; 40] = [
    // Logins: methods, TLS in each mode and negotiation, refusals.
    "tls::each_mode_finds_what_the_server_admits",
    "encryption::a_login_is_bound_to_the_channel",
    "encryption::direct_negotiation_takes_a_server_that_names_the_protocol",
    "encryption::a_cancel_request_is_encrypted_as_its_session_is",
    "outage::a_wrong_password_surfaces_at_once",
    "rotation::a_pool_lives_through_rotations_of_its_password",
    // Which server: announced and asked roles, promotion.
    "roles::each_value_finds_the_server_that_psql_finds",
    "roles::a_server_that_announces_nothing_is_asked",
    "roles::a_standby_that_was_promoted_is_no_standby_any_more",
    "roles::a_failover_costs_no_borrower_more_than_the_statement_in_flight",
    // Session settings.
    "session_settings::b07_b33_settings_arrive_as_they_are_written",
    "session_settings::settings_survive_a_rollback_and_a_reset",
    "session_settings::a_bad_setting_fails_the_connect_and_is_named",
    // Transactions: outcome, retry, options, savepoints.
    "outcome::a_commit_that_was_cut_off_is_unknown_on_every_way_to_it",
    "outcome::a_release_of_a_savepoint_that_was_cut_off_is_undone",
    "confirmation::the_outcome_of_a_commit_that_was_cut_off_is_known",
    "retry::a_conflict_that_the_closure_hides_is_seen",
    "retry::a_deadlock_is_followed_by_another_attempt",
    "transaction_options::a_transaction_that_is_kept_has_its_options",
    "test_transaction::transactions_of_a_test_are_savepoints",
    // Cancelling and deadlines.
    "recycle::a_dropped_query_is_cancelled_on_the_server",
    "recycle::abandoned_statements_do_not_reach_the_next_borrower",
    "deadline::a_transaction_ends_by_its_deadline_and_keeps_nothing",
    // A clean session for each borrower.
    "recycle::a_failed_transaction_is_rolled_back",
    "recycle::reset_auto_puts_back_what_a_borrower_changed",
    "leftovers::nothing_of_a_borrower_is_found_by_the_next",
    // COPY and rows.
    "recycle::a_half_done_copy_does_not_reach_the_next_borrower",
    "streams::copies_work_everywhere_on_threads",
    "streams::copies_work_everywhere_in_tasks",
    // Notifications.
    "listener::what_is_told_is_heard",
    "listener::a_killed_session_is_replaced_and_said_so",
    // Outages.
    "outage::killed_sessions_cost_no_borrower_an_error",
    "outage::a_restarted_server_costs_no_borrower_an_error",
    "poolers::an_outage_behind_a_pooler_is_transient",
    "poolers::settings_go_with_each_transaction",
    // Prepared statements, changes of the schema, types, errors.
    "statement_cache::a_result_that_changed_with_the_schema_is_prepared_anew",
    "schema_changes::types_made_anew_are_learnt_anew",
    "multiplex::callers_who_find_no_idle_session_share",
    "errors::a_handler_learns_which_constraint_was_violated",
    // What is read from the wire agrees with the server.
    "wire::the_blocking_driver_agrees_with_the_server",
];

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::process;

    #[test]
    fn each_name_is_one_test() {
        let tests = process::root().join("tests/it");
        for name in BATTERY {
            let (module, function) = name.rsplit_once("::").unwrap();
            let path = tests.join(format!("{}.rs", module.replace("::", "/")));
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
            let found = text.matches(&format!("fn {function}(")).count();
            assert_eq!(found, 1, "{name}");
        }
        let mut names = BATTERY.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), BATTERY.len(), "one is listed twice");
    }
}
