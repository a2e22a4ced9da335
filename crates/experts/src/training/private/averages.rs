//! Forms averages over records from their routed tokens: see [`RecordAverages`].

use cloister_updates::{Averaging, RecordAverages};
use tch::{Kind, Tensor};

use crate::device::values;
use crate::error::ExpertsError;
use crate::training::private::{RecordBatch, RecordSums, are_finite, record_batches};
use crate::training::regularizer::Over;
use crate::training::routing::LayerRouting;

/// Experts that each token of an audited record is sent to, as in the classifier.
const EXPERTS_PER_TOKEN: usize = 2;

/// A token whose hidden state a router reads, and the router's logits for it.
#[derive(Clone, PartialEq)]
pub struct RoutedToken {
    /// The hidden state.
    pub hidden: Vec<f32>,
    /// A logit for each expert.
    pub logits: Vec<f32>,
}

/// It reveals something about a record, so it is never printed.
impl std::fmt::Debug for RoutedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RoutedToken({} logits)", self.logits.len())
    }
}

/// The averages of a model with one MoE layer over records whose tokens are given, for audits that plant
/// records. Every token has the lengths of the first.
///
/// # Errors
/// [`ExpertsError::Settings`] where there is no token, or a token has other lengths.
pub fn planted_averages(
    averaging: &Averaging,
    records: &[Vec<RoutedToken>],
) -> Result<RecordAverages, ExpertsError> {
    let tokens: Vec<&RoutedToken> = records.iter().flatten().collect();
    let first = tokens.first().ok_or_else(|| settings_error("records without a token"))?;
    let (width, experts) = (first.hidden.len(), first.logits.len());
    if tokens.iter().any(|token| (token.hidden.len(), token.logits.len()) != (width, experts)) {
        return Err(settings_error("tokens of different lengths"));
    }
    let (mut hidden, mut logits, mut owners) = (Vec::new(), Vec::new(), Vec::new());
    for (record, owner) in records.iter().zip(0_i64..) {
        for token in record {
            hidden.extend_from_slice(&token.hidden);
            logits.extend_from_slice(&token.logits);
            owners.push(owner);
        }
    }
    let hidden = Tensor::from_slice(&hidden).view([-1, width as i64]);
    let logits = Tensor::from_slice(&logits).view([-1, experts as i64]);
    let routing = LayerRouting::new(hidden, &logits, EXPERTS_PER_TOKEN);
    let owners = Tensor::from_slice(&owners);
    let mut layer = LayerSums::new(averaging, experts);
    // Each record is one example, and all are one batch.
    let examples: Vec<[usize; 1]> = (0..records.len()).map(|record| [record]).collect();
    for batch in record_batches(examples.iter().map(<[usize; 1]>::as_slice), |_| 1, i64::MAX) {
        layer.add(&routing, &owners, &batch);
    }
    Ok(finish_averages(&[layer]))
}

/// The averages that the sums of all layers give.
pub(crate) fn finish_averages(layers: &[LayerSums<'_>]) -> RecordAverages {
    RecordAverages {
        regions: layers.iter().map(LayerSums::regions).collect(),
        routing: layers.iter().map(LayerSums::routing).collect(),
    }
}

fn settings_error(what: &str) -> ExpertsError {
    ExpertsError::Settings(format!("averages need tokens, all of the first one's lengths; there are {what}"))
}

/// Running sums of one layer.
pub(crate) struct LayerSums<'a> {
    averaging: &'a Averaging,
    /// `[width, coordinates]`.
    projection: Tensor,
    /// How many records are complete.
    records: f64,
    /// Sum of the records' routing distributions, `[experts]`.
    routing: Tensor,
    /// Sum of the records' clipped projected means, `[experts, coordinates]`.
    regions: Tensor,
    /// Records that use each expert, `[experts, 1]`.
    users: Tensor,
    sums: RecordSums,
}

impl<'a> LayerSums<'a> {
    pub(crate) fn new(averaging: &'a Averaging, experts: usize) -> Self {
        let rows: Vec<f64> = averaging.projection.concat();
        let inputs = averaging.projection.len() as i64;
        let projection = Tensor::from_slice(&rows).view([inputs, -1]).to_kind(Kind::Float);
        let (experts, coordinates) = (experts as i64, projection.size()[1]);
        let on_host = (Kind::Float, tch::Device::Cpu);
        Self {
            averaging,
            projection,
            records: 0.0,
            routing: Tensor::zeros([experts], on_host),
            regions: Tensor::zeros([experts, coordinates], on_host),
            users: Tensor::zeros([experts, 1], on_host),
            sums: RecordSums::default(),
        }
    }

