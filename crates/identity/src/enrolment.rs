//! The enrolment file: the public half of a party's keys, which it hands to the consortium.
//!
//! It proves that its writer holds both private keys, so that nobody can enrol with another party's. It does
//! not prove who the writer is: people compare its [`ShortFingerprint`] over a channel that they trust, such
//! as a telephone call to a known number.

use cloister_crypto::hash::{Domain, digest};
use cloister_crypto::sign::{SigningKey, WeakKey, check_key, verify};
use cloister_params::consortium::{PublicBytes, Role};
use cloister_params::id::Digest;
use cloister_wire::codec;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::fingerprint::Fingerprint;
use crate::format_version::{advice, check_version};
use crate::names::is_plain_name;
use crate::proof::{CertificateProof, ProofError, check_possession};
use crate::short_fingerprint::ShortFingerprint;
use crate::tls::Identity;
use crate::validity::Validity;

/// What the signature on an enrolment starts with.
const TAG: &str = "cloister/v1/enrolment";
/// The format's version.
const VERSION: u32 = 1;
/// The largest enrolment file that is read, in bytes.
pub const MAX_ENROLMENT_BYTES: usize = 64 << 10;
/// The longest name of a party or an organisation, in bytes.
const MAX_NAME: usize = 128;

/// What a party applies for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnrolmentRole {
    /// It runs the coordinator. This role stands alone.
    Coordinator,
    /// It trains and uploads.
    Member,
    /// It holds shares and signs seals.
    Custodian,
}

impl EnrolmentRole {
    /// The role as the consortium file lists it; `None` for the coordinator, which has an entry of its own.
    pub fn party_role(self) -> Option<Role> {
        match self {
            Self::Coordinator => None,
            Self::Member => Some(Role::Member),
            Self::Custodian => Some(Role::Custodian),
        }
    }
}

/// Who enrols, and for what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applicant {
    /// The party's name, unique in the consortium.
    pub name: String,
    /// The organisation to which it belongs.
    pub organisation: String,
    /// What it applies for.
    pub roles: Vec<EnrolmentRole>,
}

/// The file as it is written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnrolmentFile {
    version: u32,
    name: String,
    organisation: String,
    roles: Vec<EnrolmentRole>,
    signing_key: PublicBytes,
    /// In PEM.
    certificate: String,
    /// By the signing key over the body, in hexadecimal digits.
    signature: String,
    certificate_proof: CertificateProof,
}

/// What both keys sign, in the canonical encoding (`WIRE-01`).
#[derive(Serialize)]
struct EnrolmentBody<'a> {
    version: u32,
    name: &'a str,
    organisation: &'a str,
    roles: &'a [EnrolmentRole],
    signing_key: [u8; 32],
    certificate: &'a [u8],
}

/// An enrolment whose proofs were checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Enrolment {
    applicant: Applicant,
    signing_key: PublicBytes,
    certificate: Fingerprint,
    validity: Validity,
    digest: Digest,
}

/// Why an enrolment is not accepted.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum EnrolmentError {
    /// Larger than any enrolment.
    #[error("it has {got} bytes, and an enrolment file has at most {MAX_ENROLMENT_BYTES}")]
    TooLarge {
        /// The file's size, in bytes.
        got: usize,
    },
    /// Not an enrolment file.
    #[error("it is not an enrolment file: {0}; `cloister identity new` writes one")]
    Syntax(String),
    /// Another version's format.
    #[error(
        "its format is version {got}, and this program reads version {VERSION}: {}", advice(*got, VERSION)
    )]
    Version {
        /// The file's version.
        got: u32,
    },
    /// A name that is empty, too long, not in NFC, or has invisible characters.
    #[error(
        "its {field} must have 1 to {MAX_NAME} bytes, with single blanks between words, without characters that are not seen, and \
         in Unicode's composed form (NFC)"
    )]
    Name {
        /// `name` or `organisation`.
        field: &'static str,
    },
    /// A name of digits alone.
    #[error("its name is a number, and numbers name parties by themselves; give it a name with a letter")]
    Number,
    /// Roles that do not fit one another.
    #[error(
        "its roles are {got:?}; expected `member`, `custodian` or both, or `coordinator` alone, each once"
    )]
    Roles {
        /// The file's roles.
        got: Vec<EnrolmentRole>,
    },
    /// A signing key under which a signature shows nothing.
    #[error("its signing key is none that a party may have: {0}; ask the party for another key")]
    Key(#[from] WeakKey),
    /// The signing key has not signed it.
    #[error(
        "its signing key has not signed it: whoever wrote it does not hold that key, or it was changed; ask the party for \
         the file again"
    )]
    Signature,
    /// The certificate's key has not signed it.
    #[error("{0}; ask the party for the file again")]
    Certificate(#[from] ProofError),
}

