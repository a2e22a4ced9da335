//! The rules R1 to R8, checked on what honest parties write to disk and send.
//!
//! Nothing here uses the program's own checks of cohorts, floors or reveals: it reads bodies and counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use cloister_crypto::consortium::Epoch;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_protocol::coordinator::RoundReport;
use cloister_protocol::custodian::{SignedRecord, SignedStep};
use cloister_protocol::statement::body_digest;
use cloister_testkit::world::Observation;
use cloister_wire::codec;
use cloister_wire::frame::Frame;
use cloister_wire::message::{Ending, Message, RevealedSeeds};
use cloister_wire::statement::{Abort, Closing, Manifest, ManifestCohort, Seal1, Seal2, WeightedMember};
use serde::Serialize;

use crate::evidence::{Evidence, Revealer};
use crate::logs::RelayedAnnouncements;

/// A broken rule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Violation {
    /// Which rule.
    pub(crate) rule: &'static str,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

pub(crate) fn hold(
    condition: bool,
    rule: &'static str,
    what: impl FnOnce() -> String,
) -> Result<(), Violation> {
    if condition {
        return Ok(());
    }
    Err(Violation { rule, what: what() })
}

/// Which kinds of secrets of one member honest parties revealed in one round.
#[derive(Clone, Copy, Default, Debug)]
struct Revealed {
    mask_key: bool,
    seeds: bool,
}

type Votes = BTreeMap<(Round, SignedStep), BTreeMap<Digest, BTreeSet<PartyId>>>;

/// Everything that the rules speak of, as it was observed.
pub(crate) struct Invariants {
    epoch: Arc<Epoch>,
    byzantine: BTreeSet<PartyId>,
    /// Honest custodians' signatures.
    votes: Votes,
    announced: BTreeMap<(PartyId, Round), Digest>,
    manifests: BTreeMap<Digest, Manifest>,
    seals: BTreeMap<Digest, Seal2>,
    aborts: BTreeSet<Digest>,
    revealed: BTreeMap<(PartyId, Round), Revealed>,
    models: BTreeMap<Round, Digest>,
    evidence: Evidence,
    relayed: RelayedAnnouncements,
    /// Whether nobody but the coordinator's own program speaks in its place.
    pub(crate) coordinator_is_honest: bool,
    /// Members that deal wrong keys.
    pub(crate) bad_dealers: BTreeSet<PartyId>,
    /// What the coordinator proposed in each step of each round.
    proposed: BTreeMap<(Round, Proposal), Digest>,
}

/// The steps of a round in which the coordinator proposes one body.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Proposal {
    Plan,
    Seal1,
    Outcome,
    Closing,
}

impl Invariants {
    /// For a consortium that starts from the model `genesis`.
    pub(crate) fn new(epoch: Arc<Epoch>, byzantine: BTreeSet<PartyId>, genesis: Digest) -> Self {
        Self {
            evidence: Evidence::new(&epoch, genesis),
            epoch,
            byzantine,
            votes: Votes::new(),
            announced: BTreeMap::new(),
            manifests: BTreeMap::new(),
            seals: BTreeMap::new(),
            aborts: BTreeSet::new(),
            revealed: BTreeMap::new(),
            models: BTreeMap::new(),
            relayed: RelayedAnnouncements::default(),
            coordinator_is_honest: true,
            bad_dealers: BTreeSet::new(),
            proposed: BTreeMap::new(),
        }
    }

    /// Checks the rules against the next thing that was observed.
    pub(crate) fn check(&mut self, observation: &Observation) -> Result<(), Violation> {
        match observation {
            Observation::FromCoordinator(_, Frame::Message(message)) => {
                self.learn(message);
                self.check_proposal(message)
            }
            Observation::Signed(custodian, record) => self.check_signature(*custodian, record),
            Observation::FromMember(member, Frame::Message(message)) => self.check_member(*member, message),
            Observation::FromCustodian(custodian, Frame::Message(message))
                if !self.byzantine.contains(custodian) =>
            {
                self.check_custodian(*custodian, message)
            }
            Observation::Closed(_, round, model) => self.check_model(*round, *model),
            Observation::Ended(report) => {
                self.relayed.check(report, &self.epoch)?;
                self.check_model_of(report)
            }
            _ => Ok(()),
        }
    }

