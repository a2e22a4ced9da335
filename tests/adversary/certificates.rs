//! Attacks by certificates.

use cloister_params::id::PartyId;
use cloister_protocol::fault::Misbehaviour;
use cloister_wire::message::Message;
use cloister_wire::statement::{Certificate, Seal2, Vote};

use crate::stage::{Stage, revealed};

fn is_sealed2(message: &Message) -> bool {
    matches!(message, Message::Sealed2 { .. })
}

/// A stage before anybody has the second seal's certificate, and the certificate.
fn sealed() -> (Stage, Certificate<Seal2>) {
    let stage = Stage::started_to(1, is_sealed2);
    let Message::Sealed2 { certificate } = stage.sent_last(is_sealed2) else { unreachable!() };
    (stage, certificate)
}

/// Asserts that member and custodian refuse changed votes and reveal nothing, and accept the honest ones.
fn refused(change: impl FnOnce(&Stage, &mut Vec<Vote>), expected: fn(&Misbehaviour) -> bool) {
    let (mut stage, certificate) = sealed();
    let mut changed = certificate.votes.clone();
    change(&stage, &mut changed);
    let forged = Certificate::new(certificate.body.clone(), changed);
    let answer = stage.give(1, Message::Sealed2 { certificate: forged });
    assert_eq!(answer.faults.len(), 2, "{answer:?}");
    assert!(answer.misbehaviours().into_iter().all(expected), "{answer:?}");
    assert!(revealed(&answer.done).is_empty());
    let answer = stage.deliver_to(1);
    assert!(answer.is_accepted() && !revealed(&answer.done).is_empty(), "control: the real certificate");
}

/// ROUND-05
#[test]
fn a_certificate_below_the_quorum() {
    refused(
        |_, votes| votes.truncate(4),
        |what| matches!(what, Misbehaviour::Quorum { got: 4, quorum: 5, .. }),
    );
}

/// ROUND-05
#[test]
fn a_certificate_with_a_signer_twice() {
    refused(|_, votes| votes[4] = votes[3], |what| matches!(what, Misbehaviour::Quorum { got: 4, .. }));
}

#[test]
fn a_certificate_with_its_signers_out_of_order() {
    refused(|_, votes| votes.swap(0, 1), |what| matches!(what, Misbehaviour::Quorum { .. }));
}

#[test]
fn a_certificate_with_one_signature_for_another_custodian() {
    refused(
        |_, votes| votes[4].custodian = PartyId(7),
        |what| matches!(what, Misbehaviour::Signature { signer: PartyId(7), .. }),
    );
}

#[test]
fn a_certificate_with_a_signer_outside_the_consortium() {
    refused(
        |_, votes| votes[4].custodian = PartyId(8),
        |what| matches!(what, Misbehaviour::Role { signer: PartyId(8), .. }),
    );
}

#[test]
fn signatures_on_the_first_seal_as_such_on_the_second() {
    refused(
        |stage, votes| {
            let Message::Sealed1 { certificate, .. } =
                stage.sent_last(|message| matches!(message, Message::Sealed1 { .. }))
            else {
                unreachable!()
            };
            *votes = certificate.votes;
        },
        |what| matches!(what, Misbehaviour::Signature { .. }),
    );
}
