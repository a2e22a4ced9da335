//! From a training's result to this member's announcement (step 2).

use std::borrow::Cow;

use cloister_params::id::Digest;
use cloister_params::rule;
use cloister_wire::frame::Frame;
use cloister_wire::message::Message;
use rand_core::CryptoRng;

use super::phase::{MemberPhase, MemberRound, SentAnnouncement};
use super::{KeptContribution, Member, MemberOutput};
use crate::contribution::Contribution;
use crate::dealing::{RoundSecrets, SealedLetter, Terms};
use crate::fault::Fault;
use crate::statement::sign;

impl Member {
    /// Whether this member waits for the result of a training for the plan of this digest.
    pub fn awaits_contribution(&self, plan: Digest) -> bool {
        match &self.phase {
            MemberPhase::Training(planned) => {
                planned.context.plan_digest() == plan || !rule::in_force("PRIV-14")
            }
            _ => false,
        }
    }

    /// Takes the result of local training for the plan of this digest, and announces it (step 2).
    ///
    /// # Errors
    /// A contribution that no training was asked for, that is for a rehearsal, or that does not have the plan's shape.
    pub fn contribute(
        &mut self,
        plan: Digest,
        contribution: Contribution,
        random: &mut impl CryptoRng,
    ) -> Result<(), Fault> {
        // PRIV-14
        if !self.awaits_contribution(plan) {
            // A training may end after its round did; what it made was charged for that plan alone.
            return Err(Fault::ApiMisuse("no contribution to this plan is expected"));
        }
        let context = &self.phase.planned().ok_or(Fault::ApiMisuse("no round is in progress"))?.context;
        if rule::in_force("MASK-07") && !contribution.fits(context) {
            return Err(Fault::ApiMisuse("the contribution does not have the plan's blocks"));
        }
        if context.plan().settings.rehearsal && rule::in_force("ROUND-39") {
            return Err(Fault::ApiMisuse("nothing is contributed to a rehearsal"));
        }
        self.kept = Some(KeptContribution {
            model: self.chain.model,
            settings: context.plan().settings.clone(),
            round: context.round(),
            contribution,
        });
        self.announce(random)
    }

    /// Takes part in a rehearsal with zeros, once the training for it is done (`ROUND-39`).
    ///
    /// # Errors
    /// The plan of this digest is not the one in progress, or is no rehearsal.
    pub fn rehearse(&mut self, plan: Digest, random: &mut impl CryptoRng) -> Result<(), Fault> {
        let is_rehearsal = self.phase.planned().is_some_and(MemberRound::is_rehearsal);
        if !self.awaits_contribution(plan) || !is_rehearsal {
            return Err(Fault::ApiMisuse("no rehearsal of this plan is in progress"));
        }
        self.announce(random)
    }

    /// Announces the contribution of an aborted round in this one.
    ///
    /// # Errors
    /// There is no such contribution, or none is expected.
    pub fn contribute_again(&mut self, plan: Digest, random: &mut impl CryptoRng) -> Result<(), Fault> {
        let is_rehearsal = self.phase.planned().is_some_and(MemberRound::is_rehearsal);
        let is_expected = self.awaits_contribution(plan) && !is_rehearsal;
        let kept = self.kept.as_mut().filter(|kept| is_expected && kept.model == self.chain.model);
        let (Some(round), Some(kept)) = (self.phase.round(), kept) else {
            return Err(Fault::ApiMisuse("there is no contribution to send again"));
        };
        kept.round = round;
        self.announce(random)
    }

    /// Announces the contribution that this member holds, under fresh secrets (`MASK-01`).
    fn announce(&mut self, random: &mut impl CryptoRng) -> Result<(), Fault> {
        let MemberPhase::Training(planned) = &self.phase else {
            return Err(Fault::ApiMisuse("no contribution is expected"));
        };
        let contribution = self.contribution(planned)?;
        let (context, round) = (&planned.context, planned.context.round());
        let secrets = RoundSecrets::generate(self.id, random);
        let terms =
            Terms { has_budget: self.policy.privacy.is_some(), closed: self.openings.closed(context) };
        let (announcement, letters) = secrets.announce(context, (&contribution, terms), random);
        let signed = sign(&self.key, self.id, &announcement);
        let mut frames = vec![Frame::Message(Message::Announcement(signed))];
        for SealedLetter { custodian, sealed } in letters {
            frames.push(Frame::Message(Message::Letter { round, dealer: self.id, custodian, sealed }));
        }
        self.phase.announce(SentAnnouncement { secrets, frames });
        self.last_announced = Some(round);
        // On disk before a frame leaves: a second announcement after a restart would count as equivocation.
        self.outputs.push_back(MemberOutput::Keep(round));
        self.resend_announcement();
        Ok(())
    }

    /// What this member contributes to the planned round.
    pub(super) fn contribution(&self, planned: &MemberRound) -> Result<Cow<'_, Contribution>, Fault> {
        match &self.kept {
            Some(kept) if !planned.is_rehearsal() || !rule::in_force("ROUND-39") => {
                Ok(Cow::Borrowed(&kept.contribution))
            }
            _ if planned.is_rehearsal() => {
                Ok(Cow::Owned(Contribution::zeros(&planned.context.plan().settings)))
            }
            _ => Err(Fault::ApiMisuse("no contribution is held")),
        }
    }
}
