//! Whether a member takes part in a round: the rules that its plan must obey.

use std::collections::BTreeMap;

use cloister_params::consortium::Role;
use cloister_params::id::Round;
use cloister_params::plan::{RoundPlan, RoundSettings};
use cloister_params::rule;
use cloister_wire::frame::Frame;
use cloister_wire::message::{Ending, Message};
use cloister_wire::statement::{ReceivingKey, Signed};

use super::late::OwnLate;
use super::{Member, MemberOutput, RoundState};
use crate::ending::KnownEnding;
use crate::fault::{Fault, Refusal};
use crate::manifest::Announcements;
use crate::round::RoundContext;

impl Member {
    pub(super) fn handle_plan(
        &mut self,
        signed: &Signed<RoundPlan>,
        receiving_keys: &[Signed<ReceivingKey>],
        previous: Option<&Ending>,
    ) -> Result<(), Fault> {
        let known = KnownEnding::check_previous(previous, &self.epoch)?;
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
        if let Err(why) = self.admit(&context, known.as_ref()) {
            return Err(self.refuse(context.round(), why));
        }
        if let (Some(ending), Some(known)) = (previous, known) {
            self.take_ending(ending, &known);
        }
        let record = self.openings.forgotten(&context);
        self.outputs.extend(record.map(MemberOutput::KeepOpening));
        self.round = Some(RoundState {
            context,
            announcements: Announcements::new(),
            own: None,
            upload: None,
            cohorts: None,
            late: OwnLate::default(),
            sums: BTreeMap::new(),
        });
        self.take_part();
        Ok(())
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
    pub(super) fn take_part(&mut self) {
        if self.is_behind() {
            self.catch_up();
            return;
        }
        let Some(state) = &self.round else { return };
        let (digest, plan) = (state.context.plan_digest(), Box::new((**state.context.plan()).clone()));
        let is_usable = self.kept.as_ref().is_some_and(|kept| {
            kept.model == self.chain.model && differ_in_deadlines_alone(&kept.settings, &plan.settings)
        });
        if !is_usable {
            self.kept = None;
        }
        self.outputs.push_back(if is_usable {
            MemberOutput::SendAgain { digest, plan }
        } else {
            MemberOutput::Train { digest, plan }
        });
    }

    /// Every rule that a plan must obey before this member takes part (`PLAN-10`, `ROUND-08`), given the ending that came
    /// with it.
    fn admit(&self, context: &RoundContext, previous: Option<&KnownEnding>) -> Result<(), Refusal> {
        let already = self.round.as_ref().is_some_and(|state| state.context.round() == context.round());
        if already && rule::in_force("ROUND-03") {
            return Err(Refusal::SecondPlan);
        }
        if self.last_announced.is_some_and(|last| last >= context.round()) {
            return Err(Refusal::AnnouncedBefore);
        }
        let mut chain = self.chain;
        previous.into_iter().for_each(|known| chain.advance(known));
        chain.check(context.plan())?;
        let kept =
            self.kept.as_ref().filter(|kept| kept.model == chain.model && self.survives(kept, previous));
        let changed =
            kept.is_some_and(|kept| !differ_in_deadlines_alone(&kept.settings, &context.plan().settings));
        if changed && self.policy.privacy.is_none() && rule::in_force("ROUND-03") {
            return Err(Refusal::ChangedAfterAbort);
        }
        self.bars.check(context.plan())?;
        if let Some((shown, until)) = self.bars.term(self.id, context.plan()) {
            return Err(Refusal::Barred { shown, until });
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

/// Whether two rounds have the same settings but for their deadlines, so that one contribution fits both (`ROUND-03`).
fn differ_in_deadlines_alone(one: &RoundSettings, other: &RoundSettings) -> bool {
    *one == RoundSettings { deadlines: one.deadlines, ..other.clone() }
}
