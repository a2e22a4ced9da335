//! Keys and logs that the tests share.

use cloister_crypto::SigningKey;
use cloister_transcript::EpochLog;
use cloister_transcript::checkpoint::{LogCheckpoint, TreeHead, VerifiedCheckpoint};
use cloister_transcript::cosignature::cosign;
use cloister_transcript::keys::{KeyName, SignatureType, VerifierKey};
use cloister_transcript::note::SignedNote;

/// A party that signs: the log, or a witness.
pub(crate) struct Signer {
    pub(crate) name: KeyName,
    pub(crate) secret: SigningKey,
    pub(crate) key: VerifierKey,
}

impl Signer {
    pub(crate) fn log() -> Self {
        Self::new("consortium.example/log", SignatureType::Ed25519, 1)
    }

    pub(crate) fn witness(number: u8) -> Self {
        Self::new(&format!("hospital-{number}.example/witness"), SignatureType::CosignatureV1, 100 + number)
    }

    fn new(name: &str, signature_type: SignatureType, seed: u8) -> Self {
        let (name, secret) = (KeyName::new(name).unwrap(), SigningKey::from_seed(&[seed; 32]));
        let key = VerifierKey::new(name.clone(), signature_type, secret.public()).unwrap();
        Self { name, secret, key }
    }

    /// A checkpoint, signed as the log.
    pub(crate) fn checkpoint(&self, head: TreeHead) -> SignedNote {
        LogCheckpoint { origin: self.name.clone(), head }.sign(&self.secret).unwrap()
    }

    /// A note with a further line of this witness.
    pub(crate) fn cosigned(&self, note: SignedNote, log: &Signer, time: u64) -> SignedNote {
        let checkpoint = VerifiedCheckpoint::open(&note, &log.key).unwrap();
        note.with_signature(cosign(&checkpoint, time, &self.name, &self.secret).unwrap()).unwrap()
    }
}

/// The entry at an index. Lengths differ, and the first entry is empty.
pub(crate) fn entry(index: u64) -> Vec<u8> {
    index.to_string().repeat(index as usize % 5).into_bytes()
}

/// A log of some size.
pub(crate) fn log(size: u64) -> EpochLog {
    let mut log = EpochLog::default();
    for index in 0..size {
        assert_eq!(log.append(entry(index)), Ok(index));
    }
    log
}
