//! Notes and keys.

use cloister_crypto::SigningKey;
use cloister_transcript::keys::{KeyName, SignatureType, VerifierKey, VerifierKeyError};
use cloister_transcript::note::{
    MAX_NOTE_BYTES, MAX_SIGNATURES, NoteError, NoteSignatureError, SignatureLine, SignedNote,
};

use crate::world::Signer;

/// The example of c2sp.org/signed-note, section "Verifier keys".
const SPEC_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const SPEC_NOTE: &str = "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

/// The example of Go's golang.org/x/mod/sumdb/note.
const GO_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const GO_TEXT: &str =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const GO_LINE: &str = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

/// The example at the beginning of c2sp.org/signed-note. The specification does not give its key.
const SPEC_POEM: &str = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n";

fn parse(text: &str) -> Result<SignedNote, NoteError> {
    SignedNote::parse(text.as_bytes())
}

#[test]
fn the_specifications_examples_verify_and_are_written_alike() {
    let key = VerifierKey::parse(SPEC_KEY).unwrap();
    assert_eq!(key.to_string(), SPEC_KEY);
    let note = parse(SPEC_NOTE).unwrap();
    assert_eq!(note.to_string(), SPEC_NOTE);
    let verified = note.verify(std::slice::from_ref(&key)).unwrap();
    assert_eq!((verified.text(), verified.signers()), ("This is an example message.\n", &[key.clone()][..]));

    let other = parse(&SPEC_NOTE.replace("an example", "no example")).unwrap();
    let bad = NoteSignatureError::BadSignature { name: key.name().clone(), id: key.id() };
    assert_eq!(other.verify(&[key]), Err(bad));

    let poem = parse(SPEC_POEM).unwrap();
    assert_eq!(poem.to_string(), SPEC_POEM);
    assert_eq!(poem.signatures()[0].id.to_string(), "367ba04b");
}

#[test]
fn gos_example_is_signed_alike() {
    let note = format!("{GO_TEXT}\n{GO_LINE}");
    let key = VerifierKey::parse(GO_KEY).unwrap();
    assert_eq!(parse(&note).unwrap().verify(std::slice::from_ref(&key)).unwrap().text(), GO_TEXT);

    let secret = SigningKey::from_seed(&go_seed());
    assert_eq!(secret.public(), key.public());
    assert_eq!(SignedNote::sign(GO_TEXT, key.name(), &secret).unwrap().to_string(), note);
}

#[test]
fn a_text_survives_signing_reading_and_verifying() {
    let log = Signer::log();
    for text in ["\n", "a\n", "a\n\nb\n", "a\n\n", "\n\n\n", "— a b\n", "è\u{7f}\n"] {
        let note = SignedNote::sign(text, &log.name, &log.secret).unwrap();
        let read = parse(&note.to_string()).unwrap();
        assert_eq!(read, note, "{text:?}");
        assert_eq!(read.verify(std::slice::from_ref(&log.key)).unwrap().text(), text);
    }
}

#[test]
fn what_is_no_note_is_refused() {
    let line = "— name AAAAAAE=\n";
    assert_eq!(parse(&format!("text\n\n{line}")).unwrap().signatures().len(), 1, "control");
    let no_line = |line: &str| NoteError::SignatureLine { came: line.to_owned() };
    let cases = [
        (String::new(), NoteError::NoSignatureBlock),
        ("text\n".to_owned(), NoteError::NoSignatureBlock),
        (format!("text\n{line}"), NoteError::NoSignatureBlock),
        (format!("\n{line}"), NoteError::NoSignatureBlock),
        ("text\n\n".to_owned(), NoteError::NoFinalNewline),
        (format!("text\n\n{}", line.trim_end()), NoteError::NoFinalNewline),
        (format!("te\u{1}xt\n\n{line}"), NoteError::ControlCharacter { at: 2 }),
        (format!("text\r\n\n{line}"), NoteError::ControlCharacter { at: 4 }),
        ("text\n\n- name AAAAAAE=\n".to_owned(), no_line("- name AAAAAAE=")),
        ("text\n\n—  AAAAAAE=\n".to_owned(), no_line("—  AAAAAAE=")),
        ("text\n\n— na+me AAAAAAE=\n".to_owned(), no_line("— na+me AAAAAAE=")),
        ("text\n\n— name AAAAAA==\n".to_owned(), no_line("— name AAAAAA==")),
        // The same byte in another encoding, and without padding.
        ("text\n\n— name AAAAAAF=\n".to_owned(), no_line("— name AAAAAAF=")),
        ("text\n\n— name AAAAAAE\n".to_owned(), no_line("— name AAAAAAE")),
        ("text\n\n— name AAAAAAE= \n".to_owned(), no_line("— name AAAAAAE= ")),
    ];
    for (text, error) in cases {
        assert_eq!(parse(&text), Err(error), "{text:?}");
    }
    assert_eq!(SignedNote::parse(b"\xff\n\n"), Err(NoteError::Utf8 { at: 0 }));
}

#[test]
fn limits_are_those_of_go() {
    let lines: String = (0..MAX_SIGNATURES).map(|index| format!("— name-{index} AAAAAAE=\n")).collect();
    let full = parse(&format!("text\n\n{lines}")).unwrap();
    assert_eq!(full.signatures().len(), MAX_SIGNATURES);
    assert_eq!(parse(&format!("text\n\n{lines}— name AAAAAAE=\n")), Err(NoteError::TooManySignatures));
    let line = SignatureLine { name: KeyName::new("name").unwrap(), ..full.signatures()[0].clone() };
    assert_eq!(full.with_signature(line), Err(NoteError::TooManySignatures));

    let rest = "\n\n— name AAAAAAE=\n";
    let longest = "a".repeat(MAX_NOTE_BYTES - rest.len()) + rest;
    assert!(parse(&longest).is_ok());
    assert_eq!(parse(&format!("a{longest}")), Err(NoteError::Size { came: MAX_NOTE_BYTES + 1 }));
    let log = Signer::log();
    let text = "a".repeat(MAX_NOTE_BYTES) + "\n";
    assert!(matches!(SignedNote::sign(&text, &log.name, &log.secret), Err(NoteError::Size { .. })));
}

