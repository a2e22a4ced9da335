//! A trained model of a task, with what reads texts for it.

use std::path::Path;

use crate::classifier::checkpoint::read_checkpoint;
use crate::classifier::encoder::Encoder;
use crate::classifier::predicting::LoadedClassifier;
use crate::device::set_threads;
use crate::error::ExpertsError;
use crate::families::finetune::{FineTuner, Reader};
use crate::families::{Adapter, AnyConfig, PublishedModel};
use crate::model_files::unusable;
use crate::prediction::PredictorSettings;
use crate::task::{AdapterTask, Task};

/// The kinds of models.
pub(crate) enum TrainedModel {
    /// MiniLM with experts.
    Classifier { encoder: Box<Encoder>, loaded: Box<LoadedClassifier> },
    /// A published model, with a head over classes or without one.
    Published { reader: Box<Reader>, tuner: Box<FineTuner> },
}

impl TrainedModel {
    /// Loads a model that [`Task::write`] wrote at `path`: a classifier's file, the folder of an adapter, or that of a merged
    /// model.
    ///
    /// # Errors
    /// [`ExpertsError::Base`] for another base model than the task's (`TASK-01`), [`ExpertsError::Content`] for the model of
    /// another task, and the errors of reading either.
    pub(crate) fn open(task: &Task, path: &Path, settings: &PredictorSettings) -> Result<Self, ExpertsError> {
        match task {
            Task::Classifier(config) => {
                let (trained, blocks) = read_checkpoint(path)?;
                if trained != *config {
                    return Err(another_task(path));
                }
                let encoder =
                    Encoder::open(&settings.base_model, trained, settings.threads, settings.device)?
                        .in_precision(settings.precision);
                encoder.check_windows(settings.windows)?;
                let loaded = Box::new(LoadedClassifier::new(&encoder, &blocks)?);
                Ok(Self::Classifier { encoder: Box::new(encoder), loaded })
            }
            Task::Adapter(task) => open_published(task, path, settings),
        }
    }
}

fn open_published(
    task: &AdapterTask,
    folder: &Path,
    settings: &PredictorSettings,
) -> Result<TrainedModel, ExpertsError> {
    task.check_base(&settings.base_model)?;
    let config = AnyConfig::read(&settings.base_model)?;
    task.check_limits(&config)?;
    let classes = task.adapter.classes.clone();
    let long = settings.windows.long();
    let reader = Reader::open(&settings.base_model, task.end_token, task.max_tokens, long)?
        .with_classes(classes.clone())?
        .with_date(task.date)
        .for_model(&config);
    set_threads(settings.threads)?;
    let is_adapter = folder.join("adapter_config.json").exists();
    let weights = if is_adapter { &settings.base_model } else { folder };
    let mut model = PublishedModel::open(weights, settings.precision, settings.device)?;
    let adapter = match (is_adapter, classes.is_empty()) {
        (true, _) => Adapter::read(folder, &mut model)?,
        (false, false) => Adapter::merged_head(folder, classes.clone(), &mut model)?,
        // Everything that was trained is in the weights.
        (false, true) => Adapter::empty(),
    };
    // With other names or another order, each prediction would be called by a wrong name.
    if adapter.classes != classes {
        return Err(another_task(folder));
    }
    let tuner = Box::new(FineTuner::new(model, adapter)?);
    Ok(TrainedModel::Published { reader: Box::new(reader), tuner })
}

fn another_task(model: &Path) -> ExpertsError {
    unusable(model, "it was trained for another task than the task file's".to_owned())
}
