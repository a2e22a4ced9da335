//! Commands on editions of the consortium file: sign, show, check.

use std::fmt::Display;
use std::path::Path;
use std::time::{Duration, SystemTime};

use cloister_crypto::consortium::Epoch;
use cloister_crypto::hash::{Domain, digest};
use cloister_params::consortium::{
    Consortium, ConsortiumFile, EarlierClosing, EpochStart, Party, PublicBytes, Role,
};
use cloister_params::id::Digest;
use cloister_params::limits::Date;
use cloister_protocol::ending::KnownEnding;
use cloister_transport::printable;
use cloister_wire::codec::{self, DecodeError};
use cloister_wire::message::Ending;
use serde_json::{Value, json};

use super::governance::{GovernanceFolder, governance_fingerprint, read_edition};
use super::{CheckArguments, ShowArguments, SignArguments, TrustArguments};
use crate::failure::Failure;
use crate::folder::{load_model, read_policy, read_text, unreadable};
use crate::output;

const DAY: Duration = Duration::from_hours(24);

/// Signs the draft.
pub(super) fn sign(arguments: &SignArguments) -> Result<(), Failure> {
    let folder = GovernanceFolder::new(&arguments.folder.folder);
    let key = folder.read_key(arguments.governance_key.as_deref())?;
    let newest = folder.newest()?;
    let mut draft = folder.draft()?;
    draft.start = read_start(arguments, &draft)?;
    draft.until = Some(Date::from_time(SystemTime::now() + DAY * arguments.valid_days));
    if let (Some((text, _)), Some(start)) = (&newest, &mut draft.start) {
        let newest = digest(Domain::Epoch, &[text.as_bytes()]);
        if start.epoch.0 != newest.0 {
            return Err(Failure::config(format!(
                "--start continues from epoch {}, and the newest edition in this folder is epoch {newest}; take epoch-start.toml \
                 from the coordinator that runs this edition",
                start.epoch
            )));
        }
        let before = folder.newest_epoch(key.public())?;
        start.replaced = arguments.replace_model.is_some() || arguments.back_to.is_some();
        if let Some(path) = &arguments.replace_model {
            start.model = PublicBytes(load_model(path)?.digest().0);
        }
        if let Some(path) = &arguments.back_to {
            go_back(start, path, &folder, key.public())?;
        }
        check_ending(arguments, start, &before)?;
    }
    let text = draft.to_toml().map_err(Failure::error)?;
    let checked = Consortium::parse(&text).map_err(Failure::config)?;
    let path = folder.publish(&text, draft.epoch, &key)?;
    if let Some((_, before)) = newest {
        for change in before.changes_to(&draft) {
            output::line(printable(change.as_bytes()))?;
        }
    }
    output::line(format_args!(
        "signed edition {} of {}: {} members, {} custodians",
        draft.epoch,
        printable(draft.name.as_bytes()),
        checked.members().count(),
        checked.custodians().count()
    ))?;
    output::line(format_args!("hand {} and {}.sig to every party", path.display(), path.display()))
}

/// Names an earlier closing and the model that it left, if a quorum of the custodians of its edition signed it.
fn go_back(
    start: &mut EpochStart,
    path: &Path,
    folder: &GovernanceFolder,
    key: PublicBytes,
) -> Result<(), Failure> {
    let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    let Ok(ending @ Ending::Closed { .. }) = codec::decode::<Ending>(&bytes) else {
        return Err(Failure::config(format!(
            "{} is no certificate of a closing; take rounds/NNNN.ending of a round with sums from the coordinator's data folder",
            path.display()
        )));
    };
    let epoch = folder.edition(epoch_of(&ending).map_err(Failure::config)?, key)?;
    let known = KnownEnding::check(&ending, &epoch);
    let known = known.map_err(|error| Failure::config(format!("{}: {error}", path.display())))?;
    start.model = PublicBytes(known.model.0);
    let (epoch, digest) = (PublicBytes(epoch.digest().0), PublicBytes(known.digest.0));
    start.back_to = Some(EarlierClosing { epoch, round: known.round, digest });
    Ok(())
}

/// The epoch that an ending names, before anything of it is checked.
fn epoch_of(ending: &Ending) -> Result<Digest, DecodeError> {
    match ending {
        Ending::Closed { certificate, .. } => certificate.parse().map(|closing| closing.epoch),
        Ending::Aborted(certificate) => certificate.parse().map(|abort| abort.epoch),
    }
}

/// Checks by the certificate beside the file that custodians signed the ending and the model that an edition continues from.
/// The coordinator wrote both files, and is not trusted for them.
fn check_ending(arguments: &SignArguments, start: &EpochStart, before: &Epoch) -> Result<(), Failure> {
    let (Some(path), Some(named)) = (&arguments.start, start.ending) else { return Ok(()) };
    let path = path.with_extension("ending");
    let bytes = std::fs::read(&path).map_err(|error| unreadable(&path, &error))?;
    let ending: Ending = codec::decode(&bytes).map_err(|error| {
        wrong_ending(
            &path,
            format!("it is not a certificate, or a later version of the program wrote it ({error})"),
        )
    })?;
    let known = KnownEnding::check(&ending, before).map_err(|error| wrong_ending(&path, error))?;
    if known.round != named.round || known.digest.0 != named.digest.0 {
        let why = "the certificate is of another ending than epoch-start.toml names";
        return Err(wrong_ending(&path, why));
    }
    if known.model.0 != start.model.0 && !start.replaced {
        let why = "the ending left another model than epoch-start.toml names; give --replace-model with the model's file if that is meant";
        return Err(wrong_ending(&path, why));
    }
    Ok(())
}

