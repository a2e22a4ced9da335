//! Whether a custodian takes part in a round: the rules that its plan must obey.

use cloister_params::consortium::Role;
use cloister_params::id::Round;
use cloister_params::plan::RoundPlan;
use cloister_params::rule;
use cloister_wire::message::{Ending, Message};
use cloister_wire::statement::{ReceivingKey, Signed};

use super::phase::{CustodianPhase, CustodianRound};
use super::{Custodian, CustodianOutput, Memory};
use crate::ending::KnownEnding;
use crate::fault::{Fault, Refusal};
use crate::round::RoundContext;

impl Custodian {
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
        let round = context.round();
        if let Err(why) = self.admit(&context, known.as_ref()) {
            self.tell_ahead(round);
            return Err(self.refuse(round, why));
        }
        if let (Some(ending), Some(known)) = (previous, known) {
            self.take_ending(ending, &known);
        }
        // After the ending: a custodian that declines the plan must still know how the previous round ended.
        if let Err(why) = self.policy.admit(context.plan()) {
            self.decline(context, why.to_string());
            return Ok(());
        }
        if self.memory != Memory::Whole && rule::in_force("ROUND-04") {
            if self.holds_key(&context) {
                // The plan names a key that was made after the restore, so the round began after everything
                // it forgot.
                self.memory = Memory::Watching(context.plan_digest());
            }
            self.send_refusal(round, Refusal::Restored.to_string());
            return Ok(());
        }
        if !self.holds_key(&context) {
            let reason = "this custodian has no receiving key for the round; it can sign only an abort";
            self.send_refusal(round, reason.into());
        }
        // A plan that comes once more, after a lost link, leaves what this custodian holds of its round.
        if self.phase.planned_round() != Some(round) {
            self.phase = CustodianPhase::Announcing(Box::new(CustodianRound::new(context)));
        }
        Ok(())
    }

    /// Answers a coordinator that begins a round which has ended with the last round that this custodian
    /// knows the ending of. Such a coordinator's disk was restored from an old copy (`ROUND-37`).
    pub(super) fn tell_ahead(&mut self, asked: Round) {
        if asked <= self.chain.round {
            self.send(Message::Ahead { round: self.chain.round });
        }
    }

    /// Sends a `Refusal` because this custodian's policy does not admit a plan (`PLAN-10`). It keeps what it
    /// needs to sign the plan's abort, so that the round can end.
    fn decline(&mut self, context: RoundContext, reason: String) {
        let round = context.round();
        self.send_refusal(round, reason.clone());
        self.outputs.push_back(CustodianOutput::Declined { round, reason });
        self.phase = CustodianPhase::Declined(Box::new(context));
    }

    /// Sends a `Refusal` with the rule that a plan breaks (`PLAN-10`).
    fn refuse(&mut self, round: Round, why: Refusal) -> Fault {
        self.send_refusal(round, why.to_string());
        Fault::PlanRefused { round, why }
    }

    fn send_refusal(&mut self, round: Round, reason: String) {
        self.send(Message::Refusal { round, role: Role::Custodian, reason });
    }

    /// The rules that hold for every custodian: one plan for each round, in the chain of endings, with proven
    /// bars.
    fn admit(&self, context: &RoundContext, previous: Option<&KnownEnding>) -> Result<(), Refusal> {
        let round = context.round();
        if let Ok(planned) = self.phase.planned("a plan")
            && planned.context.round() == round
            && planned.context.plan_digest() != context.plan_digest()
            && rule::in_force("ROUND-03")
        {
            return Err(Refusal::SecondPlan);
        }
        // On a copy: a plan that is refused must not move the chain.
        let mut chain = self.chain;
        if let Some(ending) = previous {
            chain.advance(ending);
        }
        chain.check(context.plan())?;
        self.bars.check(context.plan())
    }

    /// Whether this custodian can open letters of the round: a restart loses the key.
    fn holds_key(&self, context: &RoundContext) -> bool {
        self.receiving.as_ref().is_some_and(|(made_for, secret)| {
            *made_for == context.round()
                && context.plan().receiving_key(self.id) == Some(secret.public().bytes())
        })
    }
}
