//! Folders of real rounds, sound and changed.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use cloister_audit::{AuditClaim, AuditedFolder, AuditedRound, ClaimVerdict, EvidenceReport, verify};
use cloister_cluster::consortium::consortium;
use cloister_cluster::plan::template;
use cloister_cluster::{Cluster, DropOut};
use cloister_crypto::SigningKey;
use cloister_crypto::consortium::Epoch;
use cloister_params::id::{PartyId, Round};
use cloister_protocol::RoundReport;
use cloister_protocol::statement::body_digest;
use cloister_transcript::checkpoint::LogCheckpoint;
use cloister_transcript::leaf::{LogOpening, LogStatement, log_name};
use cloister_transcript::{EntryKind, EpochLog};
use cloister_wire::codec;

/// What a version that writes all files cannot check.
const NOT_CHECKED: [AuditClaim; 4] =
    [AuditClaim::Sums, AuditClaim::LateSketches, AuditClaim::Ledgers, AuditClaim::Cosignatures];

/// The coordinator's key and the rounds of a consortium of seven: a closed one, one that closed without a member that had
/// announced, and an aborted one.
struct Site {
    epoch: Arc<Epoch>,
    key: Arc<SigningKey>,
    reports: Vec<RoundReport>,
}

impl Site {
    fn new() -> Self {
        let parties = consortium(&[1; 7]);
        let (epoch, key) = (parties.epoch.clone(), parties.keys[&PartyId::COORDINATOR].clone());
        let mut cluster = Cluster::new(parties, template(2, 5, 1), 3);
        let mut reports = vec![cluster.run_round().unwrap()];
        cluster.drop_member(PartyId(2), DropOut::AfterAnnouncing);
        reports.push(cluster.run_round().unwrap());
        for member in [3, 4, 5] {
            cluster.drop_member(PartyId(member), DropOut::AfterAnnouncing);
        }
        reports.push(cluster.run_round().unwrap());
        Self { epoch, key, reports }
    }

    /// The folder of these rounds, with a log that its coordinator has signed.
    fn folder(&self, rounds: &[AuditedRound]) -> AuditedFolder {
        let mut folder = AuditedFolder {
            model: self.reports.last().map(|report| report.model.to_bytes()),
            rounds: (1..).map(Round).zip(rounds.iter().cloned()).collect(),
            ..AuditedFolder::default()
        };
        self.sign_log(&mut folder);
        folder
    }

    /// Writes the log that follows from the rounds.
    fn sign_log(&self, folder: &mut AuditedFolder) {
        let mut log = EpochLog::default();
        let epoch = self.epoch.digest();
        let opening =
            LogOpening { epoch, edition: 1, first_round: Round(1), time: 1_800_000_000, previous: None };
        log.append(opening.to_string().into_bytes()).unwrap();
        for (round, kept) in &folder.rounds {
            for entry in kept.entries.as_ref().unwrap() {
                let statement = LogStatement {
                    round: *round,
                    kind: entry.kind,
                    party: entry.party,
                    body: body_digest(&entry.body),
                    time: 1_800_000_000,
                    signatures: entry.signatures.clone(),
                };
                log.append(statement.to_string().into_bytes()).unwrap();
            }
        }
        let checkpoint = LogCheckpoint { origin: log_name(epoch), head: log.head() };
        folder.checkpoint = Some(checkpoint.sign(&self.key).unwrap().to_string().into_bytes());
        let files = log.added_files(0, log.size()).unwrap();
        folder.tiles = files.into_iter().map(|file| (file.path.to_string(), file.bytes)).collect();
    }

    fn rounds(&self) -> Vec<AuditedRound> {
        let mut rounds = Vec::new();
        for report in &self.reports {
            let entries = Ok(report.log.entries().to_vec());
            rounds.push(AuditedRound { entries, ending: Some(codec::encode(&report.ending)) });
        }
        rounds
    }

    fn refuted(&self, folder: &AuditedFolder) -> BTreeSet<AuditClaim> {
        verify(folder, &self.epoch).refuted().map(|claim| claim.claim).collect()
    }
}

fn not_checked(report: &EvidenceReport) -> Vec<AuditClaim> {
    report.not_checked().map(|claim| claim.claim).collect()
}

#[test]
fn everything_that_a_sound_folder_has_is_proved_and_the_rest_is_named() {
    let site = Site::new();
    let report = verify(&site.folder(&site.rounds()), &site.epoch);
    assert_eq!(report.refuted().count(), 0, "{report}");
    assert_eq!(not_checked(&report), NOT_CHECKED);
    assert_eq!((report.rounds, report.claims.len()), (3, AuditClaim::ALL.len()));
    let text = report.to_string();
    assert_eq!(text.lines().filter(|line| line.starts_with("proved ")).count(), AuditClaim::ALL.len() - 4);
    let kinds: BTreeSet<EntryKind> =
        site.reports.iter().flat_map(|report| report.log.entries().iter().map(|entry| entry.kind)).collect();
    assert!(kinds.contains(&EntryKind::Abort) && kinds.contains(&EntryKind::Reveal), "{kinds:?}");
    // Nothing to compare is nothing proved.
    let nothing = verify(&AuditedFolder::default(), &site.epoch);
    assert_eq!((nothing.refuted().count(), not_checked(&nothing).len()), (0, AuditClaim::ALL.len()));
}

