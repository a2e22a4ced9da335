use super::*;
use crate::journal::Journal;
use cloister_params::id::{Digest, Round};
use cloister_protocol::openings::OpeningHistory;

const ALL: [&str; 9] = [
    "adapter",
    "edition.toml",
    "edition.toml.sig",
    "journal-00000000000000ff",
    "model.safetensors.part",
    "notes.csv",
    "openings",
    "privacy-ledger",
    "training-job",
];

/// A data folder with an entry of each kind.
fn data_folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("cloister-leaving-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    for job in ["training-job", "adapter"] {
        fs::create_dir_all(folder.join(job)).expect("a temporary folder can be made");
        fs::write(folder.join(job).join("rows.jsonl"), "a note").expect("writable");
    }
    let mut journal = Journal::open(&folder.join("journal-00000000000000ff")).expect("a new file");
    journal.keep_announced(Round(3)).expect("writable");
    let mut openings = OpeningsFile::open(&openings_path(&folder)).expect("a new file");
    openings.keep(began()).expect("writable");
    for name in ["edition.toml", "edition.toml.sig", "model.safetensors.part", "notes.csv", "privacy-ledger"]
    {
        fs::write(folder.join(name), name).expect("writable");
    }
    folder
}

fn began() -> OpeningRecord {
    OpeningRecord::Began { epoch: Digest([7; 32]), number: 2 }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("it is there").flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn history(folder: &Path) -> OpeningHistory {
    OpeningsFile::open(&openings_path(folder)).expect("a sound file").openings().clone()
}

/// ROUND-04, ROUND-38: without the journal, the same keys could sign another body for a step.
#[test]
fn a_folder_without_its_journal_is_that_of_a_party_that_forgot() {
    let folder = data_folder("forgot");
    assert_eq!(names(&folder), ALL);
    assert_eq!(history(&folder), OpeningHistory::new([began()]), "control: nothing was forgotten before");
    let idle = IdleDataFolder::lock(&folder).expect("no program runs");
    idle.erase(&[DataKind::Journal, DataKind::Model, DataKind::TrainingJob]).expect("it can be erased");
    assert_eq!(
        names(&folder),
        ["edition.toml", "edition.toml.sig", "notes.csv", "openings", "privacy-ledger"]
    );
    assert_eq!(history(&folder), OpeningHistory::new([began(), OpeningRecord::Restored]));
    let idle = IdleDataFolder::lock(&folder).expect("it has openings");
    idle.erase(&[DataKind::Openings, DataKind::Ledger, DataKind::Edition]).expect("it can be erased");
    assert_eq!(names(&folder), ["notes.csv", "openings"], "what no program wrote stays");
    assert_eq!(history(&folder), OpeningHistory::new([OpeningRecord::Restored]));
    fs::remove_dir_all(folder).expect("it is there");
}

/// ROUND-04
#[test]
fn nothing_is_erased_while_a_program_uses_the_folder() {
    let folder = data_folder("in-use");
    let in_use = |what: &str| {
        let refused = IdleDataFolder::lock(&folder).expect_err("a program runs");
        assert!(matches!(refused, DataFolderError::InUse(_)), "{what}: {refused}");
        assert!(refused.to_string().contains("stop `cloister client`"), "{refused}");
    };
    let journal = Journal::open(&folder.join("journal-00000000000000ff")).expect("a sound file");
    in_use("the journal");
    drop(journal);
    let openings = OpeningsFile::open(&openings_path(&folder)).expect("a sound file");
    in_use("the openings, as a program of another epoch has them");
    drop(openings);
    let idle = IdleDataFolder::lock(&folder).expect("control: no program runs");
    assert!(Journal::open(&folder.join("journal-00000000000000ff")).is_err(), "and none can start");
    assert_eq!(names(&folder), ALL);
    drop(idle);
    fs::remove_dir_all(folder).expect("it is there");
}

#[test]
fn a_folder_of_something_else_is_not_touched() {
    let folder = std::env::temp_dir().join(format!("cloister-leaving-{}-other", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    // A coordinator's.
    for name in ["rounds", "adapter"] {
        fs::create_dir_all(folder.join(name)).expect("a temporary folder can be made");
    }
    for name in ["journal", "lock", "privacy-ledger-record", "model.parameters"] {
        fs::write(folder.join(name), name).expect("writable");
    }
    let refused = IdleDataFolder::lock(&folder).expect_err("no party's");
    assert!(matches!(refused, DataFolderError::NoParty(_)), "{refused}");
    // What a link names is not this folder's.
    let outside = folder.join("outside");
    fs::write(&outside, "elsewhere").expect("writable");
    fs::write(folder.join("privacy-ledger"), "a ledger").expect("writable");
    std::os::unix::fs::symlink(&outside, folder.join("model.safetensors")).expect("links can be made");
    let idle = IdleDataFolder::lock(&folder).expect("control: it has a ledger");
    idle.erase(&[DataKind::Model, DataKind::Ledger]).expect("it can be erased");
    assert_eq!(fs::read_to_string(folder.join("model.safetensors")).expect("the link"), "elsewhere");
    fs::remove_dir_all(folder).expect("it is there");
}

#[test]
fn openings_behind_a_link_stay_and_say_that_the_party_forgot() {
    let folder = data_folder("link");
    let (path, elsewhere) = (openings_path(&folder), folder.join("elsewhere"));
    fs::rename(&path, &elsewhere).expect("it is there");
    std::os::unix::fs::symlink(&elsewhere, &path).expect("links can be made");
    let idle = IdleDataFolder::lock(&folder).expect("it has a journal");
    idle.erase(&[DataKind::Journal, DataKind::Openings]).expect("the rest can be erased");
    assert!(path.is_symlink() && !folder.join("journal-00000000000000ff").exists());
    assert_eq!(history(&folder), OpeningHistory::new([began(), OpeningRecord::Restored]));
    fs::remove_dir_all(folder).expect("it is there");
}