    /// Remembers the bodies that custodians are asked to sign.
    fn learn(&mut self, message: &Message) {
        self.evidence.learn(message);
        if self.coordinator_is_honest {
            self.relayed.learn(message);
        }
        match message {
            Message::ProposeSeal1 { manifest, seal } => {
                if let Some(body) = sealed_manifest(manifest, seal) {
                    self.manifests.insert(body_digest(seal), body);
                }
            }
            Message::ProposeSeal2 { seal, .. } => {
                if let Ok(body) = codec::decode(seal) {
                    self.seals.insert(body_digest(seal), body);
                }
            }
            Message::ProposeAbort { abort } => {
                self.aborts.insert(body_digest(abort));
            }
            _ => {}
        }
    }

    /// R4 for the coordinator: one body a step, over every restart.
    fn check_proposal(&mut self, message: &Message) -> Result<(), Violation> {
        let proposal = match message {
            Message::Plan { plan, .. } => {
                plan.parse().map(|plan| plan.round).ok().map(|round| (round, Proposal::Plan, &plan.body))
            }
            Message::ProposeSeal1 { seal, .. } => {
                codec::decode::<Seal1>(seal).ok().map(|body| (body.round, Proposal::Seal1, seal))
            }
            Message::ProposeSeal2 { seal, .. } => {
                codec::decode::<Seal2>(seal).ok().map(|body| (body.round, Proposal::Outcome, seal))
            }
            Message::ProposeAbort { abort } => {
                codec::decode::<Abort>(abort).ok().map(|body| (body.round, Proposal::Outcome, abort))
            }
            Message::ProposeClosing { closing, .. } => {
                codec::decode::<Closing>(closing).ok().map(|body| (body.round, Proposal::Closing, closing))
            }
            _ => None,
        };
        let Some((round, step, body)) = proposal.filter(|_| self.coordinator_is_honest) else {
            return Ok(());
        };
        let digest = body_digest(body);
        let before = *self.proposed.entry((round, step)).or_insert(digest);
        hold(before == digest, "R4", || {
            format!("the coordinator proposed two bodies for {step:?} of {round}")
        })
    }

    /// R4, R3 and R2 for a signature.
    fn check_signature(&mut self, custodian: PartyId, record: &SignedRecord) -> Result<(), Violation> {
        let SignedRecord { round, step, body } = *record;
        let bodies = self.votes.entry((round, step)).or_default();
        bodies.entry(body).or_default().insert(custodian);
        let once = bodies.values().filter(|voters| voters.contains(&custodian)).count() == 1;
        hold(once, "R4", || format!("{custodian} signed two bodies for {step:?} of {round}"))?;
        let certified: Vec<Digest> = self.certifiable(round, step).collect();
        hold(certified.len() <= 1, "R3", || format!("two bodies of {round}, {step:?} can be certified"))?;
        if step == SignedStep::Seal1 && round > Round::FIRST {
            hold(self.has_ended(Round(round.0 - 1)), "R3", || {
                format!("{custodian} sealed {round} before the round before it ended")
            })?;
        }
        let manifest = self.manifests.get(&body).filter(|_| step == SignedStep::Seal1);
        manifest.map_or(Ok(()), |manifest| self.check_bars(custodian, manifest.plan))?;
        match self.seals.get(&body) {
            Some(seal) if step == SignedStep::Outcome => self.check_floors(seal),
            _ => Ok(()),
        }
    }

    /// Nobody takes part under a plan that bars an honest member.
    fn check_bars(&self, party: PartyId, plan: Digest) -> Result<(), Violation> {
        let barred = self.evidence.barred(plan).iter().find(|member| !self.bad_dealers.contains(member));
        hold(barred.is_none(), "bars", || {
            format!("{party} takes part under a plan that bars {barred:?}, who dealt well")
        })
    }

