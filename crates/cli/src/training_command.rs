//! The commands that need libtorch, in both builds of the program: with their flags in one, and passed on in the other.

use clap::Subcommand;

#[cfg(not(feature = "training"))]
use crate::launcher::{
    PassedOn as ClientArguments, PassedOn as TaskArguments, PassedOn as DataArguments,
    PassedOn as PredictArguments, PassedOn as CanaryArguments, PassedOn as ExpertsArguments,
    PassedOn as DemoArguments, PassedOn as LabArguments,
};
#[cfg(feature = "training")]
use crate::{
    canaries::CanaryArguments, client::ClientArguments, data::DataArguments, demo::DemoArguments,
    experts::ExpertsArguments, lab::LabArguments, predict::PredictArguments, task::TaskArguments,
};

/// A command that needs libtorch.
// Parsed once; its size does not matter.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Subcommand)]
pub(crate) enum TrainingCommand {
    /// Run a hospital: a member, a custodian, or both, as the consortium file says.
    Client(ClientArguments),
    /// Write what a consortium agrees on before it trains: task, initial parameters, round settings, and a policy.
    Task(TaskArguments),
    /// Check a hospital's files before it trains on them.
    Data(DataArguments),
    /// Sort new notes with a trained model. Nothing leaves this machine.
    Predict(Box<PredictArguments>),
    /// Test before a release whether a trained model recites what was planted in the notes. Nothing leaves this machine.
    Canaries(CanaryArguments),
    /// Check, convert and export Mixture-of-Experts models and adapters, and prepare tasks.
    Experts(ExpertsArguments),
    /// Run a coordinator and several hospitals on this machine, with synthetic notes or a file of yours.
    Demo(DemoArguments),
    /// Compare strategies of federated training on public data, in one process.
    Lab(LabArguments),
}
