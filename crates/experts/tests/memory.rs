//! Memory: what the estimate says before anything is loaded, beside what training takes; and that it comes back to
//! its base after every round.

// This test looks at the clock of its process's memory.
#![allow(clippy::disallowed_methods)]

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cloister_experts::families::finetune::{Example, FineTuner, FineTuning};
use cloister_experts::families::{
    Adapter, AdapterSettings, ExpertTraining, PublishedModel, Workload, overview,
};
use cloister_experts::synthetic::{self, Style};
use cloister_experts::training::memory::BOUNDED_CACHE;
use cloister_experts::{Device, Encoder, LocalTraining, ModelConfig, Precision, Trainer, initial_blocks};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

/// Bytes of this process's memory that no file stands behind, as Linux counts them.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells every process");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("it is told");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

/// The most that is resident while `work` runs, beyond what was before.
fn peak(work: impl FnOnce()) -> usize {
    let before = resident();
    let ended = Arc::new(AtomicBool::new(false));
    let watching = ended.clone();
    let watch = std::thread::spawn(move || {
        let mut most = 0;
        while !watching.load(Ordering::Relaxed) {
            most = most.max(resident());
            std::thread::sleep(Duration::from_millis(2));
        }
        most
    });
    work();
    ended.store(true, Ordering::Relaxed);
    watch.join().expect("it only watches").saturating_sub(before)
}

/// A model of OLMoE's shape.
#[derive(Clone, Copy)]
struct Shape {
    layers: usize,
    hidden: usize,
    intermediate: usize,
    experts: usize,
    vocabulary: usize,
}

const TINY: Shape = Shape { layers: 2, hidden: 128, intermediate: 128, experts: 8, vocabulary: 2_000 };
const MIDDLE: Shape = Shape { layers: 4, hidden: 512, intermediate: 512, experts: 8, vocabulary: 16_000 };

impl Shape {
    fn config(self) -> Value {
        json!({
            "architectures": ["OlmoeForCausalLM"], "model_type": "olmoe", "hidden_act": "silu",
            "hidden_size": self.hidden, "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers, "num_experts": self.experts, "num_experts_per_tok": 2,
            "num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": self.vocabulary,
            "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "norm_topk_prob": false, "tie_word_embeddings": false, "router_aux_loss_coef": 0.01,
            "eos_token_id": 2, "pad_token_id": 0,
        })
    }

    fn tensors(self) -> Vec<(String, Vec<usize>)> {
        let Self { layers, hidden, intermediate, experts, vocabulary } = self;
        let mut tensors = vec![
            ("model.embed_tokens.weight".to_owned(), vec![vocabulary, hidden]),
            ("lm_head.weight".to_owned(), vec![vocabulary, hidden]),
            ("model.norm.weight".to_owned(), vec![hidden]),
        ];
        for layer in (0..layers).map(|layer| format!("model.layers.{layer}")) {
            for norm in
                ["input_layernorm", "post_attention_layernorm", "self_attn.q_norm", "self_attn.k_norm"]
            {
                tensors.push((format!("{layer}.{norm}.weight"), vec![hidden]));
            }
            for map in ["q_proj", "k_proj", "v_proj", "o_proj"] {
                tensors.push((format!("{layer}.self_attn.{map}.weight"), vec![hidden, hidden]));
            }
            tensors.push((format!("{layer}.mlp.gate.weight"), vec![experts, hidden]));
            for expert in (0..experts).map(|expert| format!("{layer}.mlp.experts.{expert}")) {
                tensors.push((format!("{expert}.gate_proj.weight"), vec![intermediate, hidden]));
                tensors.push((format!("{expert}.up_proj.weight"), vec![intermediate, hidden]));
                tensors.push((format!("{expert}.down_proj.weight"), vec![hidden, intermediate]));
            }
        }
        tensors
    }

    /// Writes a checkpoint with this shape.
    fn write(self, folder: &Path) {
        fs::create_dir_all(folder).expect("the folder of the tests can be written to");
        fs::write(folder.join("config.json"), self.config().to_string()).expect("it can be written");
        let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = self
            .tensors()
            .into_iter()
            .enumerate()
            .map(|(seed, (name, shape))| {
                let length: usize = shape.iter().product();
                let value = |place: usize| ((place * 31 + seed * 7) % 97) as f32 * 4e-4 - 0.02;
                (name, shape, (0..length).flat_map(|place| value(place).to_le_bytes()).collect())
            })
            .collect();
        let views = tensors.iter().map(|(name, shape, bytes)| {
            (name, TensorView::new(Dtype::F32, shape.clone(), bytes).expect("as many bytes as numbers"))
        });
        safetensors::serialize_to_file(views, None, &folder.join("model.safetensors"))
            .expect("it can be written");
    }
}

