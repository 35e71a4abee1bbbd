"""Where each attack has its test: those that an adversarial review tried, the ones that held as well as the ones that did not.

A test stands beside its room, in `tests/unit`, where that room alone can show it; here, where Airflow, MLflow or several
rooms are needed; in `tests/e2e` or `tests/faults`, where the services must run or processes die. Whoever finds a new attack
writes its test first and enters it here. This module checks that every test named exists.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

ATTACKS = {
    "another site's form answers a case (CSRF)": ["unit/console/test_cases.py::test_forms_need_our_own_page"],
    "data become a page's markup or script (XSS)": [
        "unit/console/test_today.py::test_what_data_say_is_text",
        "unit/console/test_queues.py::test_an_empty_queue_says_so_and_names_are_text",
        "unit/console/test_today.py::test_pages_load_nothing_from_elsewhere",
        "unit/registry/test_card.py::test_values_stay_in_their_cells",
        "integration/test_contracts.py::test_values_that_gx_shows_are_not_executed",
    ],
    "the console without a log-in, or with the wrong one": [
        "unit/console/test_today.py::test_every_route_asks_who_is_there",
        "unit/console/test_today.py::test_viewer_may_not_write",
        "unit/console/test_today.py::test_nobody_sees_what_they_may_not_read",
        "unit/console/test_queues.py::test_who_may_not_read_a_flow_does_not_learn_that_it_has_cases",
        "integration/test_console.py::test_no_route_without_log_in",
        "integration/test_console.py::test_viewer_reads_and_may_not_write",
    ],
    "a page's address leaves the reports folder": [
        "unit/console/test_cases.py::test_stored_pages_stay_in_their_folder",
        "unit/console/test_cases.py::test_a_page_belongs_to_its_dag",
    ],
    "a repair's expression runs code": ["unit/quarantine/test_expressions.py::test_everything_else_is_refused"],
    "a model folder runs code, or is another's": [
        "unit/registry/test_manifest.py::test_signed_malice_is_refused",
        "unit/registry/test_manifest.py::test_tampering_is_refused",
        "unit/registry/test_manifest.py::test_the_payload_would_have_run",
        "unit/registry/test_content.py::test_untrusted_types_are_refused",
        "integration/test_registry.py::test_tampering_on_the_server_is_refused",
        "e2e/test_survival.py::test_version_tampered_with_is_refused_and_the_previous_champion_scores",
    ],
    "a flow uses a model that is not for it": [
        "integration/test_ladder.py::test_a_flow_of_another_pack_gets_no_model_that_is_not_for_it",
        "unit/steps/test_choose_models.py::test_a_flow_that_is_no_consumer_is_refused_whatever_it_asks_for",
        "unit/governance/test_governance_file.py::test_a_foreign_flow_is_told_whom_to_ask_and_where_it_is_written",
    ],
    "somebody approves, or gives duties, who may not": [
        "unit/actions/test_duties.py::test_a_vote_without_the_duty_does_not_count",
        "unit/governance/test_duties.py::test_what_cannot_be_given_is_said",
        "unit/console/test_assets.py::test_owner_or_deputy_gives_duties_where_airflow_lets_them_decide",
    ],
    "MLflow runs something for a user": ["integration/test_registry.py::test_nobody_can_make_the_server_run_something"],
    "a champion is made, moved or deleted past the promotion, or an approval forged, by an administrator of MLflow or by SQL": [
        "integration/test_registry.py::test_nobody_but_baton_moves_its_aliases_or_writes_its_tags",
        "integration/test_registry.py::test_an_alias_moved_by_sql_goes_back_and_nothing_was_scored_with_it",
        "integration/test_registry.py::test_whose_word_a_review_is",
        "unit/services/test_mlflow_access.py::test_what_is_the_service_accounts_alone",
        "integration/test_registry.py::test_every_operation_of_the_registry_is_decided_on",
        "unit/registry/test_guard.py::test_a_moved_alias_goes_back_and_is_on_the_ledger",
    ],
    "a question in SQL changes something, or reaches what is outside": [
        "unit/analysis/test_sql.py::test_all_but_one_select_is_refused",
        "unit/analysis/test_sql.py::test_nothing_outside_is_reached",
        "unit/analysis/test_sql.py::test_what_may_name_people_is_hidden_unless_asked_for_on_record",
        "unit/analysis/test_sql.py::test_time_and_memory_end_a_question",
    ],
    "a backup is read, changed, replaced by another's, or restored over something": [
        "unit/recovery/test_backup.py::test_secrets_are_nowhere_open",
        "unit/recovery/test_backup.py::test_every_file_that_is_missing_or_changed_is_refused_by_name",
        "unit/recovery/test_backup.py::test_an_index_that_was_changed_is_refused",
        "unit/recovery/test_backup.py::test_a_part_stays_below_its_folder",
        "unit/recovery/test_backup.py::test_a_public_key_alone_makes_nobody_trusted",
        "unit/recovery/test_backup.py::test_a_target_that_holds_something_is_refused",
        "unit/recovery/test_sealing.py::test_a_box_that_was_changed_anywhere_does_not_open",
    ],
    "a late, doubled or killed attempt commits": [
        "unit/stages/test_slots.py::test_a_late_attempt_is_refused_and_leaves_nothing",
        "unit/stages/test_slots.py::test_a_late_attempt_is_refused_while_its_replacement_still_runs",
        "unit/stages/test_slots.py::test_gc_fences_an_attempt_off_before_its_object_goes",
        "faults/test_crashes.py::test_interleaved_and_killed_attempts_leave_one_verified_head",
        "e2e/test_survival.py::test_attempt_that_wakes_after_its_replacement_committed_is_refused",
    ],
    "an effect is done twice": [
        "faults/test_crashes.py::test_interleaved_and_killed_workers_send_each_effect_once",
        "unit/effects/test_outbox.py::test_what_it_has_or_may_have_is_not_and_the_whole_plan_is_refused",
        "unit/effects/test_outbox.py::test_a_worker_that_lost_its_lease_records_nothing",
    ],
    "an effect goes without the people whom the policy demands": [
        "unit/actions/test_matrix.py::test_no_cell_is_wrongly_allowed_or_refused",
        "attacks/test_firewall.py::test_what_was_tried_and_is_not_there_is_not_sent_once_its_incident_was_closed",
        "attacks/test_firewall.py::test_an_incident_that_is_closed_between_claim_and_sending_stops_it",
        "attacks/test_firewall.py::test_a_refusal_holds_though_the_policy_is_turned_back_to_the_one_that_was_agreed_to",
        "attacks/test_firewall.py::test_a_word_from_a_clock_that_is_ahead_does_not_count_for_what_was_asked_after_it",
        "attacks/test_firewall.py::test_votes_for_another_target_evidence_or_payload_count_for_nothing",
        "attacks/test_firewall.py::test_a_row_that_says_it_is_ready_is_judged_all_the_same",
        "attacks/test_firewall.py::test_a_permit_is_not_good_for_a_second_delivery_nor_for_another_effect",
        "attacks/test_firewall.py::test_the_same_answer_again_does_not_agree_to_what_was_withdrawn",
        "attacks/test_firewall.py::test_a_word_lives_no_longer_than_its_permit_though_the_plan_drops_the_action_and_wants_it_again",
        "attacks/test_firewall.py::test_a_policy_that_is_swapped_while_it_is_read_is_not_kept_for_the_old_one",
        "unit/customer_experience/letters/test_replies.py::test_who_accepts_on_a_case_is_the_one_who_logged_in_not_what_they_are_called",
        "unit/stages/test_job.py::test_an_answer_that_no_review_noted_or_that_was_changed_on_its_way_is_none",
        "unit/stages/test_job.py::test_a_persons_answer_counts_only_for_what_they_were_shown",
        "dags/test_review.py::test_an_answer_is_about_what_was_shown_whatever_is_published_meanwhile",
        "unit/incident_response/test_beside.py::test_nothing_is_placed_for_an_incident_that_was_closed_since_it_was_planned",
    ],
    "a viewer's forged form approves, takes back, or turns the switch": [
        "unit/console/test_actions.py::test_two_people_agree_to_what_they_saw",
        "unit/console/test_actions.py::test_what_was_done_is_taken_back_by_those_who_may",
        "unit/console/test_actions.py::test_the_switch_stops_everything_with_a_reason_and_lets_it_begin_again",
        "unit/console/test_cases.py::test_forms_need_our_own_page",
    ],
    "undo is a way round the firewall": [
        "attacks/test_firewall.py::test_undo_is_no_way_round_the_policy",
        "attacks/test_firewall.py::test_what_takes_back_is_not_taken_back_itself_nor_delivered_without_a_word",
    ],
    "votes, claims, the cap and the switch race": [
        "attacks/test_firewall.py::test_two_processes_neither_exceed_the_cap_nor_use_a_permit_twice",
        "integration/test_firewall_postgres.py::test_of_racing_claims_one_begins_and_uses_the_permit",
        "integration/test_firewall_postgres.py::test_nothing_begins_once_the_switch_has_stopped_all",
        "integration/test_firewall_postgres.py::test_of_two_who_agree_at_once_the_second_one_completes_it",
        "integration/test_firewall_postgres.py::test_one_person_twice_at_once_is_one_person",
        "unit/actions/test_firewall.py::test_the_switch_is_looked_at_again_before_anything_is_sent",
    ],
    "a peer gets the log-in repeated into an error": [
        "unit/effects/test_http.py::test_a_log_in_that_a_peer_repeats_is_removed"
    ],
    "a source's server redirects, links out, never ends": [
        "attacks/test_http_sources.py::test_a_redirect_is_not_followed_with_the_log_in",
        "attacks/test_http_sources.py::test_a_link_does_not_leave_the_base_path",
        "attacks/test_http_sources.py::test_an_endless_answer_is_cut_off_and_said",
        "unit/sources/test_reading.py::test_a_link_that_climbs_in_any_spelling_is_not_followed",
    ],
    "a model server sends letters on": [
        "attacks/test_http_sources.py::test_a_model_server_cannot_send_an_agents_letters_on"
    ],
    "a file or link in the drop folder is somebody else's": [
        "unit/sources/test_folder.py::test_links_and_pipes_are_left_out_and_named",
        "unit/sources/test_folder.py::test_a_named_file_lies_below_the_landing_folder",
    ],
    "documents cost far more to read than their size says": [
        "integration/test_documents_bad_input.py::test_hostile_mails_cost_seconds_and_the_honest_ones_are_read",
        "integration/test_documents_bad_input.py::test_a_document_that_takes_too_long_or_too_much_memory_ends_its_process_only",
        "integration/test_documents_bad_input.py::test_ocr_stops_in_time_and_says_what_it_left",
        "unit/customer_experience/reading/test_mail.py::test_markup_costs_no_more_than_its_length",
        "unit/customer_experience/intake/test_parse.py::test_a_document_whose_turn_comes_too_late_is_not_read_and_a_retry_goes_on",
        "unit/sources/test_folder.py::test_what_a_partition_cannot_hold_is_left_out_singly",
    ],
    "harmless text in front hides a letter": [
        "unit/customer_experience/intake/test_risk.py::test_harmless_characters_in_front_do_not_hide_a_letter"
    ],
    "personal data reach a model, or stay in one": [
        "unit/agents/test_masking.py::test_cards_and_insurance_numbers_in_whatever_writing",
        "unit/families/text/test_terms.py::test_no_term_holds_a_name_on_record_in_whatever_case_or_beside_another",
        "e2e/test_customer_experience.py::test_personal_data_stay_out_of_xcom_logs_mlflow_and_reports",
    ],
    "an export runs in a spreadsheet": [
        "unit/quarantine/test_files.py::test_no_cell_of_an_export_is_a_formula_neither_is_its_header",
        "integration/test_quarantine_texts.py::test_spreadsheet_formulas_are_quoted_and_come_back_unchanged",
    ],
    "one container reads what another one needs": [
        "unit/services/test_compose.py::test_who_has_a_secret_and_that_it_is_used_there",
        "unit/services/test_compose.py::test_who_has_a_folder",
        "unit/services/test_compose.py::test_a_database_user_each_and_none_is_the_administrator",
    ],
    "a run brings an erased person back": [
        "unit/retention/test_person.py::test_a_run_that_read_the_rows_before_cannot_commit_them_after",
        "unit/retention/test_person.py::test_nothing_holds_the_value_and_the_rest_is_as_it_was",
    ],
}


@cache
def names_in(path: str) -> frozenset[str]:
    return frozenset(
        node.name for node in ast.walk(ast.parse((TESTS / path).read_text())) if isinstance(node, ast.FunctionDef)
    )


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_has_its_test(attack: str) -> None:
    for one in ATTACKS[attack]:
        path, name = one.split("::")
        assert name in names_in(path), one


def test_every_test_of_this_folder_is_entered() -> None:
    named = {one for tests in ATTACKS.values() for one in tests}
    files = {f"attacks/{path.name}" for path in Path(__file__).parent.glob("test_*.py")} - {"attacks/test_index.py"}
    assert {path for path in files if not any(one.startswith(path) for one in named)} == set()
