//! Acceptance of a consortium file: the governance key that a party pinned has signed its bytes (`CONS-01`).

use cloister_params::consortium::{Consortium, ConsortiumError, PublicBytes};
use cloister_params::id::Digest;
use cloister_params::rule;
use thiserror::Error;

use crate::hash::{Domain, digest};
use crate::sign::{SignatureBytes, SigningKey, verify};

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
    /// It is signed, but it breaks a rule.
    #[error(transparent)]
    Rules(#[from] ConsortiumError),
}

/// A consortium file whose signature and rules were checked, and its digest, which names the epoch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Epoch {
    consortium: Consortium,
    digest: Digest,
}

impl Epoch {
    /// Accepts a file that the pinned governance key signed.
    ///
    /// # Errors
    /// A signature that does not fit, which is checked before anything in the file is read; then the first
    /// rule that the file breaks.
    pub fn accept(
        text: &str,
        signature: &SignatureBytes,
        governance: PublicBytes,
    ) -> Result<Self, RefusedConsortium> {
        if rule::in_force("CONS-01") {
            verify(governance, TAG, text.as_bytes(), signature)
                .map_err(|_| RefusedConsortium::Signature { key: governance })?;
        }
        // The digest is over the bytes that were signed. Another text with the same values is another epoch.
        Ok(Self { consortium: Consortium::parse(text)?, digest: digest(Domain::Epoch, &[text.as_bytes()]) })
    }

    /// The roster and its floors.
    pub fn consortium(&self) -> &Consortium {
        &self.consortium
    }

    /// The digest that names this epoch.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// Signs a consortium file's bytes with the governance key.
pub fn sign_file(text: &str, governance: &SigningKey) -> SignatureBytes {
    governance.sign(TAG, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

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
