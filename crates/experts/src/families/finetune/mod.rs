//! Fine-tuning of the model families: an adapter learns from examples while the model is frozen.
//!
//! The model computes in its own precision. The adapter, the sums of its gradients and the optimizer's state
//! are 32-bit floats. Only hidden states that predict a token that is learnt reach the head. Losses stay on
//! the device until the training is over or its progress is asked for, so the host does not wait in each
//! step.

mod backward;
mod classify;
mod example;
mod learner;
mod private;
mod reading;
mod rounds;
mod routing;
mod settings;
mod template;

use tch::{Kind, Tensor};

pub use crate::training::optimizer::{Decay, Rule};
pub use example::{Example, Question};
pub(crate) use reading::EXAMPLE_COLUMNS;
pub use reading::Reader;
pub use rounds::RoundTrainer;
pub use routing::RoutingSummary;
pub use settings::FineTuning;
pub use template::prints_date;

use crate::device::uploaded;
use crate::error::ExpertsError;
use crate::families::config::names::is_router;
use crate::families::finetune::backward::Learning;
use crate::families::finetune::learner::AdapterLearner;
use crate::families::finetune::routing::{RoutingSums, plain};
use crate::families::layers::losses::{self, Totals};
pub(crate) use crate::families::models::batch::ExampleBatch;
use crate::families::{Adapter, PublishedModel, Routing};
use crate::training::descent::{Descent, Epochs};
use crate::training::optimizer::Group;
use crate::training::progress::TrainingProgress;
use crate::training::regularizer::{consistency, published};

/// A model, the adapter that learns, and the consortium's routing distributions.
pub struct FineTuner {
    model: PublishedModel,
    adapter: Adapter,
    /// For each sparse layer, the published routing distribution, if any.
    published: Vec<Option<Tensor>>,
}

/// The result of fine-tuning.
#[derive(Clone, PartialEq, Debug)]
pub struct FineTuned {
    /// Mean loss of each step, in nats for each token that is learnt.
    pub losses: Vec<f64>,
    /// How many tokens passed through the model.
    pub tokens: usize,
}

/// How well a model predicts tokens, or with a head over classes the classes of texts.
#[derive(Clone, PartialEq, Debug)]
pub struct Prediction {
    /// How many tokens, or classes of texts, the model predicted correctly as the most likely one.
    pub right: usize,
    /// How many tokens, or classes of texts, were predicted.
    pub tokens: usize,
    /// Both numbers for each example, in their order.
    pub by_example: Vec<(usize, usize)>,
    /// Mean loss, in nats for each of them.
    pub loss: f64,
}

impl FineTuner {
    /// Starts from an adapter.
    ///
    /// # Errors
    /// [`ExpertsError::Adapter`] if the adapter belongs to another model.
    pub fn new(mut model: PublishedModel, adapter: Adapter) -> Result<Self, ExpertsError> {
        model.attach(&adapter, 0.0)?;
        Ok(Self { model, adapter, published: vec![] })
    }

    /// The adapter as it is now: loaded, fresh, or trained.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// The model, with the adapter attached.
    pub fn model(&self) -> &PublishedModel {
        &self.model
    }

    /// Returns the model, with the adapter attached, and the adapter.
    pub fn into_parts(self) -> (PublishedModel, Adapter) {
        (self.model, self.adapter)
    }

    /// Sets the consortium's routing distributions, one for each sparse layer. One that is all 0 is not
    /// published yet.
    pub fn publish(&mut self, distributions: &[Vec<f32>]) {
        let device = self.model.device();
        self.published = distributions
            .iter()
            .map(|values| published(values).map(|tensor| tensor.to_device(device)))
            .collect();
    }

    /// Trains the adapter with a fresh optimizer. Equal settings give equal bits on one thread.
    ///
    /// # Errors
    /// [`ExpertsError::Settings`], [`ExpertsError::NoNotes`] if there are no examples,
    /// [`ExpertsError::Example`] for one from which the model cannot learn, or [`ExpertsError::Diverged`].
    pub fn train(
        &mut self,
        examples: &[Example],
        settings: &FineTuning,
        progress: &mut dyn FnMut(TrainingProgress),
    ) -> Result<FineTuned, ExpertsError> {
        self.train_and_collect(examples, settings, None, progress)
    }

