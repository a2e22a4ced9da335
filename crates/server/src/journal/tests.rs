use std::os::unix::fs::PermissionsExt;

use cloister_cluster::plan::template;
use cloister_params::block::BlockKind;
use cloister_params::id::{BlockId, PartyId, Round};
use cloister_wire::frame::Chunk;
use cloister_wire::opening::{OpenedBlock, OpeningRecord};

use super::*;

const EPOCH: Digest = Digest([1; 32]);

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("cloister-server-journal-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn beginning() -> Beginning {
    let chunk = Chunk { round: Round(3), owner: PartyId(0), block: BlockId(1), index: 0, bytes: vec![5; 9] };
    let model = Model::new(vec![vec![1.5, -2.0], vec![0.25]]);
    let opening = OpeningRecord::Sealed {
        epoch: Digest([1; 32]),
        round: Round(3),
        blocks: vec![OpenedBlock {
            block: BlockId(0),
            kind: BlockKind::Shared,
            parameters: Digest([2; 32]),
            routing: None,
            name: Digest([4; 32]),
            all_have_budgets: true,
        }],
    };
    let start = CoordinatorCheckpoint {
        model,
        last_ending: None,
        last_sums: vec![Frame::Chunk(chunk)],
        openings: vec![opening],
        bad_dealings: Vec::new(),
    };
    Beginning { epoch: EPOCH, closed_rounds: 3, start }
}

fn input(number: u64) -> (Input, Time) {
    (Input::Connected(PartyId(7)), Time(number))
}

fn bytes_of((input, now): (Input, Time)) -> Vec<u8> {
    input.encode(now)
}

/// A journal of two inputs, closed.
fn written(folder: &Path) {
    let (mut journal, kept) = RoundJournal::open(folder, EPOCH, None).expect("a new folder");
    assert!(kept.is_none());
    journal.begin(&beginning(), [bytes_of(input(1))]).expect("writable");
    journal.append(&bytes_of(input(2))).expect("writable");
    journal.sync().expect("writable");
}

/// ROUND-27
#[test]
fn a_round_survives_a_restart_and_what_was_torn_is_dropped() {
    let folder = scratch("torn");
    written(&folder);
    let path = folder.join(NAME);
    let whole = fs::read(&path).expect("there");
    // A record of an input has 48 bytes before its own.
    let record = 48 + bytes_of(input(2)).len();
    for torn in [0, 1, 8, 15, 16, 47, record - 1] {
        let tail = [&whole[..], &whole[whole.len() - record..][..torn]].concat();
        fs::write(&path, tail).expect("writable");
        let (mut journal, kept) = RoundJournal::open(&folder, EPOCH, None).expect("readable");
        let kept = kept.expect("it was begun");
        assert_eq!((kept.beginning, kept.torn), (beginning(), torn));
        assert_eq!(kept.inputs, [input(1), input(2)]);
        journal.append(&bytes_of(input(3))).expect("writable");
        drop(journal);
        let (_, kept) = RoundJournal::open(&folder, EPOCH, None).expect("readable");
        assert_eq!(kept.expect("it was begun").inputs, [input(1), input(2), input(3)]);
        fs::write(&path, &whole).expect("writable");
    }
    fs::remove_dir_all(folder).expect("there");
}

