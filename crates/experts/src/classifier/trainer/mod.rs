//! Local training at one member.

use cloister_updates::{BlockVectors, LocalResult, RecordScore};
use tch::{Kind, Tensor};

use cloister_params::block::BlockKind;

use crate::classifier::blocks::{block_table, block_vectors, initial_blocks};
use crate::classifier::config::{HIDDEN, ModelConfig};
use crate::classifier::encoder::Encoder;
use crate::classifier::features::Features;
use crate::classifier::model::{Output, Parameters, UpcycledModel};
use crate::device::integers;
use crate::error::ExpertsError;
use crate::training::descent::{Descent, Epochs, first_and_last};
use crate::training::optimizer::{Group, Plan};
use crate::training::progress::TrainingProgress;
use crate::training::regularizer::{Over, consistency, load_balance, published};
use crate::training::settings::{Frozen, LocalTraining};
use crate::training::statistics::{LayerStatistics, RegionForm};

mod evaluation;
mod learner;
mod pooling;
mod private;

pub use evaluation::{Evaluation, Score};
use learner::{ClassifierLearner, count, task_loss};

/// The head's learning rate, as a multiple of the experts'. The head starts from 0 on features that are
/// trained already.
pub const HEAD_RATE_RATIO: f64 = 3.0;
/// Decoupled weight decay of the head's weight. Nothing else decays, so an expert without tokens does not
/// move.
pub const HEAD_WEIGHT_DECAY: f64 = 0.01;
/// The most tokens of a batch that is only evaluated, which bounds memory. A batch is one note at least.
pub(crate) const EVALUATION_TOKENS: i64 = 1024;

/// A member's model and the notes that it learns from.
pub struct Trainer {
    config: ModelConfig,
    model: UpcycledModel,
    parameters: Parameters,
    /// For each layer, the published routing distribution, if any.
    published: Vec<Option<Tensor>>,
    features: Features,
}

impl Trainer {
    /// Starts from [`initial_blocks`]. Trainers share the encoder's weights and do not keep it: one encoder
    /// may make many, and may be dropped afterwards.
    pub fn new(encoder: &Encoder, features: Features) -> Self {
        let config = encoder.config().clone();
        let parameters = Parameters::from_blocks(&config, &initial_blocks(&config), encoder.device());
        let published = (0..config.moe_layers).map(|_| None).collect();
        Self { model: UpcycledModel::new(encoder), parameters, published, features, config }
    }

    /// Takes over the consortium's model; its routing blocks are the published routing distributions, 0 where
    /// there are none yet. The reserved coordinates of the routers are not read.
    ///
    /// # Errors
    /// [`ExpertsError::Blocks`] when the blocks are another
    /// configuration's.
    pub fn load(&mut self, blocks: &BlockVectors) -> Result<(), ExpertsError> {
        blocks.check_table(&block_table(&self.config))?;
        let device = self.model.device();
        self.parameters = Parameters::from_blocks(&self.config, blocks, device);
        let routing = blocks.iter().filter(|(shape, _)| matches!(shape.kind, BlockKind::Routing { .. }));
        self.published =
            routing.map(|(_, values)| published(values).map(|tensor| tensor.to_device(device))).collect();
        Ok(())
    }

    /// The notes that it learns from.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// The present parameters; routing blocks and reserved coordinates are 0.
    ///
    /// # Errors
    /// [`ExpertsError::Blocks`] when training has ruined them.
    pub fn blocks(&self) -> Result<BlockVectors, ExpertsError> {
        block_vectors(&self.config, self.parameters.to_values(&self.config))
    }

    /// Trains from the present parameters, with a fresh optimizer. Equal settings give equal bits on one
    /// thread of the CPU.
    ///
    /// # Errors
    /// [`ExpertsError::Settings`], [`ExpertsError::Diverged`] or [`ExpertsError::Blocks`].
    pub fn train(
        &mut self,
        settings: &LocalTraining,
        progress: &mut dyn FnMut(TrainingProgress),
    ) -> Result<LocalResult, ExpertsError> {
        settings.check()?;
        let before = self.parameters.to_values(&self.config);
        let (losses, statistics) = self.descend(settings, progress)?;
        self.result(before, &losses, &statistics)
    }

    /// The result of a training that started from `before`, had these losses in its steps, and routed like
    /// this.
    fn result(
        &self,
        before: Vec<Vec<f32>>,
        losses: &[f64],
        statistics: &[LayerStatistics],
    ) -> Result<LocalResult, ExpertsError> {
        let (loss_first, loss_last) = first_and_last(losses);
        Ok(LocalResult {
            updates: self.updates(before, statistics)?,
            regions: (0..).zip(statistics).flat_map(|(layer, sums)| sums.regions(layer)).collect(),
            margins: statistics.iter().map(LayerStatistics::margins).collect(),
            loss_first,
            loss_last,
            truncated: self.features.truncated(),
            notes: self.features.notes(),
            by_record: None,
        })
    }

    /// How many notes it trains on.
    pub fn notes(&self) -> usize {
        self.features.notes()
    }

