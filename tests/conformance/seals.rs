//! What the coordinator computes in the round of the vectors: manifest, seals, what may be revealed, sums, model.

use std::collections::{BTreeMap, BTreeSet};

use cloister_crypto::group::{Element, ScalarSecret};
use cloister_crypto::seed::SeedSecret;
use cloister_params::consortium::Role;
use cloister_params::id::{BlockId, PartyId};
use cloister_protocol::late::{LateEvidence, is_applied, judge};
use cloister_protocol::manifest::{Announcements, CheckedManifest, write};
use cloister_protocol::model::Model;
use cloister_protocol::opening::Seeds;
use cloister_protocol::opening::{MaskedBlocks, OpenedSum, OpeningInputs, open_block, upload_root};
use cloister_protocol::round::RoundContext;
use cloister_protocol::sealed::{SealedCohorts, SealedManifest, expected_seal1};
use cloister_protocol::statement::check_partys;
use cloister_wire::codec;
use cloister_wire::frame::Frame;
use cloister_wire::message::{Ending, Message};
use cloister_wire::statement::{BlamedMember, Certificate, Closing, Seal1, Seal2};

use crate::parties::Rounds;
use crate::vectors::Hex;

/// What the coordinator has when it opens the sums.
struct Held {
    round: RoundContext,
    announcements: Announcements,
    manifest: Vec<u8>,
    certificates: (Certificate<Seal1>, Certificate<Seal2>),
    uploads: BTreeMap<PartyId, MaskedBlocks>,
    closing: Closing,
}

fn context(rounds: &Rounds) -> RoundContext {
    let plan = rounds.messages().find_map(|message| match message {
        Message::Plan { plan, receiving_keys, .. } => Some((plan, receiving_keys)),
        _ => None,
    });
    let (plan, keys) = plan.unwrap();
    RoundContext::check(&rounds.epoch(), &plan, &keys).unwrap()
}

fn announcements(rounds: &Rounds) -> Announcements {
    let epoch = rounds.epoch();
    let signed = rounds.messages().filter_map(|message| match message {
        Message::Announcement(signed) => Some(signed),
        _ => None,
    });
    let verified = signed.map(|signed| check_partys(&signed, &epoch, Role::Member).unwrap());
    verified.map(|verified| (verified.signer(), verified)).collect()
}

/// The masked blocks as the members send them.
fn uploads(rounds: &Rounds) -> BTreeMap<PartyId, MaskedBlocks> {
    let mut uploads: BTreeMap<PartyId, MaskedBlocks> = BTreeMap::new();
    for step in rounds.script.iter().filter(|step| step.from.starts_with("member")) {
        if let Frame::Chunk(chunk) = Frame::decode(&rounds.frames[step.frame].0).unwrap() {
            uploads.entry(chunk.owner).or_default().insert(chunk.block, chunk.bytes);
        }
    }
    uploads
}

fn held(rounds: &Rounds) -> Held {
    let (mut sealed1, mut sealed2, mut closing) = (None, None, None);
    for message in rounds.messages() {
        match message {
            Message::Sealed1 { manifest, certificate, .. } => sealed1 = Some((manifest, certificate)),
            Message::Sealed2 { certificate } => sealed2 = Some(certificate),
            Message::Ended(Ending::Closed { certificate, .. }) => {
                closing = Some(certificate.parse().unwrap())
            }
            _ => {}
        }
    }
    let (manifest, certificate1) = sealed1.unwrap();
    Held {
        round: context(rounds),
        announcements: announcements(rounds),
        manifest,
        certificates: (certificate1, sealed2.unwrap()),
        uploads: uploads(rounds),
        closing: closing.unwrap(),
    }
}

pub(crate) fn check(rounds: &Rounds) {
    let held = held(rounds);
    let cohorts = check_seals(rounds, &held);
    check_revealable(rounds, &cohorts);
    check_sums(rounds, &held, cohorts);
}

/// Writes manifest and seals, and finds them to be those of the vectors.
fn check_seals(rounds: &Rounds, held: &Held) -> SealedCohorts {
    assert_eq!(codec::encode(&write(&held.round, &held.announcements)), held.manifest);
    let manifest = CheckedManifest::check(&held.round, held.manifest.clone(), &held.announcements).unwrap();
    assert_eq!(codec::encode(&expected_seal1(&held.round, &manifest)), held.certificates.0.body);
    let sealed = SealedManifest::establish(&held.round, manifest, &held.certificates.0).unwrap();
    let present: BTreeSet<PartyId> = held.uploads.keys().copied().collect();
    assert_eq!(sealed.void_blocks(&held.round, &present), rounds.expected.void);
    let seal2: Seal2 = held.certificates.1.parse().unwrap();
    for listed in &seal2.uploaded {
        assert_eq!(upload_root(&held.uploads[&listed.member]), listed.root);
    }
    SealedCohorts::establish(&held.round, sealed, &held.certificates.1).unwrap()
}

