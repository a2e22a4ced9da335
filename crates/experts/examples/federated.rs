//! Federated averaging without masks, compared with members that train alone: shows that the model learns.
//!
//! `cargo run --release -p cloister-experts --example federated -- [--notes FILE] [--key value …]`, with the
//! weights of MiniLM in the folder that `CLOISTER_MINILM` names. Keys: `members`, `rounds`, `epochs`, `rate`,
//! `alpha` (of the Dirichlet distribution), `seed`, `tokens`, `count` (synthetic notes a member), `threads`.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;

use cloister_experts::files::notes::{classes, read_notes};
use cloister_experts::partition::{hold_out, label_dirichlet};
use cloister_experts::synthetic::{self, Style};
use cloister_experts::{
    BlockVectors, Device, Encoder, Features, LocalTraining, ModelConfig, Note, Trainer, block_vectors,
    initial_blocks,
};
use cloister_params::block::BlockKind;

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Arguments(BTreeMap<String, String>);

impl Arguments {
    fn parse() -> Outcome<Self> {
        let mut words = std::env::args().skip(1);
        let mut values = BTreeMap::new();
        while let Some(key) = words.next() {
            let value = words.next().ok_or_else(|| format!("{key} needs a value"))?;
            let key = key.strip_prefix("--").ok_or_else(|| format!("{key} is no option"))?;
            values.insert(key.to_owned(), value);
        }
        Ok(Self(values))
    }

    fn get<T: std::str::FromStr>(&self, key: &str, default: T) -> Outcome<T> {
        match self.0.get(key) {
            Some(value) => value.parse().map_err(|_| format!("--{key} cannot be {value}").into()),
            None => Ok(default),
        }
    }
}

/// Each member's notes, and the notes held out for all.
struct Data {
    members: Vec<Vec<Note>>,
    held_out: Vec<Note>,
    classes: Vec<String>,
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse()?;
    let data = match arguments.0.get("notes") {
        Some(path) => real(&PathBuf::from(path), &arguments)?,
        None => synthetic(&arguments)?,
    };
    let mut config = ModelConfig::new(data.classes.clone());
    config.max_tokens = arguments.get("tokens", config.max_tokens)?;
    let folder = PathBuf::from(std::env::var_os("CLOISTER_MINILM").ok_or("CLOISTER_MINILM is not set")?);
    let encoder = Encoder::open(&folder, config.clone(), arguments.get("threads", 1)?, Device::Cpu)?;
    let held_out = encoder.features(&data.held_out)?;
    let mut trainers = Vec::new();
    for notes in &data.members {
        trainers.push(Trainer::new(&encoder, encoder.features(notes)?));
    }
    drop(encoder);
    let sizes: Vec<usize> = data.members.iter().map(Vec::len).collect();
    println!("notes of each member {sizes:?}, held out {}", held_out.notes());

    let default = LocalTraining::default();
    let settings = LocalTraining {
        epochs: arguments.get("epochs", default.epochs)?,
        learning_rate: arguments.get("rate", default.learning_rate)?,
        ..default
    };
    let rounds = arguments.get("rounds", 5)?;
    federated(&mut trainers, &config, &settings, rounds, &held_out)?;
    alone(&mut trainers, &config, &settings, rounds, &held_out)
}

/// Trains all members in rounds, and prints the accuracy of the common model after each.
fn federated(
    trainers: &mut [Trainer],
    config: &ModelConfig,
    settings: &LocalTraining,
    rounds: usize,
    held_out: &Features,
) -> Outcome<()> {
    let mut global = initial_blocks(config);
    for round in 1..=rounds {
        let settings = LocalTraining { seed: round as u64, ..settings.clone() };
        let mut results = Vec::new();
        for trainer in trainers.iter_mut() {
            trainer.load(&global)?;
            results.push(trainer.train(&settings, &mut |_| ())?);
        }
        let weights: Vec<f32> = results.iter().map(|result| result.notes as f32).collect();
        let updates: Vec<&BlockVectors> = results.iter().map(|result| &result.updates).collect();
        global = average(config, &global, &updates, &weights)?;
        trainers[0].load(&global)?;
        let losses = results.iter().map(|result| result.loss_last).sum::<f64>() / results.len() as f64;
        let accuracy = trainers[0].evaluate(held_out).overall.accuracy();
        println!("round {round}: loss {losses:.3}, accuracy {:.1} %", 100.0 * accuracy);
    }
    Ok(())
}

