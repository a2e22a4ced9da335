//! The coordinator's first phases: receiving keys, the plan, announcements and letters.

use std::collections::{BTreeMap, BTreeSet};

use cloister_crypto::hash::{Domain, digest};
use cloister_crypto::letter::LetterEvidence;
use cloister_params::consortium::Role;
use cloister_params::id::{PartyId, Round};
use cloister_params::plan::{ReceivingKeyEntry, RoundPlan};
use cloister_params::rule;
use cloister_transcript::RoundLog;
use cloister_wire::frame::Frame;
use cloister_wire::message::{BadDealing, Message};
use cloister_wire::statement::{AbortReason, Announcement, ReceivingKey, Signed};

use super::additions::LogAdditions;
use super::{Announced, Coordinator, CoordinatorPhase, Event, Time, unexpected};
use crate::dealing::{check_announcement, check_letter_fault};
use crate::fault::{Fault, Misbehaviour, expect};
use crate::manifest::{Announcements, keep_announcement};
use crate::round::{RoundContext, is_receiving_key};
use crate::statement::{check_partys, sign};

/// The longest reason of a `Refusal` that is passed on, in bytes.
const MAX_REASON: usize = 1024;

impl Coordinator {
    pub(super) fn handle_receiving_key(
        &mut self,
        from: PartyId,
        signed: Signed<ReceivingKey>,
    ) -> Result<(), Fault> {
        let epoch = self.epoch.clone();
        let active = self.round.as_mut().ok_or(unexpected(from, "a receiving key"))?;
        let number = active.number;
        let CoordinatorPhase::Keys(keys) = &mut active.phase else {
            return Err(unexpected(from, "a receiving key"));
        };
        let key = check_partys(&signed, &epoch, Role::Custodian).map_err(|what| what.by(from))?;
        expect("receiving key", "signer", key.signer(), from).map_err(|what| what.by(from))?;
        expect("receiving key", "round", key.body().round, number).map_err(|what| what.by(from))?;
        expect("receiving key", "epoch", key.body().epoch, epoch.digest()).map_err(|what| what.by(from))?;
        // PLAN-09
        if !is_receiving_key(key.body()) {
            return Err(Misbehaviour::ReceivingKey.by(from));
        }
        keys.insert(from, signed);
        Ok(())
    }

    pub(super) fn advance_keys(&mut self, now: Time, expired: bool) {
        let floors = self.epoch.consortium().floors();
        let custodians: BTreeSet<PartyId> = self.epoch.consortium().custodians().collect();
        let Some(CoordinatorPhase::Keys(keys)) = self.round.as_ref().map(|active| &active.phase) else {
            return;
        };
        let awaited = custodians.iter().filter(|custodian| self.connected.contains(custodian));
        // A quorum has to be connected first, because nobody is awaited while nobody is connected.
        let all =
            awaited.clone().count() >= floors.seal_quorum && awaited.clone().all(|c| keys.contains_key(c));
        if all || (expired && keys.len() >= floors.seal_quorum) {
            self.send_plan(now);
        } else if expired {
            self.event(Event::QuorumLost("too few custodians gave receiving keys"));
        }
    }

