//! Gradients of a batch, in two ways with the same result. Either everything that the layers computed is
//! held, or only the input of each layer; then a layer is recomputed when its gradient is (gradient
//! checkpointing, Chen et al. 2016).

use std::collections::BTreeMap;

use tch::{Kind, Reduction, Tensor};

use crate::families::config::names::HEAD;
use crate::families::layers::losses::Totals;
use crate::families::models::batch::ExampleBatch;
use crate::families::{Decoder, PublishedModel, Routing};
use crate::training::private::Tape;

/// The trained parameters.
#[derive(Default)]
pub(super) struct Learning {
    /// Names and tensors.
    pub(super) parameters: Vec<(String, Tensor)>,
    /// For each parameter a factor of its gradient, 0 for experts that are not trained; `None` if all of it
    /// is trained.
    pub(super) masks: Vec<Option<Tensor>>,
}

impl Learning {
    fn tensors(&self) -> Vec<&Tensor> {
        self.parameters.iter().map(|(_, tensor)| tensor).collect()
    }

    /// How many coordinates are trained; those whose gradient is masked do not count. The grid of the noise
    /// in private training depends on it.
    pub(super) fn coordinates(&self) -> usize {
        let mut coordinates = 0;
        for ((_, tensor), mask) in self.parameters.iter().zip(&self.masks) {
            let share = mask.as_ref().map_or(1.0, |mask| mask.mean(Kind::Double).double_value(&[]));
            coordinates += (tensor.numel() as f64 * share).round() as usize;
        }
        coordinates
    }

    /// Multiplies gradients by their masks.
    pub(super) fn mask(&self, gradients: &mut [Tensor]) {
        for (gradient, mask) in gradients.iter_mut().zip(&self.masks) {
            if let Some(mask) = mask {
                *gradient *= mask;
            }
        }
    }
}

/// Returns what a sparse layer, given by its index among the sparse layers, adds to the loss.
pub(super) type RouterLoss<'a> = &'a mut dyn FnMut(usize, &Routing, &Totals) -> Option<Tensor>;

/// Cross-entropy of what a batch teaches, as its share of the mean over the `learnt` tokens of the whole
/// step.
fn task_loss(logits: &Tensor, batch: &ExampleBatch, learnt: usize) -> Tensor {
    // −100 is the target that libtorch ignores; no token has this number.
    logits.cross_entropy_loss(&batch.learnt, None::<&Tensor>, Reduction::Sum, -100, 0.0) / learnt as f64
}

/// The task's loss and the gradient by each parameter. Everything that the layers computed is held.
pub(super) fn keep(
    model: &PublishedModel,
    batch: &ExampleBatch,
    learnt: usize,
    routers: RouterLoss<'_>,
    learning: &Learning,
) -> (Tensor, Vec<Tensor>) {
    let (logits, routings) = model.learn(batch);
    let task = task_loss(&logits, batch, learnt);
    let totals = Totals::from_tokens(&routings);
    let loss = with_routers(&task, &routings, totals.as_ref(), routers);
    (task.detach(), Tensor::run_backward(&[loss], &learning.tensors(), false, false))
}

/// The sum of the examples' mean losses, and the gradient of each example's loss by each parameter,
/// `[examples, …]`. The model must record its products with the parameters on the tape.
pub(super) fn example_gradients(
    model: &PublishedModel,
    batch: &ExampleBatch,
    routers: RouterLoss<'_>,
    learning: &Learning,
    tape: &Tape,
) -> (Tensor, Vec<Tensor>) {
    let (logits, routings) = model.learn(batch);
    let losses = logits.cross_entropy_loss(&batch.learnt, None::<&Tensor>, Reduction::None, -100, 0.0);
    // Each example's mean, as if it were alone: its gradient is clipped, so it must not depend on the others.
    let task = (losses * batch.shares()).sum(Kind::Float);
    let examples = batch.counts.len() as i64;
    let totals = Totals::from_examples(&routings, examples);
    let loss = with_routers(&task, &routings, totals.as_ref(), routers);
    let mut gradients = tape.gradients(&loss, examples, &learning.parameters);
    learning.mask(&mut gradients);
    (task.detach(), gradients)
}