/// What is measured: a model, its precision, and a batch.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    shape: Shape,
    precision: Precision,
    texts: usize,
    length: usize,
    recompute: bool,
    experts: ExpertTraining,
}

const CASES: [Case; 7] = [
    Case {
        name: "tiny",
        shape: TINY,
        precision: Precision::Float32,
        texts: 8,
        length: 256,
        recompute: false,
        experts: ExpertTraining::LowRank,
    },
    Case {
        name: "middle",
        shape: MIDDLE,
        precision: Precision::Float32,
        texts: 4,
        length: 256,
        recompute: false,
        experts: ExpertTraining::LowRank,
    },
    Case {
        name: "middle-long",
        shape: MIDDLE,
        precision: Precision::Float32,
        texts: 8,
        length: 512,
        recompute: false,
        experts: ExpertTraining::LowRank,
    },
    Case {
        name: "middle-recompute",
        shape: MIDDLE,
        precision: Precision::Float32,
        texts: 8,
        length: 512,
        recompute: true,
        experts: ExpertTraining::LowRank,
    },
    Case {
        name: "middle-bfloat16",
        shape: MIDDLE,
        precision: Precision::Bfloat16,
        texts: 4,
        length: 256,
        recompute: false,
        experts: ExpertTraining::LowRank,
    },
    Case {
        name: "middle-whole-experts",
        shape: MIDDLE,
        precision: Precision::Float32,
        texts: 4,
        length: 256,
        recompute: false,
        experts: ExpertTraining::Whole,
    },
    Case {
        name: "middle-whole-experts-bfloat16",
        shape: MIDDLE,
        precision: Precision::Bfloat16,
        texts: 4,
        length: 256,
        recompute: false,
        experts: ExpertTraining::Whole,
    },
];

impl Case {
    fn adapter(self) -> AdapterSettings {
        AdapterSettings { router: true, experts: self.experts, ..AdapterSettings::default() }
    }

    fn load(self) -> Workload {
        Workload {
            texts: self.texts,
            length: self.length,
            recompute_layers: self.recompute,
            device: Device::Cpu,
        }
    }

    /// Loads the model and trains two steps.
    fn train(self, folder: &Path) {
        let mut model = PublishedModel::open(folder, self.precision, Device::Cpu).expect("it was written");
        let adapter = Adapter::new(&mut model, &self.adapter(), 0).expect("it fits");
        let mut tuner = FineTuner::new(model, adapter).expect("it fits");
        let token = |place: usize| ((place * 7919) % self.shape.vocabulary) as i64;
        let text = |text: usize| Example::new((0..self.length).map(|place| token(text + place)).collect(), 0);
        let examples: Vec<Example> = (0..2 * self.texts).map(text).collect();
        let (batch_size, recompute_layers) = (self.texts, self.recompute);
        let settings =
            FineTuning { batch_size, recompute_layers, first_halves: false, ..FineTuning::default() };
        tuner.train(&examples, &settings, &mut |_| ()).expect("training works");
    }

    fn folder(self) -> PathBuf {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("memory-{}", self.name))
    }
}

/// The variable that names the case that a process of its own measures.
const CASE: &str = "CLOISTER_MEASURED_CASE";

/// What is measured in a process of its own.
fn measured(name: &str) -> String {
    match CASES.into_iter().find(|case| case.name == name) {
        Some(case) => peak(|| case.train(&case.folder())).to_string(),
        None => json!(rounds_of(name == LEAKING)).to_string(),
    }
}

/// Does nothing but in the process that [`measure`] starts.
#[test]
fn one_case_in_a_process_of_its_own() {
    let Some(name) = std::env::var_os(CASE) else { return };
    // What libtorch takes for itself at its first use is not the model's.
    tch::set_num_threads(1);
    let ones = tch::Tensor::ones([64, 64], (tch::Kind::Float, Device::Cpu));
    let _ = ones.matmul(&ones);
    println!("measured {}", measured(&name.to_string_lossy()));
}

/// Makes glibc return freed memory at once, so that resident memory is live memory. By default it keeps a part that
/// differs by tens of MiB from run to run. Training does not set these variables: they cost half as much CPU time
/// again.
const RETURNED_AT_ONCE: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "65536"), ("MALLOC_TRIM_THRESHOLD_", "65536")];

