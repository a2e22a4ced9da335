//! How a model routes examples, collected within the steps of a training or in a separate pass.

use std::collections::BTreeMap;

use cloister_updates::{Averaging, ExpertRegion, RecordAverages};
use tch::{Device, Kind};

use super::example::records;
use super::{Example, FineTuner};
use crate::error::ExpertsError;
use crate::families::Routing;
use crate::families::models::batch::ExampleBatch;
use crate::training::private::{LayerSums, RecordBatch, finish_averages, record_batches};
use crate::training::routing::LayerRouting;
use crate::training::statistics::LayerStatistics;

/// How a model routes examples, layer by layer. It leaks information about the examples: only what a round
/// plan names may leave the hospital.
#[derive(Clone, PartialEq, Debug)]
pub struct RoutingSummary {
    /// Mean routing distribution of each sparse layer.
    pub distributions: Vec<Vec<f32>>,
    /// For each layer and expert the mean decision margin of the tokens routed to it; 0 without tokens.
    pub margins: Vec<Vec<f32>>,
    /// The region of each expert, layer by layer.
    pub regions: Vec<ExpertRegion>,
}

/// Statistics of every sparse layer, by its index among the sparse layers. A map and not a list, because
/// recomputed layers come from the last to the first.
#[derive(Default)]
pub(super) struct RoutingSums {
    layers: BTreeMap<usize, LayerStatistics>,
}

impl RoutingSums {
    /// Counts how one layer routed one batch.
    pub(super) fn add(&mut self, index: usize, routing: &Routing) {
        let (experts, width) = (routing.logits.size()[1], routing.hidden.size()[1]);
        let device = routing.hidden.device();
        self.layers
            .entry(index)
            .or_insert_with(|| LayerStatistics::new(experts as usize, width as usize, device))
            .add(&plain(routing), None);
    }

    pub(super) fn summary(&self) -> RoutingSummary {
        let layers = self.layers.values();
        RoutingSummary {
            distributions: layers.clone().map(LayerStatistics::distribution).collect(),
            margins: layers.clone().map(LayerStatistics::margins).collect(),
            regions: (0..).zip(layers).flat_map(|(layer, statistics)| statistics.regions(layer)).collect(),
        }
    }
}

impl FineTuner {
    /// How the model routes examples.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub fn routing(&self, examples: &[Example], batch_size: usize) -> Result<RoutingSummary, ExpertsError> {
        let mut sums = RoutingSums::default();
        self.check(examples)?;
        let numbers: Vec<usize> = (0..examples.len()).collect();
        for batch in numbers.chunks(batch_size.max(1)) {
            self.each_routing(examples, batch, &mut |index, routing| sums.add(index, routing));
        }
        Ok(sums.summary())
    }

    /// Averages over the examples' records. Each record's influence on them is bounded.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub fn record_averages(
        &self,
        examples: &[Example],
        averaging: &Averaging,
        batch_size: usize,
    ) -> Result<RecordAverages, ExpertsError> {
        let mut layers: Vec<LayerSums<'_>> = Vec::new();
        self.check(examples)?;
        let records = records(examples);
        let batches: Vec<RecordBatch> =
            record_batches(records.iter().map(Vec::as_slice), |_| 1, batch_size.max(1) as i64);
        for batch in batches {
            self.each_routing(examples, &batch.examples, &mut |index, routing| {
                // Made here, because only a routing tells how many experts there are.
                if layers.len() == index {
                    layers.push(LayerSums::new(averaging, routing.logits.size()[1] as usize));
                }
                let owners = routing.owners.to_device(Device::Cpu);
                layers[index].add(&plain(routing).to_host(), &owners, &batch);
            });
        }
        Ok(finish_averages(&layers))
    }

    /// Runs the examples with these indices through the model. `take` gets each sparse layer's routing, with
    /// the layer's index among the sparse layers.
    fn each_routing(&self, examples: &[Example], numbers: &[usize], take: &mut dyn FnMut(usize, &Routing)) {
        let batch: Vec<&Example> = numbers.iter().map(|&number| &examples[number]).collect();
        let batch = ExampleBatch::new(&batch, &self.model);
        for (index, routing) in self.model.route(&batch).iter().enumerate() {
            take(index, routing);
        }
    }
}

/// The part of a routing that the regulariser and the statistics use.
pub(super) fn plain(routing: &Routing) -> LayerRouting {
    LayerRouting {
        hidden: routing.hidden.detach().to_kind(Kind::Float),
        probabilities: routing.probabilities.shallow_clone(),
        chosen: routing.chosen.shallow_clone(),
        // Not `routing.weights`, which some families normalise or scale.
        chosen_probabilities: routing.probabilities.gather(1, &routing.chosen, false),
    }
}
