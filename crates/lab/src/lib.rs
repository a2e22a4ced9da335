//! The researchers' harness: federated runs on public data in one process.
//!
//! A run divides labelled texts among members, fits a head from sums, trains a Mixture-of-Experts model over rounds
//! under a [`strategy`], and measures it on texts that nobody trained on. Behind masks, sums and rounds go through the
//! same state machines, and the same bytes, as the service ([`masked`]). In the clear they are computed with
//! [`cloister_alignment::reference`], the oracle. [`attacks`] and [`audit`] ask what such rounds give away.
//!
//! It is no service and has no network: every member is a value of this process, so nobody is trusted with anything.
//! One process holds every member's texts, so nothing here is for patients' data.
//!
//! # Example
//!
//! Two rounds of federated averaging behind masks, over five members with synthetic notes. `cloister lab run` does the
//! same with a configuration file. A run starts from MiniLM's weights (`cargo xtask setup` fetches them).
//!
//! ```
//! use cloister_experts::Device;
//! use cloister_experts::synthetic::{self, Style};
//! use cloister_lab::{Config, RunEnvironment, run};
//!
//! let config = Config::parse(
//!     r#"
//!         dataset = "synthetic notes"
//!         secure = true
//!         data = { train = ["notes.jsonl"], max_tokens = 24 }
//!         partition = { division = "iid", members = 5, seeds = [0] }
//!         head = { kind = "none" }
//!         model = { experts = 3, rank = 2 }
//!         strategy = { name = "FedAvg", num_rounds = 2, batch_size = 4, learning_rate = 4e-3 }
//!     "#,
//!     "the example",
//!     &["strategy.local_epochs=2".to_owned()], // as `--set` does
//! )?;
//! assert_eq!(config.strategy.kind.name(), "FedAvg");
//!
//! let Some(minilm) = std::env::var_os("CLOISTER_MINILM") else {
//!     eprintln!("SKIPPED: CLOISTER_MINILM names no folder with MiniLM's weights");
//!     return Ok(());
//! };
//! let data = std::env::temp_dir().join(format!("cloister-lab-example-{}", std::process::id()));
//! std::fs::create_dir_all(&data)?;
//! let mut lines = String::new();
//! for note in synthetic::generate(160, &[1.0; 8], Style::Bullets, 1) {
//!     lines += &format!("{}\n", serde_json::json!({ "text": note.text, "label": note.label }));
//! }
//! std::fs::write(data.join("notes.jsonl"), lines)?;
//!
//! let environment = RunEnvironment {
//!     minilm: minilm.into(),
//!     device: Device::Cpu,
//!     cache: data.join("cache"),
//!     out: data.join("out"),
//!     trainer: None,
//!     data: data.clone(),
//! };
//! let summary = run(&config, &environment, None, &mut |_| ())?;
//! let rounds = &summary.measured[0].rounds;
//! assert_eq!(rounds.len(), 3, "before training, and after each round");
//! assert!(rounds[2].loss < rounds[1].loss, "members learn from each other's updates");
//! assert!(data.join("out/results.csv").exists());
//! std::fs::remove_dir_all(&data)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to add what
//!
//! A configuration file needs no code: a new data set of labelled texts is a file of data and a TOML file of
//! `experiments/`, and a training algorithm in another language is a program (`cloister lab run --trainer-cmd`,
//! `protocols/trainer.md`). What does need code is one module and one line of a list:
//!
//! | to add | the module | the line |
//! |---|---|---|
//! | a strategy | `src/strategy/NAME.rs`: its settings, and what it does | `strategies!` in `src/strategy/mod.rs` |
//! | a cohort rule of FedAlign-MoE | `src/strategy/fedalign/cohorts/NAME.rs`: `shares` | `cohort_rules!` in the `mod.rs` beside it |
//! | a format of questions | `src/questions/formats/NAME.rs`: its fields, and how to read them | `FORMATS` in the `mod.rs` beside it |
//! | something random | | a variant of `Purpose` in `src/seeds.rs`, which is hashed |
//!
//! Files name a strategy's settings beside those of training, in `[strategy]`. A key that belongs to another strategy is
//! an error which names that strategy.

pub mod accounts;
pub mod attacks;
pub mod audit;
mod centred_region;
mod charges;
mod chart;
mod checkpoint;
mod cohort_record;
pub mod config;
mod data;
mod digest;
mod environment;
pub mod epsilons;
pub mod error;
pub mod estimate;
mod federation;
mod frozen;
pub mod head;
pub mod ladder;
mod learners;
mod linear;
pub mod masked;
pub mod noise;
pub mod partition;
mod private;
mod program;
mod progress;
mod published_rounds;
mod questions;
mod results;
mod run;
mod seeds;
mod shuffle;
pub mod sketching;
pub mod statistics;
pub mod strategy;
pub mod sweep;
mod table;
mod text_run;
pub mod totals;
mod trained;
mod training;
mod withheld_scores;

pub use charges::{Charged, ReleasedPart, SeedCharges};
pub use config::Config;
pub use environment::RunEnvironment;
pub use error::LabError;
pub use ladder::Ladder;
pub use progress::RunProgress;
pub use results::{MeasuredRound, RunSummary, SeedResult};
pub use run::{run, sketches};
pub use sweep::Sweep;