/// The next model: updates averaged by notes; routing distributions are averaged, not added.
fn average(
    config: &ModelConfig,
    global: &BlockVectors,
    updates: &[&BlockVectors],
    weights: &[f32],
) -> Outcome<BlockVectors> {
    let total: f32 = weights.iter().sum();
    let mut next = global.clone().into_values();
    for (index, (shape, block)) in global.table().iter().zip(&mut next).enumerate() {
        if matches!(shape.kind, BlockKind::Routing { .. }) {
            block.fill(0.0);
        }
        for (update, weight) in updates.iter().zip(weights) {
            for (value, change) in block.iter_mut().zip(&update.values()[index]) {
                *value += change * weight / total;
            }
        }
    }
    Ok(block_vectors(config, next)?)
}

/// Trains each member by itself for as many epochs as in all rounds together, and prints the accuracies.
fn alone(
    trainers: &mut [Trainer],
    config: &ModelConfig,
    settings: &LocalTraining,
    rounds: usize,
    held_out: &Features,
) -> Outcome<()> {
    let settings = LocalTraining { epochs: settings.epochs * rounds, ..settings.clone() };
    let mut accuracies = Vec::new();
    for trainer in trainers {
        trainer.load(&initial_blocks(config))?;
        trainer.train(&settings, &mut |_| ())?;
        accuracies.push(100.0 * trainer.evaluate(held_out).overall.accuracy());
    }
    let mean = accuracies.iter().sum::<f64>() / accuracies.len() as f64;
    println!("each alone: {accuracies:.1?}, mean {mean:.1} %");
    Ok(())
}

/// Each member has a style and a mix of specialties of its own; all styles are held out, in even mixes.
fn synthetic(arguments: &Arguments) -> Outcome<Data> {
    let members: usize = arguments.get("members", 8)?;
    let count: usize = arguments.get("count", 100)?;
    let (alpha, seed) = (arguments.get("alpha", 0.5)?, arguments.get("seed", 1)?);
    let classes = synthetic::CLASSES.map(str::to_owned).to_vec();
    let labels: Vec<usize> = (0..members * count).map(|note| note % classes.len()).collect();
    let parts = label_dirichlet(&labels, members, alpha, 16, seed)?;
    let styles = Style::ALL.iter().cycle();
    let members = parts
        .iter()
        .zip(styles)
        .enumerate()
        .map(|(member, (part, &style))| {
            let mut weights = [0.0; 8];
            part.iter().for_each(|&note| weights[labels[note]] += 1.0);
            synthetic::generate(part.len(), &weights, style, seed * 1000 + member as u64)
        })
        .collect();
    // Members' seeds count from 0 and these from 500, so they differ for up to 500 members.
    let held_out = (0_u64..)
        .zip(Style::ALL)
        .flat_map(|(number, style)| synthetic::generate(25, &[1.0; 8], style, seed * 1000 + 500 + number))
        .collect();
    Ok(Data { members, held_out, classes })
}

/// The notes of a file, a fifth of them held out, the others distributed among members by their labels.
fn real(path: &std::path::Path, arguments: &Arguments) -> Outcome<Data> {
    let notes = read_notes(path)?;
    let classes = classes(&notes);
    // Every label is one of the classes, which were read from these notes.
    let labels: Vec<usize> =
        notes.iter().map(|note| classes.iter().position(|class| *class == note.label).unwrap_or(0)).collect();
    let (alpha, seed) = (arguments.get("alpha", 0.5)?, arguments.get("seed", 1)?);
    let split = hold_out(&labels, 0.2, seed)?;
    let train: Vec<usize> = split.train.iter().map(|&note| labels[note]).collect();
    let parts = label_dirichlet(&train, arguments.get("members", 8)?, alpha, 16, seed)?;
    let members = parts
        .iter()
        .map(|part| part.iter().map(|&index| notes[split.train[index]].clone()).collect())
        .collect();
    let held_out = split.held_out.iter().map(|&note| notes[note].clone()).collect();
    Ok(Data { members, held_out, classes })
}
