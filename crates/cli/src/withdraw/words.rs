//! What a withdrawal says to people: why files stay, and what nobody can erase.

use std::path::Path;

use cloister_client::DataKind;
use cloister_params::id::PartyId;

/// What an entry of a data folder is.
pub(super) fn what(kind: DataKind) -> &'static str {
    match kind {
        DataKind::Journal => "what this party signed and announced in an epoch",
        DataKind::Model => "a trained model",
        DataKind::TrainingJob => "a training program's job, with rows of the notes",
        DataKind::Openings => "what this party uploaded and helped to open",
        DataKind::Ledger => "the privacy ledger: what was released of this hospital's data",
        DataKind::Edition => {
            "the newest consortium file that this party knows, and what the next one continues from"
        }
        DataKind::Withdrawal => "the statement of this withdrawal",
        DataKind::Link => "no program of a party made it",
        DataKind::Other => "no program of a party wrote it",
    }
}

/// Why an entry of a data folder stays.
pub(super) fn why_kept(kind: DataKind) -> &'static str {
    match kind {
        DataKind::Ledger => "a data protection officer needs it; --erase-ledger erases it",
        DataKind::Openings => {
            "if this party comes back, it must not give the same blocks again (ROUND-38); --erase-ledger erases it"
        }
        DataKind::Edition => "a party does not return to an earlier one (CONS-11); --erase-ledger erases it",
        DataKind::Withdrawal => "it states what was erased",
        _ => "look at it yourself",
    }
}

/// Why a symbolic link stays.
pub(super) fn why_link_kept(target: &Path) -> String {
    format!(
        "it is a symbolic link to {0}, and this command erases neither links nor what they name; to erase it, erase {0} there, \
         and then the link",
        target.display()
    )
}

/// Why a key stays.
pub(super) const KEPT_KEY: &str =
    "the consortium file lists it until the next edition is in force; --erase-keys erases it";

/// Why there are openings after they were erased.
pub(super) const NEW_OPENINGS: &str =
    "it says that this party may have acted before, so that it signs nothing twice (ROUND-04)";

/// What stays elsewhere, and what erasing a file does not reach.
pub(super) const NOT_ERASED: [&str; 10] = [
    "Sums that were opened: they are in the models that members and the coordinator have. What this hospital added to a model \
     cannot be taken out again. The privacy ledger says how much it can tell about a record.",
    "An update in a round that is in progress: if it was uploaded before the withdrawal, it can be summed after it. A round \
     whose second seal was signed ends only with its sums. So the date of this statement need not be that of the last use of \
     this hospital's data.",
    "At the coordinator: the logs of all rounds with this party's announcements (public keys, commitments, and its own sketches \
     and counts, with the noise that the plans had), the roots of its uploads, the secrets that both seals let open, its late \
     sketches and answers about them, and its signatures as a custodian.",
    "At the coordinator, until the round ends in which this party last took part: its letters and masked blocks. Its program \
     then erases them. A coordinator that changed the program, or copied its memory or disk, may have them still.",
    "At other members and at custodians: this party's announcements with their sketches and counts, the roots of its uploads, \
     and evidence if it dealt badly. If the plan asked for late sketches, members got the seeds that were opened; if its late \
     sketches did not add up to a sum, also these sketches and answers about them.",
    "At custodians: the letters that this party sealed to them, the secrets that were revealed, its late sketches and answers \
     about them, and its masked blocks of the sums that they recomputed.",
    "At other parties, their programs keep this in memory during a round and write none of it to disk. Changed programs may \
     have it still. Their ledgers and openings stay, which count the same rounds.",
    "At the holder of the governance key, the coordinator and all parties: this party's name, organisation, public keys and \
     certificate. They are in all editions of the consortium file, in the enrolment files of the holder of the governance key, \
     and, if it enrolled over the network, in `data/enrolments` and `data/invitations.toml` of the coordinator.",
    "On this machine: what hard links name, and copies in backups, snapshots, swap space and the system's log. Files are removed \
     and not overwritten, because flash memory and many file systems write new bytes to another place. If somebody may read \
     the disk, destroy it, or the key with which it is encrypted.",
    "This hospital's notes, held-out notes, base model, configuration files, predictions, and exports of a model: this command \
     does not look for them.",
];

/// What to do after a withdrawal. `name` and `number` are the party's in the consortium file.
pub(super) fn next_steps(name: &str, number: Option<PartyId>) -> [String; 4] {
    [
        "Disable the service, so that nothing starts the program again.".to_owned(),
        format!(
            "Ask the holder of the governance key to run `cloister consortium remove GOVERNANCE {}`, to sign, and to have the \
             edition begun (deploy/README.md, “Change the roster”). Until it is in force, the consortium counts this party and \
             waits for it, and whoever has its keys can act for it.",
            party_argument(name, number)
        ),
        "Erase backups of both folders, or keep them as long as your retention rules say. Never start a program on one of them."
            .to_owned(),
        format!(
            "To come back, enrol anew under the name {name:?}, and use this data folder. With any other folder, start with \
             --restored."
        ),
    ]
}

/// The party as an argument of a shell's command line: a name may have blanks and characters that a shell interprets.
fn party_argument(name: &str, number: Option<PartyId>) -> String {
    if let Some(PartyId(number)) = number {
        return number.to_string();
    }
    // Otherwise such a name would be taken for a flag.
    let separator = if name.starts_with('-') { "-- " } else { "" };
    format!("{separator}{}", shell_words::quote(name))
}
