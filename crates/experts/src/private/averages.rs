//! Averages over records that no one record moves by much: what scoring and routing need beside trained parameters.

use cloister_params::block::BlockKind;
use tch::{Kind, Tensor};

use crate::error::ExpertsError;
use crate::model::values;
use crate::moe::Routing;
use crate::regularizer::Over;

/// How records are averaged.
#[derive(Clone, PartialEq, Debug)]
pub struct Averaging {
    /// What hidden states are projected with, a row for each of their coordinates.
    pub projection: Vec<Vec<f64>>,
    /// The L2 norm that a record's projected mean is clipped to.
    pub clip: f64,
    /// Averages divide by no less than this.
    pub minimum_records: usize,
}

/// Averages over a member's records. One record more or less moves each region by at most `2 · clip / minimum_records`, and
/// each routing distribution by at most `2 / minimum_records`, in L2 norm (`PRIV-11`). They leave with noise alone.
#[derive(Clone, PartialEq)]
pub struct RecordAverages {
    experts: usize,
    /// For each layer and expert, the mean over records that use the expert of their clipped projected mean hidden state.
    regions: Vec<Vec<f64>>,
    /// For each layer, the mean over records of their mean routing distribution.
    routing: Vec<Vec<f32>>,
}

/// They tell of the records, so they are never printed.
impl std::fmt::Debug for RecordAverages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecordAverages({} regions)", self.regions.len())
    }
}

/// A token whose hidden state a router reads, and the router's logits for it.
#[derive(Clone, PartialEq)]
pub struct RoutedToken {
    /// The hidden state.
    pub hidden: Vec<f32>,
    /// A logit for each expert.
    pub logits: Vec<f32>,
}

/// It tells of a record, so it is never printed.
impl std::fmt::Debug for RoutedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RoutedToken({} logits)", self.logits.len())
    }
}

impl RecordAverages {
    /// The averages of a model with one MoE layer over records whose tokens are given, for audits that plant records. Every
    /// token has the lengths of the first.
    ///
    /// # Errors
    /// [`ExpertsError::Settings`] where there is no token, or a token has other lengths.
    pub fn of_tokens(averaging: &Averaging, records: &[Vec<RoutedToken>]) -> Result<Self, ExpertsError> {
        let tokens: Vec<&RoutedToken> = records.iter().flatten().collect();
        let first = tokens.first().ok_or_else(|| settings_error("records without a token"))?;
        let (width, experts) = (first.hidden.len(), first.logits.len());
        if tokens.iter().any(|token| (token.hidden.len(), token.logits.len()) != (width, experts)) {
            return Err(settings_error("tokens of different lengths"));
        }
        let rows = |values: Vec<f32>, width: usize| Tensor::from_slice(&values).view([-1, width as i64]);
        let hidden = tokens.iter().flat_map(|token| token.hidden.iter().copied()).collect();
        let logits = tokens.iter().flat_map(|token| token.logits.iter().copied()).collect();
        let routing = Routing::new(rows(hidden, width), &rows(logits, experts));
        let owners =
            records.iter().zip(0_i64..).flat_map(|(record, owner)| record.iter().map(move |_| owner));
        let owners = Tensor::from_slice(&owners.collect::<Vec<i64>>());
        let mut layer = LayerAverages::new(averaging, experts);
        layer.add(&routing, &owners, records.len() as i64);
        Ok(Self::of(&[layer]))
    }

