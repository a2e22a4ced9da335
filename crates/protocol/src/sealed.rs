//! What both seals fix: the only thing that permits anybody to reveal, and the coordinator to open.
//!
//! [`SealedCohorts`] comes from two certificates over one manifest. A [`BlockPermit`] comes from it, cannot
//! be copied, and is used up by opening its block:
//!
//! ```compile_fail
//! // A permit cannot be forged: its fields are private and it has no constructor.
//! use cloister_protocol::sealed::BlockPermit;
//! let permit = BlockPermit { cohort: todo!() };
//! ```
//!
//! ```compile_fail
//! // It cannot be copied.
//! fn twice(permit: cloister_protocol::sealed::BlockPermit) -> [cloister_protocol::sealed::BlockPermit; 2] {
//!     [permit.clone(), permit]
//! }
//! ```
//!
//! ```compile_fail
//! // It cannot be used twice.
//! use cloister_protocol::opening::{OpeningInputs, open_block};
//! fn twice(permit: cloister_protocol::sealed::BlockPermit, openings: &OpeningInputs<'_>) {
//!     let _ = open_block(permit, openings);
//!     let _ = open_block(permit, openings);
//! }
//! ```
//!
//! ```
//! // The same, used once, compiles.
//! use cloister_protocol::opening::{OpeningInputs, open_block};
//! fn once(permit: cloister_protocol::sealed::BlockPermit, openings: &OpeningInputs<'_>) {
//!     let _ = open_block(permit, openings);
//! }
//! ```

use std::collections::{BTreeMap, BTreeSet};

use cloister_params::id::{BlockId, Digest, PartyId};
use cloister_params::rule;
use cloister_transcript::{EntryKind, RoundLog};
use cloister_wire::codec;
use cloister_wire::statement::{Body, Certificate, Seal1, Seal2, Upload, UploadedMember, WeightedMember};

use crate::fault::{Misbehaviour, expect};
use crate::manifest::CheckedManifest;
use crate::round::RoundContext;
use crate::statement::{Verified, check_certificate};

/// The log of a round up to the manifest, whose root the first seal names.
pub fn log_to_manifest(round: &RoundContext, manifest: &CheckedManifest) -> RoundLog {
    let mut log = RoundLog::default();
    log.push(EntryKind::Plan, PartyId::COORDINATOR, round.plan_bytes().to_vec());
    for (member, announcement) in manifest.announcements() {
        log.push(EntryKind::Announcement, *member, announcement.bytes().to_vec());
    }
    log.push(EntryKind::Manifest, PartyId::COORDINATOR, manifest.bytes().to_vec());
    log
}

/// Continues it to the uploads, whose root the second seal names. An upload's body follows from the first
/// seal and the root that its member signed.
pub fn log_to_uploads(
    round: &RoundContext,
    sealed: &SealedManifest,
    uploaded: &[UploadedMember],
) -> RoundLog {
    let mut log = log_to_manifest(round, &sealed.manifest);
    log.push(EntryKind::Seal1, PartyId::COORDINATOR, sealed.bytes().to_vec());
    for listed in uploaded {
        log.push(EntryKind::Upload, listed.member, codec::encode(&upload_body(round, sealed, listed.root)));
    }
    log
}

/// What a member signs when its upload is whole.
pub fn upload_body(round: &RoundContext, sealed: &SealedManifest, root: Digest) -> Upload {
    Upload { epoch: round.epoch().digest(), round: round.round(), seal1: sealed.digest(), root }
}

/// The first seal that fits a manifest.
pub fn expected_seal1(round: &RoundContext, manifest: &CheckedManifest) -> Seal1 {
    Seal1 {
        epoch: round.epoch().digest(),
        round: round.round(),
        plan: round.plan_digest(),
        manifest: manifest.digest(),
        previous: round.plan().previous,
        tree: log_to_manifest(round, manifest).root(),
    }
}