/// Each entry of each round is changed, left out, repeated, or loses its signatures; the coordinator signs a log that
/// fits, or leaves its log as it was.
#[test]
fn every_change_of_every_entry_is_found_and_also_if_the_log_is_signed_again() {
    let site = Site::new();
    let sound = site.rounds();
    let mut changes = 0;
    for round in 0..sound.len() {
        let count = sound[round].entries.as_ref().unwrap().len();
        for at in 0..count {
            for change in ["flip", "drop", "repeat", "unsign", "other signature"] {
                let mut rounds = sound.clone();
                let entries = rounds[round].entries.as_mut().unwrap();
                let entry = &mut entries[at];
                match change {
                    "flip" => {
                        let middle = entry.body.len() / 2;
                        entry.body[middle] ^= 1;
                    }
                    "drop" => drop(entries.remove(at)),
                    "repeat" => entries.insert(at, entries[at].clone()),
                    "unsign" if entry.signatures.is_empty() => continue,
                    "unsign" => entry.signatures.clear(),
                    _ if entry.signatures.is_empty() => continue,
                    _ => entry.signatures[0].signature[5] ^= 1,
                }
                let kind = sound[round].entries.as_ref().unwrap()[at].kind;
                let mut folder = site.folder(&sound);
                folder.rounds = (1..).map(Round).zip(rounds.iter().cloned()).collect();
                let refuted = site.refuted(&folder);
                assert!(refuted.contains(&AuditClaim::Statements), "{change} of {kind:?}: {refuted:?}");
                site.sign_log(&mut folder);
                let refuted = site.refuted(&folder);
                // Only the coordinator says which uploads an aborted round had.
                let is_lost = kind == EntryKind::Upload && change == "drop" && round == 2;
                assert_eq!(
                    !refuted.is_empty(),
                    !is_lost,
                    "{change} of {kind:?} in round {}: {refuted:?}",
                    round + 1
                );
                changes += 2;
            }
        }
    }
    assert!(changes > 500, "{changes}");
}

#[test]
fn a_log_that_does_not_fit_its_checkpoint_is_found() {
    let site = Site::new();
    let sound = site.folder(&site.rounds());
    for path in sound.tiles.keys() {
        let mut folder = sound.clone();
        folder.tiles.get_mut(path).unwrap()[3] ^= 1;
        assert!(site.refuted(&folder).contains(&AuditClaim::Log), "{path}");
        folder.tiles.remove(path);
        assert!(site.refuted(&folder).contains(&AuditClaim::Log), "{path}");
    }
    let mut folder = sound.clone();
    folder.checkpoint.as_mut().unwrap()[20] ^= 1;
    assert!(site.refuted(&folder).contains(&AuditClaim::Log));
    let stranger = Site { key: Arc::new(SigningKey::from_seed(&[9; 32])), ..Site::new() };
    let mut folder = sound.clone();
    stranger.sign_log(&mut folder);
    assert!(site.refuted(&folder).contains(&AuditClaim::Log));
    let mut folder = sound;
    folder.checkpoint = None;
    let report = verify(&folder, &site.epoch);
    assert!(not_checked(&report).contains(&AuditClaim::Log) && report.refuted().count() == 0);
}

#[test]
fn rounds_that_are_missing_and_another_model_are_found() {
    let site = Site::new();
    let sound = site.folder(&site.rounds());
    for (missing, expected) in [
        (&[1][..], Some(AuditClaim::Rounds)),
        (&[2], Some(AuditClaim::Rounds)),
        (&[2, 3], Some(AuditClaim::Model)),
        // An aborted round at the end changed nothing: only a receipt of another party could show that it is gone.
        (&[3], None),
    ] {
        let mut folder = sound.clone();
        folder.rounds.retain(|round, _| !missing.contains(&round.0));
        assert!(site.refuted(&folder).contains(&AuditClaim::Statements), "{missing:?}");
        site.sign_log(&mut folder);
        let refuted = site.refuted(&folder);
        assert_eq!(refuted.first().copied(), expected, "{missing:?}: {refuted:?}");
    }
    let mut folder = sound.clone();
    folder.rounds.get_mut(&Round(2)).unwrap().ending = None;
    assert!(site.refuted(&folder).contains(&AuditClaim::Rounds));
    let mut folder = sound.clone();
    let other = folder.rounds[&Round(1)].ending.clone();
    folder.rounds.get_mut(&Round(2)).unwrap().ending = other;
    assert!(site.refuted(&folder).contains(&AuditClaim::Endings));
    let mut folder = sound;
    folder.model = Some(site.reports[0].model.to_bytes());
    assert_eq!(site.refuted(&folder), BTreeSet::from([AuditClaim::Model]));
    let verdict = verify(&folder, &site.epoch).refuted().next().unwrap().verdict.clone();
    assert!(matches!(verdict, ClaimVerdict::Refuted(why) if why.contains("the last ending names")));
}
