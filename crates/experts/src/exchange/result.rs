//! What a training program wrote, checked before any of it is used. A bug in the program must end in a message to the
//! hospital, not in a contribution to the round.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cloister_params::block::BlockKind;
use cloister_updates::{BlockVectors, ExpertRegion, LocalResult};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::{CONTRACT, Exchange, tensors};

/// The trained parameters or their update, in a job's folder.
pub const UPDATE: &str = "update.safetensors";
/// The sums that scoring needs.
pub const STATISTICS: &str = "statistics.safetensors";
/// The counts of notes and tokens, and the losses.
pub const RESULT: &str = "result.json";

/// The most bytes of a file beyond its numbers: the header of safetensors, or all of the JSON.
const MOST_HEADER: u64 = 8 << 20;
/// How far a sum of 32-bit floats may be from the exact one, as a share of it. Programs add up many rounded values.
const SLACK: f64 = 1e-3;

/// Why a program's output cannot be used. The fault is the program's, so messages are for its author.
#[derive(Debug, Error)]
pub enum ExchangeError {
    /// A file is missing or cannot be read.
    #[error("the training program left no usable {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A file breaks the contract.
    #[error("the training program's {file}: {reason}")]
    Content {
        /// The file.
        file: &'static str,
        /// What was expected and what is there.
        reason: String,
    },
}

/// What training by a program yields.
#[derive(Debug)]
pub struct ProgramResult {
    /// The result, in the form of the built-in trainer's.
    pub local: LocalResult,
    /// Figures that the program reports to the hospital, by name. They do not leave its machine.
    pub metrics: BTreeMap<String, f64>,
}

/// [`RESULT`] after a training. Unknown fields are errors, because a misspelt optional one would count as
/// absent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrainResult {
    contract: u32,
    update: Form,
    notes: usize,
    #[serde(default)]
    truncated: usize,
    tokens: u64,
    loss_first: f64,
    loss_last: f64,
    #[serde(default)]
    metrics: BTreeMap<String, f64>,
}

/// What the tensors of the update are.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    /// Trained parameters minus the given ones.
    Difference,
    /// Trained parameters.
    Parameters,
}

/// [`RESULT`] after an evaluation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EvaluateResult {
    contract: u32,
    correct: usize,
    total: usize,
}

fn content(file: &'static str) -> impl Fn(String) -> ExchangeError {
    move |reason| ExchangeError::Content { file, reason }
}

impl Exchange {
    /// Reads and checks what a program wrote into its folder after it trained from the model `global` (`TRAIN-02`).
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read_training(&self, folder: &Path, global: &[Vec<f32>]) -> Result<ProgramResult, ExchangeError> {
        let result: TrainResult = read_json(folder)?;
        check_result(&result).map_err(content(RESULT))?;
        let shapes = tensors::shapes(&self.blocks);
        let bytes = read(folder, UPDATE, numbers(shapes.values()))?;
        let update = tensors::parse(&bytes, &shapes).map_err(content(UPDATE))?;
        let mut values = tensors::to_blocks(&self.blocks, &update);
        if result.update == Form::Parameters {
            subtract(&mut values, global, &self.blocks);
        }
        let layers = self.read_statistics(folder, result.tokens)?;
        for (block, values) in self.blocks.blocks().iter().zip(&mut values) {
            if let BlockKind::Routing { layer } = block.shape.kind {
                *values = layers[usize::from(layer)].distribution.clone();
            }
        }
        // Checks for finite values once more: a difference of two finite numbers may overflow.
        let updates = BlockVectors::new(self.blocks.table(), values)
            .map_err(|error| content(UPDATE)(error.to_string()))?;
        let local = LocalResult {
            updates,
            regions: layers.iter().flat_map(|layer| layer.regions.clone()).collect(),
            margins: layers.into_iter().map(|layer| layer.margins).collect(),
            loss_first: result.loss_first,
            loss_last: result.loss_last,
            truncated: result.truncated,
            notes: result.notes,
            by_record: None,
        };
        Ok(ProgramResult { local, metrics: result.metrics })
    }

