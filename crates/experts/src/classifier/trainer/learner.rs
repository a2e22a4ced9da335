//! Gradients of the classifier for plain training.

use tch::{Reduction, Tensor};

use super::Trainer;
use crate::classifier::features::NoteBatch;
use crate::classifier::model::Output;
use crate::training::descent::{BatchLearner, StepGradients};
use crate::training::regularizer::Over;
use crate::training::routing::LayerRouting;
use crate::training::settings::LocalTraining;
use crate::training::statistics::{LayerStatistics, RegionForm};

/// Learns from batches of notes.
pub(super) struct ClassifierLearner<'a> {
    trainer: &'a Trainer,
    settings: &'a LocalTraining,
    parameters: Vec<Tensor>,
    /// How the last epoch's steps routed, layer by layer.
    pub(super) statistics: Vec<LayerStatistics>,
}

impl<'a> ClassifierLearner<'a> {
    pub(super) fn new(trainer: &'a Trainer, settings: &'a LocalTraining) -> Self {
        let parameters = trainer.trained(settings.frozen).into_iter().map(|(_, tensor)| tensor).collect();
        let statistics = trainer.no_statistics(settings.region_form);
        Self { trainer, settings, parameters, statistics }
    }
}

impl BatchLearner for ClassifierLearner<'_> {
    fn gradients(&mut self, notes: &[usize], is_last_epoch: bool) -> StepGradients {
        let trainer = self.trainer;
        let batch = trainer.features.batch(notes);
        let output = trainer.model.forward(&batch, &trainer.parameters);
        let task = task_loss(&output, &batch, Reduction::Mean);
        let routing = trainer.routing_loss(&output, self.settings, Over::Batch);
        if is_last_epoch {
            count(&mut self.statistics, &output.routings, &batch, self.settings.region_form);
        }
        // What is reported is the task's loss alone, comparable whatever the regularisers weigh.
        let loss = task.detach();
        let parameters: Vec<&Tensor> = self.parameters.iter().collect();
        let gradients = Tensor::run_backward(&[&(task + routing)], &parameters, false, false);
        StepGradients { loss, gradients }
    }
}

/// Counts how each layer routed a batch.
pub(super) fn count(
    statistics: &mut [LayerStatistics],
    routings: &[LayerRouting],
    batch: &NoteBatch,
    form: RegionForm,
) {
    let within = form == RegionForm::WithinClasses;
    let classes = within.then(|| batch.labels.index_select(0, &batch.packing.owners()));
    statistics.iter_mut().zip(routings).for_each(|(layer, routing)| layer.add(routing, classes.as_ref()));
}

/// Cross-entropy of the notes' classes.
pub(super) fn task_loss(output: &Output, batch: &NoteBatch, reduction: Reduction) -> Tensor {
    output.logits.cross_entropy_loss(&batch.labels, None::<&Tensor>, reduction, -100, 0.0)
}
