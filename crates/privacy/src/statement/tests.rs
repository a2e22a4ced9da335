use boon::{Compiler, Schemas};
use serde_json::{Value, json};

use cloister_params::limits::TrainingLimits;

use super::*;
use crate::closed::OpenedSums;
use crate::ledger::{Charge, Opening};

fn history(unit: PrivacyUnit, mechanism: Mechanism) -> History {
    let release = Release {
        released: Released::ExpertSum,
        count: 4,
        coordinates: 100,
        sensitivity: 1005.0,
        noise_per_member: if mechanism == Mechanism::Unbounded { 0 } else { 4000 },
        honest_noises: 3,
        mechanism,
    };
    let charge = |round| Charge {
        epoch: Digest([1; 32]),
        round: Round(round),
        model: Digest([2; 32]),
        releases: vec![release],
        at: None,
    };
    let opening = Opening { holder: "Hospital North".into(), unit, group_by: None };
    // The second round was not seen to close, and nothing of the third with this hospital in it was opened.
    let closed = |sums| Some(ClosedRound { round: Round(1), closing: Digest([4; 32]), sums, at: None });
    let sums = OpenedSums { released: Released::ExpertSum, count: 4, members: 5, noises: 5.0 };
    let closed = vec![closed(vec![sums]), None, closed(vec![])];
    History {
        opening,
        budgets: vec![],
        charges: (1..=3).map(charge).collect(),
        closed,
        sent: None,
        lines: vec![Digest([3; 32])],
    }
}

fn stated(history: &History, budget: Option<Budget>) -> Value {
    let statement = Statement::from_history(history, 1e-6, budget, AccuracyCost::not_named());
    serde_json::to_value(statement).expect("JSON")
}

fn statement(unit: PrivacyUnit, mechanism: Mechanism) -> Value {
    let budget = Budget::new(4.0, 1e-6).expect("a budget");
    stated(&history(unit, mechanism), Some(budget))
}

fn is_valid(statement: &Value) -> bool {
    let text = include_str!("../../../../protocols/schema/dp-statement.schema.json");
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    let schema = serde_json::from_str(text).expect("JSON");
    compiler.add_resource("dp-statement", schema).expect("a resource");
    let compiled = compiler.compile("dp-statement", &mut schemas).expect("a schema");
    schemas.validate(statement, compiled).is_ok()
}

/// PRIV-09
#[test]
fn statements_fit_the_published_schema_and_lies_do_not() {
    let mechanisms = [
        Mechanism::Unbounded,
        Mechanism::Concentrated { rho: 0.01 },
        Mechanism::Gaussian { noise_multiplier: 2.0, sampling_probability: 0.1 },
        Mechanism::DiscreteGaussian { sigma: 40, parties: 3, coordinates: 10, sensitivity: 2.0 },
    ];
    for mechanism in mechanisms {
        for unit in [PrivacyUnit::Record, PrivacyUnit::Member] {
            assert!(is_valid(&statement(unit, mechanism)), "{mechanism:?}");
        }
    }
    let whole = statement(PrivacyUnit::Record, mechanisms[1]);
    let limits =
        TrainingLimits { noise_multiplier_milli: 2000, sampling_probability_micro: 100_000, steps: 30 };
    let budget = Budget { training: Some(limits), ..Budget::new(4.0, 1e-6).expect("a budget") };
    let planned = stated(&history(PrivacyUnit::Record, mechanisms[2]), Some(budget));
    assert!(is_valid(&planned) && planned["budget"]["training"]["steps"] == 30, "{planned}");
    assert!(
        planned["epsilon_counted_against_budget"].as_f64() > planned["epsilon"].as_f64(),
        "12 of 30 steps"
    );
    let items = [
        "unit",
        "record",
        "what_left",
        "neighbouring_relation",
        "trust_model",
        "delta",
        "accountant",
        "accuracy_cost",
        "rounds",
    ];
    for item in items.into_iter().chain(["ledger_head"]) {
        let mut without = whole.clone();
        without.as_object_mut().expect("an object").remove(item);
        assert!(!is_valid(&without), "{item} may not be missing");
    }
    let mut wrong = whole.clone();
    wrong["delta"] = json!(1.5);
    assert!(!is_valid(&wrong));
    let mut wrong = whole;
    wrong["rounds"][0]["releases"][0]["mechanism"] = json!({"concentrated": {"rho": -1}});
    assert!(!is_valid(&wrong));
}

