//! Whether a custodian takes part in a round: the rules that its plan must obey.

use std::collections::BTreeMap;

use cloister_params::consortium::Role;
use cloister_params::id::Round;
use cloister_params::plan::RoundPlan;
use cloister_params::rule;
use cloister_wire::message::{Ending, Message};
use cloister_wire::statement::{ReceivingKey, Signed};

use super::{Custodian, CustodianOutput, Memory, RoundState};
use crate::ending::KnownEnding;
use crate::fault::{Fault, Refusal};
use crate::late::LateEvidence;
use crate::manifest::Announcements;
use crate::recompute::HandedBlocks;
use crate::reveals::CheckedReveals;
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
        if let Err(why) = self.policy.admit(context.plan()) {
            self.decline(context, why.to_string());
            return Ok(());
        }
        if self.memory != Memory::Whole && rule::in_force("ROUND-04") {
            if self.holds_key(&context) {
                self.memory = Memory::Watching(context.plan_digest());
            }
            let reason = Refusal::Restored.to_string();
            self.send(Message::Refusal { round, role: Role::Custodian, reason });
            return Ok(());
        }
        if !self.holds_key(&context) {
            let reason =
                "this custodian has no receiving key for the round; it can sign an abort alone".into();
            self.send(Message::Refusal { round, role: Role::Custodian, reason });
        }
        if self.round.as_ref().is_none_or(|state| state.context.round() != round) {
            self.round = Some(RoundState {
                context,
                announcements: Announcements::new(),
                shares: BTreeMap::new(),
                sealed: None,
                cohorts: None,
                handed: HandedBlocks::default(),
                reveals: CheckedReveals::default(),
                evidence: LateEvidence::default(),
                recomputed: BTreeMap::new(),
            });
        }
        Ok(())
    }

    /// Tells a coordinator that begins a round which has ended how far the others are: its disk was restored from an old copy
    /// (`ROUND-37`).
    pub(super) fn tell_ahead(&mut self, asked: Round) {
        if asked <= self.chain.round {
            self.send(Message::Ahead { round: self.chain.round });
        }
    }

    /// Says aloud that this custodian's policy does not admit a plan (`PLAN-10`). It keeps what it needs to sign the plan's
    /// abort, so that the round can end.
    fn decline(&mut self, context: RoundContext, reason: String) {
        let round = context.round();
        self.send(Message::Refusal { round, role: Role::Custodian, reason: reason.clone() });
        self.outputs.push_back(CustodianOutput::Declined { round, reason });
        self.round.take_if(|state| state.context.round() < round);
        self.declined = Some(context);
    }

    /// Says aloud why this custodian takes no part (`PLAN-10`).
    fn refuse(&mut self, round: Round, why: Refusal) -> Fault {
        self.send(Message::Refusal { round, role: Role::Custodian, reason: why.to_string() });
        Fault::PlanRefused { round, why }
    }

    fn admit(&self, context: &RoundContext, previous: Option<&KnownEnding>) -> Result<(), Refusal> {
        let other = |state: &RoundState| {
            state.context.round() == context.round() && state.context.plan_digest() != context.plan_digest()
        };
        if rule::in_force("ROUND-03") && self.round.as_ref().is_some_and(other) {
            return Err(Refusal::SecondPlan);
        }
        let mut chain = self.chain;
        previous.into_iter().for_each(|known| chain.advance(known));
        chain.check(context.plan())?;
        self.bars.check(context.plan())
    }

    /// Whether this custodian can open letters of the round: a restart loses the key.
    fn holds_key(&self, context: &RoundContext) -> bool {
        let own = self.receiving.as_ref().filter(|(round, _)| *round == context.round());
        own.is_some_and(|(_, secret)| context.plan().receiving_key(self.id) == Some(secret.public().bytes()))
    }
}
