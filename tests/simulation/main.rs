//! Random lists of operations over whole consortia: after every operation the rules R1 to R8 of the protocol hold, a
//! sum is right or there is none, and the coordinator with the corrupt parties can solve for nobody's integers
//! ([`knowledge`]).
//!
//! A list that breaks a rule is shrunk and printed in the form of `reproduction.rs`. Other and longer runs are made by
//! `cargo xtask simulate`.

#![allow(clippy::unwrap_used)]

mod controls;
mod differences;
mod evidence;
mod faults;
mod generator;
mod invariants;
mod knowledge;
mod liveness;
mod logs;
mod long_blocks;
mod models;
mod operation;
mod references;
mod rehearsals;
mod reproduction;
mod shrink;
mod simulation;
mod sums;
mod uploads;

use std::collections::BTreeSet;

use cloister_params::id::PartyId;
use cloister_protocol::coordinator::Event;
use generator::{Report, explore, explore_differences};
use operation::{Configuration, Operation};
use simulation::replay;

#[test]
fn no_list_of_operations_breaks_a_rule() {
    let operations = 40_000;
    let report = explore(1, operations);
    println!("{report}");
    if let Some(failure) = report.violations.first() {
        panic!("{}", shrink::reproduction(&shrink::shrunk(failure)));
    }
    assert!(report.operations >= operations);
    assert!(report.closed > 0 && report.aborted > 0, "lists reach endings of both kinds");
}

/// ROUND-01, ROUND-02, ROUND-03, ROUND-31: what the coordinator and corrupt parties hold never makes up the integers of
/// one or two honest members.
#[test]
fn sums_of_different_rounds_tell_nothing_of_few_members() {
    let operations = 12_000;
    let report = explore_differences(1, operations);
    println!("{report}");
    if let Some(failure) = report.violations.first() {
        panic!("{}", shrink::reproduction(&shrink::shrunk(failure)));
    }
    assert!(report.operations >= operations);
    assert!(report.closed > 0 && report.aborted > 0, "lists reach endings of both kinds");
}

#[test]
fn a_round_of_the_largest_simulated_roster_closes() {
    let configuration = Configuration { members: 40, experts: 1, ..Configuration::with_members(40) };
    let (simulation, result) = replay(&configuration, &[Operation::StartRound, Operation::Settle]);
    assert_eq!(result, Ok(()));
    assert_eq!((simulation.closed, simulation.aborted), (1, 0));
}

#[test]
fn kept_lists_break_no_rule_any_more() {
    for kept in reproduction::kept() {
        let (_, result) = replay(&kept.configuration, &kept.operations);
        assert_eq!(result, Ok(()), "{}", kept.name);
    }
}

/// What `cargo xtask simulate --json` prints of a failure is what `--replay` takes.
#[test]
fn a_list_travels_as_json() {
    for kept in reproduction::kept() {
        let text = serde_json::to_string(&(&kept.configuration, &kept.operations)).unwrap();
        let back: (Configuration, Vec<Operation>) = serde_json::from_str(&text).unwrap();
        assert_eq!(back, (kept.configuration, kept.operations));
    }
}

/// Positive control of R4: custodians whose disks are lost sign twice, and the simulation sees it.
#[test]
fn custodians_that_lose_their_journals_are_caught() {
    let found = broken(|configuration| configuration.journals_are_lost = true);
    assert!(found.contains("R4"), "{found:?}");
}

/// Positive control of R4: a coordinator whose disk is lost proposes a second body for a step.
#[test]
fn a_coordinator_that_loses_its_journal_is_caught() {
    let honest = |configuration: &mut Configuration| configuration.coordinator_is_byzantine = false;
    assert_eq!(broken(honest), BTreeSet::new(), "control: with its journal");
    let found = broken(|configuration| {
        (configuration.coordinator_is_byzantine, configuration.coordinator_forgets) = (false, true);
    });
    assert!(found.contains("R4"), "{found:?}");
}

/// Positive control of R3: with a quorum of custodians that sign everything, two bodies are certified.
#[test]
fn too_many_byzantine_custodians_are_caught() {
    let found = broken(|configuration| configuration.byzantine_custodians = 3);
    assert!(found.contains("R3"), "{found:?}");
}

/// Positive control of the bars: parties that need no evidence let an honest member be barred.
#[test]
fn a_barred_honest_member_is_caught() {
    let configuration = Configuration { coordinator_is_byzantine: true, ..Configuration::with_members(5) };
    let found = || {
        let broken = (0..40).filter_map(|steps| {
            let before = [vec![Operation::StartRound], vec![Operation::Step(0); steps]].concat();
            let second_plan = Operation::Attack(operation::Attack::SecondPlan, 3);
            let list = [before, vec![second_plan, Operation::Settle]].concat();
            replay(&configuration, &list).1.err()
        });
        broken.map(|violation| violation.rule).collect::<BTreeSet<_>>()
    };
    assert_eq!(found(), BTreeSet::new(), "control: with evidence alone");
    let unproven = cloister_params::rule::without("PLAN-14", found);
    assert!(unproven.contains("bars"), "{unproven:?}");
}

/// PLAN-14, ROUND-33: whoever deals a wrong key is out of the round, and barred from the next ones, which go on.
#[test]
fn who_deals_a_wrong_key_is_barred_and_rounds_go_on() {
    use operation::Attack::WrongKey;
    use operation::Operation::{Attack, Settle, StartRound};
    let configuration = Configuration {
        coordinator_is_byzantine: true,
        corrupt_members: 1,
        ..Configuration::with_members(6)
    };
    let list = [Attack(WrongKey, 0), StartRound, Settle, StartRound, Settle];
    let barred = |simulation: &simulation::Simulation| {
        let reported = simulation.world.events.iter().filter_map(|event| match event {
            Event::Barred(members) => Some(members.clone()),
            _ => None,
        });
        reported.collect::<Vec<_>>()
    };
    let (simulation, result) = replay(&configuration, &list);
    assert_eq!((result, simulation.closed, simulation.aborted), (Ok(()), 2, 0));
    assert_eq!(barred(&simulation), [vec![PartyId(6)]]);
    let (simulation, _) = replay(&configuration, &list[1..]);
    assert_eq!((simulation.closed, barred(&simulation)), (2, vec![]), "control: nobody deals a wrong key");
}

/// Positive control of the sums: a coordinator that expects other updates than the members' sees wrong sums.
#[test]
fn a_wrong_sum_is_caught() {
    let found = broken(|configuration| configuration.members_lie = true);
    assert!(found.contains("sum"), "{found:?}");
}

/// Positive control of the late sketches: where they are not compared with the sum, a lie is called checked.
#[test]
fn lies_that_are_not_compared_with_the_sum_are_caught() {
    let lying = |configuration: &mut Configuration| {
        (configuration.late_sketches, configuration.lying_members) = (true, 1);
    };
    assert!(!broken(lying).contains("late"));
    let found = cloister_params::rule::without("LATE-03", || broken(lying));
    assert!(found.contains("late"), "{found:?}");
}

/// The rules that lists of operations break when something that must not be is so.
fn broken(change: impl Fn(&mut Configuration)) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    for seed in 0..12 {
        let mut configuration =
            Configuration { coordinator_is_byzantine: true, ..Configuration::with_members(5) };
        configuration.seed = seed;
        change(&mut configuration);
        let mut report = Report::default();
        generator::run_list(configuration, 700, seed, &mut report);
        found.extend(report.violations.iter().map(|failure| failure.violation.rule));
    }
    found
}
