//! Records of several examples, such as all notes of a patient: what is clipped and averaged is a record's,
//! not an example's.
//!
//! Examples go through the model record by record, a few at a time. A record may go on in the next batch, so
//! the sums of the last one are held back until it is complete.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use crate::device::uploaded;

/// The examples of each record, in the order in which records first appear; `numbers` has the record of each
/// example.
pub(crate) fn by_record(numbers: impl Iterator<Item = usize>) -> Vec<Vec<usize>> {
    let mut places = BTreeMap::new();
    let mut records: Vec<Vec<usize>> = Vec::new();
    for (example, number) in numbers.enumerate() {
        let place = *places.entry(number).or_insert(records.len());
        match records.get_mut(place) {
            Some(record) => record.push(example),
            None => records.push(vec![example]),
        }
    }
    records
}

/// Examples that pass through the model together.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct RecordBatch {
    /// Their numbers, in the order in which they pass.
    pub(crate) examples: Vec<usize>,
    /// For each, its record's place among the records of this batch.
    places: Vec<i64>,
    /// For each, its share in its record's mean: 1 over the number of the record's examples in all batches.
    shares: Vec<f32>,
    /// How many records there are in this batch.
    pub(crate) records: i64,
    /// Whether the last record goes on in the next batch.
    goes_on: bool,
}

impl RecordBatch {
    fn push(&mut self, example: usize, is_first_of_record: bool, share: f32) {
        // A record that goes on from the batch before is one of this batch's records too.
        self.records += i64::from(is_first_of_record || self.examples.is_empty());
        self.examples.push(example);
        self.places.push(self.records - 1);
        self.shares.push(share);
    }

    /// The place of each example's record, `[examples]`.
    pub(crate) fn places(&self, device: Device) -> Tensor {
        uploaded(&Tensor::from_slice(&self.places), device)
    }

    /// Each record's part of its mean, `[records, …]`, of values of each example, `[examples, …]`.
    pub(crate) fn means(&self, values: Vec<Tensor>) -> Vec<Tensor> {
        // The common case, one example for each record, needs no product and no copy.
        if self.shares.iter().all(|&share| share == 1.0) {
            return values;
        }
        values.iter().map(|values| self.weighted(values)).collect()
    }

    fn weighted(&self, values: &Tensor) -> Tensor {
        let device = values.device();
        let shares = uploaded(&Tensor::from_slice(&self.shares), device).unsqueeze(1);
        let weighted = values.flatten(1, -1) * shares;
        let sums = Tensor::zeros([self.records, weighted.size()[1]], (Kind::Float, device));
        let shape = [&[self.records], &values.size()[1..]].concat();
        sums.index_add(0, &self.places(device), &weighted).view(shape.as_slice())
    }
}

/// The examples of these records in batches. An example has a cost, and a batch one of at most `most`, or one
/// example.
pub(crate) fn batches<'a>(
    records: impl Iterator<Item = &'a [usize]>,
    cost: impl Fn(usize) -> i64,
    most: i64,
) -> Vec<RecordBatch> {
    let (mut batches, mut batch, mut spent) = (Vec::new(), RecordBatch::default(), 0);
    for record in records {
        for (place, &example) in record.iter().enumerate() {
            spent += cost(example);
            if spent > most && !batch.examples.is_empty() {
                // What did not fit belongs to the last record, unless it is the first example of its own.
                batch.goes_on = place > 0;
                batches.push(std::mem::take(&mut batch));
                spent = cost(example);
            }
            batch.push(example, place == 0, 1.0 / record.len() as f32);
        }
    }
    if !batch.examples.is_empty() {
        batches.push(batch);
    }
    batches
}

/// Sums of records that go over several batches.
#[derive(Default)]
pub(crate) struct RecordSums {
    /// Those of a record that is not complete yet, `[1, …]` each.
    incomplete: Option<Vec<Tensor>>,
}

impl RecordSums {
    /// Takes a batch's sums, `[records, …]` each, and returns those of records that are complete. There may
    /// be none.
    pub(crate) fn complete(&mut self, batch: &RecordBatch, mut sums: Vec<Tensor>) -> Vec<Tensor> {
        if let Some(before) = self.incomplete.take() {
            for (sum, before) in sums.iter_mut().zip(before) {
                // What went on from the batch before is always the first record of this one.
                let rest = sum.narrow(0, 1, batch.records - 1);
                *sum = Tensor::cat(&[sum.narrow(0, 0, 1) + before, rest], 0);
            }
        }
        if !batch.goes_on {
            return sums;
        }
        // A copy, because a view would keep the whole batch's sums in memory until the record is complete.
        let last = batch.records - 1;
        self.incomplete = Some(sums.iter().map(|sum| sum.narrow(0, last, 1).copy()).collect());
        sums.iter().map(|sum| sum.narrow(0, 0, last)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each example is a number; a record's mean follows by hand.
    fn means(records: &[Vec<usize>], most: i64) -> Vec<f32> {
        let mut sums = RecordSums::default();
        let mut found = Vec::new();
        for batch in batches(records.iter().map(Vec::as_slice), |_| 1, most) {
            let values: Vec<f32> = batch.examples.iter().map(|&example| example as f32).collect();
            let parts = batch.means(vec![Tensor::from_slice(&values).view([-1, 1, 1])]);
            let complete = sums.complete(&batch, parts);
            found.extend(crate::device::values(&complete[0]));
        }
        assert!(sums.incomplete.is_none(), "every record is complete");
        found
    }

    #[test]
    fn whatever_the_batches_a_record_has_the_mean_of_its_examples() {
        let records = by_record([7, 3, 7, 7, 5, 3, 7, 7].into_iter());
        assert_eq!(records, [vec![0, 2, 3, 6, 7], vec![1, 5], vec![4]]);
        for most in 1..10 {
            let found = means(&records, most);
            let off = found.iter().zip([3.6, 3.0, 4.0]).map(|(found, mean)| (found - mean).abs());
            assert!(found.len() == 3 && off.fold(0.0, f32::max) < 1e-5, "{most}: {found:?}");
        }
    }

    #[test]
    fn batches_keep_to_their_cost_or_have_one_example() {
        let records = [vec![0, 1], vec![2], vec![3, 4]];
        let cost = |example: usize| [3, 3, 9, 1, 1][example];
        let batches = batches(records.iter().map(Vec::as_slice), cost, 6);
        let examples: Vec<&[usize]> = batches.iter().map(|batch| batch.examples.as_slice()).collect();
        assert_eq!(examples, [&[0, 1][..], &[2], &[3, 4]]);
        assert!(batches.iter().all(|batch| batch.records == 1 && !batch.goes_on));
        assert!(super::batches(std::iter::empty(), cost, 6).is_empty());
    }
}