    /// Counts the records of one batch; `owners` has the example of each token. A record's means are over all
    /// tokens of its examples.
    pub(crate) fn add(&mut self, routing: &LayerRouting, owners: &Tensor, batch: &RecordBatch) {
        // From the example of each token to the record that the example belongs to.
        let owners = batch.places(owners.device()).index_select(0, owners);
        let over = Over::Examples { owners: &owners, examples: batch.records };
        let assigned = routing.probabilities.zeros_like().scatter_value(1, &routing.chosen, 1.0);
        let projected = routing.hidden.matmul(&self.projection);
        // For each token the experts' sums side by side, `[tokens, experts · coordinates]`.
        let parts = (assigned.unsqueeze(2) * projected.unsqueeze(1)).flatten(1, 2);
        let probabilities = &routing.probabilities;
        let sums =
            vec![over.sum(&parts), over.sum(&assigned), over.sum(probabilities), over.count(probabilities)];
        let sums = self.sums.complete(batch, sums);
        if sums[0].size()[0] > 0 {
            self.add_complete(&sums[0], &sums[1].unsqueeze(2), &sums[2], &sums[3]);
        }
    }

    /// Counts records that are complete, from the sums over their tokens of projected hidden states for each
    /// expert, of assignments to experts, of routing distributions, and of tokens.
    fn add_complete(&mut self, parts: &Tensor, counts: &Tensor, routing: &Tensor, tokens: &Tensor) {
        let records = counts.size()[0];
        let means = parts.view([records, counts.size()[1], -1]) / counts.clamp_min(1.0);
        // Each record is clipped by itself and then added: clipping the sum would bound no record's part.
        let norms = means.norm_scalaropt_dim(2.0, [2i64], true);
        let clipped = &means * (norms.clamp_min(self.averaging.clip).reciprocal() * self.averaging.clip);
        self.records += records as f64;
        self.routing += finite_or_0(&(routing / tokens)).sum_dim_intlist(0, false, Kind::Float);
        self.regions += finite_or_0(&clipped).sum_dim_intlist(0, false, Kind::Float);
        // A record that is not finite still counts as one that uses the expert, with a part of 0.
        self.users += counts.gt(0.0).to_kind(Kind::Float).sum_dim_intlist(0, false, Kind::Float);
    }

    fn routing(&self) -> Vec<f32> {
        values(&(&self.routing / self.records.max(self.averaging.minimum_records as f64)))
    }

    fn regions(&self) -> Vec<Vec<f64>> {
        let means = &self.regions / self.users.clamp_min(self.averaging.minimum_records as f64);
        let mut regions = Vec::new();
        for mean in means.unbind(0) {
            regions.push(values(&mean).into_iter().map(f64::from).collect());
        }
        regions
    }
}

/// Rows that are finite, `[…, width]`; one that is not counts as 0, so that it cannot make the whole average
/// no number.
fn finite_or_0(rows: &Tensor) -> Tensor {
    rows.where_self(&are_finite(rows), &rows.zeros_like())
}

#[cfg(test)]
mod tests {
    use cloister_params::block::BlockKind;

    use super::*;

    /// The example of each token.
    const OWNERS: [usize; 11] = [0, 0, 0, 1, 2, 2, 3, 3, 3, 3, 4];

    /// Each example is a record.
    fn singles() -> Vec<Vec<usize>> {
        (0..5).map(|example| vec![example]).collect()
    }

    /// Averages over records of five examples of different lengths, routed at random among four experts, in
    /// batches of at most `most` examples.
    fn averages(records: &[Vec<usize>], minimum_records: usize, scale: f64, most: i64) -> RecordAverages {
        tch::manual_seed(4);
        let random = |width| Tensor::randn([11, width], (Kind::Float, tch::Device::Cpu));
        let (hidden, logits) = (random(6) * scale, random(4) * 3.0);
        let row = |row: usize| (0..3).map(|at| ((row * 3 + at) as f64).cos()).collect();
        let averaging = Averaging { projection: (0..6).map(row).collect(), clip: 0.5, minimum_records };
        let mut layer = LayerSums::new(&averaging, 4);
        for batch in record_batches(records.iter().map(Vec::as_slice), |_| 1, most) {
            let (mut rows, mut owners) = (Vec::new(), Vec::new());
            for (place, &example) in (0_i64..).zip(&batch.examples) {
                let tokens = (0..11).filter(|&row| OWNERS[row as usize] == example);
                rows.extend(tokens.clone());
                owners.extend(tokens.map(|_| place));
            }
            let [rows, owners] = [rows, owners].map(|numbers: Vec<i64>| Tensor::from_slice(&numbers));
            let routing = LayerRouting::new(hidden.index_select(0, &rows), &logits.index_select(0, &rows), 2);
            layer.add(&routing, &owners, &batch);
        }
        finish_averages(&[layer])
    }