/// Checks a first seal's body against the manifest (`ROUND-13`).
///
/// # Errors
/// The first field that does not fit.
pub fn check_seal1(
    round: &RoundContext,
    manifest: &CheckedManifest,
    body: &Seal1,
) -> Result<(), Misbehaviour> {
    let expected = expected_seal1(round, manifest);
    expect(Seal1::TAG, "epoch", body.epoch, expected.epoch)?;
    expect(Seal1::TAG, "round", body.round, expected.round)?;
    expect(Seal1::TAG, "plan", body.plan, expected.plan)?;
    expect(Seal1::TAG, "manifest", body.manifest, expected.manifest)?;
    expect(Seal1::TAG, "previous", body.previous, expected.previous)?;
    expect(Seal1::TAG, "tree", body.tree, expected.tree)
}

/// A manifest under a certificate of the first seal: what members upload for.
#[derive(Clone, Debug)]
pub struct SealedManifest {
    manifest: CheckedManifest,
    seal1: Verified<Seal1>,
}

impl SealedManifest {
    /// Checks the certificate of the first seal.
    ///
    /// # Errors
    /// No quorum, or a body that does not fit the manifest.
    pub fn establish(
        round: &RoundContext,
        manifest: CheckedManifest,
        certificate: &Certificate<Seal1>,
    ) -> Result<Self, Misbehaviour> {
        let seal1 = check_certificate(certificate, round.epoch())?;
        check_seal1(round, &manifest, seal1.body())?;
        Ok(Self { manifest, seal1 })
    }

    /// The manifest.
    pub fn manifest(&self) -> &CheckedManifest {
        &self.manifest
    }

    /// Digest of the seal's body.
    pub fn digest(&self) -> Digest {
        self.seal1.digest()
    }

    /// The seal's body as it came.
    pub fn bytes(&self) -> &[u8] {
        self.seal1.bytes()
    }

    /// Each block's cohort, split into the members that are in `arrived` and those that are not.
    fn summed(&self, arrived: &BTreeSet<PartyId>) -> Vec<SummedCohort> {
        let mut summed = Vec::new();
        for cohort in self.manifest.cohorts() {
            let members = cohort.members.iter().copied();
            let (present, absent): (Vec<_>, Vec<_>) =
                members.partition(|listed| arrived.contains(&listed.member));
            let absent = absent.iter().map(|listed| listed.member).collect();
            summed.push(SummedCohort { block: cohort.block, present, absent });
        }
        summed
    }

    /// The blocks that are void when only these members arrived (`ROUND-02`, `ROUND-14`).
    pub fn void_blocks(&self, round: &RoundContext, present: &BTreeSet<PartyId>) -> Vec<BlockId> {
        let mut cohorts = self.summed(present);
        cohorts.retain(|cohort| !round.reaches_floor(cohort.members()));
        cohorts.iter().map(|cohort| cohort.block).collect()
    }

