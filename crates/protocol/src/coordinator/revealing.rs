//! The coordinator's last phase before the closing: seeds from members, shares from custodians, and the sums.

use std::collections::{BTreeMap, BTreeSet};

use cloister_crypto::commitment::SharedSecret;
use cloister_crypto::group::ScalarSecret;
use cloister_crypto::shamir;
use cloister_params::consortium::Role;
use cloister_params::id::{BlockId, PartyId, Round};
use cloister_wire::frame::Frame;
use cloister_wire::message::{LostSecret, Message, Reveal, RevealedSeed, RevealedShare};

use super::uploads::Uploads;
use super::{Announced, Coordinator, Event, Phase, Time, not_awaited};
use crate::dealing::{secret_fits, seed_fits, share_fits};
use crate::fault::{Fault, Misbehaviour};
use crate::opening::{NotOpened, OpenedSum, Openings, open_block};
use crate::round::RoundContext;
use crate::sealed::SealedCohorts;

/// What was revealed so far.
#[derive(Debug)]
pub(super) struct Revealing {
    cohorts: SealedCohorts,
    uploads: Uploads,
    seeds: BTreeMap<(PartyId, BlockId), ScalarSecret>,
    mask_keys: BTreeMap<PartyId, ScalarSecret>,
    shares: BTreeMap<(PartyId, SharedSecret), BTreeMap<PartyId, RevealedShare>>,
    /// Secrets whose shares do not make up what was committed to: their dealer's fault.
    unrecoverable: BTreeSet<(PartyId, SharedSecret)>,
    /// Members of `U2` whose seeds were asked of custodians.
    requested: BTreeSet<PartyId>,
    before: Vec<Message>,
}

impl Revealing {
    pub(super) fn new(cohorts: SealedCohorts, uploads: Uploads, before: Vec<Message>) -> Self {
        Self {
            cohorts,
            uploads,
            seeds: BTreeMap::new(),
            mask_keys: BTreeMap::new(),
            shares: BTreeMap::new(),
            unrecoverable: BTreeSet::new(),
            requested: BTreeSet::new(),
            before,
        }
    }

    pub(super) fn departed(&self) -> Vec<PartyId> {
        self.cohorts.departed()
    }

    /// What a party that comes back needs: both seals, and the requests for shares.
    pub(super) fn messages(&self, _party: PartyId) -> Vec<Message> {
        let round = self.cohorts.seal2().body().round;
        let requests =
            self.requested.iter().map(|dealer| Message::SeedSharesRequest { round, dealer: *dealer });
        self.before.iter().cloned().chain(requests).collect()
    }

    fn has(&self, dealer: PartyId, secret: SharedSecret) -> bool {
        match secret {
            SharedSecret::MaskKey => self.mask_keys.contains_key(&dealer),
            SharedSecret::Seed(block) => self.seeds.contains_key(&(dealer, block)),
        }
    }

    /// The secrets that are still needed and may still come, by member.
    fn missing(&self) -> BTreeMap<PartyId, Vec<SharedSecret>> {
        let members = self.cohorts.sealed_manifest().manifest().announcements().keys();
        let of_member = |member: &PartyId| {
            let mut secrets = self.cohorts.revealable(*member);
            secrets.retain(|secret| {
                !self.has(*member, *secret) && !self.unrecoverable.contains(&(*member, *secret))
            });
            (!secrets.is_empty()).then_some((*member, secrets))
        };
        members.filter_map(of_member).collect()
    }

    /// Takes a member's seeds, each checked against its commitment (`ROUND-15`).
    fn take_seeds(
        &mut self,
        context: &RoundContext,
        from: PartyId,
        seeds: &[RevealedSeed],
    ) -> Result<(), Misbehaviour> {
        let permitted = self.cohorts.revealable(from);
        let announced = self.cohorts.sealed_manifest().manifest().announcements().get(&from);
        let checked = |seed: &RevealedSeed| {
            let is_permitted = permitted.contains(&SharedSecret::Seed(seed.block));
            let fits = announced.is_some_and(|known| seed_fits(context, (from, known.body()), seed));
            let scalar = ScalarSecret::from_revealed(seed.seed).filter(|_| is_permitted && fits);
            scalar.map(|scalar| ((from, seed.block), scalar))
        };
        let checked: Option<Vec<_>> = seeds.iter().map(checked).collect();
        self.seeds.extend(checked.ok_or(Misbehaviour::Reveal { dealer: from })?);
        Ok(())
    }

