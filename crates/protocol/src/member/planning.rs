//! Whether a member takes part in a round: the rules that its plan must obey.

use cloister_params::consortium::Role;
use cloister_params::id::Round;
use cloister_params::plan::{RoundPlan, RoundSettings};
use cloister_params::rule;
use cloister_wire::message::{Ending, Message};
use cloister_wire::statement::{ReceivingKey, Signed};

use super::phase::{MemberPhase, MemberRound};
use super::{Member, MemberOutput};
use crate::ending::KnownEnding;
use crate::fault::{Fault, Refusal};
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
        let planned = self.phase.planned();
        if planned.is_some_and(|planned| planned.context.plan_digest() == context.plan_digest()) {
            // The plan came again after a lost link, on which the announcement may have been lost too. It is
            // not made again: the coordinator may hold the first one.
            self.resend_announcement();
            self.ask_again();
            return Ok(());
        }
        // Admitted before the ending is taken into account, so that a plan that is refused changes nothing.
        if let Err(why) = self.admit(&context, known.as_ref()) {
            return Err(self.refuse(context.round(), why));
        }
        if let (Some(ending), Some(known)) = (previous, known) {
            self.take_ending(ending, &known);
        }
        // A restored member may have uploaded from these parameters already, so they are stored before it
        // answers the plan.
        let record = self.openings.forgotten(&context);
        self.keep_opening(record);
        self.phase = MemberPhase::Training(Box::new(MemberRound::new(context)));
        self.take_part();
        Ok(())
    }

    /// Sends a `Refusal` with the reason (`PLAN-10`).
    fn refuse(&mut self, round: Round, why: Refusal) -> Fault {
        let reason = why.to_string();
        self.send(Message::Refusal { round, role: Role::Member, reason: reason.clone() });
        self.outputs.push_back(MemberOutput::Refused { round, reason });
        Fault::PlanRefused { round, why }
    }

    /// Trains for the round whose plan was admitted, or gets the model first, or sends again what an abort
    /// left.
    pub(super) fn take_part(&mut self) {
        if self.is_behind() {
            self.catch_up();
            return;
        }
        // The model is here, and takes enough memory.
        self.arrived.clear();
        let Some(planned) = self.phase.planned() else { return };
        let digest = planned.context.plan_digest();
        let plan = Box::new(RoundPlan::clone(planned.context.plan()));
        if plan.settings.rehearsal {
            // What an abort left stays for the round after the rehearsal.
            self.outputs.push_back(MemberOutput::Train { digest, plan });
            return;
        }
        let is_usable = self.kept.as_ref().is_some_and(|kept| {
            // From another model the update would be stale; under other settings it was not charged.
            kept.model == self.chain.model && differ_in_deadlines_alone(&kept.settings, &plan.settings)
        });
        if is_usable {
            self.outputs.push_back(MemberOutput::SendAgain { digest, plan });
        } else {
            self.kept = None;
            self.outputs.push_back(MemberOutput::Train { digest, plan });
        }
    }

    /// Every rule that a plan must obey before this member takes part (`PLAN-10`, `ROUND-08`), given the
    /// ending that came with it.
    fn admit(&self, context: &RoundContext, previous: Option<&KnownEnding>) -> Result<(), Refusal> {
        let plan = context.plan();
        if self.phase.round() == Some(context.round()) && rule::in_force("ROUND-03") {
            return Err(Refusal::SecondPlan);
        }
        if self.last_announced.is_some_and(|last| last >= context.round()) {
            return Err(Refusal::AnnouncedBefore);
        }
        // On a copy: the position moves only once the whole plan is admitted.
        let mut chain = self.chain;
        if let Some(ending) = previous {
            chain.advance(ending);
        }
        chain.check(plan)?;
        let is_changed = self.kept.as_ref().is_some_and(|kept| {
            kept.model == chain.model
                && self.survives(kept, previous)
                && !differ_in_deadlines_alone(&kept.settings, &plan.settings)
        });
        // The contribution was charged for the aborted plan's settings. A member with a budget trains again
        // and is charged again; any other member rejects the plan.
        let is_changed = is_changed && !plan.settings.rehearsal;
        if is_changed && self.policy.privacy.is_none() && rule::in_force("ROUND-03") {
            return Err(Refusal::ChangedAfterAbort);
        }
        self.bars.check(plan)?;
        if let Some((shown, until)) = self.bars.term(self.id, plan) {
            return Err(Refusal::Barred { shown, until });
        }
        self.policy.admit(plan)?;
        let (got, expected) = (plan.settings.task, self.task.digest);
        if got != expected {
            return Err(Refusal::Task { got, expected });
        }
        self.check_blocks(context)
    }

    /// `PLAN-16`: the plan's blocks are those of this member's task, and its model has them.
    fn check_blocks(&self, context: &RoundContext) -> Result<(), Refusal> {
        let planned = context.plan().settings.blocks.iter().map(|block| &block.shape);
        let is_tasks_table = planned.eq(&self.task.blocks) || !rule::in_force("PLAN-16");
        if is_tasks_table && self.model.fits(context.plan()) { Ok(()) } else { Err(Refusal::Blocks) }
    }
}

/// Whether two rounds have the same settings but for their deadlines, so that one contribution fits both
/// (`ROUND-03`).
fn differ_in_deadlines_alone(one: &RoundSettings, other: &RoundSettings) -> bool {
    one.without_deadlines() == other.without_deadlines()
}