    fn distance<T: Copy + Into<f64>>(one: &[T], other: &[T]) -> f64 {
        let squares = one.iter().zip(other).map(|(&one, &other)| (one.into() - other.into()).powi(2));
        squares.sum::<f64>().sqrt()
    }

    /// PRIV-11
    #[test]
    fn no_record_moves_an_average_by_more_than_its_bound() {
        let grouped = vec![vec![0, 3], vec![1], vec![2, 4]];
        for (records, minimum, scale) in [
            (singles(), 1, 0.1),
            (singles(), 2, 10.0),
            (singles(), 3, 10.0),
            (singles(), 8, 1e4),
            (grouped.clone(), 1, 0.1),
            (grouped, 2, 1e4),
        ] {
            let all = averages(&records, minimum, scale, 3);
            let mut largest: f64 = 0.0;
            for left_out in 0..records.len() {
                let mut rest = records.clone();
                rest.remove(left_out);
                let others = averages(&rest, minimum, scale, 3);
                for (one, other) in all.regions[0].iter().zip(&others.regions[0]) {
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

    /// A record's mean is over all of its tokens, in whatever batches its examples come.
    #[test]
    fn a_record_of_several_examples_is_averaged_as_one() {
        let grouped = [vec![0, 3], vec![1], vec![2, 4]];
        let whole = averages(&grouped, 1, 10.0, 9);
        for most in 1..5 {
            let parts = averages(&grouped, 1, 10.0, most);
            assert!(distance(&whole.routing[0], &parts.routing[0]) < 1e-6, "batches of {most}");
            for (one, other) in whole.regions[0].iter().zip(&parts.regions[0]) {
                assert!(distance(one, other) < 1e-6, "batches of {most}");
            }
        }
        let apart = averages(&singles(), 1, 10.0, 9);
        assert!(
            distance(&whole.routing[0], &apart.routing[0]) > 0.01,
            "control: examples counted one by one"
        );
    }

    /// A hidden state that is not finite would make the whole average no number, which tells of its record.
    #[test]
    fn a_record_that_is_not_finite_counts_as_0() {
        let sound = averages(&singles(), 1, 1.0, 9);
        assert!(sound.regions[0].iter().flatten().any(|&value| value != 0.0));
        let broken = averages(&singles(), 1, f64::INFINITY, 9);
        assert!(broken.regions[0].iter().flatten().all(|&value| value == 0.0), "every record is broken");
        assert!(broken.routing[0].iter().all(|value| value.is_finite()));
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
        let averages = planted_averages(&averaging, &records).expect("sound tokens");
        let region = |expert| averages.region(BlockKind::Expert { layer: 0, expert }).expect("there")[0];
        // The second record's own means, 100, are clipped to 10; all divide by the minimum of 4.
        for (expert, expected) in [2.0, 1.0 + 10.0, 3.0 + 10.0].into_iter().enumerate() {
            let got = region(expert as u16);
            assert!((got - expected / 4.0).abs() < 1e-6, "{got} of expert {expert}");
        }
        let routing = averages.routing(BlockKind::Routing { layer: 0 }).expect("there");
        assert!(distance(routing, &[0.25, 0.25, 0.0]) < 1e-6, "{routing:?}");
        let refused = |records: &[Vec<RoutedToken>]| {
            planted_averages(&averaging, records).expect_err("not averaged").to_string()
        };
        assert!(refused(&[vec![]]).contains("without a token"));
        let short = token([1.0, 0.0], [0.0; 3]);
        let short = RoutedToken { hidden: vec![1.0], ..short };
        assert!(refused(&[records[0].clone(), vec![short]]).contains("different lengths"));
    }

    #[test]
    fn a_large_minimum_makes_them_smaller_than_means() {
        let (means, few) = (averages(&singles(), 1, 0.01, 9), averages(&singles(), 10, 0.01, 9));
        assert!((means.routing[0].iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert!((few.routing[0].iter().sum::<f32>() - 0.5).abs() < 1e-5, "five of at least ten");
        let kind = BlockKind::Expert { layer: 0, expert: 1 };
        let (mean, part) = (means.region(kind).expect("there"), few.region(kind).expect("there"));
        let ratio = distance(part, &[0.0; 3]) / distance(mean, &[0.0; 3]);
        assert!((0.09..0.51).contains(&ratio), "one to five of ten: {ratio}");
        assert_eq!(means.region(BlockKind::Shared), None);
    }
}
