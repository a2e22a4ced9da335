//! `cargo xtask bench masks`: how fast each kernel adds a mask to a vector, beside the `ctr` crate on its own
//! and beside adding a vector that is already there, the bound that memory sets. Runs alternate, and the
//! median is reported.

// A benchmark reads the clock.
#![allow(clippy::disallowed_methods)]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use cloister_crypto::keystream::{Kernel, Sign, StreamSecret};

/// Words of a vector that stays in the second-level cache, and of one that does not.
const LENGTHS: [usize; 2] = [64 << 10, 16 << 20];
/// Words that one measurement goes through.
const WORDS_OF_A_RUN: usize = 64 << 20;

type Run = Box<dyn Fn(&mut [u32])>;

struct Candidate {
    name: &'static str,
    run: Run,
}

fn candidates(longest: usize) -> Vec<Candidate> {
    let secret = || StreamSecret::new(&[7; 32]);
    let kernel = |kernel: Kernel| -> Candidate {
        let stream = secret();
        let run = move |words: &mut [u32]| kernel.apply(&stream, Sign::Plus, words);
        Candidate { name: kernel.name(), run: Box::new(run) }
    };
    let other: Vec<u32> = (0..longest as u32).collect();
    let add = move |words: &mut [u32]| {
        words.iter_mut().zip(&other).for_each(|(word, mask)| *word = word.wrapping_add(*mask));
    };
    let mut all: Vec<Candidate> = Kernel::available().into_iter().map(kernel).collect();
    all.push(Candidate { name: "plain-add", run: Box::new(add) });
    all
}

/// Seconds to go through so many words, in vectors of a length.
fn measure(candidate: &Candidate, words: &mut [u32], repetitions: usize) -> f64 {
    let start = Instant::now();
    for _ in 0..repetitions {
        (candidate.run)(black_box(words));
    }
    start.elapsed().as_secs_f64()
}

/// The speeds of one candidate in GB of words a second, ascending.
fn speeds(seconds: &[f64], bytes: usize) -> Vec<f64> {
    let mut speeds: Vec<f64> = seconds.iter().map(|seconds| bytes as f64 / seconds / 1e9).collect();
    speeds.sort_by(f64::total_cmp);
    speeds
}

fn compare(length: usize, runs: usize) -> Vec<(&'static str, Vec<f64>)> {
    let candidates = candidates(length);
    let mut words = vec![1; length];
    let repetitions = WORDS_OF_A_RUN / length;
    let mut seconds = vec![Vec::new(); candidates.len()];
    for _ in 0..runs {
        for (candidate, seconds) in candidates.iter().zip(&mut seconds) {
            seconds.push(measure(candidate, &mut words, repetitions));
        }
    }
    let bytes = 4 * length * repetitions;
    candidates
        .iter()
        .zip(&seconds)
        .map(|(candidate, seconds)| (candidate.name, speeds(seconds, bytes)))
        .collect()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (as_json, runs) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => (false, Some(15)),
        ["--json"] => (true, Some(15)),
        ["--runs", runs] => (false, runs.parse().ok()),
        ["--json", "--runs", runs] | ["--runs", runs, "--json"] => (true, runs.parse().ok()),
        _ => (false, None),
    };
    let Some(runs) = runs.filter(|runs| *runs > 0) else {
        eprintln!("cargo xtask bench masks [--runs N] [--json]");
        return ExitCode::from(2);
    };
    if as_json {
        println!("{}", json(runs));
    } else {
        LENGTHS.iter().for_each(|length| print!("{}", table(*length, runs)));
    }
    ExitCode::SUCCESS
}

fn table(length: usize, runs: usize) -> String {
    let mut text =
        format!("vectors of {length} words, GB/s, median of {runs} alternating runs (slowest to fastest)\n");
    for (name, speeds) in compare(length, runs) {
        let (low, high) = (speeds[0], speeds[speeds.len() - 1]);
        text += &format!("  {name:<12}{:>8.2}   ({low:.2} to {high:.2})\n", speeds[speeds.len() / 2]);
    }
    text
}

fn json(runs: usize) -> String {
    let vectors = LENGTHS.map(|length| {
        let speeds = compare(length, runs).into_iter().map(|(name, speeds)| {
            let (low, high) = (speeds[0], speeds[speeds.len() - 1]);
            let median = speeds[speeds.len() / 2];
            format!(r#""{name}":{{"median":{median:.3},"slowest":{low:.3},"fastest":{high:.3}}}"#)
        });
        let speeds = speeds.collect::<Vec<_>>().join(",");
        format!(r#"{{"words":{length},"runs":{runs},"gigabytes_per_second":{{{speeds}}}}}"#)
    });
    format!(r#"{{"vectors":[{}]}}"#, vectors.join(","))
}