    /// As [`train`](Self::train). It also returns how the last epoch's steps routed the examples, without a
    /// further pass.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub fn train_with_routing(
        &mut self,
        examples: &[Example],
        settings: &FineTuning,
        progress: &mut dyn FnMut(TrainingProgress),
    ) -> Result<(FineTuned, RoutingSummary), ExpertsError> {
        let mut routing = RoutingSums::default();
        let trained = self.train_and_collect(examples, settings, Some(&mut routing), progress)?;
        Ok((trained, routing.summary()))
    }

    fn train_and_collect(
        &mut self,
        examples: &[Example],
        settings: &FineTuning,
        routing: Option<&mut RoutingSums>,
        progress: &mut dyn FnMut(TrainingProgress),
    ) -> Result<FineTuned, ExpertsError> {
        settings.check()?;
        // `recompute` runs a decoder's layers; there is none for encoder and decoder together.
        if settings.recompute_layers && matches!(self.model, PublishedModel::Switch(_)) {
            let reason = "recompute_layers is for decoders only; turn it off for a Switch Transformer";
            return Err(ExpertsError::Settings(reason.to_owned()));
        }
        self.check(examples)?;
        // Dropout draws from libtorch's generator, which the whole process shares.
        tch::manual_seed(settings.seed as i64);
        self.model.attach(&self.adapter, settings.dropout)?;
        let result = self.descend(examples, settings, routing, progress);
        // After a failure too: without it, dropout and gradients would stay on.
        self.model.attach(&self.adapter, 0.0)?;
        self.adapter.freeze();
        result
    }

    /// Checks that there are examples, and that the model can learn from each.
    fn check(&self, examples: &[Example]) -> Result<(), ExpertsError> {
        if examples.is_empty() {
            return Err(ExpertsError::NoNotes);
        }
        let classes = self.adapter.classes.len();
        let limits = self.model.limits(classes);
        examples.iter().zip(1..).try_for_each(|(example, number)| {
            example.check(&limits).map_err(|reason| ExpertsError::Example { example: number, reason })
        })
    }

    fn descend(
        &self,
        examples: &[Example],
        settings: &FineTuning,
        routing: Option<&mut RoutingSums>,
        progress: &mut dyn FnMut(TrainingProgress),
    ) -> Result<FineTuned, ExpertsError> {
        let (learning, groups) = self.learning(settings)?;
        let mut learner = AdapterLearner::new(self, examples, settings, &learning, routing);
        let examples_per_step = settings.batch_size * settings.accumulate;
        let mut epochs =
            Epochs::new(&mut learner, examples.len(), settings.epochs, examples_per_step, settings.seed);
        let descent = Descent { groups, plan: settings.plan(), proximal: settings.proximal };
        let losses = descent.run(&mut epochs, progress)?;
        Ok(FineTuned { losses, tokens: learner.tokens })
    }

    /// What one sparse layer adds to the loss for its router: load balance, z loss and the routing
    /// regulariser.
    fn layer_loss(
        &self,
        index: usize,
        routing: &Routing,
        totals: &Totals,
        settings: &FineTuning,
    ) -> Option<Tensor> {
        let published_weight = self.model.moe().and_then(|moe| moe.balance).unwrap_or(0.0);
        // A term of weight 0 is not computed at all, rather than multiplied by 0.
        let balance = settings.balance.unwrap_or(published_weight);
        let published = self.published.get(index).and_then(Option::as_ref);
        let terms = [
            (balance > 0.0).then(|| losses::balance(routing, totals) * balance),
            (settings.z > 0.0).then(|| losses::z(routing, totals) * settings.z),
            published.filter(|_| settings.routing_penalty > 0.0).map(|published| {
                let over = totals.over(routing);
                consistency(&plain(routing), published, settings.routing_form, over)
                    * settings.routing_penalty
            }),
        ];
        terms.into_iter().flatten().reduce(|sum, term| sum + term)
    }

    /// The trained parameters, and their groups for the optimizer. If only some experts are trained, their
    /// gradients are masked, because the tensors hold all experts.
    fn learning(&self, settings: &FineTuning) -> Result<(Learning, Vec<Group>), ExpertsError> {
        let experts = self.model.moe().map_or(0, |moe| moe.experts);
        if let Some(expert) = settings.experts.iter().find(|&&expert| expert >= experts) {
            let reason =
                format!("there is no expert {expert}; the model has {experts} in a layer, counted from 0");
            return Err(ExpertsError::Settings(reason));
        }
        let (mut learning, mut groups) = (Learning::default(), Vec::new());
        for (name, tensor) in self.adapter.tensors() {
            // Frozen tensors get no gradient and no place in the optimizer, so they keep their bits.
            let is_frozen = name.ends_with("lora_A") && !settings.first_halves
                || is_router(&name) && settings.freeze_routers;
            if is_frozen {
                continue;
            }
            let masked = tensor.dim() == 3 && !settings.experts.is_empty();
            let parameter = tensor.set_requires_grad(true);
            learning.masks.push(masked.then(|| mask(&settings.experts, experts, tensor)));
            learning.parameters.push((name, parameter.shallow_clone()));
            // Weight decay is not masked, so it would move experts that are not trained.
            let weight_decay = if masked { 0.0 } else { settings.weight_decay };
            groups.push(Group { parameter, learning_rate: settings.learning_rate, weight_decay });
        }
        Ok((learning, groups))
    }

    /// Mean loss over examples, in nats for each token that is learnt.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub fn loss(&self, examples: &[Example], batch_size: usize) -> Result<f64, ExpertsError> {
        let likelihoods = self.likelihoods(examples, batch_size, Kind::Float)?;
        let learnt: usize = examples.iter().map(Example::learnt).sum();
        Ok(-likelihoods.iter().sum::<f64>() / learnt as f64)
    }

    /// How well the model predicts the tokens that examples teach.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub fn predict(&self, examples: &[Example], batch_size: usize) -> Result<Prediction, ExpertsError> {
        let (mut sum, mut by_example) = (0.0, Vec::with_capacity(examples.len()));
        self.each_batch(examples, batch_size, &mut |batch, logits| {
            // In 64-bit floats, because sums over a whole file would lose small terms.
            sum += picked(batch, logits, Kind::Float).sum(Kind::Double).double_value(&[]);
            let right = logits.argmax(-1, false).eq_tensor(&batch.learnt).split_with_sizes(&batch.counts, 0);
            let right = right.iter().map(|part| part.sum(Kind::Int64).int64_value(&[]) as usize);
            by_example.extend(right.zip(batch.counts.iter().map(|count| *count as usize)));
        })?;
        let (right, tokens) = by_example.iter().fold((0, 0), |sums, part| (sums.0 + part.0, sums.1 + part.1));
        Ok(Prediction { right, tokens, by_example, loss: -sum / tokens as f64 })
    }

    /// Log-likelihood of what each example teaches, in nats. Logarithms are computed in `kind`. In 32-bit floats
    /// likelihoods above 1 − 2⁻²⁴ are all alike, and 64-bit floats take twice the memory of the logits.
    pub(crate) fn likelihoods(
        &self,
        examples: &[Example],
        batch_size: usize,
        kind: Kind,
    ) -> Result<Vec<f64>, ExpertsError> {
        let mut likelihoods = Vec::with_capacity(examples.len());
        self.each_batch(examples, batch_size, &mut |batch, logits| {
            let parts = picked(batch, logits, kind).split_with_sizes(&batch.counts, 0);
            likelihoods.extend(parts.iter().map(|part| part.sum(Kind::Double).double_value(&[])));
        })?;
        Ok(likelihoods)
    }

    /// Runs examples through the model, without gradients. `take` gets the logits of the tokens that are
    /// learnt.
    fn each_batch(
        &self,
        examples: &[Example],
        batch_size: usize,
        take: &mut dyn FnMut(&ExampleBatch, &Tensor),
    ) -> Result<(), ExpertsError> {
        self.check(examples)?;
        for chunk in examples.chunks(batch_size.max(1)) {
            let batch = ExampleBatch::new(&chunk.iter().collect::<Vec<_>>(), &self.model);
            let (logits, _) = tch::no_grad(|| self.model.learn(&batch));
            take(&batch, &logits);
        }
        Ok(())
    }

    /// Answers multiple-choice questions by the index of the most likely option after the prompt. The mean
    /// log-likelihood of a token decides, so that long options are not at a disadvantage. `batch_size`
    /// options pass through the model together.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub fn choose(&self, questions: &[Question], batch_size: usize) -> Result<Vec<usize>, ExpertsError> {
        let examples: Vec<Example> = questions.iter().flat_map(Question::examples).collect();
        let sums = self.likelihoods(&examples, batch_size, Kind::Float)?;
        let mut means = sums.iter().zip(&examples).map(|(sum, example)| sum / example.learnt() as f64);
        let mut answers = Vec::with_capacity(questions.len());
        for question in questions {
            let likelihoods: Vec<f64> = means.by_ref().take(question.options.len()).collect();
            answers.push(index_of_largest(&likelihoods).ok_or(ExpertsError::NoNotes)?);
        }
        Ok(answers)
    }
}

/// The index of the largest value, of several equal ones the last; `None` if there is no value.
fn index_of_largest(values: &[f64]) -> Option<usize> {
    (0..values.len()).max_by(|&one, &other| values[one].total_cmp(&values[other]))
}

/// Log-likelihood of each token that is learnt, `[learnt]`.
fn picked(batch: &ExampleBatch, logits: &Tensor, kind: Kind) -> Tensor {
    logits.log_softmax(-1, kind).gather(1, &batch.learnt.unsqueeze(1), false).squeeze_dim(1)
}

/// 1 for experts that are trained and 0 for the others, `[experts, 1, 1]`.
fn mask(trained: &[usize], experts: usize, like: &Tensor) -> Tensor {
    let values: Vec<f32> =
        (0..experts).map(|expert| if trained.contains(&expert) { 1.0 } else { 0.0 }).collect();
    uploaded(&Tensor::from_slice(&values).view([-1, 1, 1]), like.device())
}
