//! Terms that are added to the task's loss to regularise the routers.
//!
//! The routing regulariser is FedAlign-MoE's: `lambda · sum over a token's top-k experts of alpha(e) · p(x,e)
//! · ln(p(x,e) / p_g(e))`, `lambda = 0.1`, with `alpha` strong for experts that are consistent between member
//! and consortium and weak for the member's own. The paper leaves open, and we choose: `p` is the full
//! softmax and not renormalised over the chosen; the sum is taken token by token and averaged; `alpha(e)` is
//! the overlap `p_i(e) · p_g(e)` divided by its largest value in the layer, without a gradient, with `p_i`
//! the mean routing distribution of the batch; `p_g` is clamped (published distributions carry noise) and
//! renormalised.
//!
//! The load balance is that of Switch Transformers (Fedus et al. 2022): `experts · sum of f(e) · P(e)`, with
//! `f` the fraction of assignments that go to the expert and `P` the mean routing distribution.
//!
//! Private training averages each of them over the tokens of one example ([`Over::Examples`]), so that no
//! example's loss depends on another's tokens.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::training::routing::LayerRouting;

/// A published routing probability counts as no less than this. Noise may make it 0 or negative, where the
/// ratio `p / p_g` has no finite logarithm.
const LEAST_PROBABILITY: f32 = 1e-4;

/// The published routing distribution of one layer, `[experts]`, or nothing where the values are all 0, as
/// they are before the first round that publishes one.
pub(crate) fn published(values: &[f32]) -> Option<Tensor> {
    if values.iter().all(|&value| value == 0.0) {
        return None;
    }
    let clamped = Tensor::from_slice(values).clamp_min(f64::from(LEAST_PROBABILITY));
    Some(&clamped / clamped.sum(Kind::Float))
}

/// What the routing regulariser compares with the published distribution; all but the first are ablations.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoutingForm {
    /// Each token's routing, by the overlap of each expert.
    #[default]
    Adaptive,
    /// Each token's routing, with the same strength for all experts.
    Uniform,
    /// The batch's mean routing, with the same strength for all experts: routing may still depend on the
    /// token.
    BatchMean,
}

/// Whose tokens a loss averages over.
#[derive(Clone, Copy)]
pub(crate) enum Over<'a> {
    /// All of the batch; the loss is one.
    Batch,
    /// Those of each example; the loss is the sum of the examples' own, each as if it were alone.
    Examples {
        /// The example of each token, `[tokens]`.
        owners: &'a Tensor,
        /// How many examples there are.
        examples: i64,
    },
}

impl Over<'_> {
    /// The sums of rows `[tokens, width]`, `[groups, width]`.
    pub(crate) fn sum(self, rows: &Tensor) -> Tensor {
        match self {
            Self::Batch => rows.sum_dim_intlist(0, true, Kind::Float),
            Self::Examples { owners, examples } => {
                Tensor::zeros([examples, rows.size()[1]], (Kind::Float, rows.device()))
                    .index_add(0, owners, rows)
            }
        }
    }

    /// The tokens of each group, `[groups, 1]`.
    pub(crate) fn count(self, rows: &Tensor) -> Tensor {
        // A column of ones goes through the same sum, so counts and sums always group rows alike.
        self.sum(&rows.detach().narrow(1, 0, 1).ones_like())
    }

    /// The means of rows, `[groups, width]`.
    pub(crate) fn mean(self, rows: &Tensor) -> Tensor {
        self.sum(rows) / self.count(rows)
    }

    /// For each token the row of its group, `[tokens, width]`.
    fn back(self, groups: &Tensor, tokens: i64) -> Tensor {
        match self {
            Self::Batch => groups.expand([tokens, -1], false),
            Self::Examples { owners, .. } => groups.index_select(0, owners),
        }
    }
}

/// The divergence of the routing from the published distribution, a scalar.
pub(crate) fn consistency(
    routing: &LayerRouting,
    published: &Tensor,
    form: RoutingForm,
    over: Over<'_>,
) -> Tensor {
    let probabilities = &routing.probabilities;
    // A divergence of means: the mean is taken first, and the logarithm after it.
    if form == RoutingForm::BatchMean {
        let mean = over.mean(probabilities);
        return divergence(&mean, published).sum(Kind::Float);
    }
    let strength = match form {
        RoutingForm::Adaptive => {
            // Detached, so that routers cannot lower the penalty by lowering its strength.
            let overlap = over.mean(&probabilities.detach()) * published;
            let strength = &overlap / overlap.amax([1i64], true);
            over.back(&strength, probabilities.size()[0]).gather(1, &routing.chosen, false)
        }
        _ => routing.chosen_probabilities.ones_like(),
    };
    let terms = strength * divergence(&routing.chosen_probabilities, &published.take(&routing.chosen));
    over.mean(&terms.sum_dim_intlist(-1, true, Kind::Float)).sum(Kind::Float)
}

/// `p · ln(p / published)`, which is 0 where `p` is: a softmax makes exact zeros of distant logits, and neither
/// `0 · ln 0` nor its gradient is a number. Below the least normal number the logarithm is that of the least.
fn divergence(probabilities: &Tensor, published: &Tensor) -> Tensor {
    probabilities * (probabilities.clamp_min(f64::from(f32::MIN_POSITIVE)).log() - published.log())
}

