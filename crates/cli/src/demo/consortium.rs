//! The demo's consortium: governance key, consortium file, identities, task, settings and notes, all on disk.

use std::path::{Path, PathBuf};

use cloister_crypto::consortium::sign_file;
use cloister_crypto::sign::SigningKey;
use cloister_experts::families::AdapterSettings;
use cloister_experts::task::{AdapterTask, Objective, Task};
use cloister_experts::{ModelConfig, Note};
use cloister_identity::{Identity, Validity, write_signing_key};
use cloister_params::consortium::{Consortium, ConsortiumFile, CoordinatorEntry, Party, PublicBytes, Role};
use cloister_params::floors::DEFAULT_CUSTODIANS;
use cloister_params::id::PartyId;
use cloister_params::plan::RoundSettings;
use cloister_params::policy::Policy;
use cloister_protocol::model::Model;
use getrandom::SysRng;
use rand_core::UnwrapErr;
use serde_json::{Value, json};

use super::DemoArguments;
use super::settings::settings;
use super::text::{DemoHospital, Text};
use crate::create::{create_folder, write};
use crate::failure::Failure;
use crate::folder::{POLICY, SIGNING_KEY};

/// The files that the processes are started with.
#[derive(Debug)]
pub(super) struct DemoConsortium {
    pub(super) folder: PathBuf,
    pub(super) settings: RoundSettings,
    /// The name under which each hospital writes the final model.
    pub(super) trained: &'static str,
}

impl DemoConsortium {
    pub(super) fn consortium(&self) -> PathBuf {
        self.folder.join("consortium.toml")
    }

    pub(super) fn settings_file(&self) -> PathBuf {
        self.folder.join("settings.toml")
    }

    pub(super) fn task(&self) -> PathBuf {
        self.folder.join("task.json")
    }

    pub(super) fn model(&self) -> PathBuf {
        self.folder.join("initial.parameters")
    }

    pub(super) fn held_out(&self) -> PathBuf {
        self.folder.join("held-out.jsonl")
    }

    pub(super) fn coordinator(&self) -> PathBuf {
        self.folder.join("coordinator")
    }

    pub(super) fn hospital(&self, party: u32) -> PathBuf {
        self.folder.join(format!("hospital-{party:02}"))
    }
}

struct NewParty {
    identity: Identity,
    seed: zeroize::Zeroizing<[u8; 32]>,
    signing_key: PublicBytes,
}

fn new_party(name: &str) -> Result<NewParty, Failure> {
    let identity = Identity::generate(name, Validity::unlimited()).map_err(Failure::error)?;
    let (key, seed) = SigningKey::generate(&mut UnwrapErr(SysRng));
    Ok(NewParty { identity, seed, signing_key: key.public() })
}

impl NewParty {
    fn certificate(&self) -> PublicBytes {
        PublicBytes(self.identity.fingerprint().0)
    }

    fn save(&self, folder: &Path, policy: &Policy) -> Result<(), Failure> {
        create_folder(folder)?;
        self.identity.save(folder).map_err(Failure::error)?;
        write_signing_key(&folder.join(SIGNING_KEY), &self.seed).map_err(Failure::error)?;
        write(&folder.join(POLICY), policy.to_toml().map_err(Failure::error)?.as_bytes())
    }
}