impl Enrolment {
    /// Makes a party's enrolment file, which both of its keys sign.
    ///
    /// # Errors
    /// Names or roles that no enrolment may have.
    pub fn write(
        applicant: &Applicant,
        identity: &Identity,
        signing_key: &SigningKey,
    ) -> Result<String, EnrolmentError> {
        check_applicant(applicant)?;
        let body = encode_body(applicant, signing_key.public(), identity.certificate());
        let file = EnrolmentFile {
            version: VERSION,
            name: applicant.name.clone(),
            organisation: applicant.organisation.clone(),
            roles: applicant.roles.clone(),
            signing_key: signing_key.public(),
            certificate: identity.certificate_pem().to_owned(),
            signature: hex::encode(signing_key.sign(TAG, &body)),
            certificate_proof: identity.prove_possession(&body)?,
        };
        toml::to_string(&file).map_err(|error| EnrolmentError::Syntax(error.to_string()))
    }

    /// Reads an enrolment file and checks both proofs (`CONS-09`).
    ///
    /// # Errors
    /// See [`EnrolmentError`].
    pub fn read(text: &str) -> Result<Self, EnrolmentError> {
        if text.len() > MAX_ENROLMENT_BYTES {
            return Err(EnrolmentError::TooLarge { got: text.len() });
        }
        // FILE-01
        check_version(text, VERSION).map_err(|got| EnrolmentError::Version { got })?;
        let file: EnrolmentFile =
            toml::from_str(text).map_err(|error| EnrolmentError::Syntax(error.message().to_owned()))?;
        let applicant = Applicant { name: file.name, organisation: file.organisation, roles: file.roles };
        check_applicant(&applicant)?;
        let certificate = one_certificate(&file.certificate)?;
        let body = encode_body(&applicant, file.signing_key, &certificate);
        let mut signature = [0; 64];
        hex::decode_to_slice(&file.signature, &mut signature).map_err(|_| EnrolmentError::Signature)?;
        // CONS-10: first, because under a weak key anybody has a signature.
        check_key(file.signing_key)?;
        verify(file.signing_key, TAG, &body, &signature).map_err(|_| EnrolmentError::Signature)?;
        check_possession(&certificate, &body, &file.certificate_proof)?;
        let validity = Validity::from_certificate(&certificate).map_err(ProofError::from)?;
        Ok(Self {
            applicant,
            signing_key: file.signing_key,
            certificate: Fingerprint::from_certificate(&certificate),
            validity,
            digest: digest(Domain::Enrolment, &[&body]),
        })
    }

    /// Who enrols, and for what.
    pub fn applicant(&self) -> &Applicant {
        &self.applicant
    }

    /// The public half of the signing key.
    pub fn signing_key(&self) -> PublicBytes {
        self.signing_key
    }

    /// The fingerprint of the TLS certificate.
    pub fn certificate(&self) -> Fingerprint {
        self.certificate
    }

