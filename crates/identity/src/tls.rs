//! The TLS certificate and private key of one party.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::fingerprint::Fingerprint;
use crate::key_file::{KeyFileError, read_private, write_new};
use crate::validity::{UnreadableCertificate, Validity};

/// The file of the certificate in a party's folder.
pub const CERTIFICATE_FILE: &str = "certificate.pem";
/// The file of the certificate's private key in a party's folder.
pub const KEY_FILE: &str = "key.pem";

/// A self-signed certificate and its private key. The key is never printed.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    certificate: CertificateDer<'static>,
    validity: Validity,
    certificate_pem: String,
    key_pem: Zeroizing<String>,
}

/// Why an identity cannot be made, read or written.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The certificate could not be made.
    #[error("cannot make a certificate: {detail}")]
    Generation {
        /// What the generator says.
        detail: String,
    },
    /// The text of the certificate is not one certificate.
    #[error(
        "the certificate is not one X.509 certificate in PEM: {detail}; write a new identity, or copy the file again"
    )]
    BadCertificate {
        /// What the parser says.
        detail: String,
    },
    /// The text of the private key is not a supported key.
    #[error(
        "the private key is not an Ed25519, ECDSA or RSA key in PEM: {detail}; write a new identity, or copy the file again"
    )]
    BadKey {
        /// What the parser says.
        detail: String,
    },
    /// Certificate and key do not belong together.
    #[error(
        "the private key does not belong to the certificate: {detail}; put the two files of one identity together"
    )]
    Mismatch {
        /// What the check says.
        detail: String,
    },
    /// A file of it was not read or written.
    #[error(transparent)]
    File(#[from] KeyFileError),
}

impl Identity {
    /// A new ECDSA key on the curve P-256 from the system's randomness, and a self-signed certificate for it.
    /// The name is for people who look at the certificate. No program relies on it.
    ///
    /// # Errors
    /// [`IdentityError::Generation`] if the system gives no randomness or the name cannot be written.
    pub fn generate(name: &str, validity: Validity) -> Result<Self, IdentityError> {
        // Not Ed25519: the files that `ring` makes for it are of PKCS#8's second version, which OpenSSL 3.0
        // does not read.
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(generation_error)?;
        let mut parameters = CertificateParams::default();
        validity.apply(&mut parameters);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let certificate = parameters.self_signed(&key).map_err(generation_error)?;
        Self::from_pem(&certificate.pem(), &Zeroizing::new(key.serialize_pem()))
    }

    /// The identity of a certificate and its private key (Ed25519, ECDSA or RSA), both in PEM.
    ///
    /// # Errors
    /// [`IdentityError::BadCertificate`], [`IdentityError::BadKey`], or [`IdentityError::Mismatch`] if the
    /// two do not belong together.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, IdentityError> {
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|error| IdentityError::BadCertificate { detail: error.to_string() })?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
            .map_err(|error| IdentityError::BadKey { detail: error.to_string() })?;
        let key = ring::sign::any_supported_type(&key)
            .map_err(|error| IdentityError::BadKey { detail: error.to_string() })?;
        let certified = CertifiedKey::new(vec![certificate.clone()], key);
        // Found here, a mix-up is named. In a handshake it would look like an impostor's certificate.
        check_match(&certified)?;
        let validity = Validity::from_certificate(&certificate).map_err(|error: UnreadableCertificate| {
            IdentityError::BadCertificate { detail: error.to_string() }
        })?;
        Ok(Self {
            validity,
            certified: Arc::new(certified),
            certificate,
            certificate_pem: certificate_pem.to_owned(),
            key_pem: Zeroizing::new(key_pem.to_owned()),
        })
    }

    /// The certificate in PEM. It is public.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key in PEM. It is secret.
    pub fn key_pem(&self) -> &Zeroizing<String> {
        &self.key_pem
    }

    /// The certificate's fingerprint, which the other sides pin.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::from_certificate(&self.certificate)
    }

    /// The certificate in DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// From when and until when the certificate is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Writes `certificate.pem` and `key.pem`, which only their owner can read, into a folder. The folder is
    /// made if it does not exist.
    ///
    /// # Errors
    /// [`IdentityError::File`]: the folder has an identity, or it cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), IdentityError> {
        cloister_storage::create_folder(folder)
            .map_err(|source| KeyFileError::file("write", folder, source))?;
        write_new(&folder.join(KEY_FILE), &self.key_pem)?;
        write_new(&folder.join(CERTIFICATE_FILE), &self.certificate_pem)?;
        Ok(())
    }

    /// Reads what [`Identity::save`] wrote.
    ///
    /// # Errors
    /// [`IdentityError::File`], also if group or others have any permission on the key's file, and the errors of [`Identity::from_pem`].
    pub fn load(folder: &Path) -> Result<Self, IdentityError> {
        let key = read_private(&folder.join(KEY_FILE))?;
        let path = folder.join(CERTIFICATE_FILE);
        let certificate =
            fs::read_to_string(&path).map_err(|source| KeyFileError::file("read", &path, source))?;
        Self::from_pem(&certificate, &key)
    }

    /// The certificate that rustls presents, and the key with which it signs.
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        self.certified.clone()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}

fn generation_error(error: rcgen::Error) -> IdentityError {
    IdentityError::Generation { detail: error.to_string() }
}

fn check_match(certified: &CertifiedKey) -> Result<(), IdentityError> {
    use rustls::Error::{InconsistentKeys, InvalidCertificate};
    certified.keys_match().map_err(|error| match error {
        InvalidCertificate(fault) => IdentityError::BadCertificate { detail: fault.to_string() },
        InconsistentKeys(_) => IdentityError::Mismatch { detail: error.to_string() },
        other => IdentityError::BadKey { detail: other.to_string() },
    })
}
