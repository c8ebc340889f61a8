//! The tests that every store has to pass, so that the one in memory cannot lie about the database.
//!
//! A crate with a store runs them all by giving [`port_suite!`](crate::port_suite) a function that
//! makes a fresh, empty store (as the migrations leave it) and waits for the test; each test of the
//! suite becomes a `#[test]` of that crate:
//!
//! ```
//! use dcms_domain::testing::{InMemoryStore, port_suite::PortTest};
//!
//! fn on_a_fresh_store(test: PortTest) {
//!     let store = InMemoryStore::default();
//!     pollster::block_on(test(&store));
//! }
//!
//! dcms_domain::port_suite!(on_a_fresh_store);
//! ```
//!
//! With tokio the function builds a runtime and does `runtime.block_on(…)`. Some tests open a few
//! units of work at once, so the store has to have four connections or more.

mod appointments;
mod audit;
mod availability;
mod billing;
mod calendar;
mod catalog;
mod clinic;
mod contacts;
mod front_desk;
mod history;
mod idempotency;
mod identity;
mod invoices;
mod patients;
mod privacy;
mod search;
mod sessions;
mod stage;
mod units_of_work;

use std::pin::Pin;

use crate::store::Store;

/// A test of the suite: given a fresh store, panics when the store does not do what it has to.
pub type PortTest = for<'store> fn(&'store dyn Store) -> Pin<Box<dyn Future<Output = ()> + 'store>>;

/// Lets each test be reached from here and makes the macro that turns all of them into `#[test]`s.
/// A test that is missing from the list below is an unreachable item, which the compiler tells.
macro_rules! suite {
    ($d:tt $($context:ident: $($test:ident)+;)+) => {
        $(pub use $context::{$($test),+};)+

        /// Turns every test of the [port suite](crate::testing::port_suite) into a `#[test]` that
        /// is run by the function given.
        #[macro_export]
        macro_rules! port_suite {
            ($d run:path) => {$($(
                #[test]
                fn $test() {
                    $d run(|store| {
                        ::std::boxed::Box::pin($d crate::testing::port_suite::$test(store))
                    });
                }
            )+)+};
        }
    };
}

