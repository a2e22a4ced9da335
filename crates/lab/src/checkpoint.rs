//! Checkpoints between rounds: an interrupted run continues from one, and gives the same bits as one that was not
//! interrupted.

use std::fs;
use std::path::PathBuf;

use cloister_experts::BlockVectors;
use serde::{Deserialize, Serialize};

use crate::error::LabError;
use crate::results::MeasuredRound;
use crate::strategy::StrategyMemory;

/// The checkpoint file of one seed: a line of JSON that describes what follows, then 64-bit floats. JSON's
/// decimal numbers would not have to return the same bits.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoints {
    path: PathBuf,
    /// Digest of what decides the result: a file with another digest is ignored.
    run: String,
}

/// A seed after some of its rounds.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct SeedCheckpoint {
    /// What was measured, the state before training in front.
    pub(crate) rounds: Vec<MeasuredRound>,
    /// The common model, by block.
    pub(crate) model: Vec<Vec<f32>>,
    /// What the strategy remembers from one round to the next, and what rounds behind masks published for scores.
    pub(crate) memory: StrategyMemory,
}

#[derive(Serialize, Deserialize)]
struct Header {
    run: String,
    rounds: Vec<MeasuredRound>,
    /// Values of each block.
    model: Vec<usize>,
    /// Keys of the strategy's vectors, and values of each.
    memory: Vec<(usize, u32, usize)>,
}

impl Checkpoints {
    pub(crate) fn new(path: PathBuf, run: &str) -> Self {
        Self { path, run: run.to_owned() }
    }

    /// What an interrupted run of the same configuration left, if anything.
    pub(crate) fn read(&self) -> Option<SeedCheckpoint> {
        let bytes = fs::read(&self.path).ok()?;
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let header: Header = serde_json::from_slice(&bytes[..end]).ok()?;
        let (values, _) = bytes[end + 1..].as_chunks();
        let mut values = values.iter().map(|value| f64::from_le_bytes(*value));
        // A file of another configuration, or one that cannot be read, is no error: the run starts from the
        // beginning.
        if header.run == self.run { header.checkpoint(&mut values) } else { None }
    }

    /// Writes a checkpoint in place of the last one.
    pub(crate) fn write(
        &self,
        rounds: &[MeasuredRound],
        model: &BlockVectors,
        memory: StrategyMemory,
    ) -> Result<(), LabError> {
        let header = Header {
            run: self.run.clone(),
            rounds: rounds.to_vec(),
            model: model.values().iter().map(Vec::len).collect(),
            memory: memory.iter().map(|(&(one, other), values)| (one, other, values.len())).collect(),
        };
        let mut bytes = serde_json::to_vec(&header).expect("a header is plain data");
        bytes.push(b'\n');
        let parameters = model.values().iter().flatten().map(|value| f64::from(*value));
        let values = parameters.chain(memory.into_values().flatten());
        bytes.extend(values.flat_map(f64::to_le_bytes));
        // Renamed once it is complete, so that an interruption leaves the previous checkpoint.
        let unfinished = self.path.with_extension("part");
        fs::write(&unfinished, bytes).map_err(LabError::file(&unfinished))?;
        fs::rename(&unfinished, &self.path).map_err(LabError::file(&self.path))
    }

    /// Removes the checkpoint of a seed that is finished.
    pub(crate) fn remove(&self) -> Result<(), LabError> {
        match self.path.exists() {
            true => fs::remove_file(&self.path).map_err(LabError::file(&self.path)),
            false => Ok(()),
        }
    }
}

impl Header {
    /// The values in their order; `None` where there are fewer than the header says.
    fn checkpoint(self, values: &mut impl Iterator<Item = f64>) -> Option<SeedCheckpoint> {
        let mut model = Vec::with_capacity(self.model.len());
        for length in self.model {
            model.push(take(values, length)?.into_iter().map(|value| value as f32).collect());
        }
        let mut memory = StrategyMemory::new();
        for (one, other, length) in self.memory {
            memory.insert((one, other), take(values, length)?);
        }
        Some(SeedCheckpoint { rounds: self.rounds, model, memory })
    }
}

/// The next `count` values; `None` if there are fewer.
fn take(values: &mut impl Iterator<Item = f64>, count: usize) -> Option<Vec<f64>> {
    let taken: Vec<f64> = values.take(count).collect();
    (taken.len() == count).then_some(taken)
}
