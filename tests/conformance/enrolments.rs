//! Enrolment files and short fingerprints.

use cloister_crypto::hash::{Domain, digest};
use cloister_identity::ShortFingerprint;
use cloister_identity::enrolment::{Enrolment, EnrolmentError};
use serde::Deserialize;

use crate::vectors::Hex;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Enrolments {
    good: Vec<GoodEnrolment>,
    bad: Vec<BadEnrolment>,
    governance_keys: Vec<GovernanceKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GoodEnrolment {
    file: String,
    signing_key: Hex,
    certificate: Hex,
    last_day: String,
    fingerprint: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BadEnrolment {
    step: String,
    file: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GovernanceKey {
    key: Hex,
    fingerprint: String,
}

/// The step at which a file is rejected.
fn step(error: &EnrolmentError) -> &'static str {
    match error {
        EnrolmentError::TooLarge { .. } => "size",
        EnrolmentError::Syntax(_) => "syntax",
        EnrolmentError::Version { .. } => "version",
        EnrolmentError::Name { .. } | EnrolmentError::Number => "name",
        EnrolmentError::Roles { .. } => "roles",
        EnrolmentError::Key(_) => "key",
        EnrolmentError::Signature => "signature",
        EnrolmentError::Certificate(_) => "certificate",
    }
}

pub(crate) fn check(file: Enrolments) {
    for good in file.good {
        let enrolment = Enrolment::read(&good.file).unwrap();
        assert_eq!(enrolment.signing_key().0.to_vec(), good.signing_key.0);
        assert_eq!(enrolment.certificate().0.to_vec(), good.certificate.0);
        assert_eq!(enrolment.validity().last_day().to_string(), good.last_day);
        assert_eq!(enrolment.fingerprint().to_string(), good.fingerprint);
    }
    for bad in file.bad {
        let refused = Enrolment::read(&bad.file).expect_err(&bad.file);
        assert_eq!(step(&refused), bad.step, "{refused}: {}", bad.file);
    }
    for governance in file.governance_keys {
        let fingerprint = ShortFingerprint::new(digest(Domain::GovernanceKey, &[&governance.key.0]));
        assert_eq!(fingerprint.to_string(), governance.fingerprint);
    }
}
