//! Identities on disk.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use cloister_identity::{Identity, IdentityError, KeyFileError, Validity};

fn identity(name: &str) -> Identity {
    Identity::generate(name, Validity::unlimited()).expect("randomness")
}

fn empty_folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
        _ => folder,
    }
}

#[test]
fn an_identity_comes_back_from_disk_and_from_pem() {
    let folder = empty_folder("identity-round-trip");
    let saved = identity("Zürich");
    saved.save(&folder).expect("an empty folder");
    let loaded = Identity::load(&folder).expect("as saved");
    assert_eq!(loaded.fingerprint(), saved.fingerprint());
    assert_eq!(loaded.key_pem(), saved.key_pem());
    let mode = fs::metadata(folder.join("key.pem")).expect("saved").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let parsed = Identity::from_pem(saved.certificate_pem(), saved.key_pem()).expect("its own PEM");
    assert_eq!(parsed.fingerprint(), saved.fingerprint());
}

#[test]
fn two_identities_of_one_name_differ() {
    assert_ne!(identity("same").fingerprint(), identity("same").fingerprint());
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_remedy() {
    let folder = empty_folder("identity-readable");
    identity("careless").save(&folder).expect("an empty folder");
    let key = folder.join("key.pem");
    for mode in [0o640, 0o604, 0o620] {
        fs::set_permissions(&key, Permissions::from_mode(mode)).expect("own file");
        let error = Identity::load(&folder).expect_err("others have access");
        let found = match &error {
            IdentityError::File(KeyFileError::ReadableByOthers { mode, .. }) => Some(*mode),
            _ => None,
        };
        assert_eq!(found, Some(mode));
        assert!(error.to_string().contains(&format!("run `chmod 600 {}`", key.display())), "{error}");
    }
    fs::set_permissions(&key, Permissions::from_mode(0o400)).expect("own file");
    Identity::load(&folder).expect("private again");
}

#[test]
fn an_identity_is_never_overwritten() {
    let folder = empty_folder("identity-twice");
    let first = identity("first");
    first.save(&folder).expect("an empty folder");
    assert!(matches!(
        identity("second").save(&folder),
        Err(IdentityError::File(KeyFileError::Exists { .. }))
    ));
    assert_eq!(Identity::load(&folder).expect("untouched").fingerprint(), first.fingerprint());
}

#[test]
fn a_missing_identity_names_the_file() {
    let error = Identity::load(&empty_folder("identity-missing")).expect_err("nothing there");
    assert!(error.to_string().starts_with("cannot read") && error.to_string().contains("key.pem"), "{error}");
}

#[test]
fn what_is_no_pair_of_certificate_and_key_is_refused() {
    let (one, other) = (identity("one"), identity("other"));
    let fault = |certificate: &str, key: &str| Identity::from_pem(certificate, key).expect_err("no pair");
    let mismatch = fault(one.certificate_pem(), other.key_pem());
    assert!(matches!(mismatch, IdentityError::Mismatch { .. }), "{mismatch}");
    let no_certificate = fault("rubbish", one.key_pem());
    assert!(matches!(no_certificate, IdentityError::BadCertificate { .. }), "{no_certificate}");
    let no_key = fault(one.certificate_pem(), one.certificate_pem());
    assert!(matches!(no_key, IdentityError::BadKey { .. }), "{no_key}");
    let label = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let broken = fault(label, one.key_pem());
    assert!(matches!(broken, IdentityError::BadCertificate { .. }), "{broken}");
}

#[test]
fn the_key_is_not_printed() {
    let identity = identity("discreet");
    let printed = format!("{identity:?}");
    assert!(printed.starts_with("Identity { fingerprint: Fingerprint("), "{printed}");
    let secret = identity.key_pem().lines().nth(1).expect("a line of base64");
    assert!(!printed.contains(secret));
}
