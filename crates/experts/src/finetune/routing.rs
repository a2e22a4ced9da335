//! How a model routes examples: gathered within the steps of a training, or in a pass of its own.

use std::collections::BTreeMap;

use tch::{Device, Kind};

use super::example::Batch;
use super::{Example, FineTuner};
use crate::error::ExpertsError;
use crate::families::Routing;
use crate::moe;
use crate::private::{Averaging, LayerAverages, RecordAverages};
use crate::statistics::LayerStatistics;
use crate::trainer::ExpertRegion;

/// How a model routes examples, layer by layer. It tells of the examples: only what a round plan names may leave.
#[derive(Clone, PartialEq, Debug)]
pub struct RoutingSummary {
    /// Mean routing distribution of each sparse layer.
    pub distributions: Vec<Vec<f32>>,
    /// For each layer and expert the mean decision margin of the tokens routed to it; 0 where there are none.
    pub margins: Vec<Vec<f32>>,
    /// One for each layer and expert.
    pub regions: Vec<ExpertRegion>,
}

/// Statistics of every sparse layer, by its place among them.
#[derive(Default)]
pub(super) struct Gathered {
    layers: BTreeMap<usize, LayerStatistics>,
}

impl Gathered {
    /// Counts how one layer routed one batch.
    pub(super) fn add(&mut self, index: usize, routing: &Routing) {
        let (experts, width) = (routing.logits.size()[1], routing.hidden.size()[1]);
        let new = || LayerStatistics::new(experts as usize, width as usize, routing.hidden.device());
        self.layers.entry(index).or_insert_with(new).add(&plain(routing), None);
    }

    pub(super) fn summary(&self) -> RoutingSummary {
        let layers = self.layers.values();
        RoutingSummary {
            distributions: layers.clone().map(LayerStatistics::distribution).collect(),
            margins: layers.clone().map(LayerStatistics::margins).collect(),
            regions: (0..).zip(layers).flat_map(|(layer, own)| own.regions(layer)).collect(),
        }
    }
}

impl FineTuner {
    /// How the model routes examples.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub fn routing(&self, examples: &[Example], batch_size: usize) -> Result<RoutingSummary, ExpertsError> {
        let mut gathered = Gathered::default();
        self.each_routing(examples, batch_size, &mut |index, routing, _| gathered.add(index, routing))?;
        Ok(gathered.summary())
    }

    /// Averages over the examples, each a record of its own, none of which one example moves by much.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub fn record_averages(
        &self,
        examples: &[Example],
        averaging: &Averaging,
        batch_size: usize,
    ) -> Result<RecordAverages, ExpertsError> {
        let mut layers: Vec<LayerAverages<'_>> = Vec::new();
        self.each_routing(examples, batch_size, &mut |index, routing, own| {
            if layers.len() == index {
                layers.push(LayerAverages::new(averaging, routing.logits.size()[1] as usize));
            }
            let owners = routing.owners.to_device(Device::Cpu);
            layers[index].add(&plain(routing).to_host(), &owners, own);
        })?;
        Ok(RecordAverages::of(&layers))
    }

    /// How each sparse layer, by its place among them, routes each batch of so many examples.
    fn each_routing(
        &self,
        examples: &[Example],
        batch_size: usize,
        take: &mut dyn FnMut(usize, &Routing, i64),
    ) -> Result<(), ExpertsError> {
        self.check(examples)?;
        for own in examples.chunks(batch_size.max(1)) {
            let batch = Batch::new(&own.iter().collect::<Vec<_>>(), &self.model);
            for (index, routing) in self.model.route(&batch).iter().enumerate() {
                take(index, routing, own.len() as i64);
            }
        }
        Ok(())
    }
}

/// What the regulariser and the statistics look at.
pub(super) fn plain(routing: &Routing) -> moe::Routing {
    moe::Routing {
        hidden: routing.hidden.detach().to_kind(Kind::Float),
        probabilities: routing.probabilities.shallow_clone(),
        chosen: routing.chosen.shallow_clone(),
        chosen_probabilities: routing.probabilities.gather(1, &routing.chosen, false),
    }
}
