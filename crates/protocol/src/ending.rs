//! How rounds end, and the chain that their endings make: each plan names the ending before it.
//!
//! A party learns of an ending by its certificate ([`KnownEnding::check`]), whatever message brings it, and
//! moves its [`ChainPosition`] on. A closing counts only together with the statements of custodians that
//! recomputed its sums.

use std::collections::{BTreeMap, BTreeSet};

use cloister_crypto::consortium::Epoch;
use cloister_params::consortium::Role;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::plan::RoundPlan;
use cloister_params::rule;
use cloister_wire::message::Ending;
use cloister_wire::statement::{Abort, Body, Closing, Recomputed, Signed};

use crate::fault::{Fault, Misbehaviour, Refusal, expect};
use crate::statement::{Verified, check_certificate, check_partys};

/// The two ways in which a round ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndingKind {
    /// Sums were opened and listed.
    Closed,
    /// Nothing was opened.
    Aborted,
}

/// How a round ended, as a party that checked the certificate knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KnownEnding {
    /// Whether it ended with sums or was aborted.
    pub kind: EndingKind,
    /// The round that ended.
    pub round: Round,
    /// The digest of its plan.
    pub plan: Digest,
    /// The digest of its closing or abort body.
    pub digest: Digest,
    /// The model after it; an abort leaves it as it was.
    pub model: Digest,
}

impl KnownEnding {
    /// Checks the previous ending that comes with a plan, if one does.
    ///
    /// # Errors
    /// That the coordinator showed one that does not hold ([`KnownEnding::check`]).
    pub(crate) fn check_previous(previous: Option<&Ending>, epoch: &Epoch) -> Result<Option<Self>, Fault> {
        let known = previous.map(|ending| Self::check(ending, epoch)).transpose();
        known.map_err(|what| what.by(PartyId::COORDINATOR))
    }

    /// Checks the certificate of an ending.
    ///
    /// # Errors
    /// A certificate that does not hold, or one of another epoch.
    pub fn check(ending: &Ending, epoch: &Epoch) -> Result<Self, Misbehaviour> {
        let (of_epoch, known) = match ending {
            Ending::Closed { certificate, recomputed } => {
                let closing: Verified<Closing> = check_certificate(certificate, epoch)?;
                let body = closing.body();
                if rule::in_force("ROUND-22") {
                    check_recomputed(epoch, body, closing.digest(), recomputed)?;
                }
                let (digest, model) = (closing.digest(), body.model);
                let known =
                    Self { kind: EndingKind::Closed, round: body.round, plan: body.plan, digest, model };
                (body.epoch, known)
            }
            Ending::Aborted(certificate) => {
                let abort: Verified<Abort> = check_certificate(certificate, epoch)?;
                let (body, digest) = (abort.body(), abort.digest());
                let (plan, model) = (body.plan, body.model);
                let known = Self { kind: EndingKind::Aborted, round: body.round, plan, digest, model };
                (abort.body().epoch, known)
            }
        };
        // A custodian may keep its key over epochs, so that a certificate of an earlier one has valid
        // signatures.
        expect("ending", "epoch", of_epoch, epoch.digest())?;
        Ok(known)
    }

    /// Whether nothing was opened in the round.
    pub fn is_abort(&self) -> bool {
        self.kind == EndingKind::Aborted
    }
}

/// Where a party stands in the chain of rounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChainPosition {
    /// The last round whose ending was checked; 0 before the first.
    pub round: Round,
    /// The digest that the next plan must name as previous.
    pub previous: Digest,
    /// The digest of the model that the next plan must start from.
    pub model: Digest,
}

impl ChainPosition {
    /// Before the first round: the epoch's digest stands for the previous ending. A later epoch starts from the
    /// model that its file names, and the first one from the model that the party was given (`CONS-06`).
    pub fn genesis(epoch: &Epoch, given: Digest) -> Self {
        let named = epoch.consortium().start().map(|start| Digest(start.model.0));
        Self { round: Round(0), previous: epoch.digest(), model: named.unwrap_or(given) }
    }

    /// The position after an ending; a party that missed rounds jumps to it.
    pub fn advance(&mut self, ending: &KnownEnding) {
        // Only forward: an old certificate is valid for ever and can be shown at any time.
        if ending.round > self.round {
            *self = Self { round: ending.round, previous: ending.digest, model: ending.model };
        }
    }

    /// Checks that a plan follows (`ROUND-03`, `ROUND-08`).
    ///
    /// # Errors
    /// A plan of another round, with another predecessor or model.
    pub fn check(&self, plan: &RoundPlan) -> Result<(), Refusal> {
        if plan.round <= self.round && rule::in_force("ROUND-03") {
            return Err(Refusal::SecondPlan);
        }
        if plan.round != self.round.next() && rule::in_force("ROUND-08") {
            return Err(Refusal::NoEnding);
        }
        let fields =
            [("previous ending", plan.previous, self.previous), ("starting model", plan.model, self.model)];
        match fields.into_iter().find(|(_, got, expected)| got != expected) {
            Some((field, got, expected)) if rule::in_force("ROUND-08") => {
                Err(Refusal::Chain { field, got, expected })
            }
            _ => Ok(()),
        }
    }
}

/// Checks that for each opened block `f + 1` custodians signed that they recomputed its sum (`ROUND-22`).
///
/// # Errors
/// A statement that is not a custodian's, or of another epoch or round; a block with too few.
pub fn check_recomputed(
    epoch: &Epoch,
    closing: &Closing,
    digest: Digest,
    statements: &[Signed<Recomputed>],
) -> Result<(), Misbehaviour> {
    let mut recomputed_by: BTreeMap<BlockId, BTreeSet<PartyId>> = BTreeMap::new();
    for signed in statements {
        let statement = check_partys(signed, epoch, Role::Custodian)?;
        expect(Recomputed::TAG, "epoch", statement.body().epoch, closing.epoch)?;
        expect(Recomputed::TAG, "round", statement.body().round, closing.round)?;
        if statement.body().closing == digest {
            for block in &statement.body().blocks {
                // A set, so that a custodian that is listed twice counts once.
                recomputed_by.entry(*block).or_default().insert(statement.signer());
            }
        }
    }
    // `f + 1`, so that at least one honest custodian recomputed the sum.
    let quorum = epoch.consortium().floors().malicious_custodians + 1;
    for sum in &closing.sums {
        let got = recomputed_by.get(&sum.block).map_or(0, BTreeSet::len);
        if got < quorum {
            return Err(Misbehaviour::Quorum { what: Recomputed::TAG, got, quorum });
        }
    }
    Ok(())
}
