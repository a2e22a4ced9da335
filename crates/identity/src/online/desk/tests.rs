use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, UNIX_EPOCH};

use cloister_cluster::consortium::consortium;
use cloister_crypto::sign::SigningKey;

use super::*;
use crate::enrolment::Applicant;
use crate::tls::Identity;
use crate::validity::Validity;

const BOTH: [EnrolmentRole; 2] = [EnrolmentRole::Member, EnrolmentRole::Custodian];

/// A desk in a folder of its own, which is removed at the end, with one invitation.
struct Scene {
    folder: PathBuf,
    desk: EnrolmentDesk,
    token: InvitationToken,
    epoch: Epoch,
}

impl Scene {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("cloister-desk-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let epoch = Epoch::clone(&consortium(&[1; 5]).epoch);
        let desk = open(&folder);
        let token = InvitationToken::new([7; 16]);
        assert_eq!(desk.invite(&token, BOTH.to_vec(), at(100), at(0)).expect("room"), 1);
        Self { folder, desk, token, epoch }
    }

    fn ask(&self, token: &InvitationToken, hospital: &Hospital, seconds: u64) -> EnrolmentAnswer {
        self.hand_in(token, &hospital.file, hospital.identity.fingerprint(), seconds).answer
    }

    fn hand_in(
        &self,
        token: &InvitationToken,
        file: &str,
        presented: Fingerprint,
        seconds: u64,
    ) -> DeskOutcome {
        let request = EnrolmentRequest { token: token.clone(), enrolment: file.to_owned() };
        let request = request.encode().expect("it fits");
        self.desk.answer(&request, presented, &self.epoch, at(seconds)).expect("a request")
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn open(folder: &Path) -> EnrolmentDesk {
    EnrolmentDesk::open(folder, PublicBytes([9; 32])).expect("a desk")
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_790_000_000 + seconds)
}

struct Hospital {
    identity: Identity,
    file: String,
}

fn hospital(name: &str, seed: u8, roles: &[EnrolmentRole], validity: Validity) -> Hospital {
    let identity = Identity::generate(name, validity).expect("randomness");
    let applicant =
        Applicant { name: name.into(), organisation: "North Hospital".into(), roles: roles.to_vec() };
    let file = Enrolment::write(&applicant, &identity, &SigningKey::from_seed(&[seed; 32])).expect("sound");
    Hospital { identity, file }
}

fn north() -> Hospital {
    hospital("north", 77, &BOTH, Validity::unlimited())
}

fn refusal(answer: EnrolmentAnswer) -> EnrolmentRefusal {
    match answer {
        EnrolmentAnswer::Refused(why) => why,
        other => panic!("{other:?}"),
    }
}

/// CONS-13: each refusal says whether somebody has the name, so that there are few of them.
#[test]
fn an_invitation_that_is_refused_again_and_again_is_cancelled() {
    let scene = Scene::new("refusals");
    let taken = scene.epoch.consortium().parties().next().expect("five").name.clone();
    let guess = hospital(&taken, 77, &BOTH, Validity::unlimited());
    for _ in 1..MOST_REFUSALS {
        let why = refusal(scene.ask(&scene.token, &guess, 1));
        assert_eq!(why, EnrolmentRefusal::NameTaken { name: taken.clone() });
    }
    // Control: so many do no harm to the party itself.
    assert_eq!(scene.desk.invitations().len(), 1);
    refusal(scene.ask(&scene.token, &guess, 1));
    assert_eq!(refusal(scene.ask(&scene.token, &north(), 1)), EnrolmentRefusal::Unknown);
    assert!(open(&scene.folder).invitations().is_empty(), "also after a restart");
}

/// CONS-13
#[test]
fn a_file_of_another_party_is_not_replaced_when_numbers_are_given_again() {
    let scene = Scene::new("numbers");
    assert!(is_kept(&scene.ask(&scene.token, &north(), 1)));
    let first = std::fs::read_to_string(scene.folder.join("enrolments/north-1.toml")).expect("kept");
    // The operator has removed the list, as its error says.
    std::fs::remove_file(scene.folder.join(INVITATIONS)).expect("it was there");
    let desk = open(&scene.folder);
    desk.invite(&scene.token, BOTH.to_vec(), at(100), at(0)).expect("room");
    let other = hospital("north", 78, &BOTH, Validity::unlimited());
    let request = EnrolmentRequest { token: scene.token.clone(), enrolment: other.file.clone() };
    let bytes = request.encode().expect("it fits");
    let outcome = desk.answer(&bytes, other.identity.fingerprint(), &scene.epoch, at(1)).expect("a request");
    let kept = outcome.kept.expect("a new file").path;
    assert_eq!(std::fs::read_to_string(kept).expect("kept"), other.file);
    let present = std::fs::read_to_string(scene.folder.join("enrolments/north-1.toml")).expect("kept");
    assert_eq!(present, first);
}

fn is_kept(answer: &EnrolmentAnswer) -> bool {
    matches!(answer, EnrolmentAnswer::Kept(_))
}

/// CONS-13
#[test]
fn a_token_takes_one_file_and_answers_its_party_again_also_after_a_restart() {
    let mut scene = Scene::new("once");
    let (north, south) = (north(), hospital("south", 78, &BOTH, Validity::unlimited()));
    let outcome = scene.hand_in(&scene.token, &north.file, north.identity.fingerprint(), 5);
    let kept = outcome.kept.expect("the first time");
    assert_eq!(std::fs::read_to_string(&kept.path).expect("the file"), north.file);
    assert!(kept.path.ends_with("enrolments/north-1.toml"), "{kept:?}");
    let enrolment = Enrolment::read(&north.file).expect("sound");
    assert_eq!(kept.fingerprint, enrolment.fingerprint());
    let receipt = Receipt {
        enrolment: enrolment.digest(),
        kept_at: 1_790_000_005,
        consortium: scene.epoch.consortium().name().to_owned(),
    };
    assert_eq!(outcome.answer, EnrolmentAnswer::Kept(receipt.clone()));
    for _ in 0..2 {
        // Long after the expiry, because the holder of the governance key may take its time.
        let again = scene.hand_in(&scene.token, &north.file, north.identity.fingerprint(), 100_000);
        assert_eq!((again.answer, again.kept), (EnrolmentAnswer::Kept(receipt.clone()), None));
        assert_eq!(refusal(scene.ask(&scene.token, &south, 6)), EnrolmentRefusal::Used);
        scene.desk = open(&scene.folder);
    }
    let files = std::fs::read_dir(scene.folder.join(ENROLMENTS)).expect("the folder").count();
    assert_eq!(files, 1);
    let states = scene.desk.invitations();
    assert_eq!(states[0].used, Some(("north".to_owned(), "north-1.toml".to_owned())));
}

/// CONS-13
#[test]
fn unknown_expired_and_cancelled_tokens_are_refused() {
    let scene = Scene::new("tokens");
    let north = north();
    let other = InvitationToken::new([8; 16]);
    assert_eq!(refusal(scene.ask(&other, &north, 5)), EnrolmentRefusal::Unknown);
    assert_eq!(refusal(scene.ask(&scene.token, &north, 101)), EnrolmentRefusal::Expired);
    assert!(!scene.folder.join(ENROLMENTS).exists(), "nothing was kept");
    scene.desk.invite(&other, BOTH.to_vec(), at(100), at(0)).expect("room");
    scene.desk.cancel(2).expect("it is there");
    assert!(matches!(scene.desk.cancel(2), Err(DeskError::NoSuch { number: 2 })));
    assert_eq!(refusal(scene.ask(&other, &north, 5)), EnrolmentRefusal::Unknown);
    assert!(is_kept(&scene.ask(&scene.token, &north, 100)), "control: its last second");
}

/// CONS-13
#[test]
fn the_coordinator_stores_no_token_and_its_files_are_its_own() {
    let scene = Scene::new("files");
    assert!(is_kept(&scene.ask(&scene.token, &north(), 5)));
    let (book, file) = (scene.folder.join(INVITATIONS), scene.folder.join("enrolments/north-1.toml"));
    for path in [&book, &file] {
        let mode = std::fs::metadata(path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{path:?}");
    }
    let text = std::fs::read_to_string(&book).expect("it can be read");
    assert!(text.contains(&hex::encode(scene.token.digest().0)), "control: the digest is there");
    for path in [book, file] {
        let bytes = std::fs::read(path).expect("it can be read");
        assert!(!String::from_utf8_lossy(&bytes).contains(&hex::encode([7; 16])));
        assert!(!bytes.windows(16).any(|window| window == [7; 16]));
    }
}

/// CONS-09, CONS-15
#[test]
fn files_that_do_not_fit_the_connection_or_the_invitation_are_refused() {
    let scene = Scene::new("misfits");
    let north = north();
    let ours = north.identity.fingerprint();
    let changed = north.file.replace("north", "nort");
    let refused = |file: &str, presented| refusal(scene.hand_in(&scene.token, file, presented, 5).answer);
    let by_signature = refused(&changed, ours);
    assert!(
        matches!(&by_signature, EnrolmentRefusal::File(why) if why.contains("has not signed it")),
        "{by_signature}"
    );
    assert_eq!(refused(&north.file, Fingerprint([1; 32])), EnrolmentRefusal::Certificate);
    let ended = hospital("north", 77, &BOTH, Validity::starting(at(0) - Duration::from_hours(240), 5));
    let dates = refused(&ended.file, ended.identity.fingerprint());
    assert!(matches!(&dates, EnrolmentRefusal::File(why) if why.contains("ended")), "{dates}");
    let member = hospital("north", 77, &BOTH[..1], Validity::unlimited());
    let invited = "member+custodian".to_owned();
    assert_eq!(refused(&member.file, member.identity.fingerprint()), EnrolmentRefusal::Roles { invited });
    let coordinator = hospital("north", 77, &[EnrolmentRole::Coordinator], Validity::unlimited());
    let roles = refused(&coordinator.file, coordinator.identity.fingerprint());
    assert!(matches!(roles, EnrolmentRefusal::Roles { .. }), "{roles}");
    assert!(scene.desk.invitations()[0].used.is_none(), "no refusal uses the invitation up");
    assert!(is_kept(&scene.ask(&scene.token, &north, 5)), "control");
}

/// CONS-15
#[test]
fn names_and_keys_of_listed_parties_are_refused() {
    let scene = Scene::new("taken");
    let consortium = scene.epoch.consortium();
    let listed = consortium.parties().next().expect("five parties").name.clone();
    let coordinator = consortium.coordinator().name.clone();
    for name in [listed, coordinator] {
        let hospital = hospital(&name, 77, &BOTH, Validity::unlimited());
        let refused = refusal(scene.ask(&scene.token, &hospital, 5));
        assert_eq!(refused, EnrolmentRefusal::NameTaken { name });
    }
    let free = north();
    let enrolment = Enrolment::read(&free.file).expect("sound");
    assert_eq!(check_free(&enrolment, consortium), Ok(()), "control");
    let mut file = consortium.to_file();
    file.parties[2].signing_key = enrolment.signing_key();
    let other = Consortium::parse(&file.to_toml().expect("a file")).expect("a roster");
    assert_eq!(check_free(&enrolment, &other), Err(EnrolmentRefusal::KeyTaken));
    let mut file = consortium.to_file();
    file.parties[2].certificate = PublicBytes(enrolment.certificate().0);
    let other = Consortium::parse(&file.to_toml().expect("a file")).expect("a roster");
    assert_eq!(check_free(&enrolment, &other), Err(EnrolmentRefusal::KeyTaken));
}

#[test]
fn a_listed_party_gets_the_edition_in_force() {
    let mut scene = Scene::new("listed");
    let north = north();
    assert!(is_kept(&scene.ask(&scene.token, &north, 5)));
    let enrolment = Enrolment::read(&north.file).expect("sound");
    let mut file = scene.epoch.consortium().to_file();
    file.parties[2].name = "north".into();
    file.parties[2].certificate = PublicBytes(enrolment.certificate().0);
    let still_other = file.clone();
    file.parties[2].signing_key = enrolment.signing_key();
    let governance = SigningKey::from_seed(&[3; 32]);
    let sign = |file: &cloister_params::consortium::ConsortiumFile| {
        let text = file.to_toml().expect("a file");
        let signature = cloister_crypto::consortium::sign_file(&text, &governance);
        Epoch::accept(&text, &signature, governance.public()).expect("sound")
    };
    scene.epoch = sign(&still_other);
    assert!(is_kept(&scene.ask(&scene.token, &north, 6)), "control: one key is another");
    scene.epoch = sign(&file);
    let edition = SignedEdition::new([9; 32], scene.epoch.text().to_owned(), scene.epoch.signature());
    assert_eq!(scene.ask(&scene.token, &north, 6), EnrolmentAnswer::Listed(edition));
}

#[test]
fn a_file_of_invitations_that_is_damaged_is_named_and_a_full_disk_uses_nothing_up() {
    let scene = Scene::new("damaged");
    // A file where the folder should be.
    std::fs::write(scene.folder.join(ENROLMENTS), "").expect("a writable folder");
    let north = north();
    let outcome = scene.hand_in(&scene.token, &north.file, north.identity.fingerprint(), 5);
    assert_eq!(refusal(outcome.answer), EnrolmentRefusal::Unavailable);
    assert!(
        matches!(outcome.fault, Some(DeskError::File(ListFileError::Io { what: "write", .. }))),
        "{:?}",
        outcome.fault
    );
    std::fs::remove_file(scene.folder.join(ENROLMENTS)).expect("it is there");
    assert!(is_kept(&scene.ask(&scene.token, &north, 5)), "control");
    std::fs::write(scene.folder.join(INVITATIONS), "version = 2\n").expect("a writable folder");
    let damaged = EnrolmentDesk::open(&scene.folder, PublicBytes([9; 32])).expect_err("damaged");
    assert!(damaged.to_string().contains(INVITATIONS), "{damaged}");
}

#[test]
fn names_of_files_stay_in_their_folder() {
    assert_eq!(for_file_name("North Hospital"), "North-Hospital");
    assert_eq!(for_file_name("../../etc/passwd"), "------etc-passwd");
    assert_eq!(for_file_name(&"ä".repeat(100)), "-".repeat(40));
}
