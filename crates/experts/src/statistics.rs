//! How a model routes a member's tokens.

use tch::{Device, Kind, Tensor};

use crate::model::values;
use crate::moe::Routing;
use crate::trainer::ExpertRegion;

/// Running sums over the tokens that one layer has routed, on the device that routes them: adding to them waits for nothing.
pub(crate) struct LayerStatistics {
    tokens: f64,
    /// Sum of the routing distributions, `[experts]`.
    probabilities: Tensor,
    /// Tokens routed to each expert, `[experts]`.
    counts: Tensor,
    /// Sum of the hidden states routed to each expert, `[experts, hidden]`.
    hidden: Tensor,
    /// Sum of the decision margins of the tokens routed to each expert, `[experts]`.
    margins: Tensor,
}

impl LayerStatistics {
    pub(crate) fn new(experts: usize, width: usize, device: Device) -> Self {
        let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, device));
        let (experts, width) = (experts as i64, width as i64);
        Self {
            tokens: 0.0,
            probabilities: zeros(&[experts]),
            counts: zeros(&[experts]),
            hidden: zeros(&[experts, width]),
            margins: zeros(&[experts]),
        }
    }

    /// Counts the tokens of one batch.
    pub(crate) fn add(&mut self, routing: &Routing) {
        tch::no_grad(|| self.sum(routing));
    }

    fn sum(&mut self, routing: &Routing) {
        let chosen = routing.chosen.size()[1];
        let (best, _) = routing.probabilities.topk(chosen + 1, -1, true, true);
        let best_not_chosen = best.narrow(1, chosen, 1);
        let margins = &routing.chosen_probabilities - best_not_chosen;
        let none = routing.probabilities.zeros_like();
        let assigned = none.scatter_value(1, &routing.chosen, 1.0);
        self.tokens += routing.hidden.size()[0] as f64;
        self.probabilities += routing.probabilities.sum_dim_intlist(0, false, Kind::Float);
        self.counts += assigned.sum_dim_intlist(0, false, Kind::Float);
        self.hidden += assigned.tr().matmul(&routing.hidden);
        self.margins += none.scatter(1, &routing.chosen, &margins).sum_dim_intlist(0, false, Kind::Float);
    }

    /// The mean routing distribution.
    pub(crate) fn distribution(&self) -> Vec<f32> {
        values(&(&self.probabilities / self.tokens))
    }

    /// The mean decision margin of each expert; 0 where it has no tokens.
    pub(crate) fn margins(&self) -> Vec<f32> {
        values(&(&self.margins / self.counts.clamp_min(1.0)))
    }

    /// The mean hidden state of each expert; 0 where it has no tokens.
    pub(crate) fn regions(&self, layer: u16) -> Vec<ExpertRegion> {
        let means = &self.hidden / self.counts.clamp_min(1.0).unsqueeze(-1);
        let region = |(expert, count): (usize, f32)| ExpertRegion {
            layer,
            expert: expert as u16,
            mean_hidden: values(&means.get(expert as i64)),
            tokens: count as u64,
        };
        values(&self.counts).into_iter().enumerate().map(region).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_follow_the_tokens() {
        let routing = |hidden: [f32; 3]| {
            let hidden = Tensor::from_slice(&hidden).view([1, 3]);
            Routing::new(hidden.shallow_clone(), &hidden)
        };
        let (first, second) = (routing([3.0, 1.0, 0.0]), routing([1.0, 3.0, 0.0]));
        let mut statistics = LayerStatistics::new(3, 3, Device::Cpu);
        statistics.add(&first);
        statistics.add(&second);

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
}