/// ROUND-27: a coordinator without inputs that it took could propose something else than it did.
#[test]
fn a_journal_that_was_cut_is_used_and_one_with_a_changed_byte_is_refused_and_kept() {
    let folder = scratch("damaged");
    written(&folder);
    let path = folder.join(NAME);
    let whole = fs::read(&path).expect("there");
    let record = 48 + bytes_of(input(2)).len();
    // The beginning is written as a whole, so no crash cuts it.
    for length in whole.len() - 2 * record..=whole.len() {
        fs::write(&path, &whole[..length]).expect("writable");
        let (_, kept) = RoundJournal::open(&folder, EPOCH, None).expect("cut off by a power cut");
        let inputs = 2 - (whole.len() - length).div_ceil(record);
        assert_eq!(kept.expect("it was begun").inputs.len(), inputs, "{length}");
    }
    fs::write(&path, [&whole[..], &[0; 5000]].concat()).expect("writable");
    let (_, kept) = RoundJournal::open(&folder, EPOCH, None).expect("longer than its bytes");
    assert_eq!(kept.map(|kept| (kept.inputs.len(), kept.torn)), Some((2, 5000)));
    for place in 0..whole.len() {
        for change in [1, 0x80] {
            let mut bytes = whole.clone();
            bytes[place] ^= change;
            fs::write(&path, &bytes).expect("writable");
            assert!(matches!(verify_journal(&folder), Err(RoundJournalError::Record { .. })), "{place}");
            let refused = RoundJournal::open(&folder, EPOCH, None).map(|_| ());
            assert!(matches!(refused, Err(RoundJournalError::Record { .. })), "{place}: {refused:?}");
            assert_eq!(fs::read(&path).expect("there"), bytes, "{place}: the file is as it was");
        }
    }
    fs::remove_dir_all(folder).expect("there");
}

#[test]
fn the_next_round_begins_without_the_inputs_of_the_last() {
    let folder = scratch("next");
    written(&folder);
    let (mut journal, _) = RoundJournal::open(&folder, EPOCH, None).expect("readable");
    let next = Beginning { closed_rounds: 4, ..beginning() };
    journal.begin(&next, [bytes_of(input(9))]).expect("writable");
    drop(journal);
    let (_, kept) = RoundJournal::open(&folder, EPOCH, None).expect("readable");
    let kept = kept.expect("it was begun");
    assert_eq!((kept.beginning, kept.inputs), (next, vec![input(9)]));
    fs::remove_dir_all(folder).expect("there");
}

/// CONS-07
#[test]
fn what_the_coordinator_keeps_is_its_owners_alone() {
    let folder = scratch("private");
    written(&folder);
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for name in [NAME, "lock"] {
        assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
    }
    let control = folder.join("control");
    fs::write(&control, "1").expect("writable");
    assert_ne!(mode(&control) & 0o077, 0, "control: the umask of this test lets others read");
    fs::remove_dir_all(folder).expect("there");
}

/// ROUND-29
#[test]
fn what_is_erased_is_not_in_the_file() {
    let folder = scratch("erased");
    written(&folder);
    let (mut journal, _) = RoundJournal::open(&folder, EPOCH, None).expect("readable");
    let secret = b"a masked block of a void cohort";
    let chunk =
        Chunk { round: Round(4), owner: PartyId(7), block: BlockId(1), index: 0, bytes: secret.to_vec() };
    journal.append(&bytes_of((Input::Frame(PartyId(7), Frame::Chunk(chunk)), Time(3)))).expect("writable");
    let holds =
        || fs::read(folder.join(NAME)).expect("there").windows(secret.len()).any(|part| part == secret);
    assert!(holds(), "control: before");
    journal.erase(&Erasure::for_absent([PartyId(8)])).expect("writable");
    assert!(holds(), "control: another member's");
    journal.erase(&Erasure::for_absent([PartyId(7)])).expect("writable");
    assert!(!holds());
    journal.append(&bytes_of(input(4))).expect("writable");
    drop(journal);
    let (_, kept) = RoundJournal::open(&folder, EPOCH, None).expect("readable");
    assert_eq!(kept.expect("it was begun").inputs, [input(1), input(2), input(4)]);
    fs::remove_dir_all(folder).expect("there");
}

