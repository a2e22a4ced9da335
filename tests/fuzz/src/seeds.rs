//! Writes the inputs that fuzzing starts from, out of the test vectors, a folder for each target; prints the targets,
//! each with the program that fuzzes it.

mod decoders;
mod files;
mod memory;
mod names;
mod target;

use std::fs;
use std::path::Path;

use cloister_crypto::hash::{self, Domain};
use cloister_experts::classifier::checkpoint::write_checkpoint;
use cloister_experts::{ModelConfig, initial_blocks};
use cloister_params::id::{Digest, PartyId, Round};
use cloister_params::limits::PrivacyUnit;
use cloister_params::plan::RoundPlan;
use cloister_privacy::accountant::Mechanism;
use cloister_privacy::ledger::{Charge, Ledger, Opening};
use cloister_privacy::release::{Release, Released};
use cloister_protocol::coordinator::{Input, Time};
use cloister_protocol::model::Model;
use cloister_wire::codec;
use cloister_wire::frame::Frame;
use decoders::DECODERS;
use files::FILES;
use names::target_of;
// The runtime of the instrumentation that everything here is built with.
use libfuzzer_sys as _;
use serde_json::Value;
use target::Target;

const VECTORS: [&str; 8] =
    ["codec", "consortium", "frames", "late_round", "late_round_bad", "letters", "rounds", "rounds_bad"];

/// Samples of what the vectors do not have.
const SAMPLES: [(&str, &str); 9] = [
    ("policy", include_str!("../../../deploy/config/policy.toml")),
    (
        "notes",
        "{\"text\":\"chest pain\",\"label\":\"cardiology\"}\n{\"text\":\"\",\"label_name\":\"x\",\"label\":3}\n",
    ),
    ("chat-template", include_str!("../../../crates/experts/tests/fixtures/templates/qwen3_moe.jinja")),
    ("chat-template", include_str!("../../../crates/experts/tests/fixtures/templates/deepseek_v3.jinja")),
    ("chat-template", include_str!("../../../crates/experts/tests/fixtures/templates/llama.jinja")),
    ("table", "0chest pain,cardiology\n\"a \"\"fall\"\",\non ice\",bone\n\n"),
    ("table", "1cardiology;chest pain;\r\n3;\"a; b\";x\r\n"),
    ("table", "2cardiology\tchest pain, left\n"),
    (
        "journal",
        "announced 1\nsigned 1 seal-1 0707070707070707070707070707070707070707070707070707070707070707\n",
    ),
];

fn main() {
    let folder = std::env::args().nth(1).expect("the folder to write to");
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protocols/vectors/v1");
    for name in VECTORS {
        let text = fs::read_to_string(vectors.join(format!("{name}.json"))).expect("the vectors are there");
        let value = serde_json::from_str(&text).expect("the vectors are JSON");
        collect(&value, &mut |target, bytes| keep(Path::new(&folder), target, bytes));
    }
    SAMPLES.iter().for_each(|(target, text)| keep(Path::new(&folder), target, text.as_bytes()));
    keep(Path::new(&folder), "checkpoint", &made(smallest_checkpoint));
    keep(Path::new(&folder), "ledger", &entries(&made(one_charge)));
    keep(Path::new(&folder), "model", &Model::new(vec![vec![0.5; 3], Vec::new()]).to_bytes());
    keep(Path::new(&folder), "coordinator-input", &Input::Restarted.encode(Time(7)));
    for (program, targets) in [("fuzz-decoders", DECODERS), ("fuzz-files", FILES)] {
        targets.iter().for_each(|target| println!("{program} {}", target.name));
    }
}

fn targets() -> impl Iterator<Item = &'static Target> {
    DECODERS.iter().chain(FILES)
}

/// What a function writes to a file.
fn made(write: fn(&Path)) -> Vec<u8> {
    let path = std::env::temp_dir().join(format!("cloister-fuzz-seed-{}", std::process::id()));
    write(&path);
    let bytes = fs::read(&path).expect("it was just written");
    fs::remove_file(path).expect("it was just written");
    bytes
}

/// The smallest model's file.
fn smallest_checkpoint(path: &Path) {
    let classes = vec!["a".to_owned(), "b".to_owned()];
    let config = ModelConfig { moe_layers: 1, experts: 3, rank: 1, ..ModelConfig::new(classes) };
    write_checkpoint(path, &config, &initial_blocks(&config)).expect("a temporary file can be written");
}

/// A ledger with one charge.
fn one_charge(path: &Path) {
    let opening = Opening { holder: "hospital 1".into(), unit: PrivacyUnit::Member, group_by: None };
    let release = Release {
        released: Released::SharedSum,
        count: 1,
        coordinates: 10,
        sensitivity: 4.0,
        noise_per_member: 16,
        honest_noises: 3,
        mechanism: Mechanism::Concentrated { rho: 0.05 },
    };
    let (epoch, model) = (Digest([1; 32]), Digest([2; 32]));
    let charge = Charge { epoch, round: Round(1), model, releases: vec![release], at: None };
    let mut ledger = Ledger::open(path, opening).expect("a new ledger");
    ledger.charge(charge, None).expect("no budget is set").redeem();
}

/// The entries of a ledger without their digests.
fn entries(ledger: &[u8]) -> Vec<u8> {
    let lines = ledger.split_inclusive(|byte| *byte == b'\n');
    lines.flat_map(|line| line.iter().skip_while(|byte| **byte != b' ').skip(1)).copied().collect()
}

/// Shows every input in a tree of vectors, with its target.
fn collect(value: &Value, found: &mut impl FnMut(&str, &[u8])) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(fields) => {
            let input =
                |name: &str| fields.get(name).and_then(Value::as_str).and_then(|text| hex::decode(text).ok());
            let kind = fields.get("type").and_then(Value::as_str).map(target_of);
            let named =
                kind.iter().flat_map(|kind| ["encoded", "body"].map(|name| (kind.as_str(), input(name))));
            let others = ["frame", "letter"].map(|name| (name, input(name)));
            for (target, bytes) in named.chain(others) {
                if let Some(bytes) = bytes {
                    found(target, &bytes);
                    kept_input(target, &bytes).iter().for_each(|input| found("coordinator-input", input));
                    settings_of(target, &bytes).iter().for_each(|text| found("settings", text.as_bytes()));
                }
            }
            if let Some(text) = fields.get("text").or(fields.get("consortium")).and_then(Value::as_str) {
                found("consortium", text.as_bytes());
            }
            fields.values().for_each(|field| collect(field, found));
        }
        _ => {}
    }
}

/// A frame as a coordinator keeps it.
fn kept_input(target: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    let frame = (target == "frame").then(|| Frame::decode(bytes).ok())??;
    Some(Input::Frame(PartyId(1), frame).encode(Time(7)))
}

/// The settings of a plan, as a file.
fn settings_of(target: &str, bytes: &[u8]) -> Option<String> {
    let plan: RoundPlan = (target == "round-plan").then(|| codec::decode(bytes).ok())??;
    plan.settings.to_toml().ok()
}

/// Writes a seed that its target takes without a fault.
fn keep(folder: &Path, target: &str, bytes: &[u8]) {
    let found = targets().find(|known| known.name == target).expect("each seed has its target");
    memory::bounded(found, bytes);
    let folder = folder.join(target);
    fs::create_dir_all(&folder).expect("a folder can be made");
    let name = hash::digest(Domain::Body, &[bytes]).to_string();
    fs::write(folder.join(&name[..16]), bytes).expect("a file can be written");
}
