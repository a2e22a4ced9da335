//! Where a custodian stands in a round. Each phase holds only the data that exists in it.

use std::collections::BTreeMap;

use cloister_params::id::{PartyId, Round};

use crate::dealing::HeldShares;
use crate::fault::Misbehaviour;
use crate::manifest::Announcements;
use crate::recompute::Recomputation;
use crate::round::RoundContext;
use crate::sealed::{SealedCohorts, SealedManifest};

/// The phases of a round, in their order. A custodian signs by what it recorded as signed, not by its phase,
/// so that it can sign a body again for a coordinator that lost the first signature.
#[derive(Debug)]
pub(super) enum CustodianPhase {
    /// There is no plan that this custodian acts on.
    Idle,
    /// This custodian's policy does not admit the plan. It signs the round's abort and nothing else.
    Declined(Box<RoundContext>),
    /// Announcements and letters arrive, until the first seal is certified.
    Announcing(Box<CustodianRound>),
    /// Members upload, until the second seal is certified.
    Uploading(Box<CustodianRound>, Box<SealedManifest>),
    /// Both seals are certified: this custodian reveals, and recomputes sums.
    Opening(Box<CustodianRound>, Box<Recomputation>),
}

/// What a custodian holds of a round from its plan on. The coordinator sends announcements and letters once
/// more after a lost link, so they are accepted in every later phase, too.
#[derive(Debug)]
pub(super) struct CustodianRound {
    pub(super) context: RoundContext,
    pub(super) announcements: Announcements,
    /// The shares in the letters that this custodian opened, by dealer.
    pub(super) shares: BTreeMap<PartyId, HeldShares>,
}

impl CustodianRound {
    pub(super) fn new(context: RoundContext) -> Self {
        Self { context, announcements: Announcements::new(), shares: BTreeMap::new() }
    }
}

impl CustodianPhase {
    /// The round of the plan, admitted by this custodian's policy or not.
    pub(super) fn round(&self) -> Option<Round> {
        match self {
            Self::Declined(context) => Some(context.round()),
            _ => self.planned_round(),
        }
    }

    /// The round that this custodian takes part in.
    pub(super) fn planned_round(&self) -> Option<Round> {
        self.planned("a plan").ok().map(|planned| planned.context.round())
    }

    /// What the plan's round has so far.
    ///
    /// # Errors
    /// `what` is unexpected without a plan.
    pub(super) fn planned(&self, what: &'static str) -> Result<&CustodianRound, Misbehaviour> {
        match self {
            Self::Announcing(planned) | Self::Uploading(planned, _) | Self::Opening(planned, _) => {
                Ok(planned)
            }
            Self::Idle | Self::Declined(_) => Err(Misbehaviour::TooEarly(what)),
        }
    }

    /// The same, to change it.
    ///
    /// # Errors
    /// `what` is unexpected without a plan.
    pub(super) fn planned_mut(&mut self, what: &'static str) -> Result<&mut CustodianRound, Misbehaviour> {
        match self {
            Self::Announcing(planned) | Self::Uploading(planned, _) | Self::Opening(planned, _) => {
                Ok(planned)
            }
            Self::Idle | Self::Declined(_) => Err(Misbehaviour::TooEarly(what)),
        }
    }

    /// What the first seal fixed. A second seal is also proposed once more to a custodian that holds its
    /// certificate.
    ///
    /// # Errors
    /// `what` is unexpected before the first seal.
    pub(super) fn sealed(
        &self,
        what: &'static str,
    ) -> Result<(&CustodianRound, &SealedManifest), Misbehaviour> {
        match self {
            Self::Uploading(planned, sealed) => Ok((planned, sealed)),
            Self::Opening(planned, recomputation) => Ok((planned, recomputation.cohorts().sealed_manifest())),
            _ => Err(Misbehaviour::TooEarly(what)),
        }
    }

    /// The reveals, masked blocks and parameters that arrived under both seals.
    ///
    /// # Errors
    /// `what` is unexpected before the second seal.
    pub(super) fn opening(
        &self,
        what: &'static str,
    ) -> Result<(&CustodianRound, &Recomputation), Misbehaviour> {
        match self {
            Self::Opening(planned, recomputation) => Ok((planned, recomputation)),
            _ => Err(Misbehaviour::TooEarly(what)),
        }
    }

    /// The same, to add to it.
    ///
    /// # Errors
    /// `what` is unexpected before the second seal.
    pub(super) fn opening_mut(
        &mut self,
        what: &'static str,
    ) -> Result<(&RoundContext, &mut Recomputation), Misbehaviour> {
        match self {
            Self::Opening(planned, recomputation) => Ok((&planned.context, recomputation)),
            _ => Err(Misbehaviour::TooEarly(what)),
        }
    }

    /// The first seal is certified.
    pub(super) fn seal(&mut self, sealed: SealedManifest) {
        *self = match std::mem::replace(self, Self::Idle) {
            // A certificate that comes again leaves a later phase, and its secrets, as they are.
            Self::Announcing(planned) => Self::Uploading(planned, Box::new(sealed)),
            later => later,
        };
    }

    /// The second seal is certified.
    pub(super) fn open(&mut self, cohorts: SealedCohorts) {
        *self = match std::mem::replace(self, Self::Idle) {
            Self::Uploading(planned, _) => Self::Opening(planned, Box::new(Recomputation::new(cohorts))),
            other => other,
        };
    }

    /// Forgets the round if it is this one or an earlier one, secrets included.
    pub(super) fn end(&mut self, ended: Round) {
        if self.round().is_some_and(|round| round <= ended) {
            *self = Self::Idle;
        }
    }
}