/// PRIV-09
#[test]
fn a_statement_claims_an_epsilon_only_where_everything_is_noised() {
    let private = statement(PrivacyUnit::Record, Mechanism::Concentrated { rho: 0.01 });
    let epsilon = private["epsilon"].as_f64().expect("a number");
    assert!((2.0..3.5).contains(&epsilon), "{epsilon}");
    let words = private["in_plain_words"].as_str().expect("words");
    assert!(
        words.contains("one row of its file was") && words.contains(&format!("{:.1}", epsilon.exp())),
        "{words}"
    );
    assert_eq!(private["rounds"][0]["releases"][0]["noise_guaranteed"].as_f64(), Some(4000.0 * 3f64.sqrt()));
    let mut by_patient = history(PrivacyUnit::Record, Mechanism::Concentrated { rho: 0.01 });
    by_patient.opening.group_by = Some("patient".into());
    let by_patient = stated(&by_patient, None);
    assert!(is_valid(&by_patient), "{by_patient}");
    assert_eq!(by_patient["record"]["group_by"], "patient");
    let words = by_patient["in_plain_words"].as_str().expect("words");
    assert!(words.contains("the rows with one value of “patient” were"), "{words}");
    let several = |statement: &Value| statement["not_covered"].to_string().contains("several rows");
    assert!(several(&private) && !several(&by_patient));
    let open = statement(PrivacyUnit::Member, Mechanism::Unbounded);
    assert_eq!((&open["epsilon"], &open["epsilon_method"]), (&Value::Null, &json!("unbounded")));
    assert!(open["in_plain_words"].as_str().expect("words").contains("no mathematical promise"));
    let weak = statement(PrivacyUnit::Member, Mechanism::Concentrated { rho: 30.0 });
    assert!(weak["in_plain_words"].as_str().expect("words").contains("no meaningful promise"));
}

/// PRIV-09, PRIV-10
#[test]
fn a_statement_names_the_sampling_of_private_training() {
    let mut history = history(
        PrivacyUnit::Record,
        Mechanism::Gaussian { noise_multiplier: 1.1, sampling_probability: 0.03 },
    );
    assert_eq!(
        stated(&history, None)["sampling"]["of_records"],
        "none is counted",
        "a Gaussian release is no training step"
    );
    history.charges[0].releases[0].released = Released::PrivateStep;
    let private = stated(&history, None);
    assert!(is_valid(&private), "{private}");
    let sampling = private["sampling"]["of_records"].as_str().expect("words");
    assert!(sampling.starts_with("Poisson:") && sampling.contains("0.03"), "{sampling}");
}

/// PRIV-09
#[test]
fn a_statement_says_what_left_kind_by_kind_and_who_reads_it() {
    let mut history = history(PrivacyUnit::Record, Mechanism::Unbounded);
    history.charges[1].releases[0].released = Released::UpdateSketch;
    history.charges[2].releases[0].noise_per_member = 7;
    let stated = stated(&history, None);
    assert!(is_valid(&stated), "{stated}");
    let left = stated["what_left"].as_array().expect("a list");
    let kind = |index: usize| {
        let text = |name: &str| left[index][name].as_str().expect("text").to_owned();
        (text("released"), text("readable_as"), text("noise"), left[index]["count"].as_u64())
    };
    let expected =
        |[one, two, three]: [&str; 3], count| (one.to_owned(), two.to_owned(), three.to_owned(), Some(count));
    assert_eq!(left.len(), 2);
    assert_eq!(kind(0), expected(["expert_sum", "sum", "some"], 8));
    assert_eq!(kind(1), expected(["update_sketch", "this_hospitals", "none"], 4));
    let words = stated["in_plain_words"].as_str().expect("words");
    assert!(
        words.contains("short summaries of each expert's change, which the coordinator reads"),
        "{words}"
    );
    assert!(words.contains("(without noise)") && words.contains("(some of them without noise)"), "{words}");
}

