//! Invitations, and what is exchanged with them.

use std::time::{Duration, UNIX_EPOCH};

use cloister_identity::enrolment::EnrolmentRole;
use cloister_identity::online::{EnrolmentAnswer, EnrolmentRequest, Invitation, InvitationError};
use serde::Deserialize;

use crate::vectors::Hex;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Invitations {
    good: Vec<GoodInvitation>,
    wrapped: Vec<WrappedInvitation>,
    bad: Vec<BadInvitation>,
    requests: Vec<GoodRequest>,
    bad_requests: Vec<Hex>,
    answers: Vec<Answer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GoodInvitation {
    text: String,
    address: String,
    certificate: Hex,
    roles: Vec<EnrolmentRole>,
    expires: u64,
    token_digest: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrappedInvitation {
    text: String,
    wrapped: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BadInvitation {
    step: String,
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GoodRequest {
    bytes: Hex,
    enrolment: String,
    token_digest: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    kind: String,
    bytes: Hex,
}

fn step(error: &InvitationError) -> &'static str {
    match error {
        InvitationError::Prefix => "prefix",
        InvitationError::Checksum => "checksum",
        InvitationError::Part { .. } => "part",
        InvitationError::Address => "address",
        InvitationError::Roles { .. } => "roles",
    }
}

fn kind(answer: &EnrolmentAnswer) -> &'static str {
    match answer {
        EnrolmentAnswer::Kept(_) => "kept",
        EnrolmentAnswer::Listed(_) => "listed",
        EnrolmentAnswer::Refused(_) => "refused",
    }
}

/// CONS-13, CONS-14
pub(crate) fn check(file: Invitations) {
    for good in file.good {
        let invitation = Invitation::parse(&good.text).unwrap();
        assert_eq!(*invitation.to_text(), good.text);
        assert_eq!(invitation.address(), good.address);
        assert_eq!(invitation.coordinator().0.to_vec(), good.certificate.0);
        assert_eq!(invitation.roles(), good.roles);
        assert_eq!(invitation.expires(), UNIX_EPOCH + Duration::from_secs(good.expires));
        assert_eq!(invitation.token().digest().0.to_vec(), good.token_digest.0);
    }
    for wrapped in file.wrapped {
        assert_eq!(*Invitation::parse(&wrapped.wrapped).unwrap().to_text(), wrapped.text);
    }
    for bad in file.bad {
        let refused = Invitation::parse(&bad.text).expect_err(&bad.text);
        assert_eq!(step(&refused), bad.step, "{refused}: {}", bad.text);
    }
    for good in file.requests {
        let request = EnrolmentRequest::decode(&good.bytes.0).unwrap();
        assert_eq!(request.enrolment, good.enrolment);
        assert_eq!(request.token.digest().0.to_vec(), good.token_digest.0);
        assert_eq!(*request.encode().unwrap(), good.bytes.0);
    }
    for bad in file.bad_requests {
        assert!(EnrolmentRequest::decode(&bad.0).is_err(), "{}", hex::encode(bad.0));
    }
    for case in file.answers {
        let answer = EnrolmentAnswer::decode(&case.bytes.0).unwrap();
        assert_eq!((kind(&answer), answer.encode()), (case.kind.as_str(), case.bytes.0));
    }
}
