//! Checking signatures and certificates, and making them.

use cloister_crypto::consortium::Epoch;
use cloister_crypto::hash::{Domain, digest};
use cloister_crypto::sign::{SigningKey, verify};
use cloister_params::consortium::Role;
use cloister_params::id::{Digest, PartyId};
use cloister_params::rule;
use cloister_transcript::{EntryKind, EntrySignature, RoundLog};
use cloister_wire::codec;
use cloister_wire::statement::{Body, Certificate, Signature, Signed, Vote};

use crate::fault::Misbehaviour;

/// A body whose signature or quorum was checked, with the bytes that were signed. The fields are private, so
/// only this module makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified<T> {
    signer: PartyId,
    body: T,
    bytes: Vec<u8>,
}

impl<T> Verified<T> {
    /// Who signed; the coordinator for what a quorum of custodians signed.
    pub fn signer(&self) -> PartyId {
        self.signer
    }

    /// The body.
    pub fn body(&self) -> &T {
        &self.body
    }

    /// The body's bytes as they came.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The digest that other statements name this body by.
    pub fn digest(&self) -> Digest {
        body_digest(&self.bytes)
    }
}

/// The digest of a canonical body. No signature enters it (`ROUND-06`).
pub fn body_digest(bytes: &[u8]) -> Digest {
    digest(Domain::Body, &[bytes])
}

/// Signs a body.
pub fn sign<T: Body>(key: &SigningKey, signer: PartyId, body: &T) -> Signed<T> {
    let bytes = codec::encode(body);
    let signature = Signature(key.sign(T::TAG, &bytes));
    Signed::new(signer, bytes, signature)
}

/// A statement's signature as a log has it (`LOG-03`).
pub(crate) fn signature_of<T>(signed: &Signed<T>) -> EntrySignature {
    EntrySignature { party: signed.signer, signature: signed.signature.0 }
}

/// Appends a statement, which the caller checked, with its signature.
pub(crate) fn log_signed<T>(log: &mut RoundLog, kind: EntryKind, signed: &Signed<T>) {
    log.push_signed(kind, signed.signer, signed.body.clone(), vec![signature_of(signed)]);
}

/// Checks a signed statement of the coordinator.
///
/// # Errors
/// A signer other than the coordinator, a signature that does not fit, a body that is not canonical.
pub fn check_coordinators<T: Body>(signed: &Signed<T>, epoch: &Epoch) -> Result<Verified<T>, Misbehaviour> {
    if signed.signer != PartyId::COORDINATOR {
        return Err(Misbehaviour::Role { signer: signed.signer, role: None, what: T::TAG });
    }
    check_signature(signed, epoch)
}

/// Checks a signed statement of a party that must have a role.
///
/// # Errors
/// A signer without the role, a signature that does not fit, a body that is not canonical.
pub fn check_partys<T: Body>(
    signed: &Signed<T>,
    epoch: &Epoch,
    role: Role,
) -> Result<Verified<T>, Misbehaviour> {
    if !epoch.consortium().has_role(signed.signer, role) {
        return Err(Misbehaviour::Role { signer: signed.signer, role: Some(role), what: T::TAG });
    }
    check_signature(signed, epoch)
}

fn check_signature<T: Body>(signed: &Signed<T>, epoch: &Epoch) -> Result<Verified<T>, Misbehaviour> {
    let wrong = Misbehaviour::Signature { signer: signed.signer, what: T::TAG };
    let key = epoch.consortium().signing_key(signed.signer).ok_or(wrong.clone())?;
    // The signature first: bytes of a stranger are not decoded.
    verify(key, T::TAG, &signed.body, &signed.signature.0).map_err(|_| wrong)?;
    Ok(Verified { signer: signed.signer, body: signed.parse()?, bytes: signed.body.clone() })
}

/// Checks one custodian's vote on a body.
///
/// # Errors
/// A voter that is no custodian, or a signature that does not fit.
pub fn check_vote<T: Body>(vote: &Vote, body: &[u8], epoch: &Epoch) -> Result<(), Misbehaviour> {
    let signer = vote.custodian;
    if !epoch.consortium().has_role(signer, Role::Custodian) {
        return Err(Misbehaviour::Role { signer, role: Some(Role::Custodian), what: T::TAG });
    }
    let wrong = Misbehaviour::Signature { signer, what: T::TAG };
    let key = epoch.consortium().signing_key(signer).ok_or(wrong.clone())?;
    verify(key, T::TAG, body, &vote.signature.0).map_err(|_| wrong)
}

/// Checks a certificate: distinct custodians in ascending order, each signature fits, and they are a quorum
/// (`ROUND-05`).
///
/// # Errors
/// The first of these that fails.
pub fn check_certificate<T: Body>(
    certificate: &Certificate<T>,
    epoch: &Epoch,
) -> Result<Verified<T>, Misbehaviour> {
    let quorum = epoch.consortium().floors().seal_quorum;
    let votes = &certificate.votes;
    // Ascending makes distinctness one pass, and gives each set of votes one encoding.
    let distinct = votes.windows(2).all(|pair| pair[0].custodian < pair[1].custodian);
    if rule::in_force("ROUND-05") && (!distinct || votes.len() < quorum) {
        let mut voters: Vec<PartyId> = votes.iter().map(|vote| vote.custodian).collect();
        voters.sort_unstable();
        voters.dedup();
        return Err(Misbehaviour::Quorum { what: T::TAG, got: voters.len().min(votes.len()), quorum });
    }
    // Every vote, not just a quorum of them: a certificate has no part that was not checked.
    for vote in votes {
        check_vote::<T>(vote, &certificate.body, epoch)?;
    }
    let body = certificate.parse()?;
    Ok(Verified { signer: PartyId::COORDINATOR, body, bytes: certificate.body.clone() })
}

#[cfg(test)]
mod tests {
    use cloister_wire::statement::{Abort, AbortReason};

    use super::*;

    /// ROUND-06: whoever signs, and however often, the digest that others name stays the same.
    #[test]
    fn no_signature_enters_a_digest() {
        let digest = Digest::default();
        let round = cloister_params::id::Round(1);
        let reason = AbortReason::NotSealed;
        let body = Abort { epoch: digest, round, plan: digest, model: digest, reason };
        let [one, two] = [1, 2].map(|seed| sign(&SigningKey::from_seed(&[seed; 32]), PartyId(1), &body));
        assert_ne!(one.signature, two.signature);
        assert_eq!(body_digest(&one.body), body_digest(&two.body));
    }
}
