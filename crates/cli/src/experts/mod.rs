//! `cloister experts`: Mixture-of-Experts models, their blocks in a round, and adapters.

mod new_folder;
mod new_task;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use cloister_experts::families::{
    AdapterBlocks, AnyConfig, Overview, PublishedModel, Tokens, Workload, overview,
};
use cloister_experts::training::memory::available;
use cloister_experts::{Device, ExpertsError, Precision, device};
use serde_json::{Value, json};

use crate::byte_count::bytes;
use crate::demo::format::NONE;
use crate::failure::Failure;
use crate::output;
use crate::task::AdapterFlags;
use crate::whole_number::{counted, whole};
use new_folder::{Convert, Export, Upcycle};
use new_task::PublishedTask;

/// Tokens that `check` runs through a model.
const CHECKED_TOKENS: usize = 16;

/// Flags of `cloister experts`.
#[derive(Debug, Args)]
pub(crate) struct ExpertsArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the blocks that a round sums, and the adapter's tensors that each block consists of. No weights are loaded.
    Blocks(Blocks),
    /// Load a model, run it once, and print its architecture and an estimate of the memory that training takes.
    Check(Check),
    /// Convert a GGUF file of llama.cpp, or a folder with pickled weights (pytorch_model.bin), to a Hugging Face folder with
    /// safetensors.
    Convert(Convert),
    /// Turn a dense Llama-like model into a mixture of experts that computes the same before training.
    Upcycle(Upcycle),
    /// Write the files that a consortium agrees on to train an adapter of a published model: task, initial parameters, settings.
    /// `cloister task new --base-model` does the same, plans for a privacy budget, and writes a policy.
    Task(PublishedTask),
    /// Write an adapter in another layout, or merge it into the model's weights.
    Export(Export),
}