fn check_revealable(rounds: &Rounds, cohorts: &SealedCohorts) {
    let members = rounds.epoch().consortium().members().collect::<Vec<_>>();
    for member in members {
        let permitted = cohorts.revealable(member);
        let blocks = rounds.expected.seeds.get(&member.0).into_iter().flat_map(BTreeMap::keys);
        assert!(permitted.seeds.iter().map(|block| &block.0).eq(blocks), "{member}");
        assert_eq!(permitted.mask_key, rounds.expected.mask_keys.contains_key(&member.0), "{member}");
    }
    for cohort in cohorts.valid() {
        let expected = &rounds.expected.summed[&cohort.block().0];
        assert_eq!(cohort.members().collect::<Vec<_>>(), expected.present);
        assert_eq!((cohort.absent(), cohort.weight()), (expected.absent.as_slice(), expected.weight));
    }
}

/// The revealed seeds and mask keys.
fn secrets(rounds: &Rounds) -> (Seeds, BTreeMap<PartyId, ScalarSecret>) {
    let seeds = rounds.expected.seeds.iter().flat_map(|(member, blocks)| {
        let seed = |value: &Hex| SeedSecret::from(&Element::decode(value.array()).unwrap());
        blocks.iter().map(move |(block, value)| ((PartyId(*member), BlockId(*block)), seed(value)))
    });
    let key = |value: &Hex| ScalarSecret::from_revealed(value.array()).unwrap();
    let mask_keys = rounds.expected.mask_keys.iter().map(|(member, value)| (PartyId(*member), key(value)));
    (seeds.collect(), mask_keys.collect())
}

/// What the members of the vectors say of their uploads.
fn evidence(rounds: &Rounds, round: &RoundContext, cohorts: &SealedCohorts) -> LateEvidence {
    let mut evidence = LateEvidence::default();
    for message in rounds.messages() {
        let taken = match message {
            Message::LateSketches(signed) => evidence.take_sketches(round, cohorts, &signed),
            Message::BlameAnswer(signed) => evidence.take_answer(round, cohorts, &signed),
            Message::PairOpened { round: number, opening } => {
                evidence.take_opening(round, cohorts, (number, &opening))
            }
            _ => Ok(()),
        };
        taken.unwrap();
    }
    evidence
}

/// Opens every block, judges it by what the members said, and applies the sums that hold.
fn check_sums(rounds: &Rounds, held: &Held, mut cohorts: SealedCohorts) {
    let (seeds, mask_keys) = secrets(rounds);
    let manifest = cohorts.sealed_manifest().manifest().clone();
    let openings = OpeningInputs {
        round: &held.round,
        manifest: manifest.digest(),
        announcements: manifest.announcements(),
        uploads: &held.uploads,
        seeds: &seeds,
        mask_keys: &mask_keys,
    };
    let evidence = evidence(rounds, &held.round, &cohorts);
    let permits = cohorts.take_permits();
    let sums: Vec<OpenedSum> =
        permits.into_iter().map(|permit| open_block(permit, &openings).unwrap()).collect();
    assert_eq!(sums.len(), rounds.expected.sums.len());
    let (mut applied, mut blamed) = (Vec::new(), Vec::new());
    for (sum, listed) in sums.into_iter().zip(&held.closing.sums) {
        let block = sum.block();
        assert_eq!(sum.packed(&held.round), rounds.expected.sums[&block.0].0);
        let judgement = judge(&openings, &cohorts, &evidence, &sum);
        assert_eq!(sum.listed(&held.round, judgement.check), *listed);
        blamed.extend(judgement.blamed.into_iter().map(|member| BlamedMember { block, member }));
        applied.extend(is_applied(&held.round, judgement.check).then_some(sum));
    }
    assert_eq!((&blamed, &blamed), (&rounds.expected.blamed, &held.closing.blamed));
    let model: Model = rounds.model().after(held.round.plan(), &applied).unwrap();
    assert_eq!(model, rounds.closed_model());
    assert_eq!(model.digest(), held.closing.model);
}
