//! The coordinator's last phase before the closing: seeds from members, parts and shares from custodians, and
//! the sums.

use std::collections::{BTreeMap, BTreeSet};

use cloister_crypto::group::ScalarSecret;
use cloister_crypto::shamir;
use cloister_params::consortium::Role;
use cloister_params::id::{PartyId, Round};
use cloister_wire::frame::Frame;
use cloister_wire::message::{Message, Reveal, RevealedSecret, RevealedSeeds};

use super::uploads::Uploads;
use super::{Announced, Coordinator, CoordinatorPhase, Event, Time, unexpected};
use crate::fault::{Fault, Misbehaviour};
use crate::opening::{OpenedSum, OpeningInputs, open_block};
use crate::reveals::{CheckedReveals, dealt_keys};
use crate::round::RoundContext;
use crate::sealed::SealedCohorts;

/// What was revealed so far.
#[derive(Debug)]
pub(super) struct Revealing {
    cohorts: SealedCohorts,
    uploads: Uploads,
    reveals: CheckedReveals,
    /// Shares of the mask keys of members that did not upload, until there are enough.
    mask_key_shares: BTreeMap<PartyId, BTreeMap<PartyId, ScalarSecret>>,
    /// Members of `U2` whose seeds were asked of custodians.
    requested: BTreeSet<PartyId>,
    before: Vec<Message>,
}

impl Revealing {
    pub(super) fn new(cohorts: SealedCohorts, uploads: Uploads, before: Vec<Message>) -> Self {
        Self {
            cohorts,
            uploads,
            reveals: CheckedReveals::default(),
            mask_key_shares: BTreeMap::new(),
            requested: BTreeSet::new(),
            before,
        }
    }

    pub(super) fn departed(&self) -> Vec<PartyId> {
        self.cohorts.departed()
    }

    /// What a party that reconnects needs: both seals, and the requests for parts of seeds.
    pub(super) fn messages(&self) -> Vec<Message> {
        let round = self.cohorts.seal2().body().round;
        let requests =
            self.requested.iter().map(|dealer| Message::SeedSharesRequest { round, dealer: *dealer });
        self.before.iter().cloned().chain(requests).collect()
    }

    /// The members of which something is still needed.
    fn missing(&self) -> Vec<PartyId> {
        let members = self.cohorts.sealed_manifest().manifest().announcements().keys().copied();
        members.filter(|member| !self.reveals.has_all_of(&self.cohorts, *member)).collect()
    }

    fn take(
        &mut self,
        context: &RoundContext,
        dealer: PartyId,
        secret: RevealedSecret,
    ) -> Result<(), Misbehaviour> {
        self.reveals.take(context, &self.cohorts, &Reveal { dealer, secret })
    }

    /// Takes a custodian's share of a mask key, which must be its right one (`ROUND-15`), and recovers the
    /// key from enough of them.
    fn take_mask_key_share(
        &mut self,
        context: &RoundContext,
        custodian: PartyId,
        dealer: PartyId,
        share: [u8; 32],
    ) -> Result<(), Misbehaviour> {
        let wrong = Misbehaviour::Reveal { dealer };
        let permitted = self.cohorts.revealable(dealer).mask_key;
        let is_custodian = context.custodians().any(|known| known == custodian);
        let share = ScalarSecret::from_revealed(share).filter(|_| permitted && is_custodian);
        let share = share.ok_or(wrong.clone())?;
        // Checked one by one: with one wrong share among them, the recovered key would be wrong and nobody
        // could be named.
        if !dealt_keys(context, &self.cohorts, dealer)?.mask.fits(custodian, &share) {
            return Err(wrong);
        }
        // More shares than needed are valid, and are not stored.
        if self.reveals.mask_keys.contains_key(&dealer) {
            return Ok(());
        }
        let held = self.mask_key_shares.entry(dealer).or_default();
        held.insert(custodian, share);
        let points: Vec<(u32, [u8; 32])> =
            held.iter().map(|(holder, share)| (holder.0, *share.reveal())).collect();
        if let Ok(key) = shamir::combine(context.roster().floors().reveal_threshold, &points) {
            self.mask_key_shares.remove(&dealer);
            // The log has the key and not the shares: everybody can check it against its commitment.
            self.take(context, dealer, RevealedSecret::MaskKey(*key.reveal()))?;
        }
        Ok(())
    }

    /// Opens every valid block: everything that the seals permit is here.
    fn open_all(mut self, context: &RoundContext) -> Opened {
        // All at once: nothing is opened before everything is here, so a round never ends with some sums
        // only.
        let permits = self.cohorts.take_permits();
        let mut opened = Opened {
            sums: Vec::new(),
            cohorts: self.cohorts,
            uploads: self.uploads,
            reveals: self.reveals,
            before: self.before,
        };
        let sums = permits.into_iter().map(|permit| {
            open_block(permit, &opened.openings(context)).expect("every secret and every upload is here")
        });
        opened.sums = sums.collect();
        opened
    }
}