    /// Takes a custodian's shares, and recovers what has enough of them.
    fn take_shares(
        &mut self,
        context: &RoundContext,
        custodian: PartyId,
        dealer: PartyId,
        shares: &[RevealedShare],
    ) -> Result<(), Misbehaviour> {
        let permitted = self.cohorts.revealable(dealer);
        let announced = self.cohorts.sealed_manifest().manifest().announcements().get(&dealer);
        let checked = |share: &RevealedShare| {
            let secret = permitted.iter().copied().find(|secret| secret.index() == share.index as usize)?;
            let fits = share_fits(context, (dealer, announced?.body()), custodian, secret, share);
            fits.then(|| (secret, share.clone()))
        };
        let checked: Option<Vec<_>> = shares.iter().map(checked).collect();
        for (secret, share) in checked.ok_or(Misbehaviour::Reveal { dealer })? {
            self.shares.entry((dealer, secret)).or_default().insert(custodian, share);
            self.recover(context, dealer, secret);
        }
        Ok(())
    }

    fn recover(&mut self, context: &RoundContext, dealer: PartyId, secret: SharedSecret) {
        let threshold = context.roster().floors().reveal_threshold;
        let Some(held) = self.shares.get(&(dealer, secret)).filter(|held| held.len() >= threshold) else {
            return;
        };
        if self.has(dealer, secret) {
            return;
        }
        let points: Vec<(u32, [u8; 32])> =
            held.iter().map(|(holder, share)| (holder.0, share.share)).collect();
        let recovered = shamir::combine(threshold, &points).ok();
        match recovered.filter(|recovered| self.fits_commitment(context, dealer, secret, recovered)) {
            Some(recovered) => self.accept(dealer, secret, recovered),
            None => {
                self.unrecoverable.insert((dealer, secret));
            }
        }
    }

    fn fits_commitment(
        &self,
        context: &RoundContext,
        dealer: PartyId,
        secret: SharedSecret,
        recovered: &ScalarSecret,
    ) -> bool {
        let announced = self.cohorts.sealed_manifest().manifest().announcements().get(&dealer);
        announced.is_some_and(|known| secret_fits(context, (dealer, known.body()), secret, recovered))
    }

    fn accept(&mut self, dealer: PartyId, secret: SharedSecret, recovered: ScalarSecret) {
        match secret {
            SharedSecret::MaskKey => {
                self.mask_keys.insert(dealer, recovered);
            }
            SharedSecret::Seed(block) => {
                self.seeds.insert((dealer, block), recovered);
            }
        }
    }

    /// Everything that was revealed, ascending by member and index.
    fn reveals(&self) -> Vec<Reveal> {
        let mask_keys = self.mask_keys.iter().map(|(member, key)| (*member, SharedSecret::MaskKey, key));
        let seeds =
            self.seeds.iter().map(|((member, block), seed)| (*member, SharedSecret::Seed(*block), seed));
        let mut reveals: Vec<Reveal> = mask_keys
            .chain(seeds)
            .map(|(member, secret, value)| Reveal {
                member,
                index: secret.index() as u32,
                value: *value.reveal(),
            })
            .collect();
        reveals.sort_unstable();
        reveals
    }

    /// The secrets that cannot be recovered, with the shares that show it.
    fn lost(&self, threshold: usize) -> Vec<LostSecret> {
        let shown = |(member, secret): &(PartyId, SharedSecret)| {
            let held = self.shares.get(&(*member, *secret)).into_iter().flatten().take(threshold);
            let shares = held.map(|(holder, share)| (*holder, share.clone())).collect();
            LostSecret { member: *member, index: secret.index() as u32, shares }
        };
        self.unrecoverable.iter().map(shown).collect()
    }

    /// Opens every block that can be opened; the others cost their block.
    fn open_all(mut self, context: &RoundContext) -> Opened {
        let reveals = self.reveals();
        let lost_secrets = self.lost(context.roster().floors().reveal_threshold);
        let permits = self.cohorts.take_permits();
        let mut opened = Opened {
            sums: Vec::new(),
            cohorts: self.cohorts,
            uploads: self.uploads,
            seeds: self.seeds,
            mask_keys: self.mask_keys,
            reveals,
            lost_secrets,
            before: self.before,
        };
        let results: Vec<(BlockId, Result<OpenedSum, NotOpened>)> = permits
            .into_iter()
            .map(|permit| (permit.cohort().block(), open_block(permit, &opened.openings(context))))
            .collect();
        opened.sums = results.into_iter().filter_map(|(_, sum)| sum.ok()).collect();
        opened
    }
}

