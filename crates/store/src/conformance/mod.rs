//! The tests that every store must pass: what the ports promise, test by test.
//!
//! A store joins with one line in its tests, naming a function that opens a new, empty store:
//!
//! ```ignore
//! jeton_store::conformance_tests!(open_an_empty_store);
//! ```
//!
//! where `async fn open_an_empty_store() -> jeton_store::conformance::Fixture`. Each function becomes one test. Where a new
//! database costs much, a second function may empty one for each of the many runs of the last test.
//! One that keeps service tokens and the audit log has a second line, `server_conformance_tests!`, in a module of its own.
//! A test panics where the store breaks a rule, and passes on the errors of the store.
#![expect(
    clippy::missing_panics_doc,
    reason = "a test panics where the store breaks a rule: that is its purpose"
)]

pub mod audit;
pub mod claims;
pub mod commits;
pub mod concurrency;
pub mod consents;
pub mod failures;
mod fixture;
pub mod grants;
pub mod interleavings;
pub mod listing;
mod model;
pub mod nodes;
pub mod operator_commands;
pub mod refresh_log;
pub mod service_tokens;

pub use fixture::{Fixture, ServerFixture, SteppedClock, TestResult};

/// Makes the tests for the store that `$open` opens.
#[macro_export]
macro_rules! conformance_tests {
    ($open:path) => {
        $crate::conformance_tests!($open, $open);
    };
    ($open:path, $often:path) => {
        $crate::conformance_tests! { @tests $open;
            claims::the_first_claim_wins_and_opens_the_attempt,
            claims::a_second_claim_is_held_until_the_lease_lapses,
            claims::a_claim_that_is_sent_again_gets_the_first_answer,
            claims::an_attempt_that_is_over_is_never_opened_again,
            claims::a_claim_of_a_generation_that_moved_spends_nothing,
            claims::a_claim_is_cooling_down_after_a_failure_unless_a_person_insists,
            claims::an_open_attempt_under_a_lapsed_lease_is_interrupted_whoever_finds_it,
            claims::a_recovery_closes_the_interrupted_attempt_in_its_own_claim,
            claims::only_the_open_attempt_can_be_recovered,
            claims::what_is_missing_paused_or_dead_is_closed,
            claims::an_attempt_whose_process_died_makes_its_connection_due_when_the_lease_lapses,
            commits::a_commit_stores_the_tokens_closes_the_attempt_and_gives_the_lease_back,
            commits::a_lapsed_lease_does_not_refuse_a_commit,
            commits::a_commit_that_is_sent_again_gets_the_first_answer,
            commits::a_commit_after_a_new_grant_is_an_orphan_of_the_old_one,
            commits::a_commit_whose_refresh_token_is_not_the_one_it_spent_is_an_orphan,
            commits::a_late_reply_beats_the_recovery_that_was_still_under_way,
            commits::the_reply_of_a_beaten_recovery_is_kept_as_an_orphan_of_the_same_grant,
            commits::using_an_orphan_takes_it_away,
            commits::an_orphan_that_comes_too_late_itself_is_not_kept_twice,
            commits::a_success_ends_the_trouble_before_it,
            commits::a_commit_of_a_connection_that_is_not_there_is_an_error,
            commits::a_commit_whose_attempt_the_log_lost_is_stored_all_the_same,
            consents::a_link_opens_once_and_in_time,
            consents::an_answer_is_taken_once_and_opens_its_attempt,
            consents::an_answer_that_does_not_fit_changes_nothing,
            consents::a_refusal_ends_the_consent,
            consents::an_exchange_that_succeeds_connects_under_its_attempt,
            consents::what_began_later_has_the_last_word,
            consents::a_clock_that_was_a_day_ahead_does_not_decide_which_consent_began_later,
            consents::a_grant_whose_refresh_token_is_being_sent_leaves_the_lease_alone,
            consents::an_exchange_that_fails_leaves_the_connection_alone,
            consents::a_kept_reply_of_an_exchange_is_wiped_once_its_grant_is_stored,
            consents::the_latest_consent_of_each_connection_is_listed_and_old_ones_are_forgotten,
            failures::a_failure_that_spent_nothing_cools_down_and_counts,
            failures::an_unknown_outcome_keeps_the_attempt_open_and_gives_the_lease_back,
            failures::a_dead_grant_is_not_due_and_keeps_its_tokens,
            failures::a_refused_access_token_dies_with_its_grant,
            failures::a_dead_grant_stays_dead_when_acquiring_in_its_place_fails,
            failures::a_suspended_grant_stays_due,
            failures::a_refused_grant_lives_in_doubt_until_a_refresh_succeeds,
            failures::a_dead_grant_that_a_person_has_redeemed_is_in_doubt_again,
            failures::a_failure_does_not_end_a_longer_cool_down,
            failures::a_failure_that_is_sent_again_counts_once,
            failures::a_failure_after_the_generation_moved_touches_only_the_log,
            failures::a_failure_after_a_recovery_began_touches_only_the_log,
            failures::a_recovery_that_spent_nothing_leaves_the_first_attempt_open,
            failures::an_unknown_outcome_may_be_settled_later,
            failures::a_failure_never_undoes_a_success,
            failures::a_reply_that_could_not_be_read_is_kept_until_it_is,
            failures::a_skip_leaves_a_row_and_the_next_visit_and_only_once,
            failures::a_skip_of_a_generation_that_moved_or_of_a_dead_grant_sets_no_visit,
            grants::connecting_makes_the_row_with_its_first_generation,
            grants::connecting_again_replaces_the_grant_and_never_goes_back,
            grants::a_connect_that_is_sent_again_gets_the_first_answer,
            grants::connecting_over_a_generation_that_moved_changes_nothing,
            grants::the_refresh_token_that_is_held_already_changes_nothing,
            grants::a_grant_that_is_used_first_opens_its_attempt_and_leaves_the_row_alone,
            grants::a_grant_that_is_held_already_is_not_used_first,
            grants::a_grant_that_was_refused_when_it_was_used_first_leaves_the_row_alone,
            grants::a_single_use_refresh_token_that_was_spent_is_refused_everywhere,
            grants::a_single_use_refresh_token_that_another_connection_holds_is_refused,
            grants::a_refresh_token_of_a_failed_attempt_may_be_connected_again,
            grants::connecting_supersedes_the_attempt_under_way,
            grants::connecting_without_tokens_waits_for_the_first_acquire,
            grants::a_process_that_begins_by_itself_makes_the_row_and_changes_none,
            grants::connecting_without_tokens_leaves_a_working_grant_alone,
            grants::connecting_without_tokens_to_another_provider_gives_the_old_tokens_up,
            operator_commands::a_paused_connection_is_neither_due_nor_claimed_until_it_is_resumed,
            operator_commands::resuming_makes_it_due_now_and_ends_the_cooling,
            operator_commands::disconnecting_wipes_the_tokens_and_what_comes_late_is_never_used,
            operator_commands::an_order_that_is_given_again_is_done_once,
            operator_commands::an_order_for_nobody_is_answered_so,
            operator_commands::a_rejection_of_another_token_differs,
            operator_commands::a_rejection_of_a_token_born_of_a_rejection_brakes_and_the_brake_is_kept,
            operator_commands::a_rejection_of_an_unknown_connection_is_unknown,
            listing::connections_are_listed_by_name_page_by_page,
            listing::what_is_due_comes_longest_first_and_page_by_page,
            listing::what_is_leased_or_paused_or_far_away_is_not_due,
            listing::every_change_gets_a_higher_revision_and_shows_in_the_feed,
            listing::an_answer_that_changes_nothing_makes_no_revision,
            listing::waiting_ends_when_this_process_changes_something,
            listing::waiting_ends_when_another_process_changes_something,
            listing::waiting_for_what_has_happened_ends_at_once,
            refresh_log::attempts_are_listed_newest_first_page_by_page,
            refresh_log::attempts_are_filtered_by_every_field,
            refresh_log::an_attempt_whose_lease_lapsed_counts_as_failed,
            refresh_log::who_asked_and_what_the_provider_said_are_on_record,
            refresh_log::a_new_store_takes_one_identity_and_keeps_it,
            refresh_log::adopting_changes_the_instance_alone,
            refresh_log::the_first_value_of_a_setting_stays,
            refresh_log::what_is_written_is_there_after_opening_again,
            nodes::a_node_hears_of_the_others_that_live,
            nodes::a_node_that_ends_is_forgotten,
            concurrency::of_many_claims_in_two_processes_exactly_one_wins_each_generation,
            concurrency::calls_of_many_connections_do_not_mix,
        }

        #[test]
        fn random_interleavings_follow_the_rules() {
            $crate::conformance::interleavings::random_interleavings_follow_the_rules($often);
        }
    };
    (@tests $open:path; $($part:ident :: $test:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                $crate::conformance::$part::$test(&$open().await).await.unwrap();
            }
        )*
    };
}