/// The task's loss plus what the sparse layers add.
fn with_routers(
    task: &Tensor,
    routings: &[Routing],
    totals: Option<&Totals>,
    routers: RouterLoss<'_>,
) -> Tensor {
    let Some(totals) = totals else { return task.shallow_clone() };
    let terms = routings.iter().enumerate().filter_map(|(index, routing)| routers(index, routing, totals));
    terms.fold(task.shallow_clone(), |sum, term| sum + term)
}

/// As [`keep`], but only the inputs of layers are held, and the values of one layer at a time.
pub(super) fn recompute(
    model: &Decoder,
    batch: &ExampleBatch,
    learnt: usize,
    routers: RouterLoss<'_>,
    learning: &Learning,
) -> (Tensor, Vec<Tensor>) {
    let (tokens, rotation) = (&batch.texts, model.rotation(&batch.texts));
    let (mut inputs, totals) = tch::no_grad(|| {
        let (mut inputs, mut routings) = (vec![model.embed(tokens)], Vec::new());
        for index in 0..model.layers.len() {
            let (rows, routing) = model.layer(index, &inputs[index], tokens, &rotation);
            inputs.push(rows);
            routings.extend(routing);
        }
        // A layer's share of the routers' losses needs the counts of all layers, which are known only now.
        (inputs, Totals::from_tokens(&routings))
    });
    let last = inputs.pop().expect("there is one more than layers").set_requires_grad(true);
    let learning_rows = batch.rows.as_ref().map(|rows| last.index_select(0, rows));
    let task = task_loss(&model.head(learning_rows.as_ref().unwrap_or(&last)), batch, learnt);
    let mut found = BTreeMap::new();
    let mut upstream = back(&task, &last, &format!("{HEAD}."), learning, &mut found);
    // Layers are visited from the last to the first, so sparse layers are counted down.
    let mut sparse = model.config().sparse_layers().len();
    // Popped, so that the input of a layer is freed as soon as its gradient is known.
    while let Some(input) = inputs.pop() {
        let index = inputs.len();
        let input = input.set_requires_grad(true);
        let (rows, routing) = model.layer(index, &input, tokens, &rotation);
        // The gradient of this sum by `rows` is `upstream`, so it carries the gradient from the layers above
        // into this one.
        let mut sum = (rows.to_kind(Kind::Float) * upstream.to_kind(Kind::Float)).sum(Kind::Float);
        if let (Some(routing), Some(totals)) = (routing, &totals) {
            sparse -= 1;
            sum = routers(sparse, &routing, totals).map_or(sum.shallow_clone(), |term| sum + term);
        }
        upstream = back(&sum, &input, &format!("model.layers.{index}."), learning, &mut found);
    }
    let gradients = learning
        .parameters
        .iter()
        .map(|(name, tensor)| found.remove(name).unwrap_or_else(|| tensor.zeros_like()));
    (task.detach(), gradients.collect())
}

/// The gradient by the input of a part of the model. Gradients by the trained tensors of this part, whose
/// names start with `inside`, are added to `found`.
fn back<'a>(
    loss: &Tensor,
    input: &Tensor,
    inside: &str,
    learning: &'a Learning,
    found: &mut BTreeMap<&'a String, Tensor>,
) -> Tensor {
    let inner: Vec<&(String, Tensor)> =
        learning.parameters.iter().filter(|(name, _)| name.starts_with(inside)).collect();
    let mut by = vec![input];
    by.extend(inner.iter().map(|(_, tensor)| tensor));
    let mut gradients = Tensor::run_backward(&[loss], &by, false, false).into_iter();
    let upstream = gradients.next().expect("the first is by the input");
    found.extend(inner.iter().map(|(name, _)| name).zip(gradients));
    upstream
}