    /// Writes, signs and sends the plan (step 1).
    fn send_plan(&mut self, now: Time) {
        let Some(active) = &mut self.round else { return };
        let CoordinatorPhase::Keys(keys) = &mut active.phase else {
            return;
        };
        let keys = std::mem::take(keys);
        let custodians = keys.iter().filter_map(|(custodian, signed)| {
            Some(ReceivingKeyEntry { custodian: *custodian, key: signed.parse().ok()?.key })
        });
        let plan = RoundPlan {
            epoch: self.epoch.digest(),
            round: active.number,
            previous: self.chain.previous,
            model: self.chain.model,
            parameters: self.model.block_digests(),
            custodians: custodians.collect(),
            barred: self.bars.barred(active.number).collect(),
            settings: active.settings.clone(),
        };
        let barred = plan.barred.clone();
        let signed = sign(&self.key, PartyId::COORDINATOR, &plan);
        let receiving_keys: Vec<_> = keys.into_values().collect();
        // The coordinator checks its own plan as everybody else does, so that wrong settings end here and not
        // at every party.
        let context = match RoundContext::check(&self.epoch, &signed, &receiving_keys) {
            Ok(context) if self.model.fits(context.plan()) => context,
            Ok(_) => return self.cannot_plan("the block table does not fit the model"),
            Err(fault) => return self.cannot_plan(&fault.to_string()),
        };
        let message = Message::Plan { plan: signed, receiving_keys, previous: self.last_ending.clone() };
        let announced = Announced {
            context,
            plan: message.clone(),
            announcements: Announcements::new(),
            relay: BTreeMap::new(),
            letters: BTreeMap::new(),
            opened_letters: BTreeSet::new(),
            cohorts: Vec::new(),
            uploaded: Vec::new(),
            masked_bytes: 0,
            log: RoundLog::default(),
            additions: LogAdditions::default(),
            certified: BTreeSet::new(),
        };
        let (number, limit) = (active.number, active.settings.deadlines.announce);
        // A barred member must not announce, so nobody waits for it.
        active.refused.extend(barred.iter().copied());
        active.phase = CoordinatorPhase::Announcing(Box::new(announced));
        // The plan brings the ending, and a member that lacks the sums asks for the model: they need no
        // memory any more.
        self.last_sums.clear();
        self.event(Event::Planned(number));
        if !barred.is_empty() {
            self.event(Event::Barred(barred));
        }
        self.wait(now, limit);
        // Before the plan: a party rejects a plan that bars a member without evidence.
        for evidence in self.evidence_of_bars(number) {
            self.send_to(self.everyone(), &evidence);
        }
        self.send_to(self.everyone(), &Frame::Message(message));
    }

    /// The coordinator's own settings make no valid plan: the round does not begin.
    fn cannot_plan(&mut self, reason: &str) {
        self.round = None;
        self.deadline = None;
        self.event(Event::Refused(PartyId::COORDINATOR, reason.to_owned()));
    }

    /// Takes a `Refusal`. A reason that is too long is cut and the `Refusal` stays valid, so that nobody
    /// waits for a party that does not take part (`ROUND-32`).
    pub(super) fn handle_refusal(&mut self, from: PartyId, round: Round, role: Role, mut reason: String) {
        if rule::in_force("ROUND-32") {
            reason.truncate(reason.floor_char_boundary(MAX_REASON));
        }
        let present = self.round.as_mut().filter(|active| active.number == round);
        // Of a round that others' refusals have ended, the rest is told too.
        let is_told = present.is_some() || round == self.chain.round;
        if let Some(active) = present {
            match role {
                Role::Member => active.refused.insert(from),
                Role::Custodian => active.silent_custodians.insert(from),
            };
        }
        if is_told {
            self.event(Event::Refused(from, reason));
        }
    }

    /// A custodian knows how the round in progress ended. If more than `f` custodians say so, this
    /// coordinator's disk is an older copy (`ROUND-37`).
    pub(super) fn handle_ahead(&mut self, from: PartyId, round: Round) -> Result<(), Fault> {
        let liars = self.epoch.consortium().floors().malicious_custodians;
        let is_custodian = self.epoch.consortium().has_role(from, Role::Custodian);
        let active = self.round.as_mut().filter(|active| is_custodian && round >= active.number);
        let active = active.ok_or(unexpected(from, "word of a later round"))?;
        active.ahead.insert(from, round);
        let mut known: Vec<Round> = active.ahead.values().copied().collect();
        known.sort_unstable_by(|one, other| other.cmp(one));
        // Of `f + 1` custodians, one is honest, so this round has really ended.
        if let Some(round) = known.get(liars) {
            self.event(Event::Outdated { custodians: known.len(), round: *round });
        }
        Ok(())
    }

