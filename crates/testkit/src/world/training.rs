//! What the members of a [`World`] train, and what of that they upload.

use std::collections::{BTreeMap, BTreeSet};

use cloister_params::id::{Digest, PartyId, Round};
use cloister_params::per_block::PerBlock;
use cloister_protocol::contribution::Contribution;
use cloister_protocol::fault::Fault;
use cloister_protocol::model::Model;
use cloister_protocol::openings::basis;
use cloister_wire::frame::Frame;
use cloister_wire::message::Message;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::{StateMachine, World};
use cloister_cluster::plan;

/// All trainings so far.
#[derive(Debug, Default)]
pub(super) struct Training {
    /// How many trainings any members have finished.
    count: u64,
    /// What each member trained last.
    last: BTreeMap<PartyId, Contribution>,
    uploaded: BTreeMap<(PartyId, Round), Contribution>,
    /// The rehearsals that each member took part in.
    rehearsed: BTreeSet<(PartyId, Round)>,
}

impl World {
    /// The contribution that a member uploaded in a round.
    pub fn uploaded(&self, member: PartyId, round: Round) -> Option<&Contribution> {
        self.training.uploaded.get(&(member, round))
    }

    /// A member's contribution to a model that is given by the digests of its blocks' parameters. A block's
    /// integers are the same whenever what they follow from is the same ([`basis`]), unless [`World::trains_afresh`] is set.
    pub fn contribution(&self, member: PartyId, parameters: &PerBlock<Digest>) -> Contribution {
        if let Some(fixed) = self.fixed_contributions.get(&member) {
            return fixed.clone();
        }
        let mut of_model = self.random_of(member, Model::digest_of(parameters));
        let mut contribution = plan::contribution(&self.template, &mut of_model);
        for planned in &self.template.blocks {
            let basis = basis(&self.template.blocks, parameters, planned);
            let basis = basis.expect("the model has the template's blocks");
            let integers = plan::integers(planned, &mut self.random_of(member, basis));
            contribution.integers[planned.shape.id] = integers;
        }
        contribution
    }

    /// The generator of a member's training from these parameters.
    fn random_of(&self, member: PartyId, parameters: Digest) -> ChaCha20Rng {
        // From the parameters and not from the round: a member that trains again after an abort gets the same
        // integers.
        let mut seed = parameters.0;
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        seed[8..12].copy_from_slice(&member.0.to_le_bytes());
        if self.trains_afresh {
            seed[12..20].copy_from_slice(&self.training.count.to_le_bytes());
        }
        ChaCha20Rng::from_seed(seed)
    }

    pub(super) fn finish_training(&mut self, party: PartyId) {
        let rehearsal = self.nodes.get_mut(&party).and_then(|node| {
            node.training
                .take_if(|(_, plan)| plan.settings.rehearsal)
                .map(|(digest, plan)| (digest, plan.round))
        });
        if let Some((plan, round)) = rehearsal {
            self.rehearse(party, plan, round);
        } else if let Some((plan, contribution)) = self.take_training(party) {
            let result = self.contribute(party, plan, contribution);
            self.note(party, result);
        }
    }

    /// Has a member take part in a rehearsal.
    fn rehearse(&mut self, party: PartyId, plan: Digest, round: Round) {
        let Some(member) = self.nodes.get_mut(&party).and_then(|node| node.member.as_mut()) else { return };
        let result = member.rehearse(plan, &mut self.random);
        self.training.rehearsed.insert((party, round));
        self.collect_from_member(party);
        self.note(party, result);
    }

    /// Takes a member's training away: the digest of its plan, and its result.
    pub fn take_training(&mut self, party: PartyId) -> Option<(Digest, Contribution)> {
        let (digest, plan) = self.nodes.get_mut(&party)?.training.take()?;
        self.training.count += 1;
        Some((digest, self.contribution(party, &plan.parameters)))
    }

    /// Gives a member the result of a training for the plan of this digest.
    ///
    /// # Errors
    /// What the member refuses.
    pub fn contribute(
        &mut self,
        party: PartyId,
        plan: Digest,
        contribution: Contribution,
    ) -> Result<(), Fault> {
        let before = self.before_input(StateMachine::Member(party));
        let Some(member) = self.nodes.get_mut(&party).and_then(|node| node.member.as_mut()) else {
            return Ok(());
        };
        let result = member.contribute(plan, contribution.clone(), &mut self.random);
        if result.is_ok() {
            self.training.last.insert(party, contribution);
        }
        self.collect_from_member(party);
        if let Err(fault) = &result {
            self.after_fault(StateMachine::Member(party), before, fault);
        }
        result
    }

    /// Records a member's upload: what it trained last, for this round or, after an abort, for an earlier
    /// one.
    pub(super) fn note_upload(&mut self, member: PartyId, frame: &Frame) {
        let Frame::Message(Message::Uploaded(signed)) = frame else { return };
        let round = signed.parse().expect("members encode what they sign").round;
        let made = match self.training.rehearsed.contains(&(member, round)) {
            true => Some(Contribution::zeros(&self.template)),
            false => self.training.last.get(&member).cloned(),
        };
        if let Some(made) = made {
            self.training.uploaded.entry((member, round)).or_insert(made);
        }
    }
}
