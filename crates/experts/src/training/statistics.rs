//! How a model routes a member's tokens.

use cloister_updates::ExpertRegion;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::device::values;
use crate::training::routing::LayerRouting;

/// How a member describes its experts' regions.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegionForm {
    /// The mean hidden state of each expert's tokens.
    #[default]
    Mean,
    /// The same less the mean over all tokens of their notes' classes, so that it says how an expert's tokens
    /// differ from others of the same classes, and not which classes a member has: an ablation.
    WithinClasses,
}

impl RegionForm {
    /// Whether it is the form that the protocol has; the other is for the lab.
    pub fn is_mean(&self) -> bool {
        *self == Self::Mean
    }
}

/// Running sums by the classes of the tokens' notes.
struct ByClass {
    /// Sum of the hidden states of each class, `[classes, hidden]`.
    hidden: Tensor,
    /// Tokens of each class, `[classes]`.
    counts: Tensor,
    /// Tokens of each class routed to each expert, `[experts, classes]`.
    routed: Tensor,
}

impl ByClass {
    fn new(experts: i64, width: i64, classes: i64, device: Device) -> Self {
        Self {
            hidden: zeros(&[classes, width], device),
            counts: zeros(&[classes], device),
            routed: zeros(&[experts, classes], device),
        }
    }

    fn add(&mut self, hidden: &Tensor, assigned: &Tensor, classes: &Tensor) {
        let in_class = classes.one_hot(self.counts.size()[0]).to_kind(Kind::Float);
        self.hidden += in_class.tr().matmul(hidden);
        self.counts += in_class.sum_dim_intlist(0, false, Kind::Float);
        self.routed += assigned.tr().matmul(&in_class);
    }

    /// The sum, over the tokens of each expert, of their classes' mean hidden states, `[experts, hidden]`.
    fn expected(&self) -> Tensor {
        self.routed.matmul(&(&self.hidden / self.counts.clamp_min(1.0).unsqueeze(-1)))
    }
}

/// Running sums over the tokens that one layer has routed, on the device that routes them: adding to them
/// waits for nothing.
pub(crate) struct LayerStatistics {
    /// How many tokens there were.
    tokens: f64,
    /// Sum of the routing distributions, `[experts]`.
    probabilities: Tensor,
    /// Tokens routed to each expert, `[experts]`. 32-bit floats count exactly up to 2²⁴.
    counts: Tensor,
    /// Sum of the hidden states routed to each expert, `[experts, hidden]`.
    hidden: Tensor,
    /// Sum of the decision margins of the tokens routed to each expert, `[experts]`.
    margins: Tensor,
    by_class: Option<ByClass>,
}

impl LayerStatistics {
    pub(crate) fn new(experts: usize, width: usize, device: Device) -> Self {
        let (experts, width) = (experts as i64, width as i64);
        Self {
            tokens: 0.0,
            probabilities: zeros(&[experts], device),
            counts: zeros(&[experts], device),
            hidden: zeros(&[experts, width], device),
            margins: zeros(&[experts], device),
            by_class: None,
        }
    }

    /// The same, whose regions are taken within `classes` classes.
    pub(crate) fn within(self, classes: usize) -> Self {
        let (experts, width) = (self.hidden.size()[0], self.hidden.size()[1]);
        let by_class = ByClass::new(experts, width, classes as i64, self.hidden.device());
        Self { by_class: Some(by_class), ..self }
    }

    /// Counts the tokens of one batch; for regions within classes, with the class of each token's note.
    pub(crate) fn add(&mut self, routing: &LayerRouting, classes: Option<&Tensor>) {
        // Without gradients, because the sums would keep the graph of every batch in memory.
        tch::no_grad(|| self.sum(routing, classes));
    }

    fn sum(&mut self, routing: &LayerRouting, classes: Option<&Tensor>) {
        let chosen = routing.chosen.size()[1];
        let (best, _) = routing.probabilities.topk(chosen + 1, -1, true, true);
        // One more than are chosen, so that the last is the best of those that are not.
        let best_not_chosen = best.narrow(1, chosen, 1);
        let margins = &routing.chosen_probabilities - best_not_chosen;
        let none = routing.probabilities.zeros_like();
        let assigned = none.scatter_value(1, &routing.chosen, 1.0);
        self.tokens += routing.hidden.size()[0] as f64;
        self.probabilities += routing.probabilities.sum_dim_intlist(0, false, Kind::Float);
        self.counts += assigned.sum_dim_intlist(0, false, Kind::Float);
        self.hidden += assigned.tr().matmul(&routing.hidden);
        // A token's margins go to the columns of its experts, so sums of columns are sums by expert.
        self.margins += none.scatter(1, &routing.chosen, &margins).sum_dim_intlist(0, false, Kind::Float);
        if let (Some(by_class), Some(classes)) = (&mut self.by_class, classes) {
            by_class.add(&routing.hidden, &assigned, classes);
        }
    }