/// PRIV-05
#[test]
fn a_statement_names_each_budget_that_charges_were_held_to() {
    let mut history = history(PrivacyUnit::Record, Mechanism::Concentrated { rho: 0.01 });
    let first = Budget::new(2.0, 1e-6).expect("a budget");
    history.budgets = vec![(0, Some(first)), (2, None)];
    let stated = stated(&history, Some(Budget::new(4.0, 1e-6).expect("a budget")));
    assert!(is_valid(&stated), "{stated}");
    assert_eq!(stated["budgets_before"][0]["budget"]["epsilon"], 2.0);
    assert_eq!(stated["budgets_before"][1], json!({"after_rounds": 2, "budget": null}));
}

/// PRIV-09
#[test]
fn noise_is_realised_by_those_that_were_summed_and_what_is_not_known_says_why() {
    let whole = statement(PrivacyUnit::Member, Mechanism::Concentrated { rho: 0.01 });
    let realised = |round: usize| whole["rounds"][round]["releases"][0]["noise_realised"].clone();
    let known = json!({"status": "known", "standard_deviation": 4000.0 * 5f64.sqrt(), "members": 5});
    assert_eq!(realised(0), known, "more than is guaranteed: five members were summed");
    assert!(
        known["standard_deviation"].as_f64() > whole["rounds"][0]["releases"][0]["noise_guaranteed"].as_f64()
    );
    for (round, why) in [(1, "did not see it close"), (2, "no sum of this kind")] {
        let unknown = realised(round);
        assert_eq!(unknown["status"], "not_known");
        assert!(unknown["reason"].as_str().is_some_and(|reason| reason.contains(why)), "{unknown}");
    }
    let mut with_sketch = history(PrivacyUnit::Member, Mechanism::Concentrated { rho: 0.01 });
    with_sketch.charges[1].releases[0].released = Released::UpdateSketch;
    let alone = stated(&with_sketch, None)["rounds"][1]["releases"][0]["noise_realised"].clone();
    assert_eq!(alone, json!({"status": "known", "standard_deviation": 4000.0, "members": 1}));
    let mut silent = whole;
    silent["rounds"][1]["releases"][0]["noise_realised"] = Value::Null;
    assert!(!is_valid(&silent), "nothing is left out without a reason");
}

/// PRIV-09
#[test]
fn the_cost_in_accuracy_is_stated_or_why_it_is_not_known() {
    let history = history(PrivacyUnit::Record, Mechanism::Concentrated { rho: 0.01 });
    let run = |accuracy: f64, epsilon: Option<f64>| {
        json!({"settings": {}, "data": [], "summary": {
            "dataset": "AG News", "seeds": [0], "accuracy": {"mean": accuracy, "std": 0.0}, "epsilon_of_training": epsilon,
        }})
        .to_string()
    };
    let cost = AccuracyCost::from_runs(run(0.75, Some(3.0)).as_bytes(), run(0.875, None).as_bytes());
    let measured = Statement::from_history(&history, 1e-6, None, cost.expect("two runs"));
    let measured = serde_json::to_value(measured).expect("JSON");
    assert!(is_valid(&measured), "{measured}");
    assert_eq!(measured["accuracy_cost"]["cost"], 0.125);
    let unnamed = stated(&history, None);
    assert_eq!(unnamed["accuracy_cost"]["status"], "not_measured");
    assert!(is_valid(&unnamed), "{unnamed}");
    let mut silent = measured;
    silent["accuracy_cost"] = Value::Null;
    assert!(!is_valid(&silent));
}
