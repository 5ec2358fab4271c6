"""Every line of the acceptance list of the clinical design (section 15) has tests that bear its name: which they are.

A line stands here as it stands there. A test that is renamed or dropped is missed at once.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

LINES: dict[str, dict[str, tuple[str, ...]]] = {
    "Framing": {
        "chunk invariance": (
            "fuzz/test_clinical_fuzz.py::test_framing_chunk_invariance",
            "unit/test_clinical_mllp.py::test_chunk_invariance_frames_do_not_depend_on_how_tcp_cut_the_bytes",
        ),
        "every row of the section 2 table": (
            "unit/test_clinical_ack_framing.py::test_framing_every_row_of_the_section_2_table_and_the_next_message_is_aa",
            "unit/test_clinical_mllp.py::test_framing_rows",
        ),
        "VT restart": ("unit/test_clinical_mllp.py::test_vt_restart",),
        "oversize -> AR and the connection lives": (
            "unit/test_clinical_mllp.py::test_oversize_is_answered_ar_207_and_the_connection_lives",
        ),
        "slow sender": ("unit/test_clinical_mllp_limits.py::test_slow_sender_an_unfinished_block_times_out",),
        "200 half-open": (
            "unit/test_clinical_mllp_limits.py::test_200_half_open_connections_are_capped_and_it_recovers",
        ),
        "peer closes mid-frame": (
            "unit/test_clinical_mllp_limits.py::test_peer_closes_mid_frame_and_nothing_is_stored",
        ),
    },
    "Durability": {
        "kill -9 between receipt and ACK (no loss, resend deduplicated)": (
            "chaos/test_clinical_kill.py::test_clinical_kill_9_between_receipt_and_ack_no_loss_resend_deduplicated",
        ),
        "kill -9 between clinical write and cursor": (
            "chaos/test_clinical_kill.py::test_clinical_kill_9_between_clinical_write_and_cursor",
        ),
        "disk full -> no AA": ("unit/test_clinical_inbox.py::test_a_full_disk_gives_no_aa",),
        "replay of the inbox gives identical tables": (
            "unit/test_clinical_inbox.py::test_replay_of_the_inbox_gives_identical_tables",
            "unit/test_clinical_store_orders.py::test_replay_of_the_inbox_gives_identical_tables_however_it_was_batched",
        ),
        "a 1 M-row import does not hold up an ACK": (
            "unit/test_clinical_inbox.py::test_an_import_that_writes_to_the_ledger_does_not_hold_up_an_ack",
            "unit/test_clinical_csv_feed.py::test_a_long_import_does_not_hold_up_an_ack",
        ),
    },
    "Reader": {
        "MSH-18 matrix incl. GB 18030 and Big5 with `|` as second byte": (
            "unit/test_clinical_er7.py::test_reader_msh_18_matrix",
            "unit/test_clinical_er7.py::test_reader_msh_18_matrix_with_each_separator_as_a_second_byte",
        ),
        "escape bombs": ("unit/test_clinical_er7.py::test_reader_escape_bombs",),
        '`""` against empty': ("unit/test_clinical_er7.py::test_reader_explicit_delete_against_empty",),
        "U+0085 in text": ("unit/test_clinical_er7.py::test_reader_u_0085_in_text",),
        "fuzz raises only `HL7Error`": (
            "unit/test_clinical_er7.py::test_reader_fuzz_raises_only_hl7error",
            "fuzz/test_clinical_fuzz.py::test_reader_fuzz_raises_only_hl7error_and_every_frame_is_answered",
        ),
    },
    "ACK": {
        "modes x outcomes": ("unit/test_clinical_ack.py::test_ack_modes_x_outcomes",),
        "NE/NE silent": ("unit/test_clinical_ack.py::test_ack_ne_ne_silent",),
        "MSH-11 T": ("unit/test_clinical_ack.py::test_ack_msh_11_t",),
        "MSH-10 reused with other content": (
            "unit/test_clinical_ack.py::test_ack_msh_10_reused_with_other_content_is_answered_alike",
            "unit/test_clinical_inbox.py::test_msh_10_reused_with_other_content_is_processed_as_new_and_counted",
        ),
        "bad message, then a good one": ("unit/test_clinical_ack.py::test_ack_bad_message_then_a_good_one",),
    },
    "Identity": {
        "each class of R4": (
            "unit/test_clinical_matching.py::test_issuer_and_identifier",
            "unit/test_clinical_matching.py::test_without_an_issuer_demographics_must_agree",
            "unit/test_clinical_matching.py::test_a_stated_other_issuer_is_evidence_against",
            "unit/test_clinical_matching.py::test_one_contradiction_is_a_typing_error_two_are_a_conflict",
            "unit/test_clinical_matching.py::test_a_half_stated_issuer_that_fits_two_persons_is_ambiguous",
            "unit/test_clinical_matching.py::test_an_identifier_that_identifies_nobody",
            "unit/test_clinical_matching.py::test_a_blocked_person_joins_nothing",
        ),
        "assumed issuer without birth date does not join": (
            "unit/test_clinical_matching_issuers.py::test_assumed_issuer_without_birth_date_does_not_join",
        ),
        "ideographic-only names": (
            "unit/test_clinical_matching_issuers.py::test_ideographic_only_names_join_by_demographics",
        ),
        "umlaut, `Ø`": (
            "unit/test_clinical_names.py::test_umlauts_are_tried_both_ways_and_the_nearer_counts",
            "unit/test_clinical_names.py::test_letters_that_do_not_decompose_do_not_vanish",
        ),
        "leading zeros": (
            "unit/test_clinical_matching_issuers.py::test_leading_zeros_stay_unless_the_issuer_has_a_normaliser",
        ),
        "simulation reproduces 0 wrong joins": ("sim/test_sim_identity.py::test_simulation_reproduces_0_wrong_joins",),
        "each dcm4chee-arc issue listed": (
            "unit/test_clinical_merge.py::test_merge_self_1086",
            "unit/test_clinical_merge.py::test_merge_cycle_4697",
            "unit/test_clinical_merge.py::test_a_merge_of_an_untrusted_issuer_is_refused_4233",
            "unit/test_clinical_matching_issuers.py::test_dcm4chee_2905_dicom_before_hl7_without_issuer",
            "unit/test_clinical_matching_issuers.py::test_dcm4chee_3153_a_less_qualified_issuer_does_not_win",
            "unit/test_clinical_matching_issuers.py::test_dcm4chee_3413_one_universal_id_under_two_namespaces_is_one_issuer",
            "unit/test_clinical_matching_issuers.py::test_dcm4chee_4508_one_study_two_issuers",
            "unit/test_clinical_matching_issuers.py::test_dcm4chee_4935_an_unknown_id_in_a_known_study_is_not_the_known_patient",
            "unit/test_clinical_matching_issuers.py::test_dcm4chee_4968_merged_id_inside_pid_3",
            "unit/test_clinical_matching_issuers.py::test_dcm4chee_506_objects_of_one_study_with_differing_patient_ids",
        ),
    },
    "Merge": {
        "self": ("unit/test_clinical_merge.py::test_merge_self_1086",),
        "cycle": ("unit/test_clinical_merge.py::test_merge_cycle_4697",),
        "chain": ("unit/test_clinical_merge.py::test_merge_chain",),
        "unknown prior": ("unit/test_clinical_merge.py::test_merge_unknown_prior",),
        "late ORU for the prior": (
            "unit/test_clinical_merge.py::test_late_oru_for_the_prior",
            "unit/test_clinical_ack_prior.py::test_ack_late_oru_for_the_prior_is_taken_by_default",
        ),
        "undo": ("unit/test_clinical_merge.py::test_merge_undo",),
        "A11 leaves demographics": ("unit/test_clinical_store.py::test_a11_leaves_demographics",),
        "A29 blocks": ("unit/test_clinical_store.py::test_a29_blocks",),
    },
    "Late data": {
        "deadline survives restart": ("unit/test_clinical_lateness.py::test_deadline_survives_restart",),
        "one superseding SR, not two": (
            "unit/test_clinical_amendment.py::test_data_after_the_report_make_exactly_one_amendment_and_a_second_is_logged",
        ),
        "correction flags review": ("unit/test_clinical_review.py::test_correction_flags_review",),
    },
    "OBX": {
        "D/W void": (
            "unit/test_clinical_messages.py::test_d_w_void",
            "unit/test_clinical_store.py::test_d_w_void_and_a_wrong_patient_raises_an_alert",
        ),
        "repeats without sub-ID": ("unit/test_clinical_messages.py::test_repeats_without_sub_id_stay_apart",),
        "comparators": ("unit/test_clinical_observations.py::test_comparators",),
        "DTM precisions, offsets, DST hour": (
            "unit/test_clinical_er7_time.py::test_times_are_intervals_of_their_precision",
            "unit/test_clinical_er7_time.py::test_times_an_offset_in_the_value_wins_over_the_feeds_zone",
            "unit/test_clinical_er7_time.py::test_times_of_the_ambiguous_autumn_hour_take_the_later_instant",
        ),
        "older EVN-2 ignored": ("unit/test_clinical_store.py::test_older_evn_2_ignored",),
    },
    "Codes": {
        "check digit": ("unit/test_clinical_codes.py::test_codes_check_digits",),
        "every factor against hand-worked values": (
            "unit/test_clinical_codes.py::test_codes_every_factor_against_hand_worked_values",
        ),
        "the swap table as a regression (passes by range, stopped by checks 1-4 where data allow)": (
            "unit/test_clinical_plausibility.py::test_codes_the_swap_table_as_a_regression",
            "unit/test_clinical_plausibility.py::test_check_1_the_unit_must_fit_the_codes_property",
            "unit/test_clinical_plausibility.py::test_check_3_pounds_as_kilograms_contradict_the_patients_other_weights",
            "unit/test_clinical_plausibility.py::test_check_4_weight_and_height_must_make_a_body",
        ),
        "`ft`": ("unit/test_clinical_codes.py::test_ft_is_no_unit_of_height",),
        "no unit": ("unit/test_clinical_observations.py::test_no_unit_is_no_value",),
    },
    "CSV": {
        "each of the 9 traps": (
            "unit/test_clinical_csv_traps.py::test_trap_1_pandas_defaults_take_007123_for_a_number_and_na_for_missing",
            "unit/test_clinical_csv_traps.py::test_trap_2_a_first_row_longer_than_the_header_shifts_every_column",
            "unit/test_clinical_csv_traps.py::test_trap_3_a_sep_line_becomes_the_header",
            "unit/test_clinical_csv_traps.py::test_trap_4_duplicate_headers_nul_and_an_open_quote",
            "unit/test_clinical_csv_traps.py::test_trap_5_a_spreadsheet_wrote_the_identifier_as_a_number",
            "unit/test_clinical_csv_traps.py::test_trap_6_thousands_separators_are_forbidden_and_the_decimal_mark_is_declared",
            "unit/test_clinical_csv_traps.py::test_trap_7_a_byte_order_mark_is_no_part_of_the_first_header",
            "unit/test_clinical_csv_traps.py::test_trap_8_the_encoding_is_declared_and_strict_never_guessed",
            "unit/test_clinical_csv_traps.py::test_trap_9_two_patients_without_an_identifier_never_join",
        ),
        "xlsx renamed": ("unit/test_clinical_csv_drop.py::test_xlsx_renamed",),
        "wrong hash": ("unit/test_clinical_csv_drop.py::test_wrong_hash",),
        "half-written file": ("unit/test_clinical_csv_drop.py::test_half_written_file_stays",),
        "re-import 0 changes": ("unit/test_clinical_csv_drop.py::test_re_import_0_changes",),
        "snapshot cap": ("unit/test_clinical_csv_forms.py::test_snapshot_cap_of_2_percent_holds_the_file",),
        "error file without values": ("unit/test_clinical_csv_drop.py::test_error_file_without_values",),
        "peak RSS under 300 MB at 1 M rows": (
            "unit/test_clinical_bench_feeds.py::test_the_short_form_measures_every_side_and_writes_json",
        ),
        "poll after a stall still runs": ("unit/test_clinical_csv_feed.py::test_a_poll_after_a_stall_still_runs",),
    },
    "As-of": {
        "SQL = pandas, zero mismatches": (
            "unit/test_clinical_asof_frame.py::test_sql_equals_pandas_zero_mismatches",
            "unit/test_clinical_asof_frame.py::test_both_databases_answer_alike",
        ),
        "nothing after t0": ("unit/test_clinical_asof_frame.py::test_nothing_after_t0",),
        "date-only same day": ("unit/test_clinical_asof_frame.py::test_date_only_same_day",),
        "late row excluded from training": (
            "unit/test_clinical_asof_frame.py::test_late_row_excluded_from_training_and_an_older_known_one_found",
        ),
        "empty keys never join": ("unit/test_clinical_asof_frame.py::test_empty_keys_never_join",),
        "no DXA, FRAX or drug column in features": (
            "unit/test_clinical_codes.py::test_no_dxa_frax_or_drug_column_in_features",
            "unit/test_clinical_features.py::test_no_dxa_frax_or_drug_column_in_features",
        ),
    },
    "Outbound": {
        "CA then AA": (
            "unit/test_clinical_results_out.py::test_clinical_out_ca_then_aa_and_a_late_aa_of_an_old_message",
        ),
        "AE": (
            "unit/test_clinical_results_out.py::test_clinical_out_ae_is_tried_again_within_bounds_and_then_put_before_a_person",
        ),
        "AR": (
            "unit/test_clinical_results_out.py::test_clinical_out_ar_is_put_before_a_person_at_once_who_can_have_it_sent_again",
        ),
        "wrong MSA-2, no reply, half a reply": (
            "unit/test_clinical_results_out.py::test_clinical_out_wrong_msa2_no_reply_half_a_reply_are_no_success_and_the_resend_is_byte_identical",
        ),
        "restart with an outstanding message": (
            "unit/test_clinical_results_out.py::test_clinical_out_restart_with_an_outstanding_message_sends_the_same_bytes",
        ),
        "validators accept": ("unit/test_clinical_hl7_out.py::test_clinical_out_validators_accept_never_p_or_f",),
        "never P or F": ("unit/test_clinical_results_out.py::test_clinical_out_never_p_or_f",),
    },
    "Privacy": {
        "planted names, IDs and values never occur in captured logs, ERR segments or error files": (
            "unit/test_clinical_privacy.py::test_planted_names_ids_and_values_never_occur_in_captured_logs_err_segments_or_error_files",
            "unit/test_clinical_results_out.py::test_clinical_out_logs_hold_no_patient_data",
        ),
    },
}
"""Heading and line of the list -> the tests that show it."""


@cache
def names_in(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize(("heading", "line"), [(heading, line) for heading in LINES for line in LINES[heading]])
def test_clinical_every_line_of_the_acceptance_list_has_its_tests(heading, line):
    shown = LINES[heading][line]
    missing = [one for one in shown if one.partition("::")[2] not in names_in(one.partition("::")[0])]
    assert shown
    assert not missing