    /// Reads what a program wrote after it evaluated the model: how many notes it classified correctly, and how many
    /// it evaluated.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read_evaluation(&self, folder: &Path) -> Result<(usize, usize), ExchangeError> {
        let result: EvaluateResult = read_json(folder)?;
        check_contract(result.contract).map_err(content(RESULT))?;
        if result.total == 0 || result.correct > result.total {
            let reason = format!("{} of {} notes cannot be right", result.correct, result.total);
            return Err(content(RESULT)(reason));
        }
        Ok((result.correct, result.total))
    }

    fn read_statistics(&self, folder: &Path, tokens: u64) -> Result<Vec<ScoredLayer>, ExchangeError> {
        let (layers, experts) = self.layers();
        let shapes: BTreeMap<String, Vec<usize>> =
            (0..layers).flat_map(|layer| statistics_shapes(layer, experts, self.width)).collect();
        let bytes = read(folder, STATISTICS, numbers(shapes.values()))?;
        let sums = tensors::parse(&bytes, &shapes).map_err(content(STATISTICS))?;
        (0..layers)
            .map(|layer| ScoredLayer::from_sums(layer, &sums, tokens, self.experts_per_token))
            .collect::<Result<_, _>>()
            .map_err(content(STATISTICS))
    }
}

/// The names and shapes of a sparse layer's sums.
fn statistics_shapes(layer: usize, experts: usize, width: usize) -> [(String, Vec<usize>); 4] {
    let name = |what| format!("layers.{layer}.{what}");
    [
        (name("token_counts"), vec![experts]),
        (name("hidden_sums"), vec![experts, width]),
        (name("margin_sums"), vec![experts]),
        (name("probability_sums"), vec![experts]),
    ]
}

/// What scoring needs of a sparse layer.
struct ScoredLayer {
    regions: Vec<ExpertRegion>,
    margins: Vec<f32>,
    distribution: Vec<f32>,
}

impl ScoredLayer {
    /// The means, from sums over `tokens` tokens, each of which went to `chosen` experts.
    fn from_sums(
        layer: usize,
        sums: &BTreeMap<String, Vec<f32>>,
        tokens: u64,
        chosen: usize,
    ) -> Result<Self, String> {
        let sum = |what: &str| sums[&format!("layers.{layer}.{what}")].as_slice();
        let (counts, hidden) = (sum("token_counts"), sum("hidden_sums"));
        let (margins, probabilities) = (sum("margin_sums"), sum("probability_sums"));
        check_counts(layer, counts, tokens, chosen)?;
        check_margins(layer, margins, counts)?;
        check_probabilities(layer, probabilities, tokens)?;
        let width = hidden.len() / counts.len().max(1);
        let mut regions = Vec::with_capacity(counts.len());
        for (expert, &count) in counts.iter().enumerate() {
            let sums = &hidden[expert * width..][..width];
            regions.push(ExpertRegion {
                layer: layer as u16,
                expert: expert as u16,
                mean_hidden: sums.iter().map(|&sum| mean(sum, count)).collect(),
                tokens: count as u64,
            });
        }
        // Divided by their own sum and not by `tokens`: rounded sums differ a little, and a distribution adds
        // up to 1.
        let total: f32 = probabilities.iter().sum();
        Ok(Self {
            regions,
            margins: margins.iter().zip(counts).map(|(&sum, &count)| mean(sum, count)).collect(),
            distribution: probabilities.iter().map(|sum| sum / total).collect(),
        })
    }
}

/// A mean over `count` tokens; 0 for an expert that got none.
fn mean(sum: f32, count: f32) -> f32 {
    if count > 0.0 { sum / count } else { 0.0 }
}