/// How unevenly the tokens use the experts, a scalar: 1 where all are used equally, and at most the number of
/// experts over that of a token's experts.
pub(crate) fn load_balance(routing: &LayerRouting, over: Over<'_>) -> Tensor {
    let probabilities = &routing.probabilities;
    let (experts, chosen) = (probabilities.size()[1], routing.chosen.size()[1]);
    let assigned = probabilities.zeros_like().scatter_value(1, &routing.chosen, 1.0);
    // Only the probabilities have a gradient: which experts are chosen changes in jumps.
    let fraction = over.mean(&assigned) / chosen as f64;
    (fraction * over.mean(probabilities)).sum(Kind::Float) * experts as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routing(logits: &[f32]) -> LayerRouting {
        let logits = Tensor::from_slice(logits).view([2, 3]);
        LayerRouting::new(logits.shallow_clone(), &logits, 2)
    }

    #[test]
    fn nothing_is_published_as_zeros_and_noise_is_clamped() {
        assert!(published(&[0.0, 0.0]).is_none());
        let noised = published(&[-0.1, 0.5, 0.5]).expect("not all zero");
        assert!(noised.min().double_value(&[]) > 0.0);
        assert!((noised.sum(Kind::Float).double_value(&[]) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_divergence_follows_its_formula() {
        let routing = routing(&[0.5, 0.2, -1.0, 0.1, 0.9, 0.3]);
        let global = [0.2_f64, 0.5, 0.3];
        let probability = |token, expert| routing.probabilities.double_value(&[token, expert]);
        let overlap: Vec<f64> =
            (0..3).map(|e| (probability(0, e) + probability(1, e)) / 2.0 * global[e as usize]).collect();
        let most = overlap.iter().copied().fold(0.0, f64::max);
        let mut expected = 0.0;
        for (token, chosen) in [(0, [0, 1]), (1, [1, 2])] {
            for expert in chosen {
                let (p, g) = (probability(token, expert), global[expert as usize]);
                expected += overlap[expert as usize] / most * p * (p / g).ln() / 2.0;
            }
        }
        let published = published(&[0.2, 0.5, 0.3]).expect("not all zero");
        assert!(
            (consistency(&routing, &published, RoutingForm::Adaptive, Over::Batch).double_value(&[])
                - expected)
                .abs()
                < 1e-6
        );
    }

    #[test]
    fn the_mean_form_is_0_where_the_means_agree_and_the_token_form_is_not() {
        let routing = routing(&[4.0, 0.0, -4.0, -4.0, 0.0, 4.0]);
        let mean: Vec<f32> = crate::device::values(&routing.probabilities.mean_dim(0, false, Kind::Float));
        let published = published(&mean).expect("not all zero");
        let penalty = |form| consistency(&routing, &published, form, Over::Batch).double_value(&[]);
        assert!(penalty(RoutingForm::BatchMean).abs() < 1e-5);
        assert!(penalty(RoutingForm::Uniform) > 0.1);
    }

    #[test]
    fn the_load_balance_is_1_when_even_and_more_when_not() {
        let even = routing(&[0.0; 6]);
        assert!((load_balance(&even, Over::Batch).double_value(&[]) - 1.0).abs() < 1e-6);
        let uneven = routing(&[3.0, 2.0, 0.0, 3.0, 2.0, 0.0]);
        assert!(load_balance(&uneven, Over::Batch).double_value(&[]) > 1.2);
    }

    /// PRIV-10: a loss or gradient that is no number would drop the record.
    #[test]
    fn a_probability_of_exactly_0_adds_0_and_has_a_finite_gradient() {
        let logits = Tensor::from_slice(&[500.0_f32, 0.0, -500.0, 0.1, 0.9, 0.3]).view([2, 3]);
        let logits = logits.set_requires_grad(true);
        let published = published(&[0.2, 0.5, 0.3]).expect("not all zero");
        let owners = Tensor::from_slice(&[0_i64, 1]);
        for form in [RoutingForm::Adaptive, RoutingForm::Uniform, RoutingForm::BatchMean] {
            for over in [Over::Batch, Over::Examples { owners: &owners, examples: 2 }] {
                let routing = LayerRouting::new(logits.shallow_clone(), &logits, 2);
                let zero = routing.chosen_probabilities.double_value(&[0, 1]);
                assert_eq!(zero, 0.0, "control: the softmax of distant logits is exactly 0");
                let penalty = consistency(&routing, &published, form, over);
                let gradient = Tensor::run_backward(&[&penalty], &[&logits], false, false).remove(0);
                assert!(penalty.double_value(&[]).is_finite(), "{form:?}");
                assert!(crate::device::values(&gradient).iter().all(|value| value.is_finite()), "{form:?}");
            }
        }
        let alone = LayerRouting::new(logits.get(0).unsqueeze(0), &logits.get(0).unsqueeze(0), 2);
        let penalty = consistency(&alone, &published, RoutingForm::Uniform, Over::Batch).double_value(&[]);
        assert!((penalty - (1.0_f64 / 0.2).ln()).abs() < 1e-6, "1 · ln(1 / 0.2) + 0, not {penalty}");
    }
}