suite! {
    $
    units_of_work:
        a_fresh_store_is_ready
        a_dropped_unit_of_work_leaves_nothing
        a_unit_of_work_sees_its_own_changes_and_others_do_not
        a_refused_unit_of_work_leaves_nothing;
    idempotency:
        an_answer_is_kept_and_found
        an_answer_takes_the_place_of_an_older_one
        an_answer_of_the_wrong_form_is_refused
        claimants_of_a_key_take_turns
        answers_about_a_patient_are_forgotten
        old_answers_are_forgotten;
    identity:
        a_user_is_stored_and_found
        a_changed_user_is_stored
        a_username_belongs_to_one_user
        a_user_id_is_given_once
        a_user_of_the_wrong_form_is_refused
        a_password_is_replaced
        users_come_in_pages
        active_admins_are_known
        admins_who_demote_each_other_take_turns;
    sessions:
        a_session_is_found_by_its_token
        sessions_are_found_by_their_tokens
        an_impersonator_has_to_stay_an_active_admin
        a_session_is_of_a_known_user_and_new
        a_rotated_session_has_another_token
        a_dead_session_is_not_rotated
        live_sessions_come_in_pages
        a_session_is_revoked_once
        all_sessions_of_a_user_end_but_one
        impersonations_by_a_user_end
        the_oldest_sessions_of_a_user_end
        sessions_are_marked_as_seen
        expired_sessions_are_forgotten;
    audit:
        entries_come_back_latest_first
        an_entry_stands_and_falls_with_its_change
        entries_are_found_by_what_they_are_about;
    clinic:
        the_settings_are_there_and_change
        a_room_is_stored_and_changed
        a_room_name_belongs_to_one_room
        a_room_of_the_wrong_form_is_refused
        a_room_is_deleted_unless_it_was_booked
        rooms_come_in_pages
        doctors_are_active_users_with_the_role
        a_doctor_is_found_and_changed;
    availability:
        doctors_to_offer_are_active_and_have_their_rooms
        rooms_to_offer_are_active_and_in_order
        bookings_are_found_by_doctor_room_and_patient
        bookings_include_rooms_that_are_cleaned_up;
    patients:
        register_numbers_differ
        a_patient_is_stored_and_found
        a_changed_patient_is_stored
        a_register_number_belongs_to_one_patient
        a_patient_of_the_wrong_form_is_refused
        a_patient_is_deleted_with_their_contacts
        a_patient_with_history_is_not_deleted
        archived_patients_are_told_apart
        patients_come_in_pages;
    contacts:
        a_contact_is_stored_changed_and_deleted
        a_contact_is_of_a_known_patient_and_new
        a_patient_has_one_primary_contact_of_a_type
        a_primary_contact_makes_way
        contacts_come_in_pages;
    search:
        patients_are_found_by_part_of_a_name
        patients_are_found_by_several_words
        patients_are_found_without_accents
        patients_are_found_with_slips
        patients_are_found_by_register_number
        patients_are_found_by_phone
        patients_are_found_by_email
        better_matches_come_first
        matches_come_in_pages
        wildcards_mean_themselves;
    privacy:
        a_patient_is_held_and_locked
        a_patients_visits_and_invoices_are_locked
        an_anonymized_patient_stays_nobody
        nothing_is_added_to_an_anonymized_patient
        what_people_wrote_about_an_anonymized_patient_goes
        refunds_of_a_patient_come_in_pages;
    appointments:
        the_standing_of_parties_is_known
        a_visit_is_stored_and_found
        a_doctor_is_in_one_place_at_a_time
        a_room_holds_one_visit_at_a_time
        a_room_is_taken_until_it_is_clean
        the_times_of_a_visit_are_in_order
        a_patient_is_in_one_place_at_a_time
        the_first_that_is_taken_is_told
        a_visit_that_does_not_take_place_frees_its_slot
        a_changed_visit_is_stored
        a_visit_is_moved_only_to_a_free_slot
        a_visit_refers_to_what_exists
        a_visit_of_the_wrong_form_is_refused
        one_of_many_gets_a_slot
        one_of_two_who_move_gets_a_slot
        coming_visits_are_found
        visits_are_listed_by_party_and_status
        visits_are_listed_by_window
        visits_come_in_pages;
    front_desk:
        the_front_desk_sees_what_is_around_a_visit
        the_front_desk_finds_what_a_list_finds;
    calendar:
        hours_are_stored_plan_by_plan
        plans_are_replaced_in_their_version
        hours_of_the_wrong_form_are_refused
        hours_do_not_overlap
        closures_are_stored_found_and_deleted
        time_off_is_stored_found_and_deleted
        absences_of_the_wrong_form_are_refused
        absences_come_in_pages
        a_timetable_has_what_matters_to_its_stretch;
    history:
        every_version_of_a_visit_is_kept
        a_history_comes_in_pages
        a_change_is_by_known_users
        a_change_that_is_refused_leaves_no_trace
        changes_are_told_in_their_order
        a_later_version_comes_later_whatever_the_clocks_say
        a_change_is_told_when_it_is_committed;
    catalog:
        a_service_is_stored_and_found
        a_changed_service_is_stored
        a_service_code_belongs_to_one_service
        a_service_of_the_wrong_form_is_refused
        a_service_is_deleted_unless_it_was_used
        services_are_found_by_part_of_code_or_name
        services_come_in_pages;
    invoices:
        a_draft_is_stored_and_found
        a_draft_refers_to_what_exists
        ids_of_invoices_and_lines_are_given_once
        a_changed_draft_is_stored
        a_draft_is_deleted
        an_issued_invoice_is_stored
        an_invoice_number_belongs_to_one_invoice
        issuers_take_turns
        an_issued_invoice_is_frozen
        an_invoice_is_voided_once
        a_total_is_the_sum_of_its_lines
        invoices_are_listed_by_patient_status_and_window
        invoices_come_in_pages;
    billing:
        a_payment_is_stored_and_found
        a_stale_invoice_takes_no_payment
        nothing_is_paid_beyond_the_total
        what_was_paid_is_the_sum_of_payments
        a_payment_is_recorded_once_by_a_known_user
        payers_take_turns
        a_refund_is_stored
        refunds_do_not_exceed_their_payment
        refunds_agree_with_the_sums
        payments_are_listed_by_invoice_method_and_window
        payments_come_in_pages;
}
