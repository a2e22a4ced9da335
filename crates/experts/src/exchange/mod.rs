//! What a hospital's own training program gets and gives back (`protocols/trainer.md`). It gets the model as a
//! safetensors file, and gives back an update with the sums that scoring needs. All of that is checked before it is
//! used.

mod classifier;
mod result;
mod tensors;

use std::path::Path;

use cloister_params::block::BlockKind;
use cloister_updates::BlockVectors;
use serde_json::{Value, json};

use crate::classifier::config::{HIDDEN, ModelConfig, TOP_K};
use crate::error::ExpertsError;
use crate::families::{Adapter, AdapterBlocks, AnyConfig};
use crate::task::AdapterTask;

pub use result::{ExchangeError, ProgramResult, RESULT, STATISTICS, UPDATE};
pub use tensors::NamedTensor;

/// The version of the contract between the client and the program. A program writes it into its result.
pub const CONTRACT: u32 = 1;
/// The file of the model in a job's folder, which the client writes.
pub const GLOBAL: &str = "global.safetensors";

/// The shape of what is exchanged for one model.
#[derive(Clone, Debug)]
pub struct Exchange {
    blocks: AdapterBlocks,
    /// Tensors that a program needs and does not train, such as the frozen halves of adapters.
    frozen: Vec<NamedTensor>,
    /// Width of the hidden states that routers read.
    width: usize,
    /// Experts that a router chooses for each token.
    experts_per_token: usize,
}

impl Exchange {
    /// The exchange for MiniLM with experts.
    pub fn for_classifier(config: &ModelConfig) -> Self {
        Self {
            blocks: classifier::blocks(config),
            frozen: classifier::frozen_tensors(config),
            width: HIDDEN,
            experts_per_token: TOP_K,
        }
    }

    /// The exchange for an adapter of the published model in a folder, of which `config.json` and what is
    /// trained whole are read (`TRAIN-05`).
    ///
    /// # Errors
    /// As [`AdapterTask::blocks`] and [`Adapter::from_folder`].
    pub fn for_adapter(task: &AdapterTask, base: &Path) -> Result<Self, ExpertsError> {
        let config = AnyConfig::read(base)?;
        let adapter = Adapter::from_folder(base, &task.adapter, task.seed)?;
        Ok(Self {
            blocks: task.blocks(base)?,
            frozen: tensors::first_halves(&adapter),
            width: config.widths().0,
            // A dense model has no routers, so no token is sent to an expert.
            experts_per_token: config.moe().map_or(0, |moe| moe.chosen),
        })
    }

    /// The table that says which tensors each block is made of, and the sizes that statistics have.
    pub fn table(&self) -> Value {
        let (layers, experts) = self.layers();
        json!({
            "contract": CONTRACT,
            "layers": layers,
            "experts": experts,
            "experts_per_token": self.experts_per_token,
            "hidden_width": self.width,
            "blocks": self.blocks.to_json(),
        })
    }

    /// Writes a model: the tensors that are trained, those that a program needs besides, and for each sparse layer
    /// the published routing distribution, `routing.L`, all 0 where there is none yet.
    ///
    /// # Errors
    /// [`ExpertsError::Blocks`] when the values are another model's, or
    /// [`ExpertsError::File`].
    pub fn write_global(&self, path: &Path, values: &[Vec<f32>]) -> Result<(), ExpertsError> {
        let blocks = BlockVectors::new(self.blocks.table(), values.to_vec())?;
        let mut tensors = tensors::named_tensors(&self.blocks, &blocks);
        tensors.extend(self.frozen.iter().cloned());
        for (shape, values) in blocks.iter() {
            if let BlockKind::Routing { layer } = shape.kind {
                let name = format!("routing.{layer}");
                tensors.push(NamedTensor { name, shape: vec![values.len()], values: values.to_vec() });
            }
        }
        tensors::write(path, &tensors)
    }

    /// The number of sparse layers, and of experts in each, which is the same for all.
    fn layers(&self) -> (usize, usize) {
        let table = self.blocks.table();
        let routing = table.iter().filter(|shape| matches!(shape.kind, BlockKind::Routing { .. }));
        let lengths: Vec<usize> = routing.map(|shape| shape.length as usize).collect();
        (lengths.len(), lengths.first().copied().unwrap_or(0))
    }
}
