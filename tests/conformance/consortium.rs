//! Floors, and consortium files.

use cloister_crypto::consortium::Epoch;
use cloister_params::consortium::PublicBytes;
use cloister_params::floors::Floors;
use cloister_params::id::{Digest, PartyId};
use serde::Deserialize;

use crate::steps::{consortium_step, variant};
use crate::vectors::Hex;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FloorsFile {
    cases: Vec<Sizes>,
    bad: Vec<BadSizes>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sizes {
    organisations: usize,
    custodians: usize,
    malicious_custodians: usize,
    corrupt_organisations: usize,
    cohort: usize,
    seal_quorum: usize,
    reveal_threshold: usize,
    tolerated_losses: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BadSizes {
    organisations: usize,
    custodians: usize,
    step: String,
}

pub(crate) fn floors(file: FloorsFile) {
    for case in file.cases {
        let floors = Floors::for_roster(case.organisations, case.custodians).unwrap();
        assert_eq!(floors.malicious_custodians, case.malicious_custodians);
        assert_eq!(floors.corrupt_organisations, case.corrupt_organisations);
        assert_eq!((floors.cohort, floors.seal_quorum), (case.cohort, case.seal_quorum));
        assert_eq!(floors.reveal_threshold, case.reveal_threshold);
        assert_eq!(floors.tolerated_losses(), case.tolerated_losses);
    }
    for bad in file.bad {
        let error = Floors::for_roster(bad.organisations, bad.custodians).unwrap_err();
        assert_eq!(variant(&error), bad.step);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Consortia {
    cases: Vec<Good>,
    bad: Vec<Bad>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Good {
    text: String,
    signature: Hex,
    governance: Hex,
    epoch: Digest,
    members: Vec<u32>,
    custodians: Vec<u32>,
    organisations: usize,
    floors: Numbers,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbers {
    malicious_custodians: usize,
    corrupt_organisations: usize,
    cohort: usize,
    seal_quorum: usize,
    reveal_threshold: usize,
    tolerated_losses: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bad {
    text: String,
    signature: Hex,
    governance: Hex,
    step: String,
}

fn numbers(parties: impl Iterator<Item = PartyId>) -> Vec<u32> {
    parties.map(|party| party.0).collect()
}

pub(crate) fn check(file: Consortia) {
    for case in file.cases {
        let governance = PublicBytes(case.governance.array());
        let epoch = Epoch::accept(&case.text, &case.signature.array(), governance).unwrap();
        let consortium = epoch.consortium();
        assert_eq!(epoch.digest(), case.epoch);
        assert_eq!(numbers(consortium.members()), case.members);
        assert_eq!(numbers(consortium.custodians()), case.custodians);
        assert_eq!(consortium.organisations(consortium.members()), case.organisations);
        let floors = consortium.floors();
        assert_eq!(floors.malicious_custodians, case.floors.malicious_custodians);
        assert_eq!(floors.corrupt_organisations, case.floors.corrupt_organisations);
        assert_eq!((floors.cohort, floors.seal_quorum), (case.floors.cohort, case.floors.seal_quorum));
        assert_eq!(floors.reveal_threshold, case.floors.reveal_threshold);
        assert_eq!(floors.tolerated_losses(), case.floors.tolerated_losses);
    }
    for bad in file.bad {
        let governance = PublicBytes(bad.governance.array());
        let error = Epoch::accept(&bad.text, &bad.signature.array(), governance).unwrap_err();
        assert_eq!(consortium_step(&error), bad.step);
    }
}
