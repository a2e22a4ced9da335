//! Private training, by DP-SGD, of the upcycled MiniLM.

use cloister_updates::{Averaging, LocalResult, RecordAverages};
use rand_core::CryptoRng;
use tch::{Device, Reduction, Tensor};

use super::{EVALUATION_TOKENS, Trainer, count, task_loss};
use crate::classifier::model::Parameters;
use crate::error::ExpertsError;
use crate::training::optimizer::Plan;
use crate::training::private::steps::{PrivateSteps, RecordLearner};
use crate::training::private::{LayerSums, PrivateReport, PrivateTraining, Tape, finish_averages};
use crate::training::progress::TrainingProgress;
use crate::training::regularizer::Over;
use crate::training::routing::LayerRouting;
use crate::training::settings::LocalTraining;
use crate::training::statistics::{LayerStatistics, RegionForm};

/// One private training: the parameters, and the tape that their products are written to.
struct PrivateClassifierLearner<'a> {
    trainer: &'a Trainer,
    settings: &'a LocalTraining,
    /// The notes of each record.
    records: Vec<Vec<usize>>,
    tape: Tape,
    /// The trainer's parameters, whose products go to the tape.
    recorded: Parameters,
    /// Those of them that are trained, with their names.
    trained: Vec<(String, Tensor)>,
}

impl Trainer {
    /// Trains from the present parameters by DP-SGD. `settings.epochs` and `settings.seed` are not used:
    /// there are `private.steps` steps on batches that `random` draws, and `random` must be secret.
    /// `settings.batch_size` is how many notes pass through the model together, and what each step's sum is
    /// divided by.
    ///
    /// # Errors
    /// As [`train`](Self::train), and [`ExpertsError::Settings`] for private settings outside their limits.
    ///
    /// # Leakage
    /// `updates` of trained blocks are covered by what the accountant charges for `private`. Everything else
    /// in the result leaks as it does without privacy: losses, regions, margins, routing blocks.
    pub fn train_privately(
        &mut self,
        settings: &LocalTraining,
        private: &PrivateTraining,
        random: &mut impl CryptoRng,
        progress: &mut dyn FnMut(TrainingProgress),
    ) -> Result<(LocalResult, PrivateReport), ExpertsError> {
        settings.check()?;
        private.check()?;
        let before = self.parameters.to_values(&self.config);
        let (losses, report) = self.descend_privately(settings, private, random, progress)?;
        Ok((self.result(before, &losses, &self.statistics(settings.region_form))?, report))
    }

    /// How the present parameters route the notes.
    fn statistics(&self, form: RegionForm) -> Vec<LayerStatistics> {
        let mut statistics = self.no_statistics(form);
        for batch in self.features.batches(EVALUATION_TOKENS) {
            let routings = tch::no_grad(|| self.model.route(&batch, &self.parameters));
            count(&mut statistics, &routings, &batch, form);
        }
        statistics
    }

    /// Averages over the records with the present parameters. [`RecordAverages`] says how far one record
    /// moves them (`PRIV-11`).
    pub fn record_averages(&self, averaging: &Averaging) -> RecordAverages {
        let mut layers: Vec<LayerSums<'_>> =
            (0..self.config.moe_layers).map(|_| LayerSums::new(averaging, self.config.experts)).collect();
        tch::no_grad(|| {
            for records in self.features.record_batches(EVALUATION_TOKENS) {
                let batch = self.features.batch(&records.examples);
                let owners = batch.packing.owners().to_device(Device::Cpu);
                let routings = self.model.route(&batch, &self.parameters);
                for (layer, routing) in layers.iter_mut().zip(&routings) {
                    layer.add(&LayerRouting::to_host(routing), &owners, &records);
                }
            }
        });
        finish_averages(&layers)
    }

