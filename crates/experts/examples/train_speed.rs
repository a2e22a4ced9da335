//! How fast an adapter learns: `cargo xtask bench train` runs this beside the same training in Python.
//!
//!     train_speed MODEL STEPS BATCH LENGTH (float32|bfloat16) DEVICE
//!
//! Prints one JSON object: tokens per second, and per second of the processor's time, over STEPS steps after
//! two that are not counted, and the loss before any. Wait for what the device still does is counted.

// This program does IO: the clock and the arguments enter here.
#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::time::Instant;

use cloister_experts::families::finetune::{Decay, Example, FineTuner, FineTuning};
use cloister_experts::families::{Adapter, AdapterSettings, PublishedModel};
use cloister_experts::{ExpertsError, Precision, device};

const UNCOUNTED_STEPS: usize = 2;

/// Texts that the Python program makes alike.
fn examples(count: usize, length: usize, vocabulary: usize) -> Vec<Example> {
    let token =
        |text: usize, place: usize| ((text * 7919 + place * place * 31 + place * 17) % vocabulary) as i64;
    let text = |text| Example::new((0..length).map(|place| token(text, place)).collect(), 0);
    (0..count).map(text).collect()
}

/// Seconds that this process has had the processor, as Linux counts them, in hundredths.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux tells every process");
    let fields = stat.rsplit(')').next().unwrap_or("").split_whitespace();
    // The 14th and 15th field of all, with the first two before the bracket: user and system time.
    fields.skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a number")).sum::<f64>() / 100.0
}

fn main() -> Result<(), ExpertsError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, steps, batch, length, precision, device] = arguments.as_slice() else {
        eprintln!("usage: train_speed MODEL STEPS BATCH LENGTH (float32|bfloat16) DEVICE");
        std::process::exit(2);
    };
    let number = |text: &String| text.parse::<usize>().expect("a whole number");
    let (steps, batch, length) = (number(steps), number(batch), number(length));
    let precision = if precision == "bfloat16" { Precision::Bfloat16 } else { Precision::Float32 };
    tch::set_num_threads(1);
    let device = device::named(device)?;
    let mut model = PublishedModel::open(Path::new(model), precision, device)?;
    let PublishedModel::Decoder(decoder) = &model else { panic!("a decoder is measured") };
    let vocabulary = decoder.config().vocabulary;
    let adapter = Adapter::new(&mut model, &AdapterSettings::default(), 0)?;
    let mut tuner = FineTuner::new(model, adapter)?;
    let settings = FineTuning {
        batch_size: batch,
        learning_rate: 1e-4,
        decay: Decay::Constant,
        warm_up: 0.0,
        balance: Some(0.0),
        ..FineTuning::default()
    };
    let uncounted = examples(UNCOUNTED_STEPS * batch, length, vocabulary);
    let first = tuner.loss(&uncounted, batch)?;
    tuner.train(&uncounted, &settings, &mut |_| {})?;
    let texts = examples(steps * batch, length, vocabulary);
    let (start, processor) = (Instant::now(), processor_seconds());
    let done = tuner.train(&texts, &settings, &mut |_| {})?;
    let (seconds, processor) = (start.elapsed().as_secs_f64(), processor_seconds() - processor);
    let speed = |seconds| done.tokens as f64 / seconds;
    println!(
        r#"{{"tokens_per_second": {}, "tokens_per_processor_second": {}, "first_loss": {first}}}"#,
        speed(seconds),
        speed(processor)
    );
    Ok(())
}
