//! A party's own limits.

use super::*;

/// PLAN-10
#[test]
fn a_partys_own_limits_are_kept() {
    let checked = CheckedPlan::check(plan(), &consortium(), EPOCH).expect("valid");
    let key = "governance_key = \"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a\"\n";
    let admits = |limit: &str| Policy::parse(&format!("{key}{limit}")).expect("a policy").admit(&checked);
    assert_eq!(admits("minimum_cohort = 5"), Ok(()));
    assert_eq!(admits("minimum_cohort = 6"), Err(PolicyRefusal::Cohort { got: 5, limit: 6 }));
    assert_eq!(admits("minimum_sketch_noise = 80"), Ok(()));
    let refusal = PolicyRefusal::SketchNoise { got: 80, limit: 81 };
    assert_eq!(admits("minimum_sketch_noise = 81"), Err(refusal));
    // One expert with two sketches of 64 coordinates and a count.
    assert_eq!(admits("maximum_announced_numbers = 129"), Ok(()));
    let refusal = PolicyRefusal::AnnouncedNumbers { got: 129, limit: 128 };
    assert_eq!(admits("maximum_announced_numbers = 128"), Err(refusal));
    assert_eq!(admits("maximum_weight = 1"), Err(PolicyRefusal::Weight { got: 15, limit: 1 }));
    let mut late = plan();
    late.settings.late_sketches = LateSketchMode::Optional;
    let late = CheckedPlan::check(late, &consortium(), EPOCH).expect("valid");
    let policy = |limit: &str| Policy::parse(&format!("{key}{limit}")).expect("a policy");
    assert_eq!(policy("").admit(&late), Err(PolicyRefusal::LateSketches), "unless the policy says so");
    assert_eq!(policy("allow_late_sketches = true").admit(&late), Ok(()));
    assert_eq!(admits("allow_fallback_to_everyone = false"), Err(PolicyRefusal::Fallback));
}

/// PRIV-08
#[test]
fn a_partys_scoring_rules_and_models_are_kept() {
    let checked = CheckedPlan::check(plan(), &consortium(), EPOCH).expect("valid");
    let key = "governance_key = \"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a\"\n";
    let admits = |limit: &str| Policy::parse(&format!("{key}{limit}")).expect("a policy").admit(&checked);
    let refusal =
        PolicyRefusal::ScoringRule { got: Threshold::MeanDeviation, limit: vec![Threshold::MedianDeviation] };
    assert_eq!(admits("allowed_scoring_rules = [\"MedianDeviation\"]"), Err(refusal));
    assert_eq!(admits("allowed_scoring_rules = [\"MeanDeviation\"]"), Ok(()));
    let model = |digit: &str| format!("allowed_models = [\"{}\"]", digit.repeat(64));
    assert_eq!(admits(&model("0")), Ok(()));
    assert_eq!(admits(&model("1")), Err(PolicyRefusal::Model { got: Digest::default(), count: 1 }));
}