    pub(super) fn handle_announcement(
        &mut self,
        from: PartyId,
        signed: &Signed<Announcement>,
    ) -> Result<(), Fault> {
        let epoch = self.epoch.clone();
        let out = self.round.as_ref().is_some_and(|active| active.refused.contains(&from));
        if out {
            return Err(unexpected(from, "an announcement of a party that is out of the round"));
        }
        let announced = self.announcing(from, "an announcement")?;
        let verified = check_partys(signed, &epoch, Role::Member).map_err(|what| what.by(from))?;
        expect("announcement", "signer", verified.signer(), from).map_err(|what| what.by(from))?;
        check_announcement(&announced.context, from, verified.body()).map_err(|what| what.by(from))?;
        keep_announcement(&mut announced.announcements, verified)?;
        let frame = Frame::Message(Message::Announcement(signed.clone()));
        // The same announcement again after a lost link: everybody has it already.
        if announced.relay.insert(from, frame.clone()).is_some() {
            return Ok(());
        }
        self.send_to(self.everyone(), &frame);
        Ok(())
    }

    pub(super) fn handle_letter(
        &mut self,
        from: PartyId,
        round: Round,
        dealer: PartyId,
        custodian: PartyId,
        sealed: Vec<u8>,
    ) -> Result<(), Fault> {
        let announced = self.announcing(from, "a letter")?;
        expect("letter", "round", round, announced.context.round()).map_err(|what| what.by(from))?;
        expect("letter", "dealer", dealer, from).map_err(|what| what.by(from))?;
        let announcement = announced.announcements.get(&from).ok_or(unexpected(from, "a letter"))?;
        let dealing = announcement.body().dealings.iter().find(|dealing| dealing.custodian == custodian);
        // Checked here so that a custodian's complaint is always about the announced letter.
        if dealing.map(|dealing| dealing.letter) != Some(digest(Domain::Letter, &[&sealed])) {
            let why = "it is not the announced letter";
            return Err(Misbehaviour::Letter { dealer, custodian, why }.by(from));
        }
        let frame = Frame::Message(Message::Letter { round, dealer, custodian, sealed });
        if announced.letters.insert((dealer, custodian), frame.clone()).is_some() {
            return Ok(());
        }
        let whole = announced.is_whole(dealer);
        self.send_to([custodian], &frame);
        if whole {
            self.event(Event::Announced(dealer));
        }
        Ok(())
    }

    pub(super) fn handle_letter_opened(
        &mut self,
        from: PartyId,
        round: Round,
        dealer: PartyId,
    ) -> Result<(), Fault> {
        // After the first seal was proposed nobody waits for it any more.
        if let Ok(announced) = self.announcing(from, "an opened letter")
            && announced.context.round() == round
        {
            announced.opened_letters.insert((dealer, from));
        }
        Ok(())
    }

