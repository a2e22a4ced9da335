//! Acceptance of a consortium file: the governance key that a party pinned has signed its bytes (`CONS-01`).

use cloister_params::consortium::{Consortium, ConsortiumError, PublicBytes};
use cloister_params::id::Digest;
use cloister_params::rule;
use thiserror::Error;

use crate::hash::{Domain, digest};
use crate::sign::{SignatureBytes, SigningKey, WeakKey, check_key, verify};

/// What a signature on a consortium file starts with, so that it fits no other signed message.
const TAG: &str = "cloister/v1/consortium-file";

/// Why a party rejects a consortium file.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RefusedConsortium {
    /// The pinned governance key has not signed it.
    #[error(
        "the consortium file is not signed by the governance key {key} that this party pinned; get the \
         file and its signature from your consortium again"
    )]
    Signature {
        /// The governance key from this party's policy file.
        key: PublicBytes,
    },
    /// A key under which signatures show nothing (`CONS-10`).
    #[error(
        "the signing key {key} of {whose} is no Ed25519 key that a party may have: {why}; {whose} must generate another one, and \
         the governance must sign a file with it"
    )]
    Key {
        /// The name of the party or coordinator, or the governance.
        whose: String,
        /// The key in the consortium file, or in this party's policy file.
        key: PublicBytes,
        /// What is wrong with it.
        why: WeakKey,
    },
    /// It is signed, but it breaks a rule.
    #[error(transparent)]
    Rules(#[from] ConsortiumError),
}

/// A consortium file whose signature and rules were checked, and its digest, which names the epoch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Epoch {
    consortium: Consortium,
    digest: Digest,
    text: String,
    signature: SignatureBytes,
}

impl Epoch {
    /// Accepts a file that the pinned governance key signed.
    ///
    /// # Errors
    /// A signature that does not fit, which is checked before anything in the file is read; then the first
    /// rule that the file breaks, or a weak key.
    pub fn accept(
        text: &str,
        signature: &SignatureBytes,
        governance: PublicBytes,
    ) -> Result<Self, RefusedConsortium> {
        if rule::in_force("CONS-01") {
            check_keys([("the governance", governance)])?;
            verify(governance, TAG, text.as_bytes(), signature)
                .map_err(|_| RefusedConsortium::Signature { key: governance })?;
        }
        // The digest is over the bytes that were signed. Another text with the same values is another epoch.
        let consortium = Consortium::parse(text)?;
        let coordinator = consortium.coordinator();
        check_keys([(coordinator.name.as_str(), coordinator.signing_key)])?;
        check_keys(consortium.parties().map(|party| (party.name.as_str(), party.signing_key)))?;
        Ok(Self {
            consortium,
            digest: digest(Domain::Epoch, &[text.as_bytes()]),
            text: text.to_owned(),
            signature: *signature,
        })
    }

    /// The roster and its floors.
    pub fn consortium(&self) -> &Consortium {
        &self.consortium
    }

    /// The file's text, as the governance key signed it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The governance key's signature of the text.
    pub fn signature(&self) -> &SignatureBytes {
        &self.signature
    }

    /// The digest that names this epoch.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// Rejects the first weak key (`CONS-10`) of these, each with the name of its holder.
fn check_keys<'a>(keys: impl IntoIterator<Item = (&'a str, PublicBytes)>) -> Result<(), RefusedConsortium> {
    for (whose, key) in keys {
        check_key(key).map_err(|why| RefusedConsortium::Key { whose: whose.to_owned(), key, why })?;
    }
    Ok(())
}

/// Signs a consortium file's bytes with the governance key.
pub fn sign_file(text: &str, governance: &SigningKey) -> SignatureBytes {
    governance.sign(TAG, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use cloister_params::consortium::{ConsortiumFile, CoordinatorEntry, Party, Role};
    use cloister_params::id::PartyId;

    use super::*;

    fn file() -> ConsortiumFile {
        let key = |number: u8| SigningKey::from_seed(&[number; 32]).public();
        let party = |number: u8| Party {
            id: PartyId(number.into()),
            name: format!("hospital {number}"),
            organisation: format!("organisation {number}"),
            roles: vec![Role::Member, Role::Custodian],
            signing_key: key(number),
            certificate: PublicBytes([number; 32]),
            weight: 1,
        };
        let coordinator = CoordinatorEntry {
            name: "coordinator".into(),
            signing_key: key(100),
            certificate: PublicBytes([100; 32]),
        };
        ConsortiumFile {
            name: "test".into(),
            epoch: 1,
            coordinator,
            start: None,
            until: None,
            retired: Vec::new(),
            parties: (1..=5).map(party).collect(),
        }
    }

    /// CONS-10
    #[test]
    fn a_file_with_a_weak_key_is_refused() {
        let governance = SigningKey::from_seed(&[1; 32]);
        let accept = |file: &ConsortiumFile| {
            let text = file.to_toml().expect("a file");
            Epoch::accept(&text, &sign_file(&text, &governance), governance.public())
        };
        assert!(accept(&file()).is_ok(), "control");
        // A point of order 8.
        let mut weak = [0; 32];
        weak.copy_from_slice(
            b"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05",
        );
        let key = PublicBytes(weak);
        let refused = |whose: &str| Err(RefusedConsortium::Key { whose: whose.into(), key, why: WeakKey });
        let (mut with_weak_party, mut with_weak_coordinator) = (file(), file());
        with_weak_party.parties[2].signing_key = key;
        with_weak_coordinator.coordinator.signing_key = key;
        assert_eq!(accept(&with_weak_party), refused("hospital 3"));
        assert_eq!(accept(&with_weak_coordinator), refused("coordinator"));
        assert_eq!(Epoch::accept("unread", &[0; 64], key), refused("the governance"));
    }

    /// CONS-01: the signature is checked before anything in the file is read.
    #[test]
    fn a_file_that_the_pinned_key_has_not_signed_is_refused_unread() {
        let (ours, other) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
        let text = "this is no consortium file";
        let refused = Epoch::accept(text, &sign_file(text, &other), ours.public());
        assert_eq!(refused, Err(RefusedConsortium::Signature { key: ours.public() }));
        let read = Epoch::accept(text, &sign_file(text, &ours), ours.public());
        assert!(matches!(read, Err(RefusedConsortium::Rules(ConsortiumError::Syntax(_)))));
    }
}