    fn descend_privately(
        &self,
        settings: &LocalTraining,
        private: &PrivateTraining,
        random: &mut impl CryptoRng,
        progress: &mut dyn FnMut(TrainingProgress),
    ) -> Result<(Vec<f64>, PrivateReport), ExpertsError> {
        let mut learner = PrivateClassifierLearner::new(self, settings);
        // The divisor is the plan's batch size: how many records were drawn is as private as the records.
        let sizes = (settings.batch_size, settings.batch_size);
        let mut steps = PrivateSteps::new(&mut learner, private, sizes, random)?;
        // Each record's gradient is clipped already.
        let plan = Plan { max_norm: None, ..Plan::default() };
        let losses = self.descent(settings, plan).run(&mut steps, progress)?;
        // A step that drew no record has no loss.
        let with_records = losses.into_iter().zip(steps.drawn_in_steps()).filter(|(_, drawn)| **drawn > 0);
        Ok((with_records.map(|(loss, _)| loss).collect(), steps.report()))
    }
}

impl<'a> PrivateClassifierLearner<'a> {
    fn new(trainer: &'a Trainer, settings: &'a LocalTraining) -> Self {
        let tape = Tape::default();
        let recorded = trainer.parameters.recorded(&tape);
        let (records, trained) = (trainer.features.by_record(), trainer.trained(settings.frozen));
        Self { trainer, settings, records, tape, recorded, trained }
    }
}