    /// A custodian shows that a letter is bad: its dealer is out of this round and barred from the next
    /// (`ROUND-24`, `ROUND-33`). After the first seal was proposed the round is aborted, as the custodian
    /// lacks a share that may be needed.
    pub(super) fn handle_letter_fault(
        &mut self,
        from: PartyId,
        round: Round,
        dealer: PartyId,
        evidence: &LetterEvidence,
        now: Time,
    ) -> Result<(), Fault> {
        let Some(
            CoordinatorPhase::Announcing(announced)
            | CoordinatorPhase::Sealing1(announced, _)
            | CoordinatorPhase::Uploading(announced, _),
        ) = self.round.as_mut().map(|active| &mut active.phase)
        else {
            return Err(unexpected(from, "a complaint about a letter"));
        };
        expect("complaint", "round", round, announced.context.round()).map_err(|what| what.by(from))?;
        let awaited = unexpected(from, "a complaint about a letter that did not come");
        let announcement = announced.announcements.get(&dealer).ok_or(awaited.clone())?;
        // The letter is the coordinator's own copy: the custodian cannot bring another one.
        let Some(Frame::Message(Message::Letter { sealed, .. })) = announced.letters.get(&(dealer, from))
        else {
            return Err(awaited);
        };
        let threshold = announced.context.roster().floors().reveal_threshold;
        let why = check_letter_fault(threshold, (dealer, announcement.body()), (from, sealed), evidence)
            .map_err(|what| what.by(from))?;
        let relayed = announced.relay.get(&dealer).cloned();
        if let Some(Frame::Message(Message::Announcement(announcement))) = relayed {
            let LetterEvidence { agreed, proof } = *evidence;
            let letter = sealed.clone();
            let shown = BadDealing { announcement, custodian: from, letter, agreed, proof };
            self.bars.take(&self.epoch, &shown).map_err(|what| what.by(from))?;
            announced.additions.keep_excluded(shown);
        }
        self.exclude(dealer, now);
        self.event(Event::BadLetter { dealer, custodian: from, why });
        Ok(())
    }

    /// Takes a dealer out of the round while members announce; later ends the round.
    fn exclude(&mut self, dealer: PartyId, now: Time) {
        let Some(active) = &mut self.round else { return };
        active.refused.insert(dealer);
        let CoordinatorPhase::Announcing(announced) = &mut active.phase else {
            return self.propose_abort(AbortReason::BadDealing, now);
        };
        announced.announcements.remove(&dealer);
        announced.relay.remove(&dealer);
        announced.letters.retain(|(by, _), _| *by != dealer);
    }

    fn announcing(&mut self, from: PartyId, what: &'static str) -> Result<&mut Announced, Fault> {
        match self.round.as_mut().map(|active| &mut active.phase) {
            Some(CoordinatorPhase::Announcing(announced)) => Ok(announced),
            _ => Err(unexpected(from, what)),
        }
    }

    pub(super) fn advance_announcing(&mut self, now: Time, expired: bool) {
        let awaited = self.awaited_members();
        let Some(active) = &self.round else { return };
        let CoordinatorPhase::Announcing(announced) = &active.phase else { return };
        let reachable: BTreeSet<PartyId> =
            self.connected.difference(&active.silent_custodians).copied().collect();
        let whole: BTreeSet<PartyId> =
            announced.announcements.keys().copied().filter(|member| announced.is_whole(*member)).collect();
        let reaches_floor = announced.context.reaches_floor(whole.iter().copied());
        let members = self.epoch.consortium().members();
        let possible = members.filter(|member| whole.contains(member) || !active.refused.contains(member));
        if !announced.context.reaches_floor(possible) {
            // Nobody needs to wait for members that sent a `Refusal`.
            return self.propose_abort(AbortReason::TooFewAnnounced, now);
        }
        // Also waits for custodians that still open letters: a complaint after the proposal costs the whole
        // round.
        let all_here = awaited.iter().all(|member| whole.contains(member))
            && whole.iter().all(|dealer| announced.is_settled(*dealer, &reachable));
        if reaches_floor && (all_here || expired) {
            self.propose_seal1(&whole, now);
        } else if expired {
            self.propose_abort(AbortReason::TooFewAnnounced, now);
        }
    }
}

impl Announced {
    /// Whether every custodian that can be reached has opened this dealer's letter.
    fn is_settled(&self, dealer: PartyId, reachable: &BTreeSet<PartyId>) -> bool {
        let mut custodians = self.context.custodians().filter(|custodian| reachable.contains(custodian));
        custodians.all(|custodian| self.opened_letters.contains(&(dealer, custodian)))
    }

    /// Whether a member's announcement and all its letters are here.
    fn is_whole(&self, member: PartyId) -> bool {
        self.announcements.contains_key(&member)
            && self.context.custodians().all(|custodian| self.letters.contains_key(&(member, custodian)))
    }
}
