//! Whether a member takes part in a round: the rules that its plan must obey.

use std::collections::BTreeMap;

use cloister_params::consortium::Role;
use cloister_params::id::{PartyId, Round};
use cloister_params::plan::{RoundPlan, RoundSettings};
use cloister_params::rule;
use cloister_wire::frame::Frame;
use cloister_wire::message::{Ending, Message};
use cloister_wire::statement::{ReceivingKey, Signed};
use rand_core::CryptoRng;

use super::late::OwnLate;
use super::{Member, MemberOutput, RoundState};
use crate::fault::{Fault, Refusal};
use crate::manifest::Announcements;
use crate::round::{KnownEnding, RoundContext};

impl Member {
    pub(super) fn handle_plan(
        &mut self,
        signed: &Signed<RoundPlan>,
        receiving_keys: &[Signed<ReceivingKey>],
        previous: Option<&Ending>,
        random: &mut impl CryptoRng,
    ) -> Result<(), Fault> {
        if let Some(ending) = previous {
            let known =
                KnownEnding::check(ending, &self.epoch).map_err(|what| what.by(PartyId::COORDINATOR))?;
            self.chain.advance(&known);
        }
        let context = match RoundContext::check(&self.epoch, signed, receiving_keys) {
            Err(Fault::PlanRefused { round, why }) => return Err(self.refuse(round, why)),
            checked => checked?,
        };
        let same = |state: &RoundState| state.context.plan_digest() == context.plan_digest();
        if self.round.as_ref().is_some_and(same) {
            self.resend_announcement();
            self.ask_again();
            return Ok(());
        }
        if let Err(why) = self.admit(&context) {
            return Err(self.refuse(context.round(), why));
        }
        self.round = Some(RoundState {
            context,
            announcements: Announcements::new(),
            own: None,
            upload: None,
            cohorts: None,
            late: OwnLate::default(),
            sums: BTreeMap::new(),
        });
        self.take_part(random)
    }

    /// Says aloud why this member takes no part (`PLAN-10`).
    fn refuse(&mut self, round: Round, why: Refusal) -> Fault {
        let reason = why.to_string();
        let refusal = Message::Refusal { round, role: Role::Member, reason: reason.clone() };
        self.outputs.push_back(MemberOutput::Send(Frame::Message(refusal)));
        self.outputs.push_back(MemberOutput::Refused { round, reason });
        Fault::PlanRefused { round, why }
    }

    /// Trains for the round whose plan was admitted, or gets the model first, or sends again what an abort left.
    pub(super) fn take_part(&mut self, random: &mut impl CryptoRng) -> Result<(), Fault> {
        if self.is_behind() {
            self.catch_up();
            return Ok(());
        }
        let Some(state) = &self.round else { return Ok(()) };
        let (digest, plan) = (state.context.plan_digest(), Box::new((**state.context.plan()).clone()));
        match self.kept.take() {
            Some(kept) if kept.model == self.chain.model => {
                self.contribute(digest, kept.contribution, random)
            }
            _ => {
                self.outputs.push_back(MemberOutput::Train { digest, plan });
                Ok(())
            }
        }
    }

    /// Every rule that a plan must obey before this member takes part (`PLAN-10`, `ROUND-08`).
    fn admit(&self, context: &RoundContext) -> Result<(), Refusal> {
        let already = self.round.as_ref().is_some_and(|state| state.context.round() == context.round());
        if already && rule::in_force("ROUND-03") {
            return Err(Refusal::SecondPlan);
        }
        if self.last_announced.is_some_and(|last| last >= context.round()) {
            return Err(Refusal::AnnouncedBefore);
        }
        self.chain.check(context.plan())?;
        let scales = |settings: &RoundSettings| (settings.blocks.clone(), settings.sketch);
        let kept = self.kept.as_ref().filter(|kept| kept.model == self.chain.model);
        if rule::in_force("ROUND-03")
            && kept.is_some_and(|kept| scales(&kept.settings) != scales(&context.plan().settings))
        {
            return Err(Refusal::ChangedAfterAbort);
        }
        self.policy.admit(context.plan())?;
        let (got, expected) = (context.plan().settings.task, self.task.digest);
        if got != expected {
            return Err(Refusal::Task { got, expected });
        }
        let planned = context.plan().settings.blocks.iter().map(|block| &block.shape);
        // PLAN-16
        let is_tasks_table = planned.eq(&self.task.blocks) || !rule::in_force("PLAN-16");
        if !is_tasks_table || !self.model.fits(context.plan()) {
            return Err(Refusal::Blocks);
        }
        Ok(())
    }
}