    pub(crate) fn of(layers: &[LayerAverages<'_>]) -> Self {
        Self {
            experts: layers.first().map_or(0, |layer| layer.users.numel()),
            regions: layers.iter().flat_map(LayerAverages::regions).collect(),
            routing: layers.iter().map(LayerAverages::routing).collect(),
        }
    }

    /// The projected region of an expert; nothing for other blocks.
    pub fn region(&self, kind: BlockKind) -> Option<&[f64]> {
        let BlockKind::Expert { layer, expert } = kind else { return None };
        let place = usize::from(layer) * self.experts + usize::from(expert);
        self.regions.get(place).map(Vec::as_slice)
    }

    /// The routing distribution of a layer; nothing for other blocks.
    pub fn routing(&self, kind: BlockKind) -> Option<&[f32]> {
        let BlockKind::Routing { layer } = kind else { return None };
        self.routing.get(usize::from(layer)).map(Vec::as_slice)
    }
}

fn settings_error(what: &str) -> ExpertsError {
    ExpertsError::Settings(format!("averages need tokens, all of the first one's lengths; there are {what}"))
}

/// Running sums of one layer.
pub(crate) struct LayerAverages<'a> {
    averaging: &'a Averaging,
    /// `[384, coordinates]`.
    projection: Tensor,
    records: f64,
    /// Sum of the records' routing distributions, `[experts]`.
    routing: Tensor,
    /// Sum of the records' clipped projected means, `[experts, coordinates]`.
    regions: Tensor,
    /// Records that use each expert, `[experts, 1]`.
    users: Tensor,
}

impl<'a> LayerAverages<'a> {
    pub(crate) fn new(averaging: &'a Averaging, experts: usize) -> Self {
        let rows: Vec<f64> = averaging.projection.concat();
        let inputs = averaging.projection.len() as i64;
        let projection = Tensor::from_slice(&rows).view([inputs, -1]).to_kind(Kind::Float);
        let zeros = |width| Tensor::zeros([experts as i64, width], (Kind::Float, tch::Device::Cpu));
        let (routing, regions, users) = (zeros(1).squeeze_dim(1), zeros(projection.size()[1]), zeros(1));
        Self { averaging, projection, records: 0.0, routing, regions, users }
    }

    /// Counts the records of one batch.
    pub(crate) fn add(&mut self, routing: &Routing, owners: &Tensor, records: i64) {
        let over = Over::Examples { owners, examples: records };
        let assigned = routing.probabilities.zeros_like().scatter_value(1, &routing.chosen, 1.0);
        let projected = routing.hidden.matmul(&self.projection);
        // For each token the experts' sums side by side, `[tokens, experts · coordinates]`.
        let parts = (assigned.unsqueeze(2) * projected.unsqueeze(1)).flatten(1, 2);
        let counts = over.sum(&assigned).unsqueeze(2);
        let means = over.sum(&parts).view([records, assigned.size()[1], -1]) / counts.clamp_min(1.0);
        let norms = means.norm_scalaropt_dim(2.0, [2i64], true);
        let clipped = means * (norms.clamp_min(self.averaging.clip).reciprocal() * self.averaging.clip);
        self.records += records as f64;
        self.routing += over.mean(&routing.probabilities).sum_dim_intlist(0, false, Kind::Float);
        self.regions += clipped.sum_dim_intlist(0, false, Kind::Float);
        self.users += counts.gt(0.0).to_kind(Kind::Float).sum_dim_intlist(0, false, Kind::Float);
    }

    fn routing(&self) -> Vec<f32> {
        values(&(&self.routing / self.records.max(self.averaging.minimum_records as f64)))
    }