/// A certificate that does not show what epoch-start.toml names.
fn wrong_ending(path: &Path, why: impl Display) -> Failure {
    Failure::config(format!(
        "{}: {why}; take epoch-start.toml and epoch-start.ending of the same moment from the coordinator, and ask custodians \
         which ending they know",
        path.display()
    ))
}

/// What the draft continues from: nothing for the first edition.
fn read_start(arguments: &SignArguments, draft: &ConsortiumFile) -> Result<Option<EpochStart>, Failure> {
    match (&arguments.start, draft.epoch) {
        (None, 1) => Ok(None),
        (Some(path), 1) => Err(Failure::config(format!(
            "the first edition continues from nothing; leave out --start {}",
            path.display()
        ))),
        (None, epoch) => Err(Failure::config(format!(
            "edition {epoch} continues from the one before: give --start with the file epoch-start.toml of the coordinator's data \
             folder, after the coordinator has paused"
        ))),
        (Some(path), _) => EpochStart::parse(&read_text(path)?)
            .map(Some)
            .map_err(|error| Failure::config(format!("{}: {error}", path.display()))),
    }
}

impl TrustArguments {
    pub(crate) fn key(&self) -> Result<PublicBytes, Failure> {
        if let Some(path) = &self.policy {
            return Ok(read_policy(path)?.governance_key);
        }
        parse_governance_key(self.governance_key.as_deref().unwrap_or_default())
    }
}

/// The key of a flag `--governance-key`.
pub(crate) fn parse_governance_key(text: &str) -> Result<PublicBytes, Failure> {
    let mut key = [0; 32];
    hex::decode_to_slice(text, &mut key)
        .map_err(|_| Failure::config("--governance-key: expected 64 hexadecimal digits"))?;
    Ok(PublicBytes(key))
}

/// Shows a signed edition.
pub(super) fn show(arguments: &ShowArguments) -> Result<(), Failure> {
    let key = arguments.trust.key()?;
    let epoch = read_edition(&arguments.file, key)?;
    match arguments.json {
        true => output::line(to_json(&epoch, key)),
        false => output::print(to_text(&epoch, key)),
    }
}

/// Checks a signed edition, and compares it with an earlier one.
pub(super) fn check(arguments: &CheckArguments) -> Result<(), Failure> {
    let key = arguments.show.trust.key()?;
    let epoch = read_edition(&arguments.show.file, key)?;
    let mut changes = Vec::new();
    if let Some(path) = &arguments.since {
        let before = read_edition(path, key)?;
        if before.consortium().epoch_number() >= epoch.consortium().epoch_number() {
            return Err(Failure::config(format!(
                "{} is edition {}, and {} is edition {}, which is not later",
                path.display(),
                before.consortium().epoch_number(),
                arguments.show.file.display(),
                epoch.consortium().epoch_number()
            )));
        }
        changes = before.consortium().to_file().changes_to(&epoch.consortium().to_file());
    }
    if arguments.show.json {
        let mut printed = to_json(&epoch, key);
        printed["changes"] = json!(changes);
        return output::line(printed);
    }
    output::print(to_text(&epoch, key))?;
    for change in changes {
        output::line(printable(change.as_bytes()))?;
    }
    output::line("the governance key has signed the file, and it obeys the rules")
}

fn role_names(party: &Party) -> Vec<&'static str> {
    party.roles.iter().copied().map(role_name).collect()
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Member => "member",
        Role::Custodian => "custodian",
    }
}

fn to_json(epoch: &Epoch, key: PublicBytes) -> Value {
    let consortium = epoch.consortium();
    let parties: Vec<Value> = consortium
        .parties()
        .map(|party| {
            json!({
                "id": party.id.0,
                "name": party.name,
                "organisation": party.organisation,
                "roles": role_names(party),
                "weight": party.weight,
                "signing_key": party.signing_key.to_string(),
                "certificate": party.certificate.to_string(),
            })
        })
        .collect();
    json!({
        "name": consortium.name(),
        "epoch": consortium.epoch_number(),
        "digest": epoch.digest().to_string(),
        "governance_key": key.to_string(),
        "governance_fingerprint": governance_fingerprint(key).to_string(),
        "coordinator": consortium.coordinator(),
        "until": consortium.until(),
        "cohort_floor": consortium.floors().cohort,
        "retired": consortium.retired(),
        "parties": parties,
    })
}

fn to_text(epoch: &Epoch, key: PublicBytes) -> String {
    let consortium = epoch.consortium();
    let mut text = format!(
        "{}, edition {}\nepoch           {}\ngovernance key  {key}\nfingerprint     {}\ncoordinator     {}\nuntil           {}\nfloors          a \
         sum needs at least {} organisations\n\n",
        printable(consortium.name().as_bytes()),
        consortium.epoch_number(),
        epoch.digest(),
        governance_fingerprint(key),
        printable(consortium.coordinator().name.as_bytes()),
        consortium.until().map_or_else(|| "a later edition".to_owned(), |until| until.to_string()),
        consortium.floors().cohort,
    );
    text += "number  name                      organisation                    weight  roles\n";
    for party in consortium.parties() {
        text += &format!(
            "{:<8}{:<26}{:<32}{:<8}{}\n",
            party.id.0,
            printable(party.name.as_bytes()),
            printable(party.organisation.as_bytes()),
            party.weight,
            role_names(party).join(", ")
        );
    }
    text
}
