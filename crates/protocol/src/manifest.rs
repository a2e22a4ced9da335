//! The manifest: who announced, and each block's cohort, recomputed by everyone who acts on it.

use std::collections::BTreeMap;

use cloister_alignment::cohort::{Choice, Cohort, MemberSketches, choose};
use cloister_alignment::score::ExpertSketch;
use cloister_params::id::{BlockId, Digest, PartyId};
use cloister_params::rule;
use cloister_wire::codec;
use cloister_wire::statement::{
    AnnouncedMember, Announcement, CohortChoice, Manifest, ManifestCohort, WeightedMember,
};

use crate::fault::{Fault, Misbehaviour, expect};
use crate::round::RoundContext;
use crate::statement::{Verified, body_digest};

/// Checked announcements by member.
pub type Announcements = BTreeMap<PartyId, Verified<Announcement>>;

/// Keeps a member's announcement; a second, different one is not taken (`ROUND-10`).
///
/// # Errors
/// The second announcement, which is its signer's fault.
pub(crate) fn keep_announcement(
    held: &mut Announcements,
    announcement: Verified<Announcement>,
) -> Result<(), Fault> {
    let (signer, round) = (announcement.signer(), announcement.body().round);
    // The first stays: the letters that were opened were checked against it.
    let first = held.entry(signer).or_insert_with(|| announcement.clone());
    if first.digest() == announcement.digest() {
        return Ok(());
    }
    Err(Misbehaviour::Equivocation { what: "announcement", round }.by(signer))
}

/// A manifest that follows from the announcements of its `U1`. There is no other way to make one.
#[derive(Clone, Debug)]
pub struct CheckedManifest {
    body: Manifest,
    bytes: Vec<u8>,
    announcements: Announcements,
    /// The blocks of each member's cohorts, ascending, with its weight in each.
    blocks_of: BTreeMap<PartyId, Vec<(BlockId, u8)>>,
}

/// Scores the announcements and writes the manifest (step 3).
pub fn write(round: &RoundContext, announcements: &Announcements) -> Manifest {
    let sketches: BTreeMap<PartyId, MemberSketches> = announcements
        .iter()
        .map(|(member, announcement)| (*member, member_sketches(announcement.body())))
        .collect();
    let cohorts = choose(round.plan(), round.roster(), &sketches);
    Manifest {
        epoch: round.epoch().digest(),
        round: round.round(),
        plan: round.plan_digest(),
        announced: announcements
            .iter()
            .map(|(member, announcement)| AnnouncedMember {
                member: *member,
                announcement: announcement.digest(),
            })
            .collect(),
        cohorts: cohorts.into_iter().map(|cohort| manifest_cohort(round, announcements, cohort)).collect(),
    }
}

fn member_sketches(announcement: &Announcement) -> MemberSketches {
    let mut sketches = MemberSketches::new();
    for announced in &announcement.sketches {
        let values = announced.values.clone();
        sketches.insert(announced.block, ExpertSketch { values, tokens: announced.tokens });
    }
    sketches
}

/// A cohort without the members for whom its block is closed (`ALIGN-13`); void where the others are too few.
fn manifest_cohort(
    round: &RoundContext,
    announcements: &Announcements,
    mut cohort: Cohort,
) -> ManifestCohort {
    let block = cohort.block;
    // The member is left out of the block. If the block were left out of the round, one liar would decide for
    // all.
    cohort.members.retain(|member| {
        let announcement = announcements.get(&member.party);
        announcement.is_none_or(|known| known.body().closed.binary_search(&block).is_err())
    });
    // After the closed members are gone: the floor must hold for those who upload.
    let is_void = !round.reaches_floor(cohort.members.iter().map(|member| member.party));
    if is_void {
        cohort.members.clear();
    }
    let choice = match cohort.choice {
        _ if is_void => CohortChoice::Void,
        Choice::Everyone => CohortChoice::Everyone,
        Choice::Aligned => CohortChoice::Aligned,
        Choice::Fallback => CohortChoice::Fallback,
        Choice::Void => CohortChoice::Void,
    };
    let members = cohort.members.iter();
    ManifestCohort {
        block,
        choice,
        members: members
            .map(|chosen| WeightedMember { member: chosen.party, weight: chosen.weight })
            .collect(),
        consensus: cohort.consensus,
    }
}

impl CheckedManifest {
    /// Checks a proposed or sealed manifest against the announcements that this party holds (`ROUND-12`).
    ///
    /// # Errors
    /// An announcement that this party does not hold in the listed form, a `U1` below the floor, a cohort,
    /// weight or consensus that does not follow from the sketches.
    pub fn check(round: &RoundContext, bytes: Vec<u8>, held: &Announcements) -> Result<Self, Misbehaviour> {
        let body: Manifest = codec::decode(&bytes)?;
        let mut announcements = Announcements::new();
        for listed in &body.announced {
            let announcement = held
                .get(&listed.member)
                .filter(|announcement| announcement.digest() == listed.announcement)
                .ok_or(Misbehaviour::Manifest("it lists an announcement that this party does not hold"))?;
            announcements.insert(listed.member, announcement.clone());
        }
        check_floor(round, &announcements)?;
        // Recomputed, and not only checked for its floors: a coordinator that chose cohorts could pick a
        // member's companions.
        let expected = write(round, &announcements);
        expect("manifest", "round", body.round, expected.round)?;
        expect("manifest", "plan", body.plan, expected.plan)?;
        if !rule::in_force("ROUND-12") {
            return Ok(Self::new(body, bytes, announcements));
        }
        if let Some((cohort, _)) =
            expected.cohorts.iter().zip(&body.cohorts).find(|(ours, theirs)| ours != theirs)
        {
            return Err(Misbehaviour::Score { block: cohort.block });
        }
        if body != expected {
            return Err(Misbehaviour::Manifest("its members are not distinct and ascending"));
        }
        Ok(Self::new(body, bytes, announcements))
    }

    fn new(body: Manifest, bytes: Vec<u8>, announcements: Announcements) -> Self {
        let mut blocks_of: BTreeMap<PartyId, Vec<(BlockId, u8)>> = BTreeMap::new();
        for cohort in &body.cohorts {
            for listed in &cohort.members {
                blocks_of.entry(listed.member).or_default().push((cohort.block, listed.weight));
            }
        }
        Self { body, bytes, announcements, blocks_of }
    }

    /// The body's bytes as they came.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The digest that the first seal names.
    pub fn digest(&self) -> Digest {
        body_digest(&self.bytes)
    }

    /// `U1` with its announcements.
    pub fn announcements(&self) -> &Announcements {
        &self.announcements
    }

    /// The cohorts, in the order of the block table.
    pub fn cohorts(&self) -> &[ManifestCohort] {
        &self.body.cohorts
    }

    /// A block's cohort.
    pub fn cohort(&self, block: BlockId) -> Option<&ManifestCohort> {
        // The manifest was recomputed, so that its cohorts are in the order of the block table.
        self.body.cohorts.get(block.0 as usize)
    }

    /// The blocks that a member uploads, ascending, with its weight in each.
    pub fn blocks_of(&self, member: PartyId) -> &[(BlockId, u8)] {
        self.blocks_of.get(&member).map_or(&[], Vec::as_slice)
    }
}

fn check_floor(round: &RoundContext, announcements: &Announcements) -> Result<(), Misbehaviour> {
    let got = round.roster().organisations(announcements.keys().copied());
    if got < round.floor() {
        return Err(Misbehaviour::BelowFloor {
            what: "the set of members that announced".into(),
            got,
            floor: round.floor(),
        });
    }
    Ok(())
}
