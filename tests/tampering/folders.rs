//! Folders of real rounds, sound and changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use cloister_audit::{AuditClaim, AuditedFolder, ClaimVerdict, EvidenceReport, KeptFile, verify};
use cloister_crypto::SigningKey;
use cloister_params::id::{PartyId, Round};
use cloister_transcript::EntryKind;
use serde_json::Value;

use crate::rounds::RecordedRounds;

/// What a version that writes all files cannot check.
const NOT_CHECKED: [AuditClaim; 4] =
    [AuditClaim::MaskedBlocks, AuditClaim::Ledgers, AuditClaim::OtherParties, AuditClaim::Cosignatures];

fn not_checked(report: &EvidenceReport) -> Vec<AuditClaim> {
    report.not_checked().map(|claim| claim.claim).collect()
}

#[test]
fn everything_that_a_sound_folder_has_is_proved_and_the_rest_is_named() {
    let recorded = RecordedRounds::new();
    let report = verify(&recorded.folder(&recorded.rounds()), &[], &recorded.epoch);
    assert_eq!(report.refuted().count(), 0, "{report}");
    assert_eq!(not_checked(&report), NOT_CHECKED);
    assert_eq!((report.rounds.len(), report.claims.len()), (3, AuditClaim::ALL.len()));
    let text = report.to_string();
    assert_eq!(
        text.lines().filter(|line| line.starts_with("proved ")).count(),
        AuditClaim::ALL.len() - NOT_CHECKED.len()
    );
    let kinds: BTreeSet<EntryKind> = recorded
        .reports
        .iter()
        .flat_map(|report| report.log.entries().iter().map(|entry| entry.kind))
        .collect();
    assert!(
        [EntryKind::Abort, EntryKind::Reveal, EntryKind::LateSketches]
            .iter()
            .all(|kind| kinds.contains(kind))
    );
    // Nothing to compare is nothing proved.
    let nothing = verify(&AuditedFolder::default(), &[], &recorded.epoch);
    assert_eq!((nothing.refuted().count(), not_checked(&nothing).len()), (0, AuditClaim::ALL.len()));
}

#[test]
fn a_log_that_does_not_fit_its_checkpoint_is_found() {
    let recorded = RecordedRounds::new();
    let sound = recorded.folder(&recorded.rounds());
    for path in sound.tiles.keys() {
        let mut folder = sound.clone();
        folder.tiles.get_mut(path).unwrap()[3] ^= 1;
        assert!(recorded.refuted(&folder).contains(&AuditClaim::Log), "{path}");
        folder.tiles.remove(path);
        assert!(recorded.refuted(&folder).contains(&AuditClaim::Log), "{path}");
    }
    let mut folder = sound.clone();
    folder.checkpoint.as_mut().unwrap()[20] ^= 1;
    assert!(recorded.refuted(&folder).contains(&AuditClaim::Log));
    let mut stranger = RecordedRounds::new();
    stranger.keys.insert(PartyId::COORDINATOR, Arc::new(SigningKey::from_seed(&[9; 32])));
    let mut folder = sound.clone();
    stranger.sign_log(&mut folder);
    assert!(recorded.refuted(&folder).contains(&AuditClaim::Log));
    let mut folder = sound;
    folder.checkpoint = None;
    let report = verify(&folder, &[], &recorded.epoch);
    assert!(not_checked(&report).contains(&AuditClaim::Log) && report.refuted().count() == 0);
}

