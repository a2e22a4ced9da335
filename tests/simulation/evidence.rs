//! The rules R5 to R8: what honest parties take part in follows from what was certified, and what they reveal from what
//! was committed to.

use std::collections::{BTreeMap, BTreeSet};

use cloister_crypto::consortium::Epoch;
use cloister_crypto::group::ScalarSecret;
use cloister_crypto::seed::SeedBases;
use cloister_crypto::sharing::Commitments;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::plan::RoundPlan;
use cloister_protocol::statement::body_digest;
use cloister_wire::codec;
use cloister_wire::message::{Message, RevealedSeeds};
use cloister_wire::statement::{Abort, Announcement, Closing, SharedKey};

use crate::invariants::{Violation, hold};

/// Plans, endings and announcements, by what names them.
pub(crate) struct Evidence {
    epoch: Digest,
    genesis: Digest,
    /// Shares that recover a key.
    threshold: usize,
    plans: BTreeMap<Digest, RoundPlan>,
    /// The model after each proposed ending.
    endings: BTreeMap<Digest, Digest>,
    announcements: BTreeMap<(PartyId, Round), Announcement>,
}

impl Evidence {
    pub(crate) fn new(epoch: &Epoch, genesis: Digest) -> Self {
        let (plans, endings, announcements) = Default::default();
        let threshold = epoch.consortium().floors().reveal_threshold;
        Self { epoch: epoch.digest(), genesis, threshold, plans, endings, announcements }
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

    /// The members that a plan bars.
    pub(crate) fn barred(&self, plan: Digest) -> &[PartyId] {
        self.plans.get(&plan).map_or(&[], |plan| &plan.barred)
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

    /// R5 for seeds that a member reveals of its own, or a custodian's parts of them: the secret that the dealer's
    /// announcement fixes made all of them.
    pub(crate) fn check_seeds(
        &self,
        (dealer, round): (PartyId, Round),
        by: Revealer,
        revealed: &RevealedSeeds,
    ) -> Result<(), Violation> {
        let fits = self.announcements.get(&(dealer, round)).is_some_and(|body| {
            let public = self.commitments(&body.seed_key).and_then(|key| match by {
                Revealer::Dealer => Some(*key.key()),
                Revealer::Custodian(custodian) => key.public_share(custodian),
            });
            let blocks = self.plans.get(&body.plan).map_or(0, |plan| plan.settings.blocks.len());
            let bases = SeedBases::new(self.epoch, round, body.plan, blocks);
            let listed: Vec<(BlockId, [u8; 32])> =
                revealed.seeds.iter().map(|seed| (seed.block, seed.seed)).collect();
            let number = match by {
                Revealer::Dealer => PartyId(0),
                Revealer::Custodian(custodian) => custodian,
            };
            public.is_some_and(|key| bases.verify((dealer, number), &key, &listed, &revealed.proof).is_ok())
        });
        hold(fits, "R5", || {
            format!("{by:?} revealed seeds of {dealer} in {round} that it had not committed to")
        })
    }

    /// R5 for an honest custodian's share of a mask key.
    pub(crate) fn check_mask_key_share(
        &self,
        custodian: PartyId,
        (dealer, round): (PartyId, Round),
        share: [u8; 32],
    ) -> Result<(), Violation> {
        let fits = self.announcements.get(&(dealer, round)).is_some_and(|body| {
            let public = self.commitments(&body.mask_key).and_then(|key| key.public_share(custodian));
            let shown = ScalarSecret::from_revealed(share).map(|share| share.public());
            shown.is_some() && shown == public
        });
        hold(fits, "R5", || {
            format!("{custodian} revealed a share of {dealer} in {round} that was not dealt to it")
        })
    }

    fn commitments(&self, key: &SharedKey) -> Option<Commitments> {
        Commitments::decode(&key.commitments, self.threshold).ok()
    }
}

/// Who reveals seeds, or parts of them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Revealer {
    Dealer,
    Custodian(PartyId),
}

/// R7: numbers count from 0, no kind stands twice, no block is empty.
fn is_partition(plan: &RoundPlan) -> bool {
    let blocks = &plan.settings.blocks;
    let kinds: BTreeSet<String> = blocks.iter().map(|block| format!("{:?}", block.shape.kind)).collect();
    let numbered = blocks.iter().zip(0..).all(|(block, number)| block.shape.id == BlockId(number));
    numbered && kinds.len() == blocks.len() && blocks.iter().all(|block| block.shape.length > 0)
}