/// Measures a case in a process of its own, with the bounded cache that `cloister client` sets for itself.
fn measure(name: &str) -> Value {
    let mut process = Command::new(std::env::current_exe().expect("this program"));
    process.args(["--exact", "one_case_in_a_process_of_its_own", "--nocapture"]).env(CASE, name);
    process.env(BOUNDED_CACHE.0, BOUNDED_CACHE.1).envs(RETURNED_AT_ONCE);
    let output = process.output().expect("it can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    let reported = text.lines().find_map(|line| serde_json::from_str(line.split_once("measured ")?.1).ok());
    reported.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// The estimate over live memory: a quarter is what an allocator may keep of freed memory, as glibc does by default.
const ESTIMATE: RangeInclusive<f64> = 1.25..=1.6;

#[test]
fn the_estimate_is_no_less_than_what_training_takes_and_not_much_more() {
    for case in CASES {
        case.shape.write(&case.folder());
        let measured = measure(case.name).as_u64().expect("a number") as usize;
        let seen =
            overview(&case.folder(), &case.adapter(), case.precision, case.load()).expect("it was written");
        let ratio = seen.memory.total() as f64 / measured as f64;
        println!("| {} | {} | {} | {ratio:.2} |", case.name, seen.memory.total() >> 20, measured >> 20);
        assert!(ESTIMATE.contains(&ratio), "{}: {:?}, measured {measured}", case.name, seen.memory);
        fs::remove_dir_all(case.folder()).expect("it was written");
    }
}

/// Rounds that are looked at; in the first ones libtorch sets itself up.
const ROUNDS: usize = 20;
const FIRST: usize = 3;
/// Rounds whose median is compared.
const COMPARED: usize = 6;
/// How much more may be resident in the last rounds than in those after the third, in MiB. Rounds differ by 1 MiB.
const GROWTH: u64 = 8;
/// What the process is told to measure.
const SOUND: &str = "rounds";
const LEAKING: &str = "leaking-rounds";

/// What is resident after each round of training, `between` being called after each.
fn rounds(trainer: &mut Trainer, mut between: impl FnMut(&Trainer)) -> Vec<usize> {
    let mut blocks = initial_blocks(&config());
    (0..ROUNDS)
        .map(|round| {
            trainer.load(&blocks).expect("the same configuration");
            let settings = LocalTraining { seed: round as u64, ..LocalTraining::default() };
            trainer.train(&settings, &mut |_| ()).expect("training works");
            blocks = trainer.blocks().expect("finite");
            between(trainer);
            resident()
        })
        .collect()
}

fn config() -> ModelConfig {
    ModelConfig::new(synthetic::CLASSES.map(str::to_owned).to_vec())
}

/// What is resident after each round, on 32 notes; where it leaks, each round keeps the features of all notes.
fn rounds_of(leaks: bool) -> Vec<usize> {
    let folder = std::env::var_os("CLOISTER_MINILM").expect("it was looked for");
    let encoder = Encoder::open(folder.as_ref(), config(), 1, cloister_experts::Device::Cpu)
        .expect("the weights are there");
    let notes = synthetic::generate(32, &[1.0; 8], Style::Bullets, 1);
    let mut trainer = Trainer::new(&encoder, encoder.features(&notes).expect("the labels are known"));
    let all = (0..notes.len()).collect::<Vec<usize>>();
    let mut kept = vec![];
    rounds(&mut trainer, |trainer| {
        if leaks {
            kept.push(trainer.features().select(&all));
        }
    })
}

#[test]
fn memory_returns_to_its_base_after_each_of_20_rounds() {
    if std::env::var_os("CLOISTER_MINILM").is_none() {
        eprintln!("SKIPPED: CLOISTER_MINILM names no folder with MiniLM's weights");
        return;
    }
    let resident = |name| -> Vec<u64> {
        let measured = measure(name);
        measured
            .as_array()
            .expect("a list")
            .iter()
            .map(|bytes| bytes.as_u64().expect("a number") >> 20)
            .collect()
    };
    let median = |mebibytes: &[u64]| {
        let mut mebibytes = mebibytes.to_vec();
        mebibytes.sort_unstable();
        mebibytes[mebibytes.len() / 2]
    };
    let growth = |resident: &[u64]| {
        median(&resident[ROUNDS - COMPARED..]).saturating_sub(median(&resident[FIRST..][..COMPARED]))
    };
    let sound = resident(SOUND);
    println!("after each round, MiB: {sound:?}");
    assert!(growth(&sound) < GROWTH, "{sound:?}");
    let leaking = resident(LEAKING);
    println!("the same where rounds leak: {leaking:?}");
    assert!(growth(&leaking) > GROWTH, "keeping what each round had would be noticed: {leaking:?}");
}