/// Makes the tests of service tokens and of the audit log for the store that `$open` opens, a [`ServerFixture`].
#[macro_export]
macro_rules! server_conformance_tests {
    ($open:path) => {
        $crate::conformance_tests! { @tests $open;
            audit::who_paused_resumed_and_disconnected_is_in_the_audit_log_once,
            audit::an_order_that_changed_nothing_is_not_in_the_audit_log,
            audit::who_put_a_grant_in_is_in_the_audit_log_once_and_whether_it_replaced_another,
            audit::a_grant_that_was_not_put_in_is_not_in_the_audit_log,
            audit::who_made_a_link_is_in_the_audit_log_and_so_is_the_consent_that_it_led_to,
            audit::a_refresh_is_not_in_the_audit_log,
            audit::the_rows_of_one_subject_are_read_page_by_page_the_newest_first,
            service_tokens::a_token_is_made_once_and_found_as_it_was_made,
            service_tokens::a_hash_belongs_to_one_row_for_good,
            service_tokens::a_rotation_gives_a_successor_and_ends_the_old_token_after_the_overlap,
            service_tokens::a_rotation_that_is_sent_again_gets_the_first_answer,
            service_tokens::what_is_missing_ended_or_rotated_is_not_rotated,
            service_tokens::a_revocation_stays_as_it_was_first_given,
            service_tokens::tokens_are_listed_in_the_order_of_their_making_page_by_page,
            service_tokens::every_change_gets_the_next_revision_and_nothing_else_does,
            service_tokens::changes_of_many_at_once_appear_in_order_and_none_is_missed,
            service_tokens::a_use_is_written_at_most_once_a_minute_and_is_no_change,
            service_tokens::who_ordered_what_is_in_the_audit_log_once_and_never_the_hash,
            service_tokens::what_is_written_is_there_after_opening_again,
        }
    };
}
