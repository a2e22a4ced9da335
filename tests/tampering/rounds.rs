//! Real rounds with late sketches, a member that drops out, and an abort, and what a coordinator keeps of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cloister_audit::{AuditClaim, AuditedFolder, AuditedRound, KeptFile, verify};
use cloister_cluster::consortium::consortium;
use cloister_cluster::plan::{model, template};
use cloister_cluster::{Cluster, DropOut};
use cloister_crypto::SigningKey;
use cloister_crypto::consortium::Epoch;
use cloister_params::block::BlockKind;
use cloister_params::id::{PartyId, Round};
use cloister_params::plan::{LateSketchMode, RoundSettings};
use cloister_protocol::coordinator::RoundReport;
use cloister_protocol::model::Model;
use cloister_protocol::statement::body_digest;
use cloister_transcript::EpochLog;
use cloister_transcript::checkpoint::LogCheckpoint;
use cloister_transcript::keys::{SignatureType, VerifierKey};
use cloister_transcript::leaf::{LogOpening, LogStatement, log_name};
use cloister_wire::codec;

/// The rounds of a consortium of seven with late sketches: a closed one, one that closed without
/// a member that had announced, and an aborted one.
pub(crate) struct RecordedRounds {
    pub(crate) epoch: Arc<Epoch>,
    pub(crate) keys: BTreeMap<PartyId, Arc<SigningKey>>,
    /// The model before the first round.
    pub(crate) start: Model,
    pub(crate) reports: Vec<RoundReport>,
}

/// Settings with late sketches of the shared parameters, the only block that is long enough.
fn settings() -> RoundSettings {
    let mut settings = template(2, 5, 1);
    settings.late_sketches = LateSketchMode::Required;
    let shared = settings.blocks.iter_mut().find(|block| block.shape.kind == BlockKind::Shared);
    shared.unwrap().shape.length = 4_900;
    settings
}

impl RecordedRounds {
    pub(crate) fn new() -> Self {
        let parties = consortium(&[1; 7]);
        let (epoch, keys) = (parties.epoch.clone(), parties.keys.clone());
        let mut cluster = Cluster::new(parties, settings(), 3);
        let mut reports = vec![cluster.run_round().unwrap()];
        cluster.drop_member(PartyId(2), DropOut::AfterAnnouncing);
        reports.push(cluster.run_round().unwrap());
        for member in [3, 4, 5] {
            cluster.drop_member(PartyId(member), DropOut::AfterAnnouncing);
        }
        reports.push(cluster.run_round().unwrap());
        Self { epoch, keys, start: model(&settings()), reports }
    }

    /// The folder of these rounds, with a log that its coordinator has signed.
    pub(crate) fn folder(&self, rounds: &[AuditedRound]) -> AuditedFolder {
        let mut folder = AuditedFolder {
            model: self.reports.last().map(|report| report.model.to_bytes()),
            models: BTreeMap::from([(self.start.digest(), KeptFile::Bytes(self.start.to_bytes()))]),
            rounds: (1..).map(Round).zip(rounds.iter().cloned()).collect(),
            ..AuditedFolder::default()
        };
        self.sign_log(&mut folder);
        folder
    }

    /// Writes the log that follows from the rounds.
    pub(crate) fn sign_log(&self, folder: &mut AuditedFolder) {
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
        folder.checkpoint =
            Some(checkpoint.sign(&self.keys[&PartyId::COORDINATOR]).unwrap().to_string().into_bytes());
        let files = log.added_files(0, log.size()).unwrap();
        let name = log_name(epoch);
        let public = self.keys[&PartyId::COORDINATOR].public();
        let verifier = VerifierKey::new(name, SignatureType::Ed25519, public).unwrap();
        folder.verifier_key = Some(format!("{verifier}\n").into_bytes());
        folder.tiles = files.into_iter().map(|file| (file.path.to_string(), file.bytes)).collect();
    }

    pub(crate) fn rounds(&self) -> Vec<AuditedRound> {
        let mut rounds = Vec::new();
        for report in &self.reports {
            let entries = Ok(report.log.entries().to_vec());
            let sums = (!report.sums.is_empty()).then(|| KeptFile::Bytes(report.packed_sums()));
            rounds.push(AuditedRound { entries, ending: Some(codec::encode(&report.ending)), sums });
        }
        rounds
    }

    pub(crate) fn refuted(&self, folder: &AuditedFolder) -> BTreeSet<AuditClaim> {
        verify(folder, &[], &self.epoch).refuted().map(|claim| claim.claim).collect()
    }
}