#[test]
fn rounds_that_are_missing_and_another_model_are_found() {
    let recorded = RecordedRounds::new();
    let sound = recorded.folder(&recorded.rounds());
    for (missing, expected) in [
        (&[1][..], Some(AuditClaim::Rounds)),
        (&[2], Some(AuditClaim::Rounds)),
        (&[2, 3], Some(AuditClaim::Model)),
        // An aborted round at the end changed nothing: only a receipt of another party could show that it is gone.
        (&[3], None),
    ] {
        let mut folder = sound.clone();
        folder.rounds.retain(|round, _| !missing.contains(&round.0));
        assert!(recorded.refuted(&folder).contains(&AuditClaim::Statements), "{missing:?}");
        recorded.sign_log(&mut folder);
        let refuted = recorded.refuted(&folder);
        assert_eq!(refuted.first().copied(), expected, "{missing:?}: {refuted:?}");
    }
    let mut folder = sound.clone();
    folder.rounds.get_mut(&Round(2)).unwrap().ending = None;
    assert!(recorded.refuted(&folder).contains(&AuditClaim::Rounds));
    // What was not examined of that round is not called proved.
    let open = not_checked(&verify(&folder, &[], &recorded.epoch));
    for claim in [AuditClaim::Seals, AuditClaim::Reveals, AuditClaim::OpenedSums, AuditClaim::LateSketches] {
        assert!(open.contains(&claim), "{claim:?}: {open:?}");
    }
    let mut folder = sound.clone();
    let other = folder.rounds[&Round(1)].ending.clone();
    folder.rounds.get_mut(&Round(2)).unwrap().ending = other;
    assert!(recorded.refuted(&folder).contains(&AuditClaim::Endings));
    let mut folder = sound;
    folder.model = Some(recorded.reports[0].model.to_bytes());
    assert_eq!(recorded.refuted(&folder), BTreeSet::from([AuditClaim::Model]));
    let verdict = verify(&folder, &[], &recorded.epoch).refuted().next().unwrap().verdict.clone();
    assert!(matches!(verdict, ClaimVerdict::Refuted(why) if why.contains("the last ending names")));
}

/// LOG-07, LATE-03, ROUND-21
#[test]
fn sums_that_closings_do_not_list_are_found_and_missing_ones_are_named() {
    let recorded = RecordedRounds::new();
    let sound = recorded.folder(&recorded.rounds());
    let packed = recorded.reports[1].packed_sums();
    let with_sums = |sums: Option<Vec<u8>>| {
        let mut folder = sound.clone();
        folder.rounds.get_mut(&Round(2)).unwrap().sums = sums.map(KeptFile::Bytes);
        folder
    };
    for at in [0, packed.len() / 2, packed.len() - 1] {
        let mut changed = packed.clone();
        changed[at] ^= 4;
        assert_eq!(
            recorded.refuted(&with_sums(Some(changed))),
            BTreeSet::from([AuditClaim::OpenedSums]),
            "{at}"
        );
    }
    let longer = [&packed[..], &[0]].concat();
    let other = recorded.reports[0].packed_sums();
    for changed in [packed[1..].to_vec(), longer, other, Vec::new()] {
        assert_eq!(recorded.refuted(&with_sums(Some(changed))), BTreeSet::from([AuditClaim::OpenedSums]));
    }
    // Without a round's sums, or without the first model, nothing is refuted, and the report says what is missing.
    let report = verify(&with_sums(None), &[], &recorded.epoch);
    assert_eq!(report.refuted().count(), 0);
    let open = not_checked(&report);
    assert!(open.contains(&AuditClaim::OpenedSums) && open.contains(&AuditClaim::LateSketches), "{open:?}");
    let mut folder = sound.clone();
    folder.models.clear();
    let report = verify(&folder, &[], &recorded.epoch);
    assert_eq!(report.refuted().count(), 0);
    let open = not_checked(&report);
    assert!(open.contains(&AuditClaim::OpenedSums) && !open.contains(&AuditClaim::LateSketches), "{open:?}");
    let mut folder = sound;
    folder.models.values_mut().for_each(|file| *file = KeptFile::Bytes(recorded.reports[0].model.to_bytes()));
    assert_eq!(recorded.refuted(&folder), BTreeSet::from([AuditClaim::OpenedSums]), "its name says another");
}

/// Every key of a report is in the published schema, and the other way round.
#[test]
fn a_report_has_the_keys_of_its_schema() {
    let recorded = RecordedRounds::new();
    let report = verify(&recorded.folder(&recorded.rounds()), &[], &recorded.epoch);
    let report = serde_json::to_value(report).unwrap();
    let schema: Value = serde_json::from_str(include_str!("../../protocols/evidence.schema.json")).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<String>>();
    let (round, cohort) = (&schema["$defs"]["round"], &schema["$defs"]["cohort"]);
    assert_eq!(keys(&report), keys(&schema["properties"]));
    assert_eq!(keys(&report["rounds"][0]), keys(&round["properties"]));
    assert_eq!(keys(&report["rounds"][0]["cohorts"][0]), keys(&cohort["properties"]));
    let named = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let claims: Vec<String> = report["claims"]
        .as_array()
        .unwrap()
        .iter()
        .map(|claim| claim["claim"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        named(&schema["$defs"]["claim"]["properties"]["claim"]["enum"])[1..],
        claims,
        "but for `bundle`"
    );
    assert_eq!(report["rounds"][2]["ending"]["aborted"], "TooFewUploaded");
}
