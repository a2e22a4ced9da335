//! The audit finds every planted fault, and accuses no sound mechanism.

use cloister_lab::audit::{
    AuditCase, AuditPlan, AuditReport, AuditSettings, AuditSubject, AuditedMechanism, AuditedRounds,
    AuditedSteps, Finding, PlantedFault, audit, judge,
};
use cloister_params::limits::PrivacyUnit;
use cloister_privacy::release::Released;

const DELTA: f64 = 1e-5;

fn report() -> AuditReport {
    let settings = AuditSettings { canaries: 2400, seeds: vec![6], delta: DELTA, confidence: 0.95 };
    audit(&settings, &mut |_| ()).expect("it runs")
}

/// A sound mechanism's bound is close enough to its claim that a fault would show, and never above it.
fn stands(finding: &Finding) -> bool {
    let share = finding.epsilon_lower_bound / finding.epsilon_claimed;
    let moved = finding.moved > 0.95 && !finding.moves_too_far();
    // Signs are charged as the projections that they follow from, and show less.
    let least = if finding.subject == AuditSubject::Signs { 0.1 } else { 0.4 };
    (least..1.0).contains(&share) && moved && !finding.noise_repeats && !finding.noise_small
}

/// Each fault must be found by its own effect; with a margin where the effect is a matter of chance.
fn is_found(finding: &Finding) -> bool {
    let above = |times: f64| finding.epsilon_lower_bound > times * finding.epsilon_claimed;
    match finding.case.fault {
        PlantedFault::None => stands(finding),
        PlantedFault::NotCharged if finding.subject == AuditSubject::Signs => {
            finding.epsilon_claimed == 0.0 && finding.epsilon_lower_bound > 0.5
        }
        PlantedFault::NotCharged => finding.epsilon_claimed == 0.0 && finding.epsilon_lower_bound > 2.0,
        // A direction of zeros without noise is coins, which do not repeat; bits of other directions agree too often.
        PlantedFault::LessNoise | PlantedFault::SilentMember if finding.subject == AuditSubject::Signs => {
            finding.noise_small
        }
        PlantedFault::LessNoise => above(1.1),
        PlantedFault::NotClipped | PlantedFault::FewRecords => above(1.1) && finding.moved > 2.5,
        PlantedFault::SilentMember
        | PlantedFault::ReusedNoise
        | PlantedFault::SharedNoise
        | PlantedFault::BareCoordinate => finding.noise_repeats,
        PlantedFault::DividedByDrawn => finding.noise_small,
        PlantedFault::HalvedDivisor => finding.moved > 1.9,
    }
}

/// The kinds of releases that are charged, by unit and by whether training is private.
fn charged(unit: PrivacyUnit, private_training: bool) -> Vec<Released> {
    use Released::{
        ExpertSum, PrivateStep, RegionSketch, RouterSum, RoutingHistogram, SharedSum, TokenCount,
        UpdateSketch,
    };
    match (unit, private_training) {
        (PrivacyUnit::Record, true) => vec![RoutingHistogram, RegionSketch, TokenCount, PrivateStep],
        _ => vec![ExpertSum, RouterSum, SharedSum, RoutingHistogram, RegionSketch, UpdateSketch, TokenCount],
    }
}

/// PRIV-02, PRIV-03, PRIV-04, PRIV-10, PRIV-11: of what the client prepares, and of the steps of private training.
#[test]
fn every_claim_stands_and_every_fault_in_every_kind_of_release_is_found() {
    let report = report();
    let table = report.to_table();
    assert!(report.claims_hold && report.broken_caught, "{table}");
    for finding in &report.findings {
        assert!(is_found(finding), "{finding:?}\n{table}");
    }
    let everywhere = [
        PlantedFault::None,
        PlantedFault::NotCharged,
        PlantedFault::LessNoise,
        PlantedFault::SilentMember,
        PlantedFault::ReusedNoise,
    ];
    let plans = [(PrivacyUnit::Member, false), (PrivacyUnit::Record, false), (PrivacyUnit::Record, true)];
    for (unit, private_training) in plans {
        for released in charged(unit, private_training) {
            for fault in everywhere {
                let is_it = |finding: &&Finding| {
                    let case = finding.case;
                    finding.subject == AuditSubject::Release(released)
                        && (case.unit, case.private_training, case.fault) == (unit, private_training, fault)
                };
                let found = report.findings.iter().filter(is_it).count();
                assert_eq!(found, 1, "{unit}, {private_training}, {released:?}, {fault:?}\n{table}");
            }
        }
    }
    // Faults that only some kinds of releases can have: this many findings over the three plans and the
    // steps.
    let special = [
        (PlantedFault::SharedNoise, 23),
        (PlantedFault::NotClipped, 12),
        (PlantedFault::FewRecords, 2),
        (PlantedFault::DividedByDrawn, 1),
        (PlantedFault::HalvedDivisor, 1),
    ];
    for (fault, expected) in special {
        let found = report.findings.iter().filter(|finding| finding.case.fault == fault).count();
        assert_eq!(found, expected, "{fault:?}\n{table}");
    }
    for unit in [PrivacyUnit::Member, PrivacyUnit::Record] {
        let by_signs = report
            .findings
            .iter()
            .filter(|finding| finding.subject == AuditSubject::Signs && finding.case.unit == unit);
        // As it is, not charged, and four faults.
        assert_eq!(by_signs.count(), 6, "{unit}\n{table}");
    }
    for released in [Released::Score, Released::RegionSum] {
        for unit in [PrivacyUnit::Member, PrivacyUnit::Record] {
            let withheld = report.findings.iter().filter(|finding| {
                finding.subject == AuditSubject::Release(released) && finding.case.unit == unit
            });
            // As it is, not charged, and five faults.
            assert_eq!(withheld.count(), 7, "{released:?}, {unit}\n{table}");
        }
    }
    let members_finding = |finding: &&Finding| {
        finding.subject == AuditSubject::Round && finding.case.unit == PrivacyUnit::Member
    };
    let whole = report.findings.iter().find(members_finding).expect("it was audited");
    assert_eq!(report.epsilon_claimed, whole.epsilon_claimed);
    assert_eq!(report.epsilon_lower_bound, whole.epsilon_lower_bound);
}

/// Checks that every claim stands in a sound run. With so few canaries its bounds are far below the claims.
fn all_stand(case: AuditCase, mechanism: &dyn AuditedMechanism) {
    const CANARIES: usize = 600;
    const SIGNIFICANCE: f64 = 1e-4;
    for evidence in mechanism.evidence(CANARIES, case.seed).expect("it runs") {
        let finding = judge(case, &evidence, DELTA, SIGNIFICANCE).finding;
        assert!(!finding.refutes() && finding.epsilon_lower_bound > 0.0, "{finding:?}");
    }
}

/// PRIV-02, PRIV-04, PRIV-10, PRIV-11
#[test]
fn no_claim_is_refuted_where_nothing_is_wrong_whatever_the_seed() {
    let units = [(PrivacyUnit::Member, false), (PrivacyUnit::Record, false), (PrivacyUnit::Record, true)];
    for (unit, private_training) in units {
        let planned = AuditPlan::new(unit, private_training).expect("it fits");
        for seed in 1..4 {
            let case = AuditCase { unit, private_training, fault: PlantedFault::None, seed };
            all_stand(case, &AuditedRounds::sound(&planned));
            if private_training {
                all_stand(case, &AuditedSteps::new(PlantedFault::None).expect("sound settings"));
            }
        }
    }
}
