//! Flags that choose what an adapter trains.

use clap::{Args, ValueEnum};
use cloister_experts::families::{AdapterSettings, ExpertTraining};

/// The rank where no flag says one.
const USUAL_RANK: usize = 8;

/// What an adapter trains.
#[derive(Debug, Args)]
pub(crate) struct AdapterFlags {
    /// Rank of the adapter. By default 8, and 1 for training with a privacy budget.
    #[arg(long)]
    pub(crate) rank: Option<usize>,
    /// Scale of the adapter: it adds alpha / rank · B · A to a weight.
    #[arg(long, default_value_t = 16.0)]
    pub(crate) alpha: f64,
    /// How a published model's experts are trained. By default by low-rank adapters.
    #[arg(long, value_enum)]
    pub(crate) experts: Option<ExpertsFlag>,
    /// A published model's modules that get an adapter in addition to the experts, such as `q_proj,v_proj`.
    #[arg(long, value_delimiter = ',')]
    pub(crate) modules: Vec<String>,
    /// Train all weights of a published model's routers.
    #[arg(long)]
    pub(crate) router: bool,
    /// Names of the classes that texts are sorted into, such as `heart,lung`. A head over them is trained too.
    #[arg(long, value_delimiter = ',')]
    pub(crate) classes: Vec<String>,
}

impl AdapterFlags {
    /// How it is trained, for people.
    pub(crate) fn how(&self) -> String {
        match self.expert_training() {
            ExpertTraining::Whole => "(experts are trained whole)".to_owned(),
            // With frozen experts the rank is that of the other modules.
            ExpertTraining::LowRank | ExpertTraining::Frozen => format!("of rank {}", self.rank()),
        }
    }

    fn rank(&self) -> usize {
        self.rank.unwrap_or(USUAL_RANK)
    }

    fn expert_training(&self) -> ExpertTraining {
        self.experts.map_or(ExpertTraining::LowRank, ExpertTraining::from)
    }

    pub(crate) fn settings(&self) -> AdapterSettings {
        AdapterSettings {
            rank: self.rank(),
            alpha: self.alpha,
            experts: self.expert_training(),
            modules: self.modules.clone(),
            router: self.router,
            classes: self.classes.clone(),
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ExpertsFlag {
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
