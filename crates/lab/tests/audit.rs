//! The audit finds what is wrong with noise, and nothing where nothing is.

use cloister_lab::audit::{Fault, Report, Settings, audit};
use cloister_params::limits::PrivacyUnit;

fn report() -> Report {
    let settings = Settings { canaries: 2400, seeds: vec![6], delta: 1e-5, confidence: 0.95 };
    audit(&settings, &mut |_| ()).expect("it runs")
}

/// PRIV-02, PRIV-03, PRIV-04: of what the client prepares, for both units.
#[test]
fn claims_hold_and_every_fault_is_caught() {
    let report = report();
    let table = report.to_table();
    assert!(report.claims_hold && report.broken_caught, "{table}");
    assert_eq!(report.findings.len(), 8);
    for finding in &report.findings {
        let share = finding.epsilon_lower_bound / finding.epsilon_claimed;
        match finding.fault {
            // Tight enough that a fault would show, and no more than what is claimed.
            Fault::None => assert!((0.6..1.0).contains(&share), "{table}"),
            Fault::HalvedNoise => assert!(share > 1.7, "{table}"),
            Fault::SilentMember | Fault::UnchargedSketches => assert!(share > 1.02, "{table}"),
        }
    }
    let member = |fault| {
        let found = |finding: &&cloister_lab::audit::Finding| {
            finding.unit == PrivacyUnit::Member && finding.fault == fault
        };
        report.findings.iter().find(found).expect("it was audited")
    };
    assert!(member(Fault::UnchargedSketches).epsilon_claimed < member(Fault::None).epsilon_claimed);
    assert_eq!(report.epsilon_lower_bound, member(Fault::None).epsilon_lower_bound);
}