#[test]
fn a_folder_in_use_or_of_another_epoch_or_damaged_is_refused() {
    let folder = scratch("refused");
    written(&folder);
    let (journal, _) = RoundJournal::open(&folder, EPOCH, None).expect("readable");
    assert!(matches!(RoundJournal::open(&folder, EPOCH, None), Err(RoundJournalError::InUse(_))));
    let closed_rounds = verify_journal(&folder).expect("a look needs no lock");
    assert_eq!(closed_rounds, Some(beginning().closed_rounds));
    assert_eq!(verify_journal(&folder.join("nowhere")).expect("no round has begun"), None);
    drop(journal);
    let next =
        RoundJournal::open(&folder, Digest([2; 32]), Some(EPOCH)).map(|(_, content)| content.is_some());
    assert!(matches!(next, Ok(true)), "control: an epoch that continues from the journal's");
    let other = RoundJournal::open(&folder, Digest([2; 32]), None);
    assert!(matches!(other, Err(RoundJournalError::Epoch { got: EPOCH, .. })), "{other:?}");
    let path = folder.join(NAME);
    let mut bytes = fs::read(&path).expect("there");
    bytes[50] ^= 1;
    fs::write(&path, bytes).expect("writable");
    let damaged = RoundJournal::open(&folder, EPOCH, None);
    assert!(matches!(damaged, Err(RoundJournalError::Record { record: 1, .. })), "{damaged:?}");
    fs::remove_dir_all(folder).expect("there");
}

/// FILE-01, ROUND-27
#[test]
fn a_journal_of_the_first_version_is_read_and_one_of_a_later_version_is_named() {
    let folder = scratch("versions");
    written(&folder);
    let path = folder.join(NAME);
    let bytes = fs::read(&path).expect("it was written");
    let format = 48 + FORMAT.len();
    // The first version's file has no record of the format.
    fs::write(&path, &bytes[format..]).expect("writable");
    let (journal, content) = RoundJournal::open(&folder, EPOCH, None).expect("the first version's");
    let content = content.expect("a journal");
    assert_eq!((content.beginning, content.inputs), (beginning(), vec![input(1), input(2)]));
    drop(journal);
    let later = [&record(b"cloister/coordinator-journal/v5"), &bytes[format..]].concat();
    fs::write(&path, &later).expect("writable");
    let said = RoundJournal::open(&folder, EPOCH, None).expect_err("a later version's").to_string();
    assert!(
        said.contains("cloister/coordinator-journal/v5") && said.contains("install that version"),
        "{said}"
    );
    assert_eq!(fs::read(&path).expect("it is there"), later, "the file is as it was");
    fs::remove_dir_all(folder).expect("it was written");
}

/// A record as the file has it.
fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    [&length[..], &length_check(&length), &leaf_hash(bytes).0, bytes].concat()
}

/// FILE-01
#[test]
fn a_round_of_an_earlier_version_is_left_to_that_version() {
    let folder = scratch("earlier");
    written(&folder);
    let path = folder.join(NAME);
    let bytes = fs::read(&path).expect("it was written");
    let records = &bytes[48 + FORMAT.len()..];
    // Settings of the version before are a byte shorter.
    let (settings, time) = (template(2, 4, 1), Time(1));
    let round = Input::StartRound(Box::new(settings)).encode(time);
    let started = record(&round[..round.len() - 1]);
    let formats = FORMATS_BEFORE.map(record);
    for format in [&formats[0][..], &formats[1], &[]] {
        let between = [format, records].concat();
        fs::write(&path, &between).expect("writable");
        let (journal, content) = RoundJournal::open(&folder, EPOCH, None).expect("between two rounds");
        assert_eq!(content.expect("a journal").beginning, beginning());
        // The next round is this version's.
        let mut journal = journal;
        journal.append(&round).expect("writable");
        journal.erase(&Erasure::default()).expect("it reads what it wrote");
        drop(journal);
        let (journal, content) = RoundJournal::open(&folder, EPOCH, None).expect("its own round");
        assert_eq!(content.expect("a journal").inputs.len(), 3);
        drop(journal);
        fs::write(&path, [&between, &started[..]].concat()).expect("writable");
        let said = RoundJournal::open(&folder, EPOCH, None).expect_err("a round in progress").to_string();
        assert!(said.contains("that an earlier version of the program began"), "{said}");
    }
    fs::remove_dir_all(folder).expect("it was written");
}
