//! The rules R5 to R8: what honest parties take part in follows from what was certified, and what they reveal from what
//! was committed to.

use std::collections::{BTreeMap, BTreeSet};

use cloister_crypto::commitment::{DealingContext, SharedSecret};
use cloister_crypto::merkle;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::plan::RoundPlan;
use cloister_protocol::statement::body_digest;
use cloister_wire::codec;
use cloister_wire::message::{Message, RevealedSeed, RevealedShare};
use cloister_wire::statement::{Abort, Announcement, Closing};

use crate::invariants::{Violation, hold};

/// Plans, endings and announcements, by what names them.
pub(crate) struct Evidence {
    epoch: Digest,
    genesis: Digest,
    plans: BTreeMap<Digest, RoundPlan>,
    /// The model after each proposed ending.
    endings: BTreeMap<Digest, Digest>,
    announcements: BTreeMap<(PartyId, Round), Announcement>,
}

impl Evidence {
    pub(crate) fn new(epoch: Digest, genesis: Digest) -> Self {
        let (plans, endings, announcements) = Default::default();
        Self { epoch, genesis, plans, endings, announcements }
    }

    /// Remembers what the coordinator, or somebody in its place, says.
    pub(crate) fn learn(&mut self, message: &Message) {
        match message {
            Message::Plan { plan, .. } => {
                if let Ok(body) = plan.parse() {
                    self.plans.insert(body_digest(&plan.body), body);
                }
            }
            Message::ProposeClosing { closing, .. } => {
                if let Ok(body) = codec::decode::<Closing>(closing) {
                    self.endings.insert(body_digest(closing), body.model);
                }
            }
            Message::ProposeAbort { abort } => {
                if let Ok(body) = codec::decode::<Abort>(abort) {
                    self.endings.insert(body_digest(abort), body.model);
                }
            }
            _ => {}
        }
    }

    /// R6, R7 and R8 for the plan that an honest member announces under. `ended` are the bodies that a quorum can have
    /// signed as the end of the round before.
    pub(crate) fn check_announcement(
        &mut self,
        member: PartyId,
        body: Announcement,
        ended: &[Digest],
    ) -> Result<(), Violation> {
        let round = body.round;
        let Some(plan) = self.plans.get(&body.plan) else {
            return hold(false, "R8", || format!("{member} announced in {round} under no plan"));
        };
        hold(is_partition(plan), "R7", || format!("{member} announced under a table that is no partition"))?;
        let follows = match round {
            Round::FIRST => (plan.previous, plan.model) == (self.epoch, self.genesis),
            _ => ended.contains(&plan.previous) && self.endings.get(&plan.previous) == Some(&plan.model),
        };
        hold(follows && plan.round == round, "R8", || {
            format!("{member} announced in {round} under a plan that does not follow from the round before")
        })?;
        self.announcements.insert((member, round), body);
        Ok(())
    }

    fn dealing(&self, dealer: PartyId, round: Round) -> DealingContext {
        DealingContext { epoch: self.epoch, round, dealer }
    }

    /// R5 for a member's own seed.
    pub(crate) fn check_seed(
        &self,
        dealer: PartyId,
        round: Round,
        seed: &RevealedSeed,
    ) -> Result<(), Violation> {
        let committed = self.dealing(dealer, round).seed_commitment(seed.block, &seed.seed);
        let announced = self.announcements.get(&(dealer, round));
        let fits = announced.is_some_and(|body| body.seeds.get(seed.block.0 as usize) == Some(&committed));
        hold(fits, "R5", || {
            format!("{dealer} revealed for {} in {round} what it had not committed to", seed.block)
        })
    }

    /// R5 for an honest custodian's share.
    pub(crate) fn check_share(
        &self,
        custodian: PartyId,
        (dealer, round): (PartyId, Round),
        share: &RevealedShare,
    ) -> Result<(), Violation> {
        let secret =
            share.index.checked_sub(1).map_or(SharedSecret::MaskKey, |b| SharedSecret::Seed(BlockId(b)));
        let leaf = self.dealing(dealer, round).share_leaf(custodian, secret, &share.share);
        let fits = self.announcements.get(&(dealer, round)).is_some_and(|body| {
            let dealt = body.dealings.iter().find(|dealing| dealing.custodian == custodian);
            let (at, size) = (share.index as usize, 1 + body.seeds.len());
            dealt.is_some_and(|dealt| merkle::verify(dealt.shares, leaf, at, size, &share.path))
        });
        hold(fits, "R5", || {
            format!("{custodian} revealed a share of {dealer} in {round} that was not dealt to it")
        })
    }
}

/// R7: numbers count from 0, no kind stands twice, no block is empty.
fn is_partition(plan: &RoundPlan) -> bool {
    let blocks = &plan.settings.blocks;
    let kinds: BTreeSet<String> = blocks.iter().map(|block| format!("{:?}", block.shape.kind)).collect();
    let numbered = blocks.iter().zip(0..).all(|(block, number)| block.shape.id == BlockId(number));
    numbered && kinds.len() == blocks.len() && blocks.iter().all(|block| block.shape.length > 0)
}