    /// From when and until when the certificate is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// The digest of what both keys signed: two files with one digest enrol the same party with the same keys.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What people on both sides compare.
    pub fn fingerprint(&self) -> ShortFingerprint {
        ShortFingerprint::new(self.digest)
    }
}

/// The certificate of a text that holds exactly one.
fn one_certificate(pem: &str) -> Result<CertificateDer<'static>, EnrolmentError> {
    let mut certificates = CertificateDer::pem_slice_iter(pem.as_bytes());
    match (certificates.next(), certificates.next()) {
        (Some(Ok(certificate)), None) => Ok(certificate),
        _ => Err(EnrolmentError::Syntax("its `certificate` is not one certificate in PEM".to_owned())),
    }
}

fn encode_body(applicant: &Applicant, signing_key: PublicBytes, certificate: &[u8]) -> Vec<u8> {
    codec::encode(&EnrolmentBody {
        version: VERSION,
        name: &applicant.name,
        organisation: &applicant.organisation,
        roles: &applicant.roles,
        signing_key: signing_key.0,
        certificate,
    })
}

fn check_applicant(applicant: &Applicant) -> Result<(), EnrolmentError> {
    for (field, text) in [("name", &applicant.name), ("organisation", &applicant.organisation)] {
        if text.len() > MAX_NAME || !is_plain_name(text) {
            return Err(EnrolmentError::Name { field });
        }
    }
    // A number names a party by itself.
    if applicant.name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(EnrolmentError::Number);
    }
    match applicant.roles[..] {
        [EnrolmentRole::Coordinator | EnrolmentRole::Member | EnrolmentRole::Custodian]
        | [EnrolmentRole::Member, EnrolmentRole::Custodian] => Ok(()),
        _ => Err(EnrolmentError::Roles { got: applicant.roles.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applicant(roles: &[EnrolmentRole]) -> Applicant {
        Applicant { name: "north".into(), organisation: "North Hospital".into(), roles: roles.to_vec() }
    }

    fn written(seed: u8) -> (String, Identity, SigningKey) {
        let identity = Identity::generate("north", Validity::unlimited()).expect("randomness");
        let key = SigningKey::from_seed(&[seed; 32]);
        let roles = [EnrolmentRole::Member, EnrolmentRole::Custodian];
        let text = Enrolment::write(&applicant(&roles), &identity, &key).expect("sound");
        (text, identity, key)
    }

    #[test]
    fn what_a_party_writes_the_consortium_reads() {
        let (text, identity, key) = written(1);
        let enrolment = Enrolment::read(&text).expect("sound");
        assert_eq!(enrolment.applicant().organisation, "North Hospital");
        assert_eq!(enrolment.signing_key(), key.public());
        assert_eq!(enrolment.certificate(), identity.fingerprint());
        assert!(!text.contains("PRIVATE"), "{text}");
    }

    /// CONS-09: whoever holds one of the keys, or none, cannot enrol with them.
    #[test]
    fn a_file_with_another_party_s_key_or_certificate_is_refused() {
        let (text, ..) = written(1);
        let (other, other_identity, other_key) = written(2);
        let parse = |text: &str| toml::from_str::<EnrolmentFile>(text).expect("a file");
        let print = |file: &EnrolmentFile| toml::to_string(file).expect("a file");
        let (mine, theirs) = (parse(&text), parse(&other));
        let stolen_key = EnrolmentFile { signing_key: theirs.signing_key, ..mine.clone() };
        assert_eq!(Enrolment::read(&print(&stolen_key)), Err(EnrolmentError::Signature));
        let stolen_certificate = EnrolmentFile { certificate: theirs.certificate.clone(), ..mine.clone() };
        assert_eq!(Enrolment::read(&print(&stolen_certificate)), Err(EnrolmentError::Signature));
        // Signed by a key that the thief holds, over a certificate that it does not hold.
        let body = encode_body(&applicant(&mine.roles), mine.signing_key, other_identity.certificate());
        let key = SigningKey::from_seed(&[1; 32]);
        let signed =
            EnrolmentFile { signature: hex::encode(key.sign(TAG, &body)), ..stolen_certificate.clone() };
        let refused = Enrolment::read(&print(&signed));
        assert_eq!(refused, Err(EnrolmentError::Certificate(ProofError::NotSigned)));
        let control = EnrolmentFile {
            certificate_proof: other_identity.prove_possession(&body).expect("it can sign"),
            ..signed
        };
        assert!(Enrolment::read(&print(&control)).is_ok(), "control: with both keys it is accepted");
        assert_ne!(other_key.public(), mine.signing_key);
    }

    /// CONS-10: with the identity as its key anybody makes a signature that fits.
    #[test]
    fn a_weak_signing_key_cannot_enrol() {
        let (text, identity, _) = written(1);
        let sound = toml::from_str::<EnrolmentFile>(&text).expect("a file");
        let mut signature = [0; 64];
        signature[0] = 1;
        let (mut weak, mut key) = (sound.clone(), [0; 32]);
        key[0] = 1;
        weak.signing_key = PublicBytes(key);
        let body = encode_body(&applicant(&sound.roles), weak.signing_key, identity.certificate());
        weak.signature = hex::encode(signature);
        weak.certificate_proof = identity.prove_possession(&body).expect("it can sign");
        assert_eq!(verify(weak.signing_key, TAG, &body, &signature), Ok(()), "control: it fits");
        let refused = Enrolment::read(&toml::to_string(&weak).expect("a file"));
        assert_eq!(refused, Err(EnrolmentError::Key(WeakKey)));
    }

    #[test]
    fn every_changed_field_is_noticed_and_changes_the_fingerprint() {
        let (text, identity, key) = written(1);
        let sound = Enrolment::read(&text).expect("sound");
        for (from, to) in
            [("\"north\"", "\"south\""), ("North Hospital", "South Hospital"), ("\"member\", ", "")]
        {
            let changed = text.replace(from, to);
            assert_ne!(changed, text, "{from}");
            assert_eq!(Enrolment::read(&changed), Err(EnrolmentError::Signature), "{from}");
        }
        let other = Enrolment::write(&applicant(&[EnrolmentRole::Member]), &identity, &key).expect("sound");
        assert_ne!(Enrolment::read(&other).expect("sound").fingerprint(), sound.fingerprint());
        assert!(matches!(
            Enrolment::read(&text.replace("version = 1", "version = 2")),
            Err(EnrolmentError::Version { got: 2 })
        ));
    }

    #[test]
    fn names_that_command_a_terminal_and_roles_that_do_not_fit_are_refused() {
        let identity = Identity::generate("x", Validity::unlimited()).expect("randomness");
        let key = SigningKey::from_seed(&[1; 32]);
        for name in ["", "a\u{1b}[2J", "a ", "a  b", "a\u{202e}b", &"x".repeat(129)] {
            let applicant = Applicant { name: name.into(), ..applicant(&[EnrolmentRole::Member]) };
            let refused = Enrolment::write(&applicant, &identity, &key);
            assert_eq!(refused, Err(EnrolmentError::Name { field: "name" }));
        }
        let number = Applicant { name: "7".into(), ..applicant(&[EnrolmentRole::Member]) };
        assert_eq!(Enrolment::write(&number, &identity, &key), Err(EnrolmentError::Number));
        for roles in [
            &[][..],
            &[EnrolmentRole::Member, EnrolmentRole::Member],
            &[EnrolmentRole::Custodian, EnrolmentRole::Member],
            &[EnrolmentRole::Coordinator, EnrolmentRole::Member],
        ] {
            let refused = Enrolment::write(&applicant(roles), &identity, &key);
            assert!(matches!(refused, Err(EnrolmentError::Roles { .. })), "{roles:?}");
        }
    }
}