    /// Checks a second seal's body (`ROUND-14`): it follows this first seal, `U2` is within `U1` and reaches
    /// the floor, the void blocks are exactly those below theirs.
    ///
    /// # Errors
    /// The first of these that fails.
    pub fn check_seal2(&self, round: &RoundContext, body: &Seal2) -> Result<(), Misbehaviour> {
        expect(Seal2::TAG, "epoch", body.epoch, round.epoch().digest())?;
        expect(Seal2::TAG, "round", body.round, round.round())?;
        expect(Seal2::TAG, "first seal", body.seal1, self.digest())?;
        let ascending = body.uploaded.windows(2).all(|pair| pair[0].member < pair[1].member);
        let known =
            body.uploaded.iter().all(|listed| self.manifest.announcements().contains_key(&listed.member));
        if !ascending || !known {
            return Err(Misbehaviour::Seal2("its members must be distinct, ascending and announced"));
        }
        let present: BTreeSet<PartyId> = body.uploaded.iter().map(|listed| listed.member).collect();
        let got = round.roster().organisations(present.iter().copied());
        if got < round.floor() {
            let what = "the set of members that uploaded".to_owned();
            return Err(Misbehaviour::BelowFloor { what, got, floor: round.floor() });
        }
        // Exactly these: with one too few, a sum of fewer members opens; with one too many, a sum is
        // withheld.
        let void = self.void_blocks(round, &present);
        if rule::in_force("ROUND-02") && body.void != void {
            let below = void.iter().find(|block| !body.void.contains(block));
            return Err(match below {
                Some(block) => Misbehaviour::BelowFloor {
                    what: format!("the cohort of {block} after dropouts"),
                    got: self.organisations_of(round, *block, &present),
                    floor: round.floor(),
                },
                None => Misbehaviour::Seal2("it lists a block as void whose cohort reaches its floor"),
            });
        }
        let disordered = body.repeated.windows(2).any(|pair| pair[0] >= pair[1]);
        let mut repeated = body.repeated.iter();
        if disordered || repeated.any(|block| round.block(*block).is_none() || body.void.contains(block)) {
            return Err(Misbehaviour::Seal2(
                "its repeated blocks must be blocks of the plan, ascending, and not void",
            ));
        }
        Ok(())
    }

    /// `S2[b]` of every block that a second seal leaves valid, ascending.
    pub fn valid_cohorts(&self, seal: &Seal2) -> Vec<SummedCohort> {
        let present = seal.uploaded.iter().map(|listed| listed.member).collect();
        let closed: BTreeSet<BlockId> = seal.void.iter().chain(&seal.repeated).copied().collect();
        let mut valid = self.summed(&present);
        valid.retain(|cohort| !closed.contains(&cohort.block));
        valid
    }

    fn organisations_of(&self, round: &RoundContext, block: BlockId, present: &BTreeSet<PartyId>) -> usize {
        let cohort = self.summed(present).into_iter().find(|cohort| cohort.block == block);
        cohort.map_or(0, |cohort| round.roster().organisations(cohort.members()))
    }
}

/// A block's `S2[b]`, and who of `S[b]` did not arrive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SummedCohort {
    block: BlockId,
    present: Vec<WeightedMember>,
    absent: Vec<PartyId>,
}

impl SummedCohort {
    /// The block.
    pub fn block(&self) -> BlockId {
        self.block
    }

    /// `S2[b]`.
    pub fn members(&self) -> impl Iterator<Item = PartyId> + '_ {
        self.present.iter().map(|listed| listed.member)
    }

    /// Whether a member is in `S2[b]`.
    pub fn has(&self, member: PartyId) -> bool {
        self.members().any(|present| present == member)
    }

    /// `S2[b]`, with weights.
    pub fn weighted(&self) -> &[WeightedMember] {
        &self.present
    }

    /// Members of `S[b]` whose pair masks are still in the sum.
    pub fn absent(&self) -> &[PartyId] {
        &self.absent
    }

    /// The weights of `S2[b]`, added up.
    pub fn weight(&self) -> u32 {
        self.present.iter().map(|listed| u32::from(listed.weight)).sum()
    }
}

/// What both seals permit to reveal of one member: its mask key, or seeds, or nothing.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Revealable {
    /// Its mask key.
    pub mask_key: bool,
    /// The seeds of these blocks, ascending.
    pub seeds: Vec<BlockId>,
}

static NOTHING: Revealable = Revealable { mask_key: false, seeds: Vec::new() };

/// The cohorts under both seals. What may be revealed follows from it and from nothing else.
#[derive(Debug)]
pub struct SealedCohorts {
    sealed: SealedManifest,
    seal2: Verified<Seal2>,
    valid: Vec<SummedCohort>,
    revealable: BTreeMap<PartyId, Revealable>,
    /// One for each valid block, until it is taken.
    permits: BTreeMap<BlockId, BlockPermit>,
}

