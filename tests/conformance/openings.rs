//! The names of openings.

use cloister_crypto::hash::{Domain, digest};
use cloister_params::block::BlockShape;
use cloister_params::fixed::Scale;
use cloister_params::id::Digest;
use cloister_wire::codec;
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
    shape: BlockShape,
    scale: Scale,
    cohort: Vec<WeightedMember>,
    name: Digest,
}

/// ROUND-30
pub(crate) fn check(file: Names) {
    for case in file.cases {
        let bytes = codec::encode(&(case.shape, case.scale, &case.cohort));
        assert_eq!(digest(Domain::Opening, &[&bytes]), case.name);
    }
}