fn check_counts(layer: usize, counts: &[f32], tokens: u64, chosen: usize) -> Result<(), String> {
    if let Some(count) = counts.iter().find(|count| **count < 0.0 || count.fract() != 0.0) {
        return Err(format!("layers.{layer}.token_counts has {count}; counts are integers of at least 0"));
    }
    let (sum, expected) = (total(counts), tokens as f64 * chosen as f64);
    // Not exactly: 32-bit floats hold no odd counts above 2²⁴.
    if (sum - expected).abs() > SLACK * expected {
        return Err(format!(
            "layers.{layer}.token_counts adds up to {sum}; {tokens} tokens that go to {chosen} experts each make {expected}"
        ));
    }
    Ok(())
}

fn check_margins(layer: usize, margins: &[f32], counts: &[f32]) -> Result<(), String> {
    for (margin, count) in margins.iter().zip(counts) {
        // Negative margins are possible: a router that chooses within groups may pass over a likelier expert.
        if margin.abs() > count * (1.0 + SLACK as f32) {
            return Err(format!(
                "layers.{layer}.margin_sums has {margin} over {count} tokens; a margin lies between -1 and 1"
            ));
        }
    }
    Ok(())
}

fn check_probabilities(layer: usize, probabilities: &[f32], tokens: u64) -> Result<(), String> {
    let sum = total(probabilities);
    if probabilities.iter().any(|sum| *sum < 0.0) || (sum - tokens as f64).abs() > SLACK * tokens as f64 {
        return Err(format!(
            "layers.{layer}.probability_sums adds up to {sum}; over {tokens} tokens it must add up to {tokens}, and no sum \
             may be negative"
        ));
    }
    Ok(())
}

fn total(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value)).sum()
}

fn check_result(result: &TrainResult) -> Result<(), String> {
    check_contract(result.contract)?;
    match result.notes == 0 || result.tokens == 0 || result.truncated > result.notes {
        true => Err(format!(
            "{} notes, {} of them truncated, and {} tokens cannot be",
            result.notes, result.truncated, result.tokens
        )),
        false => Ok(()),
    }
}

fn check_contract(contract: u32) -> Result<(), String> {
    match contract {
        CONTRACT => Ok(()),
        other => Err(format!("it follows version {other} of the contract; this program knows {CONTRACT}")),
    }
}

/// Trained minus given parameters; reserved coordinates stay 0.
fn subtract(values: &mut [Vec<f32>], global: &[Vec<f32>], blocks: &crate::families::AdapterBlocks) {
    for ((values, global), block) in values.iter_mut().zip(global).zip(blocks.blocks()) {
        let trained = block.pieces.iter().map(|piece| piece.shape.iter().product::<usize>()).sum();
        values.iter_mut().zip(global).take(trained).for_each(|(after, before)| *after -= before);
    }
}

fn numbers<'a>(shapes: impl Iterator<Item = &'a Vec<usize>>) -> u64 {
    shapes.map(|shape| shape.iter().product::<usize>() as u64).sum()
}

/// The bytes of a file that may hold `numbers` 32-bit floats and a header, and no more.
fn read(folder: &Path, file: &'static str, numbers: u64) -> Result<Vec<u8>, ExchangeError> {
    let path = folder.join(file);
    let most = 4 * numbers + MOST_HEADER;
    let open = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // One byte more than allowed is enough to know that a file is too long, whatever the program wrote.
        File::open(&path)?.take(most + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = open().map_err(|source| ExchangeError::File { path: path.clone(), source })?;
    match bytes.len() as u64 > most {
        true => Err(content(file)(format!("it is longer than {most} bytes, for {numbers} numbers"))),
        false => Ok(bytes),
    }
}

fn read_json<T: DeserializeOwned>(folder: &Path) -> Result<T, ExchangeError> {
    let bytes = read(folder, RESULT, 0)?;
    serde_json::from_slice(&bytes).map_err(|error| content(RESULT)(error.to_string()))
}
