//! Checkpoints and cosignatures.

use cloister_crypto::merkle;
use cloister_params::id::Digest;
use cloister_transcript::checkpoint::{CheckpointError, LogCheckpoint, TreeHead, VerifiedCheckpoint};
use cloister_transcript::cosignature::{CosignatureError, CosignerPolicy, MAX_TIME, cosign};
use cloister_transcript::keys::{SignatureType, VerifierKey};
use cloister_transcript::note::{NoteSignatureError, SignatureLine, SignedNote};

use crate::world::Signer;

/// The example of c2sp.org/tlog-cosignature. The specification does not give the keys.
const SPEC: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

const HEAD: TreeHead = TreeHead { size: 3, root: Digest([7; 32]) };

fn parse(text: &str) -> Result<LogCheckpoint, CheckpointError> {
    LogCheckpoint::parse_unverified(text)
}

#[test]
fn the_specifications_example_is_read_and_written_alike() {
    let note = SignedNote::parse(SPEC.as_bytes()).unwrap();
    assert_eq!(note.to_string(), SPEC);
    let text = SPEC.split_once("\n\n").unwrap().0.to_owned() + "\n";
    let checkpoint = parse(&text).unwrap();
    assert_eq!((checkpoint.origin.as_str(), checkpoint.head.size), ("example.com/behind-the-sofa", 20852163));
    assert_eq!(checkpoint.to_string(), text);
    // The specification's cosigned message says `time 1679315147`.
    let cosignature = &note.signatures()[1].signature;
    assert_eq!(cosignature.len(), 72);
    assert_eq!(cosignature[..8], 1_679_315_147u64.to_be_bytes());
}

#[test]
fn what_is_no_checkpoint_is_refused() {
    let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
    assert!(parse(&format!("log\n18446744073709551615\n{root}\n")).is_ok(), "control");
    for text in [String::new(), "log\n3\n".to_owned(), format!("log\n3\n{root}")] {
        assert!(matches!(parse(&text), Err(CheckpointError::Lines { .. })), "{text:?}");
    }
    for rest in ["extension\n", "extension", "\n"] {
        let text = format!("log\n3\n{root}\n{rest}");
        assert_eq!(parse(&text), Err(CheckpointError::Extension { came: rest.to_owned() }));
    }
    for origin in ["", "a log", "a+b"] {
        assert!(matches!(parse(&format!("{origin}\n3\n{root}\n")), Err(CheckpointError::Origin(_))));
    }
    for size in ["", "03", "00", "+3", "-3", " 3", "3 ", "0x3", "٣", "18446744073709551616"] {
        let text = format!("log\n{size}\n{root}\n");
        assert_eq!(parse(&text), Err(CheckpointError::Size { came: size.to_owned() }));
    }
    let long = format!("{root}AAAA");
    // The third and fourth are the same bytes in another encoding.
    for came in
        ["", "AAAA", &root.replace("2I=", "2J="), &root.replace('=', ""), &root.replace('/', "_"), &long]
    {
        let text = format!("log\n3\n{came}\n");
        assert_eq!(parse(&text), Err(CheckpointError::Root { came: came.to_owned() }));
    }
}

#[test]
fn a_log_without_entries_has_one_root() {
    let (log, root) = (Signer::log(), merkle::root(&[]));
    let open = |root| VerifiedCheckpoint::open(&log.checkpoint(TreeHead { size: 0, root }), &log.key);
    assert_eq!(open(root).unwrap().head(), TreeHead { size: 0, root });
    assert_eq!(open(HEAD.root), Err(CheckpointError::EmptyRoot { expected: root, came: HEAD.root }));
}

#[test]
fn only_the_logs_key_of_the_origins_name_opens_a_checkpoint() {
    let (log, witness) = (Signer::log(), Signer::witness(1));
    let note = log.checkpoint(HEAD);
    let checkpoint = VerifiedCheckpoint::open(&note, &log.key).unwrap();
    assert_eq!((checkpoint.origin(), checkpoint.head()), (&log.name, HEAD));

    let unknown =
        VerifierKey::new(log.name.clone(), SignatureType::Ed25519, witness.secret.public()).unwrap();
    let error = VerifiedCheckpoint::open(&note, &unknown);
    assert!(matches!(error, Err(CheckpointError::Signature(NoteSignatureError::NoKnownKey { .. }))));

    // The log's key signs the checkpoint of another log.
    let text = LogCheckpoint { origin: witness.name.clone(), head: HEAD }.to_string();
    let foreign = SignedNote::sign(&text, &log.name, &log.secret).unwrap();
    let error = CheckpointError::OtherLog { expected: log.name.clone(), came: witness.name };
    assert_eq!(VerifiedCheckpoint::open(&foreign, &log.key), Err(error));
}

