//! Which certificate belongs to which party.

use std::collections::BTreeMap;

use cloister_identity::Fingerprint;
use cloister_params::id::PartyId;
use thiserror::Error;

/// The certificates that a side accepts, each pinned to a party. A party may have several, so that it can
/// change its certificate without an interruption.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Roster {
    parties: BTreeMap<Fingerprint, PartyId>,
    edition: u32,
}

/// Why pins do not make a roster.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RosterError {
    /// One certificate is listed for two parties, so that a peer with it could be either.
    #[error(
        "the consortium file gives certificate {fingerprint} to {first} and to {second}; each party needs \
         a certificate of its own"
    )]
    SharedCertificate {
        /// The certificate that is listed twice.
        fingerprint: Fingerprint,
        /// The party for which it was listed first.
        first: PartyId,
        /// The other party for which it is listed.
        second: PartyId,
    },
}

impl Roster {
    /// A roster from pins; several may name one party.
    ///
    /// # Errors
    /// [`RosterError::SharedCertificate`] if one certificate is listed for two parties.
    pub fn new(pins: impl IntoIterator<Item = (Fingerprint, PartyId)>) -> Result<Self, RosterError> {
        let mut roster = Self::default();
        for (fingerprint, second) in pins {
            match roster.parties.insert(fingerprint, second) {
                Some(first) if first != second => {
                    return Err(RosterError::SharedCertificate { fingerprint, first, second });
                }
                _ => {}
            }
        }
        Ok(roster)
    }

    /// The same roster, as that of this edition of the consortium file.
    #[must_use]
    pub fn with_edition(self, edition: u32) -> Self {
        Self { edition, ..self }
    }

    /// The number of the edition that lists these certificates; 0 if none was given.
    pub(crate) fn edition(&self) -> u32 {
        self.edition
    }

    /// The roster of one certificate.
    pub(crate) fn single(fingerprint: Fingerprint, party: PartyId) -> Self {
        Self { parties: BTreeMap::from([(fingerprint, party)]), edition: 0 }
    }

    /// The party to which a certificate belongs; `None` if it is not pinned.
    pub fn party(&self, fingerprint: Fingerprint) -> Option<PartyId> {
        self.parties.get(&fingerprint).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_may_have_two_certificates_but_a_certificate_only_one_party() {
        let (old, new) = (Fingerprint([1; 32]), Fingerprint([2; 32]));
        let roster =
            Roster::new([(old, PartyId(1)), (new, PartyId(1)), (old, PartyId(1))]).expect("the pins agree");
        assert_eq!((roster.party(old), roster.party(new)), (Some(PartyId(1)), Some(PartyId(1))));
        assert_eq!(roster.party(Fingerprint([3; 32])), None);
        assert_eq!(
            Roster::new([(old, PartyId(1)), (old, PartyId(2))]),
            Err(RosterError::SharedCertificate { fingerprint: old, first: PartyId(1), second: PartyId(2) })
        );
    }
}
