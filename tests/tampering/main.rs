//! What `audit verify` says of a coordinator's folder, sound and changed.

#![allow(clippy::unwrap_used)]

mod fields;
mod folders;
mod mutations;
mod rounds;

use mutations::Tamperer;
use rounds::RecordedRounds;

/// LOG-01, LOG-03 to LOG-07: one of every 25 changes, in the order in which `cargo xtask tamper` tries them all.
#[test]
fn changes_of_every_kind_are_found_and_named() {
    let report = Tamperer::new(&RecordedRounds::new(), 25).run();
    assert!(report.mutations > 300, "{}", report.mutations);
    assert_eq!((report.undetected, report.misnamed), (Vec::new(), Vec::new()));
    assert_eq!(report.detected, report.mutations);
}