/// The sums, and everything that opened them.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) sums: Vec<OpenedSum>,
    pub(super) cohorts: SealedCohorts,
    pub(super) uploads: Uploads,
    /// Everything that was revealed.
    pub(super) reveals: CheckedReveals,
    /// What a party that reconnects needs first.
    pub(super) before: Vec<Message>,
}

impl Opened {
    /// What opening, and judging what was opened, needs.
    pub(super) fn openings<'a>(&'a self, round: &'a RoundContext) -> OpeningInputs<'a> {
        let manifest = self.cohorts.sealed_manifest().manifest();
        OpeningInputs {
            round,
            manifest: manifest.digest(),
            announcements: manifest.announcements(),
            uploads: &self.uploads.summed,
            seeds: &self.reveals.seeds,
            mask_keys: &self.reveals.mask_keys,
        }
    }
}

impl Coordinator {
    /// Takes a member's seeds (`ROUND-15`).
    pub(super) fn handle_seeds(
        &mut self,
        from: PartyId,
        round: Round,
        seeds: RevealedSeeds,
    ) -> Result<(), Fault> {
        let (announced, revealing) = self.revealing(from, round, "seeds")?;
        let taken = revealing.take(&announced.context, from, RevealedSecret::Seeds(seeds));
        taken.map_err(|what| what.by(from))
    }

    /// Takes a custodian's parts of a member's seeds (`ROUND-15`).
    pub(super) fn handle_seed_parts(
        &mut self,
        from: PartyId,
        round: Round,
        dealer: PartyId,
        parts: RevealedSeeds,
    ) -> Result<(), Fault> {
        self.check_custodian(from, "part of a seed")?;
        let (announced, revealing) = self.revealing(from, round, "parts of seeds")?;
        let secret = RevealedSecret::SeedParts { custodian: from, parts };
        revealing.take(&announced.context, dealer, secret).map_err(|what| what.by(from))
    }

    /// Takes a custodian's share of a mask key.
    pub(super) fn handle_mask_key_share(
        &mut self,
        from: PartyId,
        round: Round,
        dealer: PartyId,
        share: [u8; 32],
    ) -> Result<(), Fault> {
        self.check_custodian(from, "share of a mask key")?;
        let (announced, revealing) = self.revealing(from, round, "a share of a mask key")?;
        let taken = revealing.take_mask_key_share(&announced.context, from, dealer, share);
        taken.map_err(|what| what.by(from))
    }

    fn check_custodian(&self, from: PartyId, what: &'static str) -> Result<(), Fault> {
        if self.epoch.consortium().has_role(from, Role::Custodian) {
            return Ok(());
        }
        Err(Misbehaviour::Role { signer: from, role: Some(Role::Custodian), what }.by(from))
    }

    fn revealing(
        &mut self,
        from: PartyId,
        round: Round,
        what: &'static str,
    ) -> Result<(&Announced, &mut Revealing), Fault> {
        match self.round.as_mut().map(|active| &mut active.phase) {
            Some(CoordinatorPhase::Revealing(announced, revealing)) if announced.context.round() == round => {
                Ok((announced, revealing))
            }
            _ => Err(unexpected(from, what)),
        }
    }

    pub(super) fn advance_revealing(&mut self, now: Time, expired: bool) {
        let Some(CoordinatorPhase::Revealing(announced, revealing)) =
            self.round.as_mut().map(|active| &mut active.phase)
        else {
            return;
        };
        let missing = revealing.missing();
        if missing.is_empty() {
            return self.open_sums(now);
        }
        let mut lost = missing;
        lost.retain(|member| {
            let is_gone = expired || !self.connected.contains(member);
            // Asked of custodians once: `requested` holds what they were asked.
            is_gone && revealing.cohorts.has_uploaded(*member) && revealing.requested.insert(*member)
        });
        let limit = announced.context.plan().settings.deadlines.reveal;
        let round = announced.context.round();
        let custodians: Vec<PartyId> = announced.context.custodians().collect();
        if lost.is_empty() {
            if expired {
                self.event(Event::QuorumLost("too few custodians revealed shares"));
            }
            return;
        }
        for dealer in &lost {
            let request = Frame::Message(Message::SeedSharesRequest { round, dealer: *dealer });
            self.send_to(custodians.clone(), &request);
        }
        self.event(Event::Recovering(lost));
        self.wait(now, limit);
    }

    /// Opens the sums, and asks for late sketches of them where the plan has them.
    fn open_sums(&mut self, now: Time) {
        let Some(CoordinatorPhase::Revealing(announced, revealing)) = self.take_phase() else {
            return;
        };
        let opened = revealing.open_all(&announced.context);
        self.begin_checking(announced, opened, now);
    }
}