#[derive(Debug, Args)]
struct Blocks {
    /// The model's folder.
    model: PathBuf,
    #[command(flatten)]
    adapter: AdapterFlags,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Check {
    /// The model's folder.
    model: PathBuf,
    #[command(flatten)]
    adapter: AdapterFlags,
    /// The floating-point type that the model computes in.
    #[arg(long, value_enum, default_value = "float32")]
    precision: PrecisionFlag,
    /// Number of texts in a batch, for the estimate of memory.
    #[arg(long, default_value_t = 8)]
    batch_size: usize,
    /// Number of tokens of each text, for the estimate of memory.
    #[arg(long, default_value_t = 256)]
    length: usize,
    /// Estimate the memory for training with --recompute-layers, which stores only each layer's input.
    #[arg(long)]
    recompute_layers: bool,
    /// The device to compute on: cpu, cuda, cuda:N, or auto for the first GPU if there is one.
    #[arg(long, default_value = "auto", value_parser = device::named)]
    device: Device,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PrecisionFlag {
    Float32,
    Bfloat16,
}

impl From<PrecisionFlag> for Precision {
    fn from(flag: PrecisionFlag) -> Self {
        match flag {
            PrecisionFlag::Float32 => Self::Float32,
            PrecisionFlag::Bfloat16 => Self::Bfloat16,
        }
    }
}

pub(crate) fn run(arguments: ExpertsArguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Task(arguments) => new_task::write(&arguments),
        Command::Blocks(arguments) => print_blocks(&arguments),
        Command::Check(arguments) => check(&arguments),
        Command::Convert(arguments) => new_folder::convert(&arguments),
        Command::Upcycle(arguments) => new_folder::upcycle_dense(&arguments),
        Command::Export(arguments) => new_folder::export(&arguments),
    }
}

fn print_blocks(arguments: &Blocks) -> Result<(), Failure> {
    let config = AnyConfig::read(&arguments.model).map_err(Failure::experts)?;
    let table =
        AdapterBlocks::new(&config.sites(), &arguments.adapter.settings()).map_err(Failure::experts)?;
    match arguments.json {
        true => output::line(blocks_json(&config, &table)),
        false => output::print(blocks_text(&table)),
    }
}

fn blocks_json(config: &AnyConfig, table: &AdapterBlocks) -> Value {
    json!({"family": config.family().name(), "blocks": table.to_json()})
}

fn blocks_text(table: &AdapterBlocks) -> String {
    let mut text = format!("{:>5}  {:<22}{:>12}  tensors\n", "block", "holds", "numbers");
    for block in table.blocks() {
        let pieces: Vec<String> = block
            .pieces
            .iter()
            .map(|piece| match piece.expert {
                Some(expert) => format!("{}[{expert}]", piece.tensor),
                None => piece.tensor.clone(),
            })
            .collect();
        let pieces = if pieces.is_empty() { NONE.to_owned() } else { pieces.join(" ") };
        let shape = block.shape;
        let numbers = whole(shape.length as usize);
        text += &format!("{:>5}  {:<22}{numbers:>12}  {pieces}\n", shape.id.0, shape.kind.to_string());
    }
    text
}

fn check(arguments: &Check) -> Result<(), Failure> {
    let precision = arguments.precision.into();
    let workload = Workload {
        texts: arguments.batch_size,
        length: arguments.length,
        recompute_layers: arguments.recompute_layers,
        device: arguments.device,
    };
    let seen = overview(&arguments.model, &arguments.adapter.settings(), precision, workload)
        .map_err(Failure::experts)?;
    // Before anything is loaded: a model that does not fit would be killed without a message.
    seen.memory.check(arguments.device).map_err(Failure::experts)?;
    output::tell(format_args!("loading {} of weights", bytes(seen.memory.weights as u64)));
    let model =
        PublishedModel::open(&arguments.model, precision, arguments.device).map_err(Failure::experts)?;
    let checked = checked_tokens(&AnyConfig::read(&arguments.model).map_err(Failure::experts)?);
    let count = checked.len();
    let finite = model.runs(&Tokens::new(&[checked], arguments.device));
    let ignored = model.ignored();
    match arguments.json {
        true => output::line(json!({"overview": seen, "ignored": ignored, "forward_is_finite": finite}))?,
        false => output::print(check_text(&seen, arguments, ignored, count))?,
    }
    match finite {
        true => Ok(()),
        false => Err(Failure::experts(ExpertsError::Content {
            path: arguments.model.clone(),
            reason: "its logits are not finite numbers".to_owned(),
        })),
    }
}

/// The first tokens of a model, at most as many as it reads at once.
fn checked_tokens(config: &AnyConfig) -> Vec<i64> {
    let most = config.positions().map_or(CHECKED_TOKENS, |positions| CHECKED_TOKENS.min(positions));
    (0..most).map(|place| (place % config.vocabulary()) as i64).collect()
}

fn check_text(seen: &Overview, arguments: &Check, ignored: &[String], checked: usize) -> String {
    let experts = match seen.experts {
        0 => "none; `cloister experts upcycle` makes some".to_owned(),
        experts => format!("{experts} a layer, {} a token", seen.experts_per_token),
    };
    let memory = seen.memory;
    let ignored = match ignored {
        [] => NONE.to_owned(),
        [first, ..] => format!("{}, the first {first}", counted(ignored.len(), "tensor")),
    };
    let rows = [
        ("family", seen.family.to_owned()),
        ("layers", format!("{}, of which {} with experts", seen.layers, seen.sparse_layers)),
        ("experts", experts),
        ("parameters", whole(seen.parameters)),
        (
            "adapter",
            format!(
                "{} {} in {}",
                counted(seen.trained, "number"),
                arguments.adapter.how(),
                counted(seen.blocks, "block")
            ),
        ),
        (
            "memory, about",
            format!(
                "{}: weights {}, adapter with optimizer {}, {} of {} each {}, their logits {}",
                bytes(memory.total() as u64),
                bytes(memory.weights as u64),
                bytes((memory.adapter + memory.gradients + memory.optimizer) as u64),
                counted(arguments.batch_size, "text"),
                counted(arguments.length, "token"),
                bytes(memory.activations as u64),
                bytes(memory.logits as u64)
            ),
        ),
        ("memory, free", available(arguments.device).map_or(NONE.to_owned(), |free| bytes(free as u64))),
        ("not used", ignored),
        ("forward pass", counted(checked, "token")),
    ];
    rows.iter().map(|(name, value)| format!("{name:<15}{value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn fixture(family: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../experts/tests/fixtures").join(family)
    }

    fn flags() -> AdapterFlags {
        let (modules, classes) = (vec![], vec![]);
        AdapterFlags { rank: Some(2), alpha: 16.0, experts: None, modules, router: true, classes }
    }

    #[test]
    fn no_more_tokens_are_checked_than_a_model_has_and_reads() {
        let folder = std::env::temp_dir().join(format!("cloister-checked-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
        let text = std::fs::read_to_string(fixture("mixtral").join("config.json")).expect("a file");
        let small = text
            .replace(r#""vocab_size": 48"#, r#""vocab_size": 3"#)
            .replace(r#""max_position_embeddings": 64"#, r#""max_position_embeddings": 5"#);
        std::fs::write(folder.join("config.json"), small).expect("the folder can be written");
        let tokens = |folder: &Path| checked_tokens(&AnyConfig::read(folder).expect("sound settings"));
        assert_eq!(tokens(&folder), [0, 1, 2, 0, 1]);
        assert_eq!(tokens(&fixture("mixtral")).len(), CHECKED_TOKENS);
        std::fs::remove_dir_all(folder).expect("it was made above");
    }

    #[test]
    fn every_fixture_passes_its_check() {
        for family in ["olmoe", "mixtral", "qwen2_moe", "qwen3_moe", "deepseek_v2", "deepseek_v3"]
            .into_iter()
            .chain(["switch_transformers", "llama"])
        {
            let arguments = Check {
                model: fixture(family),
                adapter: flags(),
                precision: PrecisionFlag::Float32,
                batch_size: 1,
                length: 64,
                recompute_layers: false,
                device: Device::Cpu,
                json: true,
            };
            check(&arguments).unwrap_or_else(|error| panic!("{family}: {error}"));
        }
    }

    #[test]
    fn the_table_names_the_parts_of_each_block() {
        let config = AnyConfig::read(&fixture("mixtral")).expect("the fixture is whole");
        let table = AdapterBlocks::new(&config.sites(), &flags().settings()).expect("sound settings");
        let text = blocks_text(&table);
        assert_eq!(text.lines().count(), 1 + 2 * (4 + 2));
        let row =
            "    5  layer 1 expert 1                80  model.layers.1.mlp.experts.gate_up_proj.lora_B[1] ";
        assert!(text.contains(row), "{text}");
        assert!(
            text.contains("layer 0 router                  65  model.layers.0.mlp.gate.weight\n"),
            "{text}"
        );
        let json = blocks_json(&config, &table);
        assert_eq!(json["blocks"][5]["pieces"][0]["expert"], 1);
        assert_eq!(json["blocks"][5]["length"], 80);
    }

    #[test]
    fn a_check_says_what_a_person_needs() {
        let seen = overview(
            &fixture("olmoe"),
            &flags().settings(),
            Precision::Float32,
            Workload { texts: 1, length: 64, recompute_layers: false, device: Device::Cpu },
        );
        let arguments = Check {
            model: fixture("olmoe"),
            adapter: flags(),
            precision: PrecisionFlag::Float32,
            batch_size: 1,
            length: 64,
            recompute_layers: false,
            device: Device::Cpu,
            json: false,
        };
        let text = check_text(&seen.expect("the fixture is whole"), &arguments, &["a".to_owned()], 16);
        for line in ["family         olmoe", "experts        6 a layer, 2 a token", "1 tensor, the first a"] {
            assert!(text.contains(line), "{text}");
        }
    }
}
