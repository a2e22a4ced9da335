//! What DP-SGD costs: `cargo xtask bench train --private` runs this on its models and on MiniLM.
//!
//!     private_speed (MODEL | minilm FOLDER) STEPS BATCH LENGTH RUNS
//!
//! Trains with and without privacy in turns, RUNS times each, on texts of LENGTH tokens: STEPS steps of BATCH
//! texts, or of BATCH texts in expectation. Prints one JSON object: for both the medians of texts per second
//! of the processor's time, and `ratio`, how many times as long a text takes with privacy.

// This program does IO: the arguments enter here.
#![allow(clippy::disallowed_methods)]

use std::path::Path;

use cloister_experts::Precision;
use cloister_experts::families::finetune::{Example, FineTuner, FineTuning};
use cloister_experts::families::{Adapter, AdapterSettings, PublishedModel};
use cloister_experts::{
    Device, Encoder, ExpertsError, LocalTraining, ModelConfig, Note, PrivateTraining, Trainer,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

/// Sizes of a measurement.
#[derive(Clone, Copy)]
struct Shape {
    steps: usize,
    batch: usize,
    length: usize,
}

impl Shape {
    fn texts(self) -> usize {
        self.steps * self.batch
    }

    fn private(self) -> PrivateTraining {
        let sampling_probability = self.batch as f64 / self.texts() as f64;
        PrivateTraining { clipping_norm: 1.0, noise_multiplier: 1.0, sampling_probability, steps: self.steps }
    }
}

/// Trains once, with privacy or without; returns how many texts went through.
type Train<'a> = dyn FnMut(bool) -> Result<usize, ExpertsError> + 'a;

fn random() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(1)
}

/// Seconds that this thread has spent on a core, so that other programs on the machine do not count.
fn core_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells every thread");
    text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse::<f64>().ok()).expect("a number") / 1e9
}

fn speed(train: &mut Train<'_>, private: bool) -> Result<f64, ExpertsError> {
    let start = core_seconds();
    let texts = train(private)?;
    Ok(texts as f64 / (core_seconds() - start))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2] + values[(values.len() - 1) / 2]) / 2.0
}

fn measure(train: &mut Train<'_>, runs: usize) -> Result<(), ExpertsError> {
    let (mut plain, mut private) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        plain.push(speed(train, false)?);
        private.push(speed(train, true)?);
    }
    let (plain, private) = (median(plain), median(private));
    println!(
        r#"{{"plain_texts_per_processor_second": {plain}, "private_texts_per_processor_second": {private}, "ratio": {}}}"#,
        plain / private
    );
    Ok(())
}

fn adapters(model: &Path, shape: Shape, runs: usize) -> Result<(), ExpertsError> {
    let mut model = PublishedModel::open(model, Precision::Float32, Device::Cpu)?;
    let adapter =
        Adapter::new(&mut model, &AdapterSettings { router: true, ..AdapterSettings::default() }, 0)?;
    let mut tuner = FineTuner::new(model, adapter)?;
    let token = |text: usize, place: usize| ((text * 7919 + place * place * 31 + place * 17) % 1000) as i64;
    let text = |text| Example::new((0..shape.length).map(|place| token(text, place)).collect(), 0);
    let texts: Vec<Example> = (0..shape.texts()).map(text).collect();
    let settings = FineTuning { batch_size: shape.batch, learning_rate: 1e-5, ..FineTuning::default() };
    measure(
        &mut |private| match private {
            false => tuner.train(&texts, &settings, &mut |_| {}).map(|_| texts.len()),
            true => {
                let private = shape.private();
                let done = tuner.train_privately(&texts, &settings, &private, &mut random(), &mut |_| {})?;
                Ok(done.1.drawn)
            }
        },
        runs,
    )
}

fn minilm(folder: &Path, shape: Shape, runs: usize) -> Result<(), ExpertsError> {
    let config = ModelConfig { max_tokens: shape.length, ..ModelConfig::new(vec!["a".into(), "b".into()]) };
    let encoder = Encoder::open(folder, config, 1, Device::Cpu)?;
    let note = |number: usize| Note {
        text: format!("{number} pain in the chest ").repeat(shape.length / 4),
        label: if number.is_multiple_of(2) { "a".into() } else { "b".into() },
    };
    let notes: Vec<Note> = (0..shape.texts()).map(note).collect();
    let mut trainer = Trainer::new(&encoder, encoder.features(&notes)?);
    let settings = LocalTraining { batch_size: shape.batch, ..LocalTraining::default() };
    measure(
        &mut |private| match private {
            false => trainer.train(&settings, &mut |_| {}).map(|result| result.notes),
            true => {
                let done =
                    trainer.train_privately(&settings, &shape.private(), &mut random(), &mut |_| {})?;
                Ok(done.1.drawn)
            }
        },
        runs,
    )
}

fn main() -> Result<(), ExpertsError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |text: &String| text.parse::<usize>().expect("a whole number");
    let (model, numbers) = arguments.split_at(arguments.len().saturating_sub(4));
    let [steps, batch, length, runs] = numbers else { panic!("the head of this file says how it is used") };
    let shape = Shape { steps: number(steps), batch: number(batch), length: number(length) };
    tch::set_num_threads(1);
    match model {
        [kind, folder] if kind == "minilm" => minilm(Path::new(folder), shape, number(runs)),
        [model] => adapters(Path::new(model), shape, number(runs)),
        _ => panic!("the head of this file says how it is used"),
    }
}