#[test]
fn what_is_no_text_of_a_note_is_not_signed() {
    let log = Signer::log();
    let sign = |text: &str| SignedNote::sign(text, &log.name, &log.secret);
    assert_eq!(sign("text"), Err(NoteError::NoFinalNewline));
    assert_eq!(sign(""), Err(NoteError::NoFinalNewline));
    assert_eq!(sign("a\0\n"), Err(NoteError::ControlCharacter { at: 1 }));
    // With one key for both, the signature would be a cosignature of that checkpoint.
    assert_eq!(sign("cosignature/v1\ntime 0\nlog\n"), Err(NoteError::CosignatureHeader));
    assert!(sign("cosignature/v1 is a header\n").is_ok());
}

#[test]
fn lines_of_unknown_keys_are_ignored_and_a_wrong_one_of_a_known_key_is_not() {
    let (log, other) = (Signer::log(), SigningKey::from_seed(&[9; 32]));
    let note = SignedNote::sign("text\n", &log.name, &log.secret).unwrap();
    let known = std::slice::from_ref(&log.key);
    let good = note.signatures()[0].clone();

    let other_id = SignedNote::sign("text\n", &log.name, &other).unwrap().signatures()[0].clone();
    let other_name = SignatureLine { name: KeyName::new("other.example").unwrap(), ..good.clone() };
    let with = |line: &SignatureLine| note.clone().with_signature(line.clone()).unwrap();
    for line in [&other_id, &other_name] {
        assert_eq!(with(line).verify(known).unwrap().signers(), known);
        let alone = parse(&format!("text\n\n{line}")).unwrap();
        assert!(matches!(alone.verify(known), Err(NoteSignatureError::NoKnownKey { .. })));
    }

    let bad = Err(NoteSignatureError::BadSignature { name: log.name.clone(), id: log.key.id() });
    for signature in [other_id.signature, good.signature[..63].to_vec(), [&good.signature[..], &[0]].concat()]
    {
        let line = SignatureLine { signature, ..good.clone() };
        assert_eq!(with(&line).verify(known), bad, "it replaces the good one");
        for lines in [format!("{good}{line}"), format!("{line}{good}")] {
            assert_eq!(parse(&format!("text\n\n{lines}")).unwrap().verify(known), bad);
        }
    }
    let twice = parse(&format!("text\n\n{good}{good}")).unwrap();
    assert_eq!(twice.verify(known).unwrap().signers(), known, "counted once");
}

#[test]
fn known_keys_must_sign_notes_and_differ() {
    let (log, witness) = (Signer::log(), Signer::witness(1));
    let note = SignedNote::sign("text\n", &log.name, &log.secret).unwrap();
    assert!(matches!(note.verify(&[witness.key]), Err(NoteSignatureError::KeyType { .. })));
    let twice = [log.key.clone(), log.key];
    assert!(matches!(note.verify(&twice), Err(NoteSignatureError::RepeatedKey { .. })));
    let nobody = note.verify(&[]).unwrap_err().to_string();
    assert!(nobody.starts_with("expected a signature of nobody, got signatures of consortium.example/log "));
}

#[test]
fn what_is_no_verifier_key_is_refused() {
    let format = |text: &str| VerifierKeyError::Format { came: text.to_owned() };
    let padded = format!("{SPEC_KEY}=");
    for text in ["", "name", "name+00000000", "name+00000000+", "name+00000000+!", &padded] {
        assert_eq!(VerifierKey::parse(text), Err(format(text)), "{text:?}");
    }
    let spaced = SPEC_KEY.replace("com/foo", "com foo");
    assert!(matches!(VerifierKey::parse(&spaced), Err(VerifierKeyError::Name(_))));
    for id in ["530d903b", "530D903A", "0530d903a", ""] {
        let text = SPEC_KEY.replace("530d903a", id);
        assert!(matches!(VerifierKey::parse(&text), Err(VerifierKeyError::Id { .. })), "{text}");
    }
    let ecdsa = VerifierKey::parse("name+00000000+AgAA");
    assert_eq!(ecdsa, Err(VerifierKeyError::Type { came: 2 }));
    assert_eq!(VerifierKey::parse("name+00000000+AQAA"), Err(VerifierKeyError::Length { came: 2 }));
    // The identity: one signature would fit every text.
    let weak = "name+00000000+AQEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert!(matches!(VerifierKey::parse(weak), Err(VerifierKeyError::Weak(_))));

    for name in ["", "a b", "a\u{a0}b", "a\u{2028}b", "a+b", "a\n", "a\u{1}"] {
        assert!(KeyName::new(name).is_err(), "{name:?}");
    }
}

#[test]
fn one_key_has_another_id_for_each_type() {
    let (name, secret) = (KeyName::new("name").unwrap(), SigningKey::from_seed(&[7; 32]));
    let ids = [SignatureType::Ed25519, SignatureType::CosignatureV1]
        .map(|signature_type| VerifierKey::new(name.clone(), signature_type, secret.public()).unwrap().id());
    assert_ne!(ids[0], ids[1]);
}

/// The 32 bytes in Go's signer key, after the type byte.
fn go_seed() -> [u8; 32] {
    use base64ct::{Base64, Encoding};
    let material = Base64::decode_vec("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz").unwrap();
    material[1..].try_into().unwrap()
}