    /// Classifies notes with the present parameters.
    pub fn evaluate(&self, notes: &Features) -> Evaluation {
        let mut per_class = vec![Score::default(); self.config.classes.len()];
        let mut right = Vec::with_capacity(notes.notes());
        for batch in notes.batches(EVALUATION_TOKENS) {
            let output = tch::no_grad(|| self.model.forward(&batch, &self.parameters));
            let correct = output.logits.argmax(-1, false).eq_tensor(&batch.labels);
            for (label, correct) in integers(&batch.labels).into_iter().zip(integers(&correct)) {
                per_class[label as usize].total += 1;
                per_class[label as usize].correct += correct as usize;
                right.push(correct as usize);
            }
        }
        let overall = per_class.iter().fold(Score::default(), |sum, class| Score {
            correct: sum.correct + class.correct,
            total: sum.total + class.total,
        });
        let rows = (0..).zip(notes.by_record());
        let rows = rows.flat_map(|(record, notes)| notes.into_iter().map(move |note| (record, note)));
        let by_record = RecordScore::new(rows.map(|(record, note)| (record, right[note], 1)));
        Evaluation { overall, per_class, by_record }
    }

    /// Runs the steps of a training; returns the task's loss in each, and how the last epoch's steps routed.
    fn descend(
        &self,
        settings: &LocalTraining,
        progress: &mut dyn FnMut(TrainingProgress),
    ) -> Result<(Vec<f64>, Vec<LayerStatistics>), ExpertsError> {
        let mut learner = ClassifierLearner::new(self, settings);
        let notes = self.features.notes();
        let mut epochs =
            Epochs::new(&mut learner, notes, settings.epochs, settings.batch_size, settings.seed);
        let losses = self.descent(settings, Plan::default()).run(&mut epochs, progress)?;
        Ok((losses, learner.statistics))
    }

    /// How the parameters follow their gradients.
    fn descent(&self, settings: &LocalTraining, plan: Plan) -> Descent {
        Descent { groups: self.groups(settings), plan, proximal: settings.proximal }
    }

    /// What is trained, with its name.
    fn trained(&self, frozen: Frozen) -> Vec<(String, Tensor)> {
        let named = self.parameters.named().into_iter();
        named
            .filter(|(name, _)| !is_frozen(name, frozen))
            .map(|(name, tensor)| (name, tensor.shallow_clone()))
            .collect()
    }

    /// What is trained, with its learning rate.
    fn groups(&self, settings: &LocalTraining) -> Vec<Group> {
        let mut groups = Vec::new();
        for (name, parameter) in self.trained(settings.frozen) {
            let (ratio, weight_decay) = match name.as_str() {
                "head.weight" => (HEAD_RATE_RATIO, HEAD_WEIGHT_DECAY),
                "head.bias" => (HEAD_RATE_RATIO, 0.0),
                _ => (1.0, 0.0),
            };
            groups.push(Group { parameter, learning_rate: settings.learning_rate * ratio, weight_decay });
        }
        groups
    }

    /// The terms that regularise the routers of all MoE layers, added up, a scalar.
    fn routing_loss(&self, output: &Output, settings: &LocalTraining, over: Over<'_>) -> Tensor {
        let mut sum = Tensor::zeros([], (Kind::Float, self.model.device()));
        for (routing, published) in output.routings.iter().zip(&self.published) {
            sum += load_balance(routing, over) * settings.load_balance;
            if let Some(published) = published {
                let penalty = consistency(routing, published, settings.routing_form, over);
                sum += penalty * settings.routing_penalty;
            }
        }
        sum
    }

    /// Statistics of all layers before any token.
    fn no_statistics(&self, form: RegionForm) -> Vec<LayerStatistics> {
        (0..self.config.moe_layers).map(|_| self.no_layer_statistics(form)).collect()
    }

    fn no_layer_statistics(&self, form: RegionForm) -> LayerStatistics {
        let empty = LayerStatistics::new(self.config.experts, HIDDEN, self.model.device());
        match form {
            RegionForm::Mean => empty,
            RegionForm::WithinClasses => empty.within(self.config.classes.len()),
        }
    }

    /// The present parameters less those `before`; a routing block is not a difference but the distribution
    /// itself.
    fn updates(
        &self,
        before: Vec<Vec<f32>>,
        statistics: &[LayerStatistics],
    ) -> Result<BlockVectors, ExpertsError> {
        let mut updates = self.parameters.to_values(&self.config);
        for (update, before) in updates.iter_mut().zip(&before) {
            update.iter_mut().zip(before).for_each(|(after, before)| *after -= before);
        }
        // Routing blocks come last in the block table, one for each layer.
        let first_routing = updates.len() - statistics.len();
        for (update, layer) in updates[first_routing..].iter_mut().zip(statistics) {
            *update = layer.distribution();
        }
        block_vectors(&self.config, updates)
    }
}

/// Whether a tensor of this name stays as it was loaded.
fn is_frozen(name: &str, frozen: Frozen) -> bool {
    (frozen.routers && name.ends_with(".router")) || (frozen.head && name.starts_with("head."))
}
