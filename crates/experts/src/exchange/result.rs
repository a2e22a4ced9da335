//! What a program wrote, checked before anything of it is used.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cloister_params::block::BlockKind;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::{CONTRACT, Exchange, tensors};
use crate::blocks::BlockVectors;
use crate::training::result::{ExpertRegion, LocalResult};

/// The trained parameters or their update, in a job's folder.
pub const UPDATE: &str = "update.safetensors";
/// The sums that scoring needs.
pub const STATISTICS: &str = "statistics.safetensors";
/// Numbers of notes and losses.
pub const RESULT: &str = "result.json";

/// Bytes of a file beyond its tensors.
const MOST_HEADER: u64 = 8 << 20;
/// How far sums of 32-bit floats may be from what they must be, relative to the tokens.
const SLACK: f64 = 1e-3;

/// What the program wrote is not what the contract asks for.
#[derive(Debug, Error)]
pub enum ExchangeError {
    /// A file is missing or cannot be read.
    #[error("the training program left no usable {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not what it must be.
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
    /// As if this program's own trainer had made it.
    pub local: LocalResult,
    /// Numbers for the hospital's own eyes, by name.
    pub metrics: BTreeMap<String, f64>,
}

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

/// What the update's tensors are.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    /// Trained minus given parameters.
    Difference,
    /// Trained parameters.
    Parameters,
}

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
        for block in self.blocks.blocks() {
            if let BlockKind::Routing { layer } = block.shape.kind {
                values[block.shape.id.0 as usize] = layers[usize::from(layer)].distribution.clone();
            }
        }
        let updates = BlockVectors::of_table(self.blocks.table(), values)
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

    /// Reads what a program wrote after it evaluated `total` notes at most: the right answers, and all.
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

    fn read_statistics(&self, folder: &Path, tokens: u64) -> Result<Vec<Layer>, ExchangeError> {
        let (layers, experts) = self.layers();
        let shapes: BTreeMap<String, Vec<usize>> =
            (0..layers).flat_map(|layer| statistics_shapes(layer, experts, self.width)).collect();
        let bytes = read(folder, STATISTICS, numbers(shapes.values()))?;
        let sums = tensors::parse(&bytes, &shapes).map_err(content(STATISTICS))?;
        (0..layers)
            .map(|layer| Layer::of_sums(layer, &sums, tokens, self.experts_per_token))
            .collect::<Result<_, _>>()
            .map_err(content(STATISTICS))
    }
}

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
struct Layer {
    regions: Vec<ExpertRegion>,
    margins: Vec<f32>,
    distribution: Vec<f32>,
}

impl Layer {
    /// Means of sums over `tokens` tokens, each of which went to `chosen` experts.
    fn of_sums(
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
        let mean = |sum: f32, count: f32| if count > 0.0 { sum / count } else { 0.0 };
        let region = |(expert, &count): (usize, &f32)| ExpertRegion {
            layer: layer as u16,
            expert: expert as u16,
            mean_hidden: hidden[expert * width..][..width].iter().map(|&sum| mean(sum, count)).collect(),
            tokens: count as u64,
        };
        let total: f32 = probabilities.iter().sum();
        Ok(Self {
            regions: counts.iter().enumerate().map(region).collect(),
            margins: margins.iter().zip(counts).map(|(&sum, &count)| mean(sum, count)).collect(),
            distribution: probabilities.iter().map(|sum| sum / total).collect(),
        })
    }
}

fn check_counts(layer: usize, counts: &[f32], tokens: u64, chosen: usize) -> Result<(), String> {
    if let Some(count) = counts.iter().find(|count| **count < 0.0 || count.fract() != 0.0) {
        return Err(format!("layers.{layer}.token_counts has {count}; counts are integers of at least 0"));
    }
    let (sum, expected) = (total(counts), tokens as f64 * chosen as f64);
    if (sum - expected).abs() > SLACK * expected {
        return Err(format!(
            "layers.{layer}.token_counts makes {sum} together; {tokens} tokens went to {chosen} experts each"
        ));
    }
    Ok(())
}

fn check_margins(layer: usize, margins: &[f32], counts: &[f32]) -> Result<(), String> {
    let beyond = |(margin, count): &(&f32, &f32)| margin.abs() > **count * (1.0 + SLACK as f32);
    match margins.iter().zip(counts).find(beyond) {
        Some((margin, count)) => Err(format!(
            "layers.{layer}.margin_sums has {margin} over {count} tokens; a margin lies between -1 and 1"
        )),
        None => Ok(()),
    }
}

fn check_probabilities(layer: usize, probabilities: &[f32], tokens: u64) -> Result<(), String> {
    let sum = total(probabilities);
    if probabilities.iter().any(|sum| *sum < 0.0) || (sum - tokens as f64).abs() > SLACK * tokens as f64 {
        return Err(format!(
            "layers.{layer}.probability_sums makes {sum} together, all at least 0; over {tokens} tokens it must be \
             {tokens}"
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

/// A file of so many 32-bit floats.
fn read(folder: &Path, file: &'static str, numbers: u64) -> Result<Vec<u8>, ExchangeError> {
    let path = folder.join(file);
    let most = 4 * numbers + MOST_HEADER;
    let open = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
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