impl RecordLearner for PrivateClassifierLearner<'_> {
    fn records(&self) -> &[Vec<usize>] {
        &self.records
    }

    fn parameters(&self) -> &[(String, Tensor)] {
        &self.trained
    }

    fn example_gradients(&mut self, notes: &[usize]) -> (Tensor, Vec<Tensor>) {
        let batch = self.trainer.features.batch(notes);
        let output = self.trainer.model.forward(&batch, &self.recorded);
        // A sum, so that the gradient of each note is as large as if it were alone.
        let task = task_loss(&output, &batch, Reduction::Sum);
        let (owners, examples) = (batch.packing.owners(), batch.packing.notes);
        let over = Over::Examples { owners: &owners, examples };
        let loss = &task + self.trainer.routing_loss(&output, self.settings, over);
        (task.detach(), self.tape.gradients(&loss, examples, &self.trained))
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::classifier::blocks::block_vectors;
    use crate::classifier::blocks::initial_blocks;
    use crate::classifier::config::ModelConfig;
    use crate::classifier::encoder::Encoder;
    use crate::classifier::trainer::ClassifierLearner;
    use crate::files::notes::Note;
    use crate::synthetic::{self, Style};
    use crate::training::descent::BatchLearner;
    use crate::training::private::steps::clipped_sum;
    use crate::training::regularizer::RoutingForm;

    /// Notes of very different lengths.
    fn notes() -> Vec<Note> {
        let mut notes = synthetic::generate(9, &[1.0; 8], Style::Dictated, 4);
        for (index, note) in notes.iter_mut().enumerate() {
            let words: Vec<&str> = note.text.split(' ').take(3 + 5 * index).collect();
            note.text = words.join(" ");
        }
        notes
    }

    /// A trainer whose adapters, head and published distributions are not 0.
    fn trainer() -> Option<Trainer> {
        let Some(folder) = std::env::var_os("CLOISTER_MINILM") else {
            eprintln!("SKIPPED: CLOISTER_MINILM names no folder with MiniLM's weights");
            return None;
        };
        let config = ModelConfig::new(synthetic::CLASSES.map(str::to_owned).to_vec());
        let encoder = Encoder::open(folder.as_ref(), config.clone(), 1, tch::Device::Cpu)
            .expect("the weights are there");
        let mut trainer = Trainer::new(&encoder, encoder.features(&notes()).expect("the labels are known"));
        let scrambled = |values: &Vec<f32>| {
            let value = |(index, value): (usize, &f32)| value + ((index * 37 % 101) as f32 - 50.0) * 2e-4;
            values.iter().enumerate().map(value).collect()
        };
        let values = initial_blocks(&config).values().iter().map(scrambled).collect();
        let mut values: Vec<Vec<f32>> = values;
        let routing = values.len() - config.moe_layers;
        values[routing..].fill(vec![0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05]);
        trainer.load(&block_vectors(&config, values).expect("lengths are kept")).expect("the same model");
        Some(trainer)
    }

    fn settings() -> LocalTraining {
        LocalTraining { batch_size: 4, load_balance: 0.5, routing_penalty: 0.5, ..LocalTraining::default() }
    }

    /// The gradient of one note by the plain loss of a batch of it alone.
    fn alone(trainer: &Trainer, settings: &LocalTraining, note: usize) -> Vec<Tensor> {
        ClassifierLearner::new(trainer, settings).gradients(&[note], false).gradients
    }

    fn norm(gradients: &[Tensor]) -> f64 {
        let squares = gradients.iter().map(|gradient| gradient.square().sum(Kind::Double).double_value(&[]));
        squares.sum::<f64>().sqrt()
    }

    fn off(one: &Tensor, other: &Tensor) -> f64 {
        (one - other).abs().max().double_value(&[])
    }

    /// PRIV-10
    #[test]
    fn the_gradients_of_a_batch_are_those_of_each_note_alone() {
        let Some(trainer) = trainer() else { return };
        for form in [RoutingForm::Adaptive, RoutingForm::Uniform, RoutingForm::BatchMean] {
            let settings = LocalTraining { routing_form: form, ..settings() };
            let mut learner = PrivateClassifierLearner::new(&trainer, &settings);
            let all: Vec<usize> = (0..9).collect();
            let (_, together) = learner.example_gradients(&all);
            for note in all {
                for ((name, _), (batched, alone)) in
                    learner.trained.iter().zip(together.iter().zip(alone(&trainer, &settings, note)))
                {
                    let off = off(&batched.get(note as i64), &alone);
                    assert!(off < 1e-5, "{form:?}: {name} of note {note} differs by {off}");
                    assert!(alone.abs().max().double_value(&[]) > 1e-4, "{name} has a gradient to compare");
                }
            }
        }
    }

    #[test]
    fn the_clipped_sum_is_that_of_the_naive_loop_and_bounded() {
        let Some(trainer) = trainer() else { return };
        let settings = settings();
        let mut learner = PrivateClassifierLearner::new(&trainer, &settings);
        let drawn: Vec<usize> = (0..9).collect();
        let gradients: Vec<Vec<Tensor>> =
            drawn.iter().map(|&note| alone(&trainer, &settings, note)).collect();
        let norms: Vec<f64> = gradients.iter().map(|gradient| norm(gradient)).collect();
        let mut sorted = norms.clone();
        sorted.sort_by(f64::total_cmp);
        // Between two norms: rounding may put a norm on either side of itself.
        let bound = (sorted[4] + sorted[5]) / 2.0;
        let (_, sum) = clipped_sum(&mut learner, &drawn, bound, settings.batch_size);
        assert_eq!(sum.counts.int64_value(&[0]), 4, "those above the median");
        for (index, sum) in sum.sums.iter().enumerate() {
            let naive: Tensor = gradients
                .iter()
                .zip(&norms)
                .map(|(gradient, norm)| &gradient[index] * (bound / norm).min(1.0))
                .sum();
            let off = off(sum, &naive);
            assert!(off < 1e-5, "{} differs by {off}", learner.trained[index].0);
        }
        for note in drawn {
            let (_, one) = clipped_sum(&mut learner, &[note], 0.5 * sorted[0], settings.batch_size);
            assert!((norm(&one.sums) / (0.5 * sorted[0]) - 1.0).abs() < 1e-5, "note {note}");
        }
    }

    /// PRIV-10
    #[test]
    fn a_record_s_gradient_is_the_mean_of_its_notes_and_clipped_as_one() {
        let Some(mut trainer) = trainer() else { return };
        let settings = LocalTraining { batch_size: 3, ..settings() };
        let patients = [7, 1, 7, 7, 2, 1, 7, 7, 2];
        trainer.features = trainer.features.with_records(patients.to_vec());
        assert_eq!(trainer.features.records(), 3);
        let mut learner = PrivateClassifierLearner::new(&trainer, &settings);
        let mean = |notes: &[usize]| -> Vec<Tensor> {
            let gradients: Vec<Vec<Tensor>> =
                notes.iter().map(|&note| alone(&trainer, &settings, note)).collect();
            let mean = |index: usize| -> Tensor {
                gradients.iter().map(|gradient| &gradient[index] / notes.len() as f64).sum()
            };
            (0..learner.trained.len()).map(mean).collect()
        };
        let means = [mean(&[0, 2, 3, 6, 7]), mean(&[1, 5]), mean(&[4, 8])];
        let mut norms = means.each_ref().map(|mean| norm(mean));
        norms.sort_by(f64::total_cmp);
        let bound = (norms[1] + norms[2]) / 2.0;
        let (_, sum) = clipped_sum(&mut learner, &[0, 1, 2], bound, settings.batch_size);
        assert_eq!(sum.counts.int64_value(&[0]), 1, "the one above the median");
        for (index, sum) in sum.sums.iter().enumerate() {
            let clipped = means.each_ref().map(|mean| &mean[index] * (bound / norm(mean)).min(1.0));
            let off = off(sum, &clipped.iter().sum());
            assert!(off < 1e-5, "{} differs by {off}", learner.trained[index].0);
        }
        let (_, one) = clipped_sum(&mut learner, &[0], 0.1 * norms[0], settings.batch_size);
        assert!((norm(&one.sums) / (0.1 * norms[0]) - 1.0).abs() < 1e-5, "five notes weigh no more than one");
    }

    /// PRIV-10: the step differs from one without the note by no more than the clip.
    #[test]
    fn a_note_that_is_not_finite_leaves_the_other_notes_as_they_are() {
        let Some(mut trainer) = trainer() else { return };
        let all: Vec<usize> = (0..9).collect();
        let settings = LocalTraining { batch_size: 9, ..settings() };
        let (_, sound) = PrivateClassifierLearner::new(&trainer, &settings).example_gradients(&all);
        let bound = 0.1;
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            trainer.features = trainer.features.with_broken_note(4, value);
            let mut learner = PrivateClassifierLearner::new(&trainer, &settings);
            let (_, broken) = learner.example_gradients(&all);
            for note in all.iter().map(|&note| note as i64).filter(|&note| note != 4) {
                for (one, other) in sound.iter().zip(&broken) {
                    let off = off(&one.get(note), &other.get(note));
                    assert!(off < 1e-5, "{value}: a gradient of note {note} moves by {off}");
                }
            }
            let others: Vec<usize> = all.iter().copied().filter(|&note| note != 4).collect();
            let (_, with) = clipped_sum(&mut learner, &all, bound, settings.batch_size);
            let (_, without) = clipped_sum(&mut learner, &others, bound, settings.batch_size);
            assert_eq!(with.counts.int64_value(&[1]), 1, "{value}: one note is not finite");
            assert_eq!(without.counts.int64_value(&[1]), 0, "control: the others are finite");
            let apart: Vec<Tensor> =
                with.sums.iter().zip(&without.sums).map(|(one, two)| one - two).collect();
            assert!(norm(&apart) < 1e-5, "{value}: the sums differ by {}", norm(&apart));
            assert!(norm(&without.sums) > bound, "control: the others add something");
        }
    }

    #[test]
    fn no_note_and_what_is_frozen_have_no_gradient() {
        let Some(trainer) = trainer() else { return };
        let mut settings = settings();
        let mut learner = PrivateClassifierLearner::new(&trainer, &settings);
        let (loss, none) = clipped_sum(&mut learner, &[], 1.0, settings.batch_size);
        assert_eq!((loss.double_value(&[]), norm(&none.sums), none.counts.int64_value(&[0])), (0.0, 0.0, 0));
        settings.frozen = crate::Frozen { routers: true, head: true };
        let names: Vec<String> = PrivateClassifierLearner::new(&trainer, &settings)
            .trained
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["layer.0.up", "layer.0.down", "layer.1.up", "layer.1.down"]);
    }
}
