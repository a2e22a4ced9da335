//! The names of openings.

use cloister_params::id::Digest;
use cloister_params::plan::PlannedBlock;
use cloister_protocol::openings::opening_name;
use cloister_wire::statement::WeightedMember;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Names {
    cases: Vec<Named>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    block: PlannedBlock,
    cohort: Vec<WeightedMember>,
    routing: Option<Digest>,
    name: Digest,
}

/// ROUND-30
pub(crate) fn check(file: Names) {
    for case in file.cases {
        assert_eq!(opening_name(&case.block, &case.cohort, case.routing), case.name);
    }
}
