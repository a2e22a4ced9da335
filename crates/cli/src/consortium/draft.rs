//! Commands that change the draft of the next edition.

use cloister_identity::enrolment::{Applicant, Enrolment, EnrolmentRole};
use cloister_identity::folded;
use cloister_params::consortium::{
    Consortium, ConsortiumError, ConsortiumFile, CoordinatorEntry, Party, PublicBytes,
};
use cloister_params::id::PartyId;

use super::governance::{GovernanceFolder, governance_fingerprint, read_enrolment};
use super::{AddArguments, InitArguments, RemoveArguments, RotateArguments};
use crate::failure::Failure;
use crate::output;

/// Founds a consortium.
pub(super) fn init(arguments: &InitArguments) -> Result<(), Failure> {
    let (text, enrolment) = read_enrolment(&arguments.coordinator, arguments.fingerprint)?;
    if enrolment.applicant().roles != [EnrolmentRole::Coordinator] {
        return Err(Failure::config(format!(
            "{} is not the enrolment of a coordinator; make one with `cloister identity new --role coordinator`",
            arguments.coordinator.display()
        )));
    }
    let folder = GovernanceFolder::new(&arguments.folder.folder);
    let key = folder.found(arguments.governance_key.as_deref())?.public();
    let draft = ConsortiumFile {
        name: arguments.name.clone(),
        epoch: 1,
        start: None,
        until: None,
        retired: Vec::new(),
        coordinator: coordinator_entry(&enrolment),
        parties: Vec::new(),
    };
    folder.write_draft(&draft)?;
    folder.keep_enrolment(PartyId::COORDINATOR, draft.epoch, &text)?;
    output::line(format_args!("governance key  {key}"))?;
    output::line(format_args!("fingerprint     {}", governance_fingerprint(key)))?;
    output::line("Every party pins this key in its policy, and compares its fingerprint with you.")?;
    output::line("Back up governance.key and keep it offline: whoever has it decides who takes part.")?;
    output::line("Next: `cloister consortium add` for each party, then `cloister consortium sign`.")
}

/// Adds a party.
pub(super) fn add(arguments: &AddArguments) -> Result<(), Failure> {
    let (text, enrolment) = read_enrolment(&arguments.enrolment, arguments.fingerprint)?;
    let applicant = enrolment.applicant();
    let roles = match arguments.roles.is_empty() {
        true => applicant.roles.iter().filter_map(|role| role.party_role()).collect(),
        false => arguments.roles.clone(),
    };
    if applicant.roles.contains(&EnrolmentRole::Coordinator) {
        return Err(Failure::config(format!(
            "{} is the enrolment of a coordinator, and a consortium has one; to change its keys, use `cloister consortium \
             rotate FOLDER 0`",
            arguments.enrolment.display()
        )));
    }
    let folder = GovernanceFolder::new(&arguments.folder.folder);
    let mut draft = folder.draft()?;
    check_similar(&draft, applicant)?;
    let party = Party {
        id: draft.next_number(),
        name: applicant.name.clone(),
        organisation: applicant.organisation.clone(),
        roles,
        signing_key: enrolment.signing_key(),
        certificate: certificate(&enrolment),
        weight: arguments.weight,
    };
    let said = format!("{} is {} of {}", party.id, party.name, party.organisation);
    let id = party.id;
    draft.parties.push(party);
    save(&folder, &draft, &said)?;
    folder.keep_enrolment(id, draft.epoch, &text)
}

/// Rejects a name or an organisation that only a computer tells apart from a listed one. Two spellings of one organisation
/// would also count as two (FLOOR-05).
fn check_similar(draft: &ConsortiumFile, applicant: &Applicant) -> Result<(), Failure> {
    for party in &draft.parties {
        let pairs = [(&party.name, &applicant.name), (&party.organisation, &applicant.organisation)];
        for (listed, new) in pairs {
            if listed != new && folded(listed) == folded(new) {
                return Err(Failure::config(format!(
                    "{new:?} ({}) looks like {listed:?} ({}) of {}; agree on one spelling, or on names that differ more",
                    new.escape_unicode(),
                    listed.escape_unicode(),
                    party.id
                )));
            }
        }
    }
    Ok(())
}