#[test]
fn cosignatures_of_known_witnesses_are_counted() {
    let (log, one, two) = (Signer::log(), Signer::witness(1), Signer::witness(2));
    let note = two.cosigned(one.cosigned(log.checkpoint(HEAD), &log, 10), &log, MAX_TIME);
    let read = SignedNote::parse(note.to_string().as_bytes()).unwrap();
    let checkpoint = VerifiedCheckpoint::open(&read, &log.key).unwrap();

    let policy = CosignerPolicy::new(vec![one.key.clone(), two.key.clone()], 2).unwrap();
    let times: Vec<u64> = policy.check(&checkpoint).unwrap().iter().map(|found| found.time).collect();
    assert_eq!(times, [10, MAX_TIME]);

    let policy = CosignerPolicy::new(vec![one.key.clone(), Signer::witness(3).key], 2).unwrap();
    assert_eq!(policy.check(&checkpoint), Err(CosignatureError::TooFew { threshold: 2, came: 1 }));
    let nobody = CosignerPolicy::new(Vec::new(), 0).unwrap();
    assert_eq!(nobody.check(&checkpoint), Ok(Vec::new()));

    // A later cosignature replaces an earlier one in the note, and of two in a note the later counts.
    let renewed = one.cosigned(note.clone(), &log, 20);
    assert_eq!(renewed.signatures().len(), 3);
    let both = format!("{renewed}{}", note.signatures()[1]);
    let both = SignedNote::parse(both.as_bytes()).unwrap();
    let policy = CosignerPolicy::new(vec![one.key], 1).unwrap();
    let found = policy.check(&VerifiedCheckpoint::open(&both, &log.key).unwrap()).unwrap();
    assert_eq!((found.len(), found[0].time), (1, 20));
}

#[test]
fn a_wrong_cosignature_of_a_known_witness_rejects_the_checkpoint() {
    let (log, witness) = (Signer::log(), Signer::witness(1));
    let note = witness.cosigned(log.checkpoint(HEAD), &log, 10);
    let policy = CosignerPolicy::new(vec![witness.key.clone()], 1).unwrap();
    let good = note.signatures()[1].clone();
    let check = |signature: Vec<u8>| {
        let line = SignatureLine { signature, ..good.clone() };
        let note = note.clone().with_signature(line).unwrap();
        policy.check(&VerifiedCheckpoint::open(&note, &log.key).unwrap())
    };
    assert!(check(good.signature.clone()).is_ok(), "control");
    let bad = Err(CosignatureError::BadSignature { name: witness.name.clone(), id: witness.key.id() });
    // Every byte: the time and the signature.
    for at in 0..good.signature.len() {
        let mut signature = good.signature.clone();
        signature[at] ^= 1;
        assert_eq!(check(signature), bad, "byte {at}");
    }
    assert_eq!(check(good.signature[8..].to_vec()), bad);
    assert_eq!(check(good.signature[..4].to_vec()), bad);

    // A signature that fits, with a time that the format excludes.
    for (time, fits) in [(MAX_TIME, true), (MAX_TIME + 1, false), (u64::MAX, false)] {
        let text = LogCheckpoint { origin: log.name.clone(), head: HEAD }.to_string();
        let signature = witness.secret.sign_text(&format!("cosignature/v1\ntime {time}\n{text}")).unwrap();
        assert_eq!(check([&time.to_be_bytes()[..], &signature].concat()).is_ok(), fits, "{time}");
    }

    // The cosignature of another checkpoint.
    let other = witness.cosigned(log.checkpoint(TreeHead { size: 4, ..HEAD }), &log, 10);
    assert_eq!(check(other.signatures()[1].signature.clone()), bad);
}

#[test]
fn a_key_cannot_pass_off_one_type_of_signature_as_the_other() {
    let log = Signer::log();
    let note = log.checkpoint(HEAD);
    let checkpoint = VerifiedCheckpoint::open(&note, &log.key).unwrap();
    let key = VerifierKey::new(log.name.clone(), SignatureType::CosignatureV1, log.secret.public()).unwrap();
    let policy = CosignerPolicy::new(vec![key.clone()], 1).unwrap();

    let plain = [&10u64.to_be_bytes()[..], &note.signatures()[0].signature].concat();
    let line = SignatureLine { name: log.name.clone(), id: key.id(), signature: plain };
    let forged = VerifiedCheckpoint::open(&note.clone().with_signature(line).unwrap(), &log.key).unwrap();
    assert!(matches!(policy.check(&forged), Err(CosignatureError::BadSignature { .. })));

    let line = cosign(&checkpoint, 10, &log.name, &log.secret).unwrap();
    assert_eq!(line.id, key.id());
    let cosigned =
        VerifiedCheckpoint::open(&note.clone().with_signature(line.clone()).unwrap(), &log.key).unwrap();
    assert_eq!(policy.check(&cosigned).unwrap()[0].time, 10);
    let line = SignatureLine { id: log.key.id(), signature: line.signature[8..].to_vec(), ..line };
    assert!(VerifiedCheckpoint::open(&note.with_signature(line).unwrap(), &log.key).is_err());
}

#[test]
fn a_policy_that_makes_no_sense_is_refused() {
    let (log, witness) = (Signer::log(), Signer::witness(1));
    let new = |keys: &[&VerifierKey], threshold| {
        CosignerPolicy::new(keys.iter().map(|key| (*key).clone()).collect(), threshold)
    };
    assert!(matches!(new(&[&log.key], 1), Err(CosignatureError::KeyType { .. })));
    let error = CosignatureError::Threshold { cosigners: 1, came: 2 };
    assert_eq!(new(&[&witness.key], 2), Err(error));
    let renamed =
        VerifierKey::new(log.name.clone(), SignatureType::CosignatureV1, witness.key.public()).unwrap();
    for other in [&witness.key, &renamed] {
        let error = new(&[&witness.key, other], 1);
        assert!(matches!(error, Err(CosignatureError::RepeatedKey { .. })), "one party cannot count twice");
    }
    let checkpoint = VerifiedCheckpoint::open(&log.checkpoint(HEAD), &log.key).unwrap();
    let late = cosign(&checkpoint, MAX_TIME + 1, &witness.name, &witness.secret);
    assert_eq!(late, Err(CosignatureError::Time { came: MAX_TIME + 1 }));
}