    /// The bodies that a quorum can have signed: honest signatures, and as many as there are byzantine custodians.
    fn certifiable(&self, round: Round, step: SignedStep) -> impl Iterator<Item = Digest> + '_ {
        let quorum = self.epoch.consortium().floors().seal_quorum;
        let bodies = self.votes.get(&(round, step)).into_iter().flatten();
        bodies.filter(move |(_, voters)| voters.len() + self.byzantine.len() >= quorum).map(|(body, _)| *body)
    }

    fn has_ended(&self, round: Round) -> bool {
        !self.endings(round).is_empty()
    }

    /// The bodies that a quorum can have signed as the end of a round.
    fn endings(&self, round: Round) -> Vec<Digest> {
        let aborts = self.certifiable(round, SignedStep::Outcome).filter(|body| self.aborts.contains(body));
        self.certifiable(round, SignedStep::Closing).chain(aborts).collect()
    }

    /// R2: every block of a second seal is void or reaches the floor.
    fn check_floors(&self, seal: &Seal2) -> Result<(), Violation> {
        let Some(manifest) = self.manifests.get(&seal.seal1) else {
            return hold(false, "R3", || "a second seal follows no proposed manifest".into());
        };
        for cohort in &manifest.cohorts {
            let void = seal.void.contains(&cohort.block);
            hold(void || self.reaches_floor(seal, cohort), "R2", || {
                format!("{} of {} is signed below its floor", cohort.block, seal.round)
            })?;
        }
        Ok(())
    }

    fn reaches_floor(&self, seal: &Seal2, cohort: &ManifestCohort) -> bool {
        let roster = self.epoch.consortium();
        let present = summed(seal, cohort).map(|listed| listed.member);
        let organisations: BTreeSet<&str> = present
            .filter_map(|member| roster.party(member))
            .map(|party| party.organisation.as_str())
            .collect();
        organisations.len() >= roster.floors().cohort
    }

    fn check_member(&mut self, member: PartyId, message: &Message) -> Result<(), Violation> {
        match message {
            Message::Announcement(signed) => {
                let body = signed.parse().expect("members encode what they sign");
                let (round, digest) = (body.round, body_digest(&signed.body));
                let before = *self.announced.entry((member, round)).or_insert(digest);
                hold(before == digest, "R4", || format!("{member} announced twice in {round}"))?;
                self.check_bars(member, body.plan)?;
                let ended = self.endings(Round(round.0 - 1));
                self.evidence.check_announcement(member, body, &ended)
            }
            Message::Seeds { round, seeds } => self.check_seeds((member, *round), Revealer::Dealer, seeds),
            _ => Ok(()),
        }
    }

    fn check_custodian(&mut self, custodian: PartyId, message: &Message) -> Result<(), Violation> {
        match message {
            Message::SeedParts { round, dealer, parts } => {
                self.check_seeds((*dealer, *round), Revealer::Custodian(custodian), parts)
            }
            Message::MaskKeyShare { round, dealer, share } => {
                self.check_mask_key(*dealer, *round)?;
                self.evidence.check_mask_key_share(custodian, (*dealer, *round), *share)
            }
            Message::Vote { body, .. } => {
                let kept = self.votes.values().filter_map(|bodies| bodies.get(body));
                hold(kept.flatten().any(|voter| *voter == custodian), "R4", || {
                    format!("{custodian} sent a signature before it was on disk")
                })
            }
            _ => Ok(()),
        }
    }

    /// R1 and R5 for seeds, or a custodian's parts of them.
    fn check_seeds(
        &mut self,
        (dealer, round): (PartyId, Round),
        by: Revealer,
        revealed: &RevealedSeeds,
    ) -> Result<(), Violation> {
        revealed.seeds.iter().try_for_each(|seed| self.check_seed(dealer, round, seed.block))?;
        self.evidence.check_seeds((dealer, round), by, revealed)
    }

    /// R1 for a seed: only of members in `U2`, only of valid blocks (neither void nor repeated) that they are summed in, and no mask key.
    fn check_seed(&mut self, dealer: PartyId, round: Round, block: BlockId) -> Result<(), Violation> {
        let (seal, manifest) = self.sealed(round)?;
        let cohort = manifest.cohorts.iter().find(|cohort| cohort.block == block);
        let is_summed = cohort.is_some_and(|cohort| {
            self.reaches_floor(seal, cohort) && summed(seal, cohort).any(|listed| listed.member == dealer)
        });
        hold(is_summed && is_open(seal, block), "R1", || {
            format!("the seed of {dealer} for {block} was revealed in {round}")
        })?;
        self.note(dealer, round, |revealed| revealed.seeds = true)
    }

    /// R1 for a mask key: only of members outside `U2` that a valid block's cohort lists.
    fn check_mask_key(&mut self, dealer: PartyId, round: Round) -> Result<(), Violation> {
        let (seal, manifest) = self.sealed(round)?;
        let uploaded = seal.uploaded.iter().any(|listed| listed.member == dealer);
        let needed = manifest.cohorts.iter().any(|cohort| {
            is_open(seal, cohort.block) && cohort.members.iter().any(|listed| listed.member == dealer)
        });
        hold(needed && !uploaded, "R1", || format!("the mask key of {dealer} was revealed in {round}"))?;
        self.note(dealer, round, |revealed| revealed.mask_key = true)
    }

    fn note(&mut self, dealer: PartyId, round: Round, mark: impl Fn(&mut Revealed)) -> Result<(), Violation> {
        let revealed = self.revealed.entry((dealer, round)).or_default();
        mark(revealed);
        hold(!(revealed.mask_key && revealed.seeds), "R1", || {
            format!("secrets of both kinds of {dealer} were revealed in {round}")
        })
    }

    /// The second seal of a round that a quorum can have signed, and its manifest.
    fn sealed(&self, round: Round) -> Result<(&Seal2, &Manifest), Violation> {
        let mut seals = self.certifiable(round, SignedStep::Outcome);
        let sealed = seals.find_map(|body| {
            let seal = self.seals.get(&body)?;
            Some((seal, self.manifests.get(&seal.seal1)?))
        });
        sealed.ok_or(Violation {
            rule: "R1",
            what: format!("a secret was revealed in {round} without a second seal"),
        })
    }

    /// All that close a round hold the same model.
    fn check_model(&mut self, round: Round, model: Digest) -> Result<(), Violation> {
        let before = *self.models.entry(round).or_insert(model);
        hold(before == model, "models", || format!("{round} left two models"))
    }

    fn check_model_of(&mut self, report: &RoundReport) -> Result<(), Violation> {
        match report.ending {
            Ending::Closed { .. } => self.check_model(report.round, report.model.digest()),
            Ending::Aborted(_) => hold(report.sums.is_empty(), "R3", || "an abort with sums".into()),
        }
    }
}

/// A manifest, if it is the one that a first seal names.
pub(crate) fn sealed_manifest(manifest: &[u8], seal: &[u8]) -> Option<Manifest> {
    let seal: Seal1 = codec::decode(seal).ok()?;
    codec::decode(manifest).ok().filter(|_| seal.manifest == body_digest(manifest))
}

/// Whether a seal lets a block be summed: it is neither void nor repeated.
fn is_open(seal: &Seal2, block: BlockId) -> bool {
    !seal.void.contains(&block) && !seal.repeated.contains(&block)
}

/// `S2[b]`.
fn summed<'a>(seal: &'a Seal2, cohort: &'a ManifestCohort) -> impl Iterator<Item = &'a WeightedMember> {
    let uploaded = |member: PartyId| seal.uploaded.iter().any(|listed| listed.member == member);
    cohort.members.iter().filter(move |listed| uploaded(listed.member))
}
