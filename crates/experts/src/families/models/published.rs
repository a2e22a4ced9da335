//! A model of any family, loaded.

use std::path::Path;

use tch::{Device, Kind, Tensor};

use crate::device::Precision;
use crate::error::ExpertsError;
use crate::families::config::limits::Limits;
use crate::families::config::read::{read_decoder, read_family};
use crate::families::config::switch::SwitchConfig;
use crate::families::config::{Family, MoeConfig};
use crate::families::layers::router::Routing;
use crate::families::layers::tokens::Tokens;
use crate::families::models::batch::ExampleBatch;
use crate::families::models::decoder::Decoder;
use crate::families::models::sites::{Site, SiteShape};
use crate::families::models::switch::Switch;

/// A model with frozen weights, to which an adapter can be attached.
pub enum PublishedModel {
    /// A decoder-only language model.
    Decoder(Box<Decoder>),
    /// A Switch Transformer.
    Switch(Box<Switch>),
}

impl PublishedModel {
    /// Reads `config.json` and the weights of a folder.
    ///
    /// # Errors
    /// [`ExpertsError::File`]; [`ExpertsError::Content`] naming the tensor that is missing or has another
    /// shape; [`ExpertsError::Unsupported`] naming the architecture, the setting or the kind of weights that
    /// is not computed.
    pub fn open(folder: &Path, precision: Precision, device: Device) -> Result<Self, ExpertsError> {
        let (family, fields) = read_family(&folder.join("config.json"))?;
        Ok(match family {
            Family::SwitchTransformers => {
                let config = SwitchConfig::read(&fields)?;
                Self::Switch(Box::new(Switch::read(folder, config, precision, device)?))
            }
            _ => {
                let config = read_decoder(family, &fields)?;
                Self::Decoder(Box::new(Decoder::read(folder, config, precision, device)?))
            }
        })
    }

    /// The family.
    pub fn family(&self) -> Family {
        match self {
            Self::Decoder(model) => model.config().family,
            Self::Switch(_) => Family::SwitchTransformers,
        }
    }

    /// The experts of its sparse layers; `None` without sparse layers.
    pub fn moe(&self) -> Option<&MoeConfig> {
        match self {
            Self::Decoder(model) => model.config().moe.as_ref(),
            Self::Switch(model) => Some(&model.config().moe),
        }
    }

    /// The device on which it computes.
    pub fn device(&self) -> Device {
        match self {
            Self::Decoder(model) => model.device(),
            Self::Switch(model) => model.device(),
        }
    }

    /// Names of tensors in the checkpoint that the model does not use.
    pub fn ignored(&self) -> &[String] {
        match self {
            Self::Decoder(model) => model.ignored(),
            Self::Switch(model) => model.ignored(),
        }
    }

    /// Runs texts through the model, without gradients, and returns whether all logits are finite. A Switch
    /// Transformer gets the texts both as sources and as targets.
    pub fn runs(&self, tokens: &Tokens) -> bool {
        let logits = tch::no_grad(|| match self {
            Self::Decoder(model) => model.logits(&model.hidden(tokens).rows),
            Self::Switch(model) => model.forward(tokens, tokens).logits,
        });
        logits.isfinite().all().int64_value(&[]) == 1
    }

    /// The limits of its inputs, with a head over so many classes (0 without a head).
    pub(crate) fn limits(&self, classes: usize) -> Limits {
        match self {
            Self::Decoder(model) => model.config().limits(classes),
            Self::Switch(model) => model.config().limits(classes),
        }
    }

    /// The logits of the tokens that are learnt, `[learnt, vocabulary]`, or with a head over classes those of
    /// each text, `[texts, classes]`; and how the sparse layers routed.
    pub(crate) fn learn(&self, batch: &ExampleBatch) -> (Tensor, Vec<Routing>) {
        match (self, &batch.targets) {
            (Self::Switch(model), Some(targets)) => {
                let output = model.forward(&batch.texts, targets);
                (output.logits, output.routings)
            }
            (Self::Decoder(model), _) => {
                let hidden = model.hidden(&batch.texts);
                // The head has a row for each token of the vocabulary, so its logits would take most of the
                // memory. Only rows that predict something learnt reach it.
                let rows = batch.rows.as_ref().map(|rows| hidden.rows.index_select(0, rows));
                (model.predict(&rows.unwrap_or(hidden.rows)), hidden.routings)
            }
            (Self::Switch(_), None) => unreachable!("batches are made for the model that learns"),
        }
    }

    /// How the sparse layers route a batch, without gradients. A decoder's head is not computed, because
    /// routing does not depend on it.
    pub(crate) fn route(&self, batch: &ExampleBatch) -> Vec<Routing> {
        tch::no_grad(|| match self {
            Self::Decoder(model) => model.hidden(&batch.texts).routings,
            Self::Switch(_) => self.learn(batch).1,
        })
    }

    /// The modules that an adapter can train, in the order of [`sites`](Self::sites).
    pub(crate) fn sites_mut(&mut self) -> Vec<Site<'_>> {
        match self {
            Self::Decoder(model) => model.sites(),
            Self::Switch(model) => model.sites(),
        }
    }

    /// The modules that an adapter can train, layer by layer, and last a decoder's head over classes.
    pub fn sites(&mut self) -> Vec<SiteShape> {
        self.sites_mut().iter().map(Site::shape).collect()
    }

    /// A copy of a module's frozen weight, in 32-bit floats.
    pub(crate) fn weight(&mut self, name: &str) -> Tensor {
        let sites = self.sites_mut();
        let site =
            sites.iter().find(|site| site.name == name).expect("the name is one of the model's modules");
        // Copied: training moves the result in place, and the model's weight must stay.
        site.frozen_weight().expect("a head is the adapter's").to_kind(Kind::Float).copy()
    }

    /// Removes an attached adapter: the model computes with its frozen weights alone.
    pub fn detach(&mut self) {
        self.sites_mut().iter_mut().for_each(Site::detach);
    }
}
