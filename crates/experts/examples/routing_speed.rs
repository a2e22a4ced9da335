//! What the routing regulariser and the statistics for scoring cost: `cargo xtask bench train --regulariser`
//! runs this.
//!
//!     routing_speed MODEL STEPS BATCH LENGTH RUNS
//!
//! Trains without both, with the regulariser, and with both, in turns, RUNS times each: STEPS steps of BATCH
//! texts of LENGTH tokens. Prints one JSON object: the median of the seconds of the processor's time that the
//! first takes, and how many times as long the others take, as medians of the ratios of each turn.

// This program does IO: the arguments enter here.
#![allow(clippy::disallowed_methods)]

use std::path::Path;

use cloister_experts::families::finetune::{Example, FineTuner, FineTuning};
use cloister_experts::families::{Adapter, AdapterSettings, PublishedModel};
use cloister_experts::{Device, ExpertsError, Precision};

/// Seconds that this thread has spent on a core, so that other programs on the machine do not count.
fn core_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells every thread");
    text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse::<f64>().ok()).expect("a number") / 1e9
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2] + values[(values.len() - 1) / 2]) / 2.0
}

/// Texts of which everything is learnt.
fn texts(count: usize, length: usize) -> Vec<Example> {
    let token = |text: usize, place: usize| ((text * 7919 + place * place * 31 + place * 17) % 1000) as i64;
    (0..count).map(|text| Example::new((0..length).map(|place| token(text, place)).collect(), 0)).collect()
}

/// Seconds of a training, with the statistics for scoring or without.
fn measure(
    tuner: &mut FineTuner,
    texts: &[Example],
    settings: &FineTuning,
    statistics: bool,
) -> Result<f64, ExpertsError> {
    let start = core_seconds();
    match statistics {
        true => drop(tuner.train_with_routing(texts, settings, &mut |_| {})?),
        false => drop(tuner.train(texts, settings, &mut |_| {})?),
    }
    Ok(core_seconds() - start)
}

fn main() -> Result<(), ExpertsError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |text: &String| text.parse::<usize>().expect("a whole number");
    let [model, steps, batch, length, runs] = arguments.as_slice() else {
        panic!("the head of this file says how it is used")
    };
    tch::set_num_threads(1);
    let (batch, texts) = (number(batch), texts(number(steps) * number(batch), number(length)));
    let mut model = PublishedModel::open(Path::new(model), Precision::Float32, Device::Cpu)?;
    let experts = model.moe().map_or(0, |moe| moe.experts);
    let adapter =
        Adapter::new(&mut model, &AdapterSettings { router: true, ..AdapterSettings::default() }, 0)?;
    let mut tuner = FineTuner::new(model, adapter)?;
    tuner.publish(&vec![vec![1.0 / experts as f32; experts]; tuner.routing(&texts[..1], 1)?.margins.len()]);
    let settings = |routing_penalty| FineTuning {
        batch_size: batch,
        learning_rate: 1e-5,
        routing_penalty,
        ..FineTuning::default()
    };
    measure(&mut tuner, &texts[..2 * batch], &settings(0.1), true)?;
    let (mut plain, mut regularised, mut both) = (vec![], vec![], vec![]);
    for _ in 0..number(runs) {
        let without = measure(&mut tuner, &texts, &settings(0.0), false)?;
        plain.push(without);
        regularised.push(measure(&mut tuner, &texts, &settings(0.1), false)? / without);
        both.push(measure(&mut tuner, &texts, &settings(0.1), true)? / without);
    }
    println!(
        r#"{{"plain_seconds": {}, "regulariser_ratio": {}, "regulariser_and_statistics_ratio": {}}}"#,
        median(plain),
        median(regularised),
        median(both)
    );
    Ok(())
}
