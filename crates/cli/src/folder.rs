//! Reads files of a consortium and of a party. Every error names the file.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use cloister_crypto::consortium::Epoch;
use cloister_crypto::sign::SigningKey;
use cloister_identity::{Identity, edition_path, read_signing_key};
use cloister_params::consortium::PublicBytes;
use cloister_params::policy::Policy;
use cloister_protocol::model::Model;

use crate::failure::Failure;
use crate::output;

/// A party's folder: TLS identity, signing key and policy.
#[derive(Debug)]
pub(crate) struct PartyFolder {
    pub(crate) identity: Identity,
    pub(crate) signing_key: Arc<SigningKey>,
    pub(crate) policy: Policy,
}

pub(crate) const SIGNING_KEY: &str = "signing.key";
pub(crate) const ENROLMENT: &str = "enrolment.toml";
pub(crate) const POLICY: &str = "policy.toml";

impl PartyFolder {
    pub(crate) fn load(folder: &Path) -> Result<Self, Failure> {
        let identity = Identity::load(folder).map_err(Failure::config)?;
        let signing_key = read_signing_key(&folder.join(SIGNING_KEY)).map_err(Failure::config)?;
        let policy = read_policy(&folder.join(POLICY))?;
        Ok(Self { identity, signing_key: Arc::new(signing_key), policy })
    }
}

/// Reads a policy file.
pub(crate) fn read_policy(path: &Path) -> Result<Policy, Failure> {
    Policy::parse(&read_text(path)?).map_err(|error| Failure::config(format!("{}: {error}", path.display())))
}

/// Accepts the consortium file at `path`, if the governance key of the party's own policy signed it. Its
/// signature is in the file of the same name with `.sig` appended.
pub(crate) fn load_consortium(path: &Path, policy: &Policy) -> Result<Arc<Epoch>, Failure> {
    let text = read_text(path)?;
    let signature = hex_file::<64>(&path.with_added_extension("sig"))?;
    // Signature and text are checked together; nothing of the file is used before.
    let epoch = Epoch::accept(&text, &signature, policy.governance_key)
        .map_err(|error| Failure::config(format!("{}: {error}", path.display())))?;
    Ok(Arc::new(epoch))
}

/// The newer one of the consortium file that was given and the edition that the coordinator sent to an
/// earlier run, or that the coordinator began then.
pub(crate) fn newest_edition(given: Arc<Epoch>, data: &Path, policy: &Policy) -> Arc<Epoch> {
    let path = edition_path(data);
    if !path.exists() {
        return given;
    }
    match load_consortium(&path, policy) {
        Ok(kept) if kept.consortium().epoch_number() > given.consortium().epoch_number() => kept,
        Ok(_) => given,
        Err(failure) => {
            // A power cut between two writes, or another governance key. The coordinator sends the edition again.
            output::tell(format_args!(
                "warning: {failure}; going on with the consortium file that was given"
            ));
            given
        }
    }
}

/// Reads a model's parameters.
pub(crate) fn load_model(path: &Path) -> Result<Model, Failure> {
    let bytes = fs::read(path).map_err(|error| unreadable(path, &error))?;
    Model::from_bytes(&bytes).ok_or_else(|| {
        Failure::config(format!(
            "{} is not a file of model parameters, or is damaged, or a later version of the program wrote it; get it again from the \
             consortium, and use one version of the program",
            path.display()
        ))
    })
}

pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| unreadable(path, &error))
}

pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::config(format!("cannot read {}: {error}; check the path and its permissions", path.display()))
}

/// The bytes of a file of hexadecimal digits.
pub(crate) fn hex_file<const N: usize>(path: &Path) -> Result<[u8; N], Failure> {
    from_hex(path, &read_text(path)?)
}

fn from_hex<const N: usize>(path: &Path, text: &str) -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text.trim(), &mut bytes)
        .map_err(|_| Failure::config(format!("{}: expected {} hexadecimal digits", path.display(), 2 * N)))?;
    Ok(bytes)
}

/// Checks that these are the keys of the coordinator that an edition lists. What could not be read is not compared.
pub(crate) fn check_coordinator(
    epoch: &Epoch,
    certificate: Option<PublicBytes>,
    signing_key: Option<PublicBytes>,
) -> Result<(), Failure> {
    let entry = epoch.consortium().coordinator();
    match (certificate, signing_key) {
        (Some(certificate), _) if certificate != entry.certificate => Err(Failure::config(format!(
            "the consortium file lists the coordinator with certificate {}, and the one in --identity is {certificate}; give \
             the folder that was enrolled, or ask the consortium to list this certificate",
            entry.certificate
        ))),
        (_, Some(key)) if key != entry.signing_key => Err(Failure::config(
            "the consortium file lists the coordinator with another signing key than the one in --identity; give the folder \
             that was enrolled",
        )),
        _ => Ok(()),
    }
}
