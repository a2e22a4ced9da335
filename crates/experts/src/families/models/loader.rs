//! Reads the parts of a model from a checkpoint, in the precision and onto the device with which it will
//! compute.

use std::path::Path;

use tch::{Device, Kind, Tensor};

use crate::device::Precision;
use crate::error::ExpertsError;
use crate::families::layers::projection::{GatedNetwork, Norm, Projection};
use crate::families::weights::Checkpoint;

/// A checkpoint with a precision and a device.
pub(crate) struct Loader {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) precision: Precision,
    pub(crate) device: Device,
}

impl Loader {
    pub(crate) fn open(folder: &Path, precision: Precision, device: Device) -> Result<Self, ExpertsError> {
        Ok(Self { checkpoint: Checkpoint::open(folder)?, precision, device })
    }

    /// A tensor of this shape.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, ExpertsError> {
        Ok(self.placed(&self.checkpoint.take(name, shape)?))
    }

    /// A tensor of this shape in 32-bit floats, whatever the rest computes in: for values whose rounding
    /// would change which experts are chosen.
    pub(crate) fn exact(&self, name: &str, shape: &[usize]) -> Result<Tensor, ExpertsError> {
        Ok(self.checkpoint.take(name, shape)?.to_device(self.device).to_kind(Kind::Float))
    }

    fn placed(&self, tensor: &Tensor) -> Tensor {
        tensor.to_device(self.device).to_kind(self.precision.kind())
    }

    /// The embedding `name` and the head, which is the embedding again if they are tied; both `[vocabulary,
    /// hidden]`.
    pub(crate) fn embedding_and_head(
        &self,
        name: &str,
        shape: [usize; 2],
        tied: bool,
    ) -> Result<(Tensor, Tensor), ExpertsError> {
        let embedding = self.tensor(name, &shape)?;
        let head = match tied {
            true => self.tied("lm_head.weight", name, &embedding)?,
            false => self.tensor("lm_head.weight", &shape)?,
        };
        Ok((embedding, head))
    }

    /// The embedding `name`, which was loaded before, in place of `twin`. If the checkpoint has `twin` too,
    /// both must have the same values, because some releases of transformers use the one and some the other.
    pub(crate) fn tied(&self, twin: &str, name: &str, embedding: &Tensor) -> Result<Tensor, ExpertsError> {
        let is_same = match self.checkpoint.has(twin) {
            // Taken even though it is not used, so that it is not reported as ignored.
            true => self.checkpoint.take_any(twin)?.equal(&self.checkpoint.take_any(name)?),
            false => true,
        };
        match is_same {
            true => Ok(embedding.shallow_clone()),
            false => Err(self.checkpoint.unsupported(format!(
                "tie_word_embeddings is true in its config.json, but {twin} has other values than {name}; \
                 set it to false, or remove {twin}"
            ))),
        }
    }

    /// The map `name`, weight `[outputs, inputs]`.
    pub(crate) fn projection(
        &self,
        name: &str,
        outputs: usize,
        inputs: usize,
        bias: bool,
    ) -> Result<Projection, ExpertsError> {
        let bias = bias.then(|| self.tensor(&format!("{name}.bias"), &[outputs])).transpose()?;
        Ok(Projection {
            weight: self.tensor(&format!("{name}.weight"), &[outputs, inputs])?,
            bias,
            lora: None,
        })
    }

    /// The normalisation `name` over this width.
    pub(crate) fn norm(&self, name: &str, width: usize, epsilon: f64) -> Result<Norm, ExpertsError> {
        Ok(Norm { weight: self.tensor(&format!("{name}.weight"), &[width])?, epsilon })
    }

    /// The gated network `name`.
    pub(crate) fn gated(
        &self,
        name: &str,
        hidden: usize,
        intermediate: usize,
    ) -> Result<GatedNetwork, ExpertsError> {
        let gate = self.tensor(&format!("{name}.gate_proj.weight"), &[intermediate, hidden])?;
        let up = self.tensor(&format!("{name}.up_proj.weight"), &[intermediate, hidden])?;
        Ok(GatedNetwork {
            // `gate` in `layers::projection` splits the product in this order.
            gate_up: Tensor::cat(&[gate, up], 0),
            down: self.tensor(&format!("{name}.down_proj.weight"), &[hidden, intermediate])?,
        })
    }

    /// One map of all experts, `[experts, parts · outputs, inputs]`: the tensor `fused` if the checkpoint has
    /// it, otherwise [`stacked`](Self::stacked).
    pub(crate) fn experts(
        &self,
        fused: &str,
        experts: usize,
        names: impl Fn(usize) -> Vec<String>,
        (outputs, inputs): (usize, usize),
    ) -> Result<Tensor, ExpertsError> {
        match self.checkpoint.has(fused) {
            true => self.tensor(fused, &[experts, names(0).len() * outputs, inputs]),
            false => self.stacked(experts, names, outputs, inputs),
        }
    }

    /// One map of all experts, `[experts, parts · outputs, inputs]`: for each expert the tensors
    /// `names(expert)`, one below another. It is filled part by part, so that memory never holds a second
    /// copy of all experts.
    pub(crate) fn stacked(
        &self,
        experts: usize,
        names: impl Fn(usize) -> Vec<String>,
        outputs: usize,
        inputs: usize,
    ) -> Result<Tensor, ExpertsError> {
        let parts = names(0).len();
        let shape = [experts, parts * outputs, inputs].map(|size| size as i64);
        let stacked = Tensor::empty(shape, (self.precision.kind(), self.device));
        for expert in 0..experts {
            for (part, name) in names(expert).iter().enumerate() {
                let stack_of_expert = stacked.get(expert as i64);
                let mut rows = stack_of_expert.narrow(0, (part * outputs) as i64, outputs as i64);
                rows.copy_(&self.checkpoint.take(name, &[outputs, inputs])?);
            }
        }
        Ok(stacked)
    }
}