/// The sums, and everything that opened them.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) sums: Vec<OpenedSum>,
    pub(super) cohorts: SealedCohorts,
    pub(super) uploads: Uploads,
    pub(super) seeds: BTreeMap<(PartyId, BlockId), ScalarSecret>,
    pub(super) mask_keys: BTreeMap<PartyId, ScalarSecret>,
    /// Everything that was revealed, ascending.
    pub(super) reveals: Vec<Reveal>,
    pub(super) lost_secrets: Vec<LostSecret>,
    /// What a party that comes back needs first.
    pub(super) before: Vec<Message>,
}

impl Opened {
    /// What opening, and judging what was opened, needs.
    pub(super) fn openings<'a>(&'a self, round: &'a RoundContext) -> Openings<'a> {
        let manifest = self.cohorts.sealed_manifest().manifest();
        Openings {
            round,
            manifest: manifest.digest(),
            announcements: manifest.announcements(),
            uploads: &self.uploads.summed,
            seeds: &self.seeds,
            mask_keys: &self.mask_keys,
        }
    }

    /// The valid blocks that stay closed, each with a member whose secret could not be recovered.
    fn closed(&self) -> Vec<(BlockId, PartyId)> {
        let lost = |block, needed: &[(PartyId, SharedSecret)]| {
            let missing = |(member, secret): &&(PartyId, SharedSecret)| {
                self.lost_secrets
                    .iter()
                    .any(|lost| lost.member == *member && lost.index as usize == secret.index())
            };
            needed.iter().find(missing).map(|(member, _)| (block, *member))
        };
        self.cohorts.valid().iter().filter_map(|cohort| lost(cohort.block(), &cohort.secrets())).collect()
    }
}

impl Coordinator {
    pub(super) fn handle_seeds(
        &mut self,
        from: PartyId,
        round: Round,
        seeds: &[RevealedSeed],
    ) -> Result<(), Fault> {
        let (announced, revealing) = self.revealing(from, round, "seeds")?;
        revealing.take_seeds(&announced.context, from, seeds).map_err(|what| what.by(from))
    }

    pub(super) fn handle_shares(
        &mut self,
        from: PartyId,
        round: Round,
        dealer: PartyId,
        shares: &[RevealedShare],
    ) -> Result<(), Fault> {
        let is_custodian = self.epoch.consortium().has_role(from, Role::Custodian);
        let (announced, revealing) = self.revealing(from, round, "shares")?;
        if !is_custodian {
            let role = Some(Role::Custodian);
            return Err(Misbehaviour::Role { signer: from, role, what: "share" }.by(from));
        }
        revealing.take_shares(&announced.context, from, dealer, shares).map_err(|what| what.by(from))
    }

    fn revealing(
        &mut self,
        from: PartyId,
        round: Round,
        what: &'static str,
    ) -> Result<(&Announced, &mut Revealing), Fault> {
        match self.round.as_mut().map(|active| &mut active.phase) {
            Some(Phase::Revealing(announced, revealing)) if announced.context.round() == round => {
                Ok((announced, revealing))
            }
            _ => Err(not_awaited(from, what)),
        }
    }

    pub(super) fn advance_revealing(&mut self, now: Time, expired: bool) {
        let Some(Phase::Revealing(announced, revealing)) =
            self.round.as_mut().map(|active| &mut active.phase)
        else {
            return;
        };
        let missing = revealing.missing();
        if missing.is_empty() {
            return self.open_sums(now);
        }
        let gone = |member: &PartyId| expired || !self.connected.contains(member);
        let lost: Vec<PartyId> = missing
            .keys()
            .copied()
            .filter(|member| revealing.cohorts.has_uploaded(*member) && gone(member))
            .filter(|member| revealing.requested.insert(*member))
            .collect();
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

    /// Opens what can be opened, and asks for late sketches of it where the plan has them.
    fn open_sums(&mut self, now: Time) {
        let Some(Phase::Revealing(announced, revealing)) = self.take_phase() else {
            return;
        };
        let opened = revealing.open_all(&announced.context);
        for (block, member) in opened.closed() {
            self.event(Event::BlockLost(block, member));
        }
        self.begin_checking(announced, opened, now);
    }
}
