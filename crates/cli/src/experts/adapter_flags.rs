//! Flags that choose what an adapter trains.

use clap::{Args, ValueEnum};
use cloister_experts::families::{AdapterSettings, ExpertTraining};

/// What an adapter trains.
#[derive(Debug, Args)]
pub(super) struct AdapterFlags {
    /// Rank of the adapter.
    #[arg(long, default_value_t = 8)]
    pub(super) rank: usize,
    /// Scale of the adapter: it adds alpha / rank · B · A to a weight.
    #[arg(long, default_value_t = 16.0)]
    pub(super) alpha: f64,
    /// How experts are trained.
    #[arg(long, value_enum, default_value = "low-rank")]
    pub(super) experts: ExpertsFlag,
    /// Modules that get an adapter in addition to the experts, such as `q_proj,v_proj`.
    #[arg(long, value_delimiter = ',')]
    pub(super) modules: Vec<String>,
    /// Train all weights of the routers.
    #[arg(long)]
    pub(super) router: bool,
    /// Names of the classes that texts are sorted into, such as `heart,lung`. A head over them is trained too.
    #[arg(long, value_delimiter = ',')]
    pub(super) classes: Vec<String>,
}

impl AdapterFlags {
    /// How it is trained, for people.
    pub(super) fn how(&self) -> String {
        match self.experts {
            ExpertsFlag::Whole => "(experts are trained whole)".to_owned(),
            // With frozen experts the rank is that of the other modules.
            ExpertsFlag::LowRank | ExpertsFlag::Frozen => format!("of rank {}", self.rank),
        }
    }

    pub(super) fn settings(&self) -> AdapterSettings {
        AdapterSettings {
            rank: self.rank,
            alpha: self.alpha,
            experts: self.experts.into(),
            modules: self.modules.clone(),
            router: self.router,
            classes: self.classes.clone(),
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ExpertsFlag {
    /// Experts are not trained.
    Frozen,
    /// Experts are trained by low-rank adapters.
    LowRank,
    /// All weights of the experts are trained and uploaded. This is for small models.
    Whole,
}

impl From<ExpertsFlag> for ExpertTraining {
    fn from(flag: ExpertsFlag) -> Self {
        match flag {
            ExpertsFlag::Frozen => Self::Frozen,
            ExpertsFlag::LowRank => Self::LowRank,
            ExpertsFlag::Whole => Self::Whole,
        }
    }
}