/// Creates all files. Keys come from the system's generator, not from `--seed`.
pub(super) fn create(arguments: &DemoArguments, text: &Text) -> Result<DemoConsortium, Failure> {
    let folder = arguments.folder.clone();
    // The governance key's seed is dropped: nobody can sign another consortium file for this demo.
    let (governance, _) = SigningKey::generate(&mut UnwrapErr(SysRng));
    let late = arguments.late_sketches;
    let policy = format!("governance_key = \"{}\"\nallow_late_sketches = {late}", governance.public());
    let policy = Policy::parse(&policy).map_err(Failure::error)?;
    let coordinator = new_party("coordinator")?;
    let hospitals: Vec<NewParty> =
        text.hospitals.iter().map(|hospital| new_party(&hospital.name)).collect::<Result<_, _>>()?;
    let file = consortium_file(&coordinator, &hospitals, text);
    let toml = file.to_toml().map_err(Failure::error)?;
    // Parsed like any other consortium file, so that the demo cannot start a consortium that is not allowed.
    let checked = Consortium::parse(&toml).map_err(Failure::config)?;
    let agreed = agree(arguments, text)?;
    let initial = agreed.initial(arguments.base()).map_err(Failure::config)?;
    let task = serde_json::to_string_pretty(&agreed).map_err(Failure::error)?;
    let settings = settings(arguments, initial.table(), &task, &checked.floors())?;
    let trained = match agreed {
        Task::Classifier(_) => "model.safetensors",
        Task::Adapter(_) => "adapter",
    };
    let demo = DemoConsortium { folder, settings, trained };
    write(&demo.consortium(), toml.as_bytes())?;
    let signature = hex::encode(sign_file(&toml, &governance));
    write(&demo.consortium().with_added_extension("sig"), signature.as_bytes())?;
    write(&demo.task(), task.as_bytes())?;
    write(&demo.settings_file(), demo.settings.to_toml().map_err(Failure::error)?.as_bytes())?;
    write(&demo.model(), &Model::new(initial.into_values()).to_bytes())?;
    write_rows(&demo.held_out(), &text.held_out, &agreed, &text.classes)?;
    coordinator.save(&demo.coordinator(), &policy)?;
    create_folder(&demo.coordinator().join("data"))?;
    for (hospital, party) in text.hospitals.iter().zip(&hospitals) {
        let folder = demo.hospital(hospital.party);
        party.save(&folder, &policy)?;
        write_rows(&folder.join("notes.jsonl"), &hospital.notes, &agreed, &text.classes)?;
    }
    Ok(demo)
}

fn consortium_file(coordinator: &NewParty, hospitals: &[NewParty], text: &Text) -> ConsortiumFile {
    let parties = text.hospitals.iter().zip(hospitals);
    ConsortiumFile {
        name: "demo".into(),
        epoch: 1,
        start: None,
        until: None,
        retired: Vec::new(),
        coordinator: CoordinatorEntry {
            name: "coordinator".into(),
            signing_key: coordinator.signing_key,
            certificate: coordinator.certificate(),
        },
        parties: parties.map(|(hospital, keys)| party_entry(hospital, keys)).collect(),
    }
}

fn party_entry(hospital: &DemoHospital, keys: &NewParty) -> Party {
    let is_custodian = hospital.party as usize <= DEFAULT_CUSTODIANS;
    Party {
        id: PartyId(hospital.party),
        name: hospital.name.clone(),
        organisation: hospital.name.clone(),
        roles: if is_custodian { vec![Role::Member, Role::Custodian] } else { vec![Role::Member] },
        signing_key: keys.signing_key,
        certificate: keys.certificate(),
        weight: 1,
    }
}

/// The task that the hospitals train.
fn agree(arguments: &DemoArguments, text: &Text) -> Result<Task, Failure> {
    let (seed, max_tokens) = (arguments.seed, arguments.max_tokens());
    let regions = arguments.sketches.regions(arguments.noise_multiplier.is_some());
    let Some(base) = &arguments.base_model else {
        let config = ModelConfig { seed, max_tokens, regions, ..ModelConfig::new(text.classes.clone()) };
        return Ok(Task::Classifier(config));
    };
    let name = base.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let settings = AdapterSettings { router: true, ..AdapterSettings::default() };
    let task = AdapterTask::from_base(base, name, Objective::MultipleChoice, settings, max_tokens);
    Ok(Task::Adapter(AdapterTask { seed, regions, ..task.map_err(Failure::config)? }))
}

/// A note as a question for its class.
fn question(note: &Note, classes: &[String]) -> Value {
    let answer = classes.iter().position(|class| *class == note.label);
    // The prompt ends where a class continues the sentence, because choices are compared as continuations.
    json!({"question": format!("{}\nThis is about", note.text), "choices": classes, "answer": answer})
}

/// Writes notes in the form that the task reads, one JSON object on each line.
fn write_rows(path: &Path, notes: &[Note], task: &Task, classes: &[String]) -> Result<(), Failure> {
    let mut lines = String::new();
    for note in notes {
        let row = match task {
            Task::Classifier(_) => json!({"text": note.text, "label": note.label}),
            Task::Adapter(_) => question(note, classes),
        };
        lines += &format!("{row}\n");
    }
    write(path, lines.as_bytes())
}
