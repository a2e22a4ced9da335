//! The attacks that must stay dead, each with the one rule that kills it.
//!
//! An attack is a function that says whether it succeeded. It is run twice: as it is, when it must fail, and with its
//! rule switched off, when it must succeed; so the rule, and nothing beside it, is what stops it.

mod bodies;
mod limits;
mod plans;
mod rounds;
mod uploads;

use cloister_params::rule;

/// An attack and the rule that stops it.
#[derive(Clone, Copy)]
pub(crate) struct Attack {
    /// What it is.
    pub(crate) name: &'static str,
    /// The rule that stops it.
    pub(crate) rule: &'static str,
    succeeds: fn() -> bool,
}

/// What came of an attack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    /// It failed.
    pub(crate) refused: bool,
    /// It succeeded where its rule was off.
    pub(crate) control_succeeded: bool,
}

impl Attack {
    /// Tries the attack with its rule and without.
    pub(crate) fn attempt(&self) -> Outcome {
        let refused = !(self.succeeds)();
        Outcome { refused, control_succeeded: rule::without(self.rule, self.succeeds) }
    }
}

macro_rules! attacks {
    ($($module:ident :: $name:ident by $rule:literal,)*) => {
        /// Every attack.
        #[cfg_attr(test, allow(dead_code, reason = "the tests try each by name"))]
        pub(crate) const ATTACKS: &[Attack] =
            &[$(Attack { name: stringify!($name), rule: $rule, succeeds: $module::$name }),*];
        $(#[test]
        fn $name() {
            let attack = Attack { name: stringify!($name), rule: $rule, succeeds: $module::$name };
            let dead = Outcome { refused: true, control_succeeded: true };
            assert_eq!(attack.attempt(), dead, "{} by {}", attack.name, attack.rule);
        })*
    };
}

attacks! {
    bodies::one_round_planned_twice by "ROUND-03",
    bodies::another_scale_after_an_abort by "ROUND-03",
    bodies::late_sketches_after_an_abort by "ROUND-03",
    bodies::other_weights_after_an_abort by "ROUND-03",
    bodies::a_plan_for_each_member by "ROUND-10",
    bodies::a_reveal_of_both_kinds by "ROUND-01",
    bodies::a_self_seed_of_an_absent_member by "ROUND-01",
    bodies::a_self_seed_of_a_void_block by "ROUND-01",
    bodies::a_void_block_called_valid by "ROUND-02",
    bodies::one_organisation_twice by "FLOOR-05",
    bodies::a_roster_that_nobody_signed by "CONS-01",
    bodies::a_floor_below_the_consortiums by "PLAN-04",
    bodies::a_cohort_of_a_victim_and_colluders by "ROUND-12",
    bodies::a_second_manifest by "ROUND-03",
    bodies::a_second_second_seal by "ROUND-03",
    bodies::a_second_seal_after_an_abort by "ROUND-03",
    bodies::an_abort_after_the_second_seal by "ROUND-03",
    bodies::a_plan_of_another_epoch by "PLAN-01",
    bodies::a_second_manifest_after_a_restart by "ROUND-03",
    bodies::a_second_second_seal_after_a_restart by "ROUND-03",
    bodies::a_second_seal_after_an_abort_and_a_restart by "ROUND-03",
    bodies::a_seal_after_a_restored_backup by "ROUND-04",
    bodies::a_second_seal_without_memory by "ROUND-04",
    bodies::a_round_left_without_a_close by "ROUND-08",
    bodies::a_request_that_takes_the_rounds_keys_away by "ROUND-28",
    bodies::another_model_under_the_next_plan by "ROUND-08",
    bodies::a_certificate_below_the_quorum by "ROUND-05",
    bodies::a_certificate_with_a_signer_twice by "ROUND-05",
    bodies::an_equivocation_that_two_halves_sign by "ROUND-05",
    rounds::a_second_cohort_from_one_model by "ROUND-30",
    rounds::a_second_cohort_from_the_same_parameters_in_another_model by "ROUND-30",
    rounds::parameters_that_the_model_does_not_have by "PLAN-18",
    rounds::a_contribution_summed_twice by "ROUND-31",
    rounds::late_sketches_again_from_one_model by "LATE-10",
    rounds::an_epoch_on_another_ending by "CONS-06",
    rounds::an_epoch_on_opened_parameters by "ROUND-38",
    rounds::a_second_cohort_when_parameters_come_back by "ROUND-30",
    rounds::a_bad_dealer_in_the_next_round by "ROUND-33",
    rounds::a_member_barred_without_evidence by "PLAN-14",
    plans::a_projection_of_the_coordinators_choice by "PLAN-15",
    plans::experts_in_another_order by "PLAN-16",
    plans::exact_token_counts by "PLAN-17",
    plans::a_receiving_key_that_is_no_element by "PLAN-09",
    plans::a_result_of_an_earlier_plan by "PRIV-14",
    plans::an_update_in_a_rehearsal by "ROUND-39",
    plans::a_rehearsal_that_moves_the_model by "ROUND-45",
    uploads::a_swapped_letter by "ROUND-11",
    uploads::a_copied_letter by "MASK-13",
    uploads::shares_that_were_not_committed_to by "MASK-11",
    uploads::an_announcement_of_another_round by "ROUND-10",
    uploads::a_wrong_seed by "MASK-15",
    uploads::a_wrong_share by "MASK-11",
    uploads::a_wrong_mask_key by "ROUND-15",
    uploads::overlapping_blocks by "PLAN-02",
    uploads::a_scalar_repeated_over_many_cohorts by "PLAN-02",
    uploads::a_ring_that_weights_wrap by "PLAN-06",
    uploads::weights_as_digits by "PLAN-08",
    uploads::a_weight_that_makes_the_divisor_tiny by "ALIGN-12",
    uploads::integers_beyond_the_clip by "MASK-07",
    uploads::a_lie_of_half_the_ring by "LATE-03",
    uploads::a_lie_behind_an_honest_sketch by "LATE-03",
    uploads::an_upload_larger_than_its_clip by "LATE-04",
    uploads::another_projection_for_the_same_upload by "LATE-02",
    uploads::blame_with_another_row by "LATE-07",
    uploads::leaked_receiving_keys_after_the_close by "ROUND-26",
    uploads::a_sum_that_the_log_does_not_explain by "ROUND-22",
    uploads::a_closing_that_hides_its_sums by "ROUND-25",
    limits::a_model_for_each_of_many_requests by "ROUND-32",
    limits::an_upload_hashed_again_for_each_claim by "ROUND-32",
    limits::a_refusal_that_fills_the_screen by "ROUND-32",
}