impl SealedCohorts {
    /// Checks the certificate of the second seal.
    ///
    /// # Errors
    /// No quorum, or a body that does not follow the first seal.
    pub fn establish(
        round: &RoundContext,
        sealed: SealedManifest,
        certificate: &Certificate<Seal2>,
    ) -> Result<Self, Misbehaviour> {
        let seal2: Verified<Seal2> = check_certificate(certificate, round.epoch())?;
        sealed.check_seal2(round, seal2.body())?;
        let valid = sealed.valid_cohorts(seal2.body());
        let permits =
            valid.iter().map(|cohort| (cohort.block, BlockPermit { cohort: cohort.clone() })).collect();
        let revealable = revealable(&sealed, &valid);
        Ok(Self { sealed, seal2, valid, revealable, permits })
    }

    /// What the first seal fixed.
    pub fn sealed_manifest(&self) -> &SealedManifest {
        &self.sealed
    }

    /// The second seal.
    pub fn seal2(&self) -> &Verified<Seal2> {
        &self.seal2
    }

    /// `U2` with the signed roots.
    pub fn uploaded(&self) -> &[UploadedMember] {
        &self.seal2.body().uploaded
    }

    /// Whether a member is in `U2`.
    pub fn has_uploaded(&self, member: PartyId) -> bool {
        self.uploaded().iter().any(|listed| listed.member == member)
    }

    /// The blocks that are summed, ascending.
    pub fn valid(&self) -> &[SummedCohort] {
        &self.valid
    }

    /// The cohort that a block is summed over; none if it stays masked.
    pub fn valid_cohort(&self, block: BlockId) -> Option<&SummedCohort> {
        let place = self.valid.binary_search_by_key(&block, |cohort| cohort.block).ok()?;
        self.valid.get(place)
    }

    /// The secrets of a member that may be revealed.
    pub fn revealable(&self, member: PartyId) -> &Revealable {
        self.revealable.get(&member).unwrap_or(&NOTHING)
    }

    /// Members of `U1` that did not arrive and whose mask keys are needed.
    pub fn departed(&self) -> Vec<PartyId> {
        let mut departed = Vec::new();
        for (member, secrets) in &self.revealable {
            if secrets.mask_key && !self.has_uploaded(*member) {
                departed.push(*member);
            }
        }
        departed
    }

    /// Takes out the permit of one valid block; there is no second one.
    pub fn take_permit(&mut self, block: BlockId) -> Option<BlockPermit> {
        self.permits.remove(&block)
    }

    /// Takes out the permits of all valid blocks.
    pub fn take_permits(&mut self) -> Vec<BlockPermit> {
        std::mem::take(&mut self.permits).into_values().collect()
    }
}

/// What may be revealed of each member: the seeds of its valid blocks if it uploaded, else its mask key if a
/// valid block's cohort has it. Members, custodians and coordinator share this one rule (`ROUND-01`).
fn revealable(sealed: &SealedManifest, valid: &[SummedCohort]) -> BTreeMap<PartyId, Revealable> {
    let mut revealable: BTreeMap<PartyId, Revealable> = BTreeMap::new();
    if !rule::in_force("ROUND-01") {
        let seeds: Vec<BlockId> = sealed.manifest().cohorts().iter().map(|cohort| cohort.block).collect();
        let everything = Revealable { mask_key: true, seeds };
        let announced = sealed.manifest().announcements().keys();
        return announced.map(|member| (*member, everything.clone())).collect();
    }
    for cohort in valid {
        for member in cohort.members() {
            revealable.entry(member).or_default().seeds.push(cohort.block);
        }
        // Never both secrets of one member: a member is in `U2` or not, for all blocks alike.
        for member in &cohort.absent {
            revealable.entry(*member).or_default().mask_key = true;
        }
    }
    revealable
}

/// The permission to open one block once.
#[derive(Debug)]
pub struct BlockPermit {
    cohort: SummedCohort,
}

impl BlockPermit {
    /// The cohort that is summed.
    pub fn cohort(&self) -> &SummedCohort {
        &self.cohort
    }
}
