//! Writes the inputs that fuzzing starts from, out of the test vectors, a folder for each target; prints the targets,
//! each with the program that fuzzes it.

mod decoders;
mod files;
mod names;
mod target;

use std::fs;
use std::path::Path;

use cloister_crypto::hash::{Domain, digest};
use cloister_experts::checkpoint::write_checkpoint;
use cloister_experts::{ModelConfig, initial_blocks};
use cloister_params::plan::RoundPlan;
use cloister_wire::codec;
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
const SAMPLES: [(&str, &str); 3] = [
    ("policy", include_str!("../../../deploy/config/policy.toml")),
    (
        "notes",
        "{\"text\":\"chest pain\",\"label\":\"cardiology\"}\n{\"text\":\"\",\"label_name\":\"x\",\"label\":3}\n",
    ),
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
    keep(Path::new(&folder), "checkpoint", &smallest_checkpoint());
    for (program, targets) in [("fuzz-decoders", DECODERS), ("fuzz-files", FILES)] {
        targets.iter().for_each(|target| println!("{program} {}", target.name));
    }
}

fn targets() -> impl Iterator<Item = &'static Target> {
    DECODERS.iter().chain(FILES)
}

/// The smallest model's file.
fn smallest_checkpoint() -> Vec<u8> {
    let classes = vec!["a".to_owned(), "b".to_owned()];
    let config = ModelConfig { moe_layers: 1, experts: 3, rank: 1, ..ModelConfig::new(classes) };
    let path = std::env::temp_dir().join(format!("cloister-fuzz-seed-{}", std::process::id()));
    write_checkpoint(&path, &config, &initial_blocks(&config)).expect("a temporary file can be written");
    let bytes = fs::read(&path).expect("it was just written");
    fs::remove_file(path).expect("it was just written");
    bytes
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

/// The settings of a plan, as a file.
fn settings_of(target: &str, bytes: &[u8]) -> Option<String> {
    let plan: RoundPlan = (target == "round-plan").then(|| codec::decode(bytes).ok())??;
    plan.settings.to_toml().ok()
}

/// Writes a seed that its target takes without a fault.
fn keep(folder: &Path, target: &str, bytes: &[u8]) {
    let found = targets().find(|known| known.name == target).expect("each seed has its target");
    (found.run)(bytes);
    let folder = folder.join(target);
    fs::create_dir_all(&folder).expect("a folder can be made");
    let name = digest(Domain::Body, &[bytes]).to_string();
    fs::write(folder.join(&name[..16]), bytes).expect("a file can be written");
}