/// Removes a party.
pub(super) fn remove(arguments: &RemoveArguments) -> Result<(), Failure> {
    let folder = GovernanceFolder::new(&arguments.folder.folder);
    let mut draft = folder.draft()?;
    let id = find(&draft, &arguments.party)?;
    let Some(party) = draft.remove(id) else {
        return Err(Failure::config("the coordinator cannot be removed; give it new keys with `rotate`"));
    };
    save(&folder, &draft, &format!("{id} ({}) leaves with this edition", party.name))
}

/// Gives a party new keys.
pub(super) fn rotate(arguments: &RotateArguments) -> Result<(), Failure> {
    let (text, enrolment) = read_enrolment(&arguments.enrolment, arguments.fingerprint)?;
    let folder = GovernanceFolder::new(&arguments.folder.folder);
    let mut draft = folder.draft()?;
    let id = find(&draft, &arguments.party)?;
    check_same_party(&draft, id, &enrolment)?;
    if id == PartyId::COORDINATOR {
        draft.coordinator = coordinator_entry(&enrolment);
    } else {
        draft.rotate(id, enrolment.signing_key(), certificate(&enrolment));
    }
    save(&folder, &draft, &format!("{id} has new keys with this edition"))?;
    folder.keep_enrolment(id, draft.epoch, &text)
}

/// New keys stay with the party that had the old ones.
fn check_same_party(draft: &ConsortiumFile, id: PartyId, enrolment: &Enrolment) -> Result<(), Failure> {
    let listed = draft.parties.iter().find(|party| party.id == id);
    let applicant = enrolment.applicant();
    let is_same = match listed {
        Some(party) => party.name == applicant.name && party.organisation == applicant.organisation,
        None => applicant.roles == [EnrolmentRole::Coordinator],
    };
    if is_same {
        return Ok(());
    }
    Err(Failure::config(format!(
        "the enrolment is that of {} of {}, and {id} is another party; a party that joins is added with `cloister consortium \
         add`",
        applicant.name, applicant.organisation
    )))
}

fn coordinator_entry(enrolment: &Enrolment) -> CoordinatorEntry {
    CoordinatorEntry {
        name: enrolment.applicant().name.clone(),
        signing_key: enrolment.signing_key(),
        certificate: certificate(enrolment),
    }
}

fn certificate(enrolment: &Enrolment) -> PublicBytes {
    PublicBytes(enrolment.certificate().0)
}

/// The party of a number or a name. The coordinator's number is 0.
fn find(draft: &ConsortiumFile, text: &str) -> Result<PartyId, Failure> {
    let number = text.parse().ok().map(PartyId);
    if number == Some(PartyId::COORDINATOR) {
        return Ok(PartyId::COORDINATOR);
    }
    let mut found = draft.parties.iter().filter(|party| Some(party.id) == number || party.name == text);
    match (found.next(), found.next()) {
        (Some(party), None) => Ok(party.id),
        // Names of digits alone are refused now; earlier versions admitted them.
        (Some(_), Some(_)) => Err(Failure::config(format!(
            "{text} is the number of one party and the name of another; give the other one's name or number"
        ))),
        (None, _) => Err(Failure::config(format!(
            "no party has the number or name {text}; `cloister consortium show` lists all"
        ))),
    }
}

/// Writes the draft, unless it breaks a rule that more parties would not mend, and says what is still missing
/// for a signature.
fn save(folder: &GovernanceFolder, draft: &ConsortiumFile, said: &str) -> Result<(), Failure> {
    // Checked as the first edition: what a later one continues from is added when it is signed.
    let text = ConsortiumFile { epoch: 1, start: None, ..draft.clone() }.to_toml().map_err(Failure::error)?;
    let state = match Consortium::parse(&text) {
        Ok(checked) => format!(
            "draft: {} members, {} custodians; a sum needs at least {} organisations; ready to sign",
            checked.members().count(),
            checked.custodians().count(),
            checked.floors().cohort,
        ),
        Err(ConsortiumError::Floors(missing)) => format!("draft: it cannot be signed yet: {missing}"),
        Err(error) => return Err(Failure::config(format!("the draft stays as it was: {error}"))),
    };
    folder.write_draft(draft)?;
    output::line(said)?;
    output::line(state)
}