    fn regions(&self) -> Vec<Vec<f64>> {
        let means = &self.regions / self.users.clamp_min(self.averaging.minimum_records as f64);
        let row = |mean: &Tensor| values(mean).into_iter().map(f64::from).collect();
        means.unbind(0).iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNERS: [i64; 11] = [0, 0, 0, 1, 2, 2, 3, 3, 3, 3, 4];

    /// Averages over five records of different lengths, routed at random among four experts; but for one left out.
    fn averages(left_out: Option<i64>, minimum_records: usize, scale: f64) -> RecordAverages {
        tch::manual_seed(4);
        let of = |width| Tensor::randn([11, width], (Kind::Float, tch::Device::Cpu));
        let (hidden, logits) = (of(6) * scale, of(4) * 3.0);
        let kept: Vec<i64> = (0..11).filter(|&row| Some(OWNERS[row as usize]) != left_out).collect();
        let rows = Tensor::from_slice(&kept);
        let routing = Routing::new(hidden.index_select(0, &rows), &logits.index_select(0, &rows));
        let number = |row: &i64| {
            let own = OWNERS[*row as usize];
            own - i64::from(left_out.is_some_and(|out| out < own))
        };
        let owners = Tensor::from_slice(&kept.iter().map(number).collect::<Vec<i64>>());
        let row = |row: usize| (0..3).map(|at| ((row * 3 + at) as f64).cos()).collect();
        let averaging = Averaging { projection: (0..6).map(row).collect(), clip: 0.5, minimum_records };
        let mut own = LayerAverages::new(&averaging, 4);
        own.add(&routing, &owners, 5 - i64::from(left_out.is_some()));
        RecordAverages::of(&[own])
    }

    fn distance<T: Copy + Into<f64>>(one: &[T], other: &[T]) -> f64 {
        let squares = one.iter().zip(other).map(|(&one, &other)| (one.into() - other.into()).powi(2));
        squares.sum::<f64>().sqrt()
    }

    /// PRIV-11
    #[test]
    fn no_record_moves_an_average_by_more_than_its_bound() {
        for (minimum, scale) in [(1, 0.1), (2, 10.0), (3, 10.0), (8, 1e4)] {
            let all = averages(None, minimum, scale);
            let mut largest: f64 = 0.0;
            for left_out in 0..5 {
                let others = averages(Some(left_out), minimum, scale);
                for (one, other) in all.regions.iter().zip(&others.regions) {
                    largest = largest.max(distance(one, other));
                }
                let moved = distance(&all.routing[0], &others.routing[0]);
                assert!(moved > 0.0 && moved <= 2.0 / minimum as f64 + 1e-6, "{moved} with {minimum}");
            }
            assert!(
                largest > 0.0 && largest <= 2.0 * 0.5 / minimum as f64 + 1e-6,
                "{largest} with {minimum}"
            );
        }
    }

    #[test]
    fn planted_records_are_averaged_as_they_are_routed() {
        let token = |hidden: [f32; 2], logits: [f32; 3]| RoutedToken {
            hidden: hidden.to_vec(),
            logits: logits.to_vec(),
        };
        let averaging = Averaging { projection: vec![vec![1.0], vec![2.0]], clip: 10.0, minimum_records: 4 };
        let records = [
            vec![token([1.0, 0.0], [90.0, 45.0, 0.0]), token([3.0, 0.0], [90.0, 0.0, 45.0])],
            vec![token([0.0, 50.0], [0.0, 90.0, 45.0])],
        ];
        let averages = RecordAverages::of_tokens(&averaging, &records).expect("sound tokens");
        let region = |expert| averages.region(BlockKind::Expert { layer: 0, expert }).expect("there")[0];
        // The second record's own means, 100, are clipped to 10; all divide by the minimum of 4.
        for (expert, expected) in [2.0, 1.0 + 10.0, 3.0 + 10.0].into_iter().enumerate() {
            let got = region(expert as u16);
            assert!((got - expected / 4.0).abs() < 1e-6, "{got} of expert {expert}");
        }
        let routing = averages.routing(BlockKind::Routing { layer: 0 }).expect("there");
        assert!(distance(routing, &[0.25, 0.25, 0.0]) < 1e-6, "{routing:?}");
        let refused = |records: &[Vec<RoutedToken>]| {
            RecordAverages::of_tokens(&averaging, records).expect_err("not averaged").to_string()
        };
        assert!(refused(&[vec![]]).contains("without a token"));
        let short = token([1.0, 0.0], [0.0; 3]);
        let short = RoutedToken { hidden: vec![1.0], ..short };
        assert!(refused(&[records[0].clone(), vec![short]]).contains("different lengths"));
    }

    #[test]
    fn a_large_minimum_makes_them_smaller_than_means() {
        let (means, few) = (averages(None, 1, 0.01), averages(None, 10, 0.01));
        assert!((means.routing[0].iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert!((few.routing[0].iter().sum::<f32>() - 0.5).abs() < 1e-5, "five of at least ten");
        let kind = BlockKind::Expert { layer: 0, expert: 1 };
        let (mean, part) = (means.region(kind).expect("there"), few.region(kind).expect("there"));
        let ratio = distance(part, &[0.0; 3]) / distance(mean, &[0.0; 3]);
        assert!((0.09..0.51).contains(&ratio), "one to five of ten: {ratio}");
        assert_eq!(means.region(BlockKind::Shared), None);
    }
}
