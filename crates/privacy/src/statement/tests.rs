use boon::{Compiler, Schemas};
use serde_json::{Value, json};

use super::*;
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
    };
    let opening = Opening { holder: "Hospital North".into(), unit };
    History { opening, charges: (1..=3).map(charge).collect(), head: Digest([3; 32]) }
}

fn statement(unit: PrivacyUnit, mechanism: Mechanism) -> Value {
    let budget = Budget::new(4.0, 1e-6).expect("a budget");
    serde_json::to_value(Statement::of(&history(unit, mechanism), 1e-6, Some(budget))).expect("JSON")
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
        Mechanism::DiscreteGaussian { sigma: 40.0, sensitivity: 2.0 },
    ];
    for mechanism in mechanisms {
        for unit in [PrivacyUnit::Record, PrivacyUnit::Member] {
            assert!(is_valid(&statement(unit, mechanism)), "{mechanism:?}");
        }
    }
    let whole = statement(PrivacyUnit::Record, mechanisms[1]);
    for item in
        ["unit", "neighbouring_relation", "trust_model", "delta", "accountant", "rounds", "ledger_head"]
    {
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
        words.contains("one patient's record") && words.contains(&format!("{:.1}", epsilon.exp())),
        "{words}"
    );
    assert_eq!(private["rounds"][0]["releases"][0]["noise_guaranteed"].as_f64(), Some(4000.0 * 3f64.sqrt()));
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
    let of = |history: &History| serde_json::to_value(Statement::of(history, 1e-6, None)).expect("JSON");
    assert_eq!(
        of(&history)["sampling"]["of_records"],
        "none is counted",
        "a Gaussian release is no training step"
    );
    history.charges[0].releases[0].released = Released::PrivateStep;
    let private = of(&history);
    assert!(is_valid(&private), "{private}");
    let sampling = private["sampling"]["of_records"].as_str().expect("words");
    assert!(sampling.starts_with("Poisson:") && sampling.contains("0.03"), "{sampling}");
}
