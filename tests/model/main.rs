//! Seals and reveals checked exhaustively on small consortia, with controls: each rule that is switched off lets the
//! checker find what it prevents.

mod seals;

use std::collections::BTreeSet;

use seals::{Rules, Seals};
use stateright::{Checker, HasDiscoveries, Model};

/// What a model reaches when nothing goes wrong, and nothing else.
const REACHED: [&str; 5] = [
    "a round closes",
    "a round is aborted",
    "the next round is sealed",
    "the victim's seeds open",
    "a departed victim's mask key opens",
];

/// ROUND-01, ROUND-02, ROUND-03, ROUND-04, ROUND-05, FLOOR-04: no state breaks a rule.
#[test]
fn every_state_of_small_consortia_obeys_the_rules() {
    for (members, custodians, restores) in [(5, 3, 3), (5, 4, 3), (5, 5, 2), (7, 7, 1), (8, 8, 1)] {
        let checker = Seals::new(members, custodians, restores).checker().spawn_bfs().join();
        println!(
            "{members} members, {custodians} custodians, {restores} restores: {} states",
            checker.unique_state_count()
        );
        let found: BTreeSet<&str> = checker.discoveries().into_keys().collect();
        assert_eq!(found, BTreeSet::from(REACHED), "{members} members, {custodians} custodians");
    }
}

/// Explores a model with changed rules until all of these properties are seen broken.
fn assert_broken(broken: &[&'static str], change: impl Fn(&mut Rules)) {
    let mut model = Seals::new(5, 4, 1);
    change(&mut model.rules);
    let wanted = BTreeSet::from_iter(broken.iter().copied());
    let checker = model.checker().finish_when(HasDiscoveries::AllOf(wanted)).spawn_bfs().join();
    for rule in broken {
        assert!(checker.discovery(rule).is_some(), "{rule} holds although its rule is switched off");
    }
}

/// Positive control of R1.
#[test]
fn revealing_both_kinds_is_found() {
    assert_broken(&["R1"], |rules| rules.reveals = false);
}

/// Positive control of R3: with steps signed twice or out of order, two bodies are certified, and both kinds open.
#[test]
fn signing_twice_is_found() {
    assert_broken(&["R1", "R3", "R3 order"], |rules| rules.once = false);
}

/// Positive control of the quorum: one vote fewer, and two certificates share malicious custodians alone.
#[test]
fn a_quorum_that_is_too_small_is_found() {
    assert_broken(&["R3"], |rules| rules.quorum = false);
}

/// Positive control of R4: a custodian that goes on from an old journal signs twice.
#[test]
fn going_on_from_a_backup_is_found() {
    assert_broken(&["R3"], |rules| rules.sits_out = false);
}

/// Positive control of R2.
#[test]
fn a_cohort_below_the_floor_is_found() {
    assert_broken(&["R2"], |rules| rules.floor = false);
}
