//! Cross-check with PyPI `aics-tlog`, which Python runs.

use std::fs;
use std::path::Path;
use std::process::Command;

use cloister_transcript::checkpoint::VerifiedCheckpoint;
use cloister_transcript::cosignature::CosignerPolicy;
use cloister_transcript::keys::VerifierKey;
use cloister_transcript::note::SignedNote;
use cloister_transcript::tiles::CHECKPOINT_PATH;
use cloister_transcript::tlog_proof::TlogProof;

use crate::world::{Signer, log};

/// Names a Python with `aics-tlog` 0.2.1, which needs Python 3.12.
const PYTHON: &str = "CLOISTER_TLOG_PYTHON";

/// The log's sizes when it published a checkpoint.
const SIZES: [u64; 6] = [1, 255, 256, 300, 65_536, 65_800];

#[test]
fn python_verifies_our_files_and_we_verify_its_notes() {
    let Some(python) = std::env::var_os(PYTHON) else {
        eprintln!("SKIPPED: {PYTHON} names no Python with the package aics-tlog");
        return;
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tlog-python");
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    write_files(&folder);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verify_with_aics_tlog.py");
    let output = Command::new(python).arg(script).arg(&folder).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    eprint!("{stdout}");

    // Python made its own log of the same entries, and signed and cosigned a checkpoint of it.
    let key = |name: &str| VerifierKey::parse(&fs::read_to_string(folder.join(name)).unwrap()).unwrap();
    let note = SignedNote::parse(&fs::read(folder.join("their-checkpoint")).unwrap()).unwrap();
    let checkpoint = VerifiedCheckpoint::open(&note, &key("their-log-key")).unwrap();
    assert_eq!(checkpoint.head(), log(SIZES[5]).head());
    let policy = CosignerPolicy::new(vec![key("their-witness-key")], 1).unwrap();
    assert_eq!(policy.check(&checkpoint).unwrap()[0].time, 1_800_000_000);
}

/// A log as it grows, with the files of all sizes, a checkpoint of each size, and proofs.
fn write_files(folder: &Path) {
    let (signer, witness, log) = (Signer::log(), Signer::witness(1), log(SIZES[5]));
    let write = |path: &str, bytes: &[u8]| {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    write("log-key", signer.key.to_string().as_bytes());
    write("witness-key", witness.key.to_string().as_bytes());
    let mut old = 0;
    for size in SIZES {
        for file in log.added_files(old, size).unwrap() {
            write(&format!("log/{}", file.path), &file.bytes);
        }
        let checkpoint = signer.checkpoint(log.head_at(size).unwrap());
        let checkpoint = witness.cosigned(checkpoint, &signer, 1_800_000_000 + size);
        write(&format!("checkpoints/{size}"), checkpoint.to_string().as_bytes());
        write(&format!("log/{CHECKPOINT_PATH}"), checkpoint.to_string().as_bytes());
        for index in [0, size / 2, size - 1] {
            let hashes = log.inclusion_proof(index, size).unwrap();
            let proof = TlogProof { extra: Vec::new(), index, hashes, checkpoint: checkpoint.clone() };
            write(&format!("proofs/{size}-{index}.tlog-proof"), proof.to_string().as_bytes());
        }
        let hashes = log.consistency_proof(old, size).unwrap();
        let lines: String = hashes.iter().map(|hash| format!("{hash}\n")).collect();
        write(&format!("consistency/{old}-{size}"), lines.as_bytes());
        old = size;
    }
}