    /// The mean routing distribution.
    pub(crate) fn distribution(&self) -> Vec<f32> {
        values(&(&self.probabilities / self.tokens))
    }

    /// The mean decision margin of each expert; 0 where it has no tokens.
    pub(crate) fn margins(&self) -> Vec<f32> {
        values(&(&self.margins / self.counts.clamp_min(1.0)))
    }

    /// The region of each expert; 0 where it has no tokens.
    pub(crate) fn regions(&self, layer: u16) -> Vec<ExpertRegion> {
        // Summed class by class and subtracted here: only at the end are the classes' means known.
        let sums = match &self.by_class {
            Some(by_class) => &self.hidden - by_class.expected(),
            None => self.hidden.shallow_clone(),
        };
        let means = sums / self.counts.clamp_min(1.0).unsqueeze(-1);
        let mut regions = Vec::new();
        for (expert, count) in (0_u16..).zip(values(&self.counts)) {
            let mean_hidden = values(&means.get(expert.into()));
            regions.push(ExpertRegion { layer, expert, mean_hidden, tokens: count as u64 });
        }
        regions
    }
}

/// Sums before any token.
fn zeros(shape: &[i64], device: Device) -> Tensor {
    Tensor::zeros(shape, (Kind::Float, device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_follow_the_tokens() {
        let routing = |hidden: [f32; 3]| {
            let hidden = Tensor::from_slice(&hidden).view([1, 3]);
            LayerRouting::new(hidden.shallow_clone(), &hidden, 2)
        };
        let (first, second) = (routing([3.0, 1.0, 0.0]), routing([1.0, 3.0, 0.0]));
        let mut statistics = LayerStatistics::new(3, 3, Device::Cpu);
        statistics.add(&first, None);
        statistics.add(&second, None);

        let p: Vec<f32> = values(&first.probabilities);
        let distribution = statistics.distribution();
        assert!((distribution[0] - (p[0] + p[1]) / 2.0).abs() < 1e-6);
        assert!((distribution.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        let margins = statistics.margins();
        assert!((margins[0] - ((p[0] - p[2]) + (p[1] - p[2])) / 2.0).abs() < 1e-6);
        assert_eq!(margins[2], 0.0);
        let regions = statistics.regions(1);
        assert_eq!((regions[0].layer, regions[0].tokens, regions[2].tokens), (1, 2, 0));
        assert_eq!(regions[0].mean_hidden, [2.0, 2.0, 0.0]);
        assert_eq!(regions[2].mean_hidden, [0.0; 3]);
    }

    #[test]
    fn regions_within_classes_do_not_tell_the_mix_of_classes() {
        // Class 1 lies at 10 along the third axis; expert 0 takes what is positive along the first.
        let regions = |of_class_1: usize, within: bool| {
            let mut statistics = LayerStatistics::new(3, 3, Device::Cpu);
            if within {
                statistics = statistics.within(2);
            }
            let classes: Vec<i64> = (0..40).map(|token| i64::from(token < of_class_1)).collect();
            let hidden: Vec<f32> = (0..40)
                .flat_map(|token| {
                    let side = if token % 2 == 0 { 1.0 } else { -1.0 };
                    [side, -side, 10.0 * classes[token] as f32]
                })
                .collect();
            let hidden = Tensor::from_slice(&hidden).view([40, 3]);
            let logits =
                &hidden * Tensor::from_slice(&[1.0_f32, 1.0, 0.0]) + Tensor::from_slice(&[0.0_f32, 0.0, 5.0]);
            statistics.add(&LayerRouting::new(hidden, &logits, 2), Some(&Tensor::from_slice(&classes)));
            statistics.regions(0)[0].mean_hidden.clone()
        };
        let (few, many) = (regions(10, true), regions(30, true));
        assert!(few.iter().zip(&many).all(|(a, b)| (a - b).abs() < 1e-5), "{few:?} {many:?}");
        assert!(few[0] > 0.9, "what the expert takes is still told: {few:?}");
        let (few, many) = (regions(10, false), regions(30, false));
        assert!(many[2] - few[2] > 4.0, "control: plain regions tell the mix, {few:?} {many:?}");
    }
}
