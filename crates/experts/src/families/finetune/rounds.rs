//! A family's model in federated rounds: blocks in, training, blocks and what scoring needs out.

use cloister_params::block::BlockKind;
use cloister_updates::{Averaging, BlockVectors, LocalResult};
use rand_core::CryptoRng;

use crate::error::ExpertsError;
use crate::families::finetune::{Example, FineTuned, FineTuner, FineTuning, RoutingSummary};
use crate::families::{Adapter, AdapterBlocks, AdapterSettings, PublishedModel};
use crate::training::descent::first_and_last;
use crate::training::private::{PrivateReport, PrivateTraining};
use crate::training::progress::TrainingProgress;

/// A model whose adapter is trained in rounds. It holds no examples, so the lab trains several members one
/// after another with one loaded model.
pub struct RoundTrainer {
    tuner: FineTuner,
    blocks: AdapterBlocks,
}

impl RoundTrainer {
    /// Attaches a fresh adapter, which changes nothing and has equal bits at every member.
    ///
    /// # Errors
    /// [`ExpertsError::Settings`] if the settings do not fit the model.
    pub fn new(
        mut model: PublishedModel,
        settings: &AdapterSettings,
        seed: u64,
    ) -> Result<Self, ExpertsError> {
        let blocks = AdapterBlocks::new(&model.sites(), settings)?;
        let adapter = Adapter::new(&mut model, settings, seed)?;
        Ok(Self { tuner: FineTuner::new(model, adapter)?, blocks })
    }

    /// The model with its adapter.
    pub fn tuner(&self) -> &FineTuner {
        &self.tuner
    }

    /// The adapter's current values. Routing blocks and reserved coordinates are 0.
    ///
    /// # Errors
    /// [`ExpertsError::Blocks`] if training has diverged to values that are not finite.
    pub fn vectors(&self) -> Result<BlockVectors, ExpertsError> {
        Ok(BlockVectors::new(self.blocks.table(), self.blocks.vectors(self.tuner.adapter())?)?)
    }

    /// Loads the consortium's adapter. Its routing blocks are the published routing distributions.
    ///
    /// # Errors
    /// [`ExpertsError::Blocks`] if the blocks belong to another model.
    pub fn load(&mut self, blocks: &BlockVectors) -> Result<(), ExpertsError> {
        self.blocks.load(blocks.values(), self.tuner.adapter())?;
        let routing = blocks.iter().filter(|(shape, _)| matches!(shape.kind, BlockKind::Routing { .. }));
        let published: Vec<Vec<f32>> = routing.map(|(_, values)| values.to_vec()).collect();
        self.tuner.publish(&published);
        Ok(())
    }

    /// Trains the adapter from what was loaded, except for the first halves of low-rank additions. Returns
    /// the update and how the last epoch's steps routed the examples.
    ///
    /// # Errors
    /// As [`FineTuner::train`], and [`ExpertsError::Settings`] if the settings train first halves, which no
    /// block holds.
    pub fn train(
        &mut self,
        examples: &[Example],
        settings: &FineTuning,
        progress: &mut dyn FnMut(TrainingProgress),
    ) -> Result<LocalResult, ExpertsError> {
        check(settings)?;
        let before = self.vectors()?;
        let (trained, routing) = self.tuner.train_with_routing(examples, settings, progress)?;
        self.result(&before, &trained, routing, examples)
    }

    /// As [`train`](Self::train), by DP-SGD. Of the result, only the `updates` of trained blocks and
    /// `by_record` may leave the hospital, with the noise on which the charge counts. Everything else leaks
    /// as much about the examples as it does without privacy.
    ///
    /// # Errors
    /// As [`FineTuner::train_privately`] and [`train`](Self::train).
    pub fn train_privately(
        &mut self,
        examples: &[Example],
        settings: &FineTuning,
        (private, averaging): (&PrivateTraining, &Averaging),
        random: &mut impl CryptoRng,
        progress: &mut dyn FnMut(TrainingProgress),
    ) -> Result<(LocalResult, PrivateReport), ExpertsError> {
        check(settings)?;
        let before = self.vectors()?;
        let (trained, report) = self.tuner.train_privately(examples, settings, private, random, progress)?;
        // A pass of its own: random batches do not contain every example exactly once, as an epoch does.
        let routing = self.tuner.routing(examples, settings.batch_size)?;
        let mut result = self.result(&before, &trained, routing, examples)?;
        // The bounded averages replace the plain statistics in what leaves the hospital.
        result.by_record = Some(self.tuner.record_averages(examples, averaging, settings.batch_size)?);
        Ok((result, report))
    }

    /// The result of a training that started from `before`.
    fn result(
        &self,
        before: &BlockVectors,
        trained: &FineTuned,
        routing: RoutingSummary,
        examples: &[Example],
    ) -> Result<LocalResult, ExpertsError> {
        let after = self.vectors()?;
        let updates = after.map(|shape, values| match shape.kind {
            // A distribution is measured in each round, so it is sent as it is, not as a difference.
            BlockKind::Routing { layer } => routing.distributions[usize::from(layer)].clone(),
            _ => {
                let before = &before[shape.id];
                values.iter().zip(before).map(|(after, before)| after - before).collect()
            }
        });
        let (loss_first, loss_last) = first_and_last(&trained.losses);
        Ok(LocalResult {
            updates,
            regions: routing.regions,
            margins: routing.margins,
            loss_first,
            loss_last,
            truncated: examples.iter().filter(|example| example.cut).count(),
            notes: examples.len(),
            by_record: None,
        })
    }
}

/// Checks that first halves stay as they were drawn (`TASK-02`).
fn check(settings: &FineTuning) -> Result<(), ExpertsError> {
    match settings.first_halves {
        true => Err(ExpertsError::Settings(
            "in a round, members share only second halves of low-rank additions; turn first_halves off"
                .to_owned(),
        )),
        false => Ok(()),
    }
}
