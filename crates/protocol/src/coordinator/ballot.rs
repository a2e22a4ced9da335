//! Collecting custodians' signatures on one body until they are a certificate.

use std::collections::BTreeMap;

use cloister_crypto::consortium::Epoch;
use cloister_params::id::{Digest, PartyId};
use cloister_wire::codec;
use cloister_wire::statement::{Body, Certificate, Signature, Vote};

use crate::fault::Misbehaviour;
use crate::statement::{body_digest, check_vote};

/// A body that custodians are asked to sign.
#[derive(Debug)]
pub(super) struct Ballot<T> {
    body: Vec<u8>,
    votes: BTreeMap<PartyId, Vote>,
    kind: std::marker::PhantomData<T>,
}

impl<T: Body> Ballot<T> {
    pub(super) fn open(body: &T) -> Self {
        Self { body: codec::encode(body), votes: BTreeMap::new(), kind: std::marker::PhantomData }
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Counts a vote, and gives the certificate once a quorum has signed.
    pub(super) fn count(
        &mut self,
        custodian: PartyId,
        body: Digest,
        signature: Signature,
        epoch: &Epoch,
    ) -> Result<Option<Certificate<T>>, Misbehaviour> {
        // Compared first: it is cheaper than a signature check, and reports a stale vote as what it is.
        if body != body_digest(&self.body) {
            let (got, expected) = (body.to_string(), body_digest(&self.body).to_string());
            return Err(Misbehaviour::Mismatch { what: T::TAG, field: "body", got, expected });
        }
        let vote = Vote { custodian, signature };
        check_vote::<T>(&vote, &self.body, epoch)?;
        self.votes.insert(custodian, vote);
        // Votes are sorted by custodian, as a certificate needs them; a second vote of one custodian counts
        // once.
        let enough = self.votes.len() >= epoch.consortium().floors().seal_quorum;
        Ok(enough.then(|| Certificate::new(self.body.clone(), self.votes.values().copied().collect())))
    }
}
