//! What a hospital's loop tells: events on the way, and why it stopped early.

use std::collections::BTreeMap;

use cloister_experts::PrivateReport;
use cloister_params::id::{BlockId, Round};
use cloister_privacy::ledger::LedgerError;
use cloister_transport::{ConnectError, LinkError};
use thiserror::Error;

use crate::openings::OpeningsError;
use crate::record_file::JournalError;
use crate::training::{Accuracy, FinalResult, RowCounts, TrainingError};

/// What happened, for people and programs that watch.
#[derive(Clone, PartialEq, Debug)]
pub enum ClientEvent {
    /// Memory, before anything is loaded.
    Memory {
        /// Bytes that training takes, about.
        needed: usize,
        /// Bytes that are free, where that can be told.
        free: Option<usize>,
    },
    /// The hospital's notes are being read.
    Reading {
        /// So much of the file, in bytes or rows.
        done: u64,
        /// Of so much.
        total: u64,
    },
    /// Everything is loaded and the link is open next.
    ///
    /// Nothing is known of the notes where a program of the hospital's own reads them.
    Ready(Option<RowCounts>),
    /// Something that the hospital should think about before it goes on.
    Warning(String),
    /// The link is open.
    Connected,
    /// The link was lost and is opened again.
    Reconnecting(String),
    /// A step of training is done.
    Training {
        /// Steps done.
        done: usize,
        /// Steps in all.
        total: usize,
        /// Whether this is the training alone, for comparison.
        local: bool,
    },
    /// What private training did. It tells of the records, and is for this hospital's eyes.
    PrivatelyTrained(PrivateReport),
    /// A round's training is done. Its numbers are for this hospital's own eyes and are sent to nobody.
    Trained {
        /// The round.
        round: Round,
        /// Losses, and whatever else the trainer measures, by name.
        metrics: BTreeMap<String, f64>,
    },
    /// A round's training failed, so this hospital takes no part in it.
    NotTrained(Round, String),
    /// The model of a round could not be evaluated here.
    NotEvaluated(Round, String),
    /// Blocks whose update was above the clip.
    Clipped {
        /// How many of the blocks.
        blocks: usize,
    },
    /// A chunk of the upload was handed to the network.
    Uploading {
        /// Chunks sent.
        sent: usize,
        /// Chunks in all.
        total: usize,
    },
    /// A round closed.
    Closed {
        /// The round.
        round: Round,
        /// Blocks whose sums were applied.
        applied: Vec<BlockId>,
        /// Those of them whose sums have this hospital's update; none where it took no part.
        summed: Vec<BlockId>,
    },
    /// The model after a round, on this hospital's part of the held-out notes.
    Evaluated(Round, Accuracy),
    /// A round ended without a sum.
    Aborted(Round),
    /// This hospital takes no part in a round.
    Refused(Round, String),
    /// A frame broke a rule, or something went wrong that a person should read of.
    Fault(String),
    /// A frame came late, early or again, as after a restart; it changed nothing, and is nobody's fault.
    NotAwaited(String),
    /// The end.
    Finished(FinalResult),
}

/// Why a hospital stopped early.
#[derive(Debug, Error)]
pub enum ClientError {
    /// There is no link.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The file of openings failed, or the epoch may not begin.
    #[error(transparent)]
    Openings(#[from] OpeningsError),
    /// The privacy ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The hospital's policy refused to let its data be released; it went on as a custodian until the end.
    #[error("no contribution to {round}: {reason}")]
    PrivacyRefused {
        /// The first round that it refused.
        round: Round,
        /// The rule, the value and the limit.
        reason: String,
    },
    /// The hospital's notes or the model's files cannot be used.
    #[error(transparent)]
    Setup(TrainingError),
    /// Training failed, in a round or at the end; the party did the rest of its part.
    #[error("training: {0}")]
    Training(String),
    /// The rounds are over, and this hospital has an older model than the last.
    #[error(
        "the rounds are over, and this hospital missed how the last one ended: its model is not the last one. Ask for the coordinator to be started again with the same --data, and start this program again: it then gets the model"
    )]
    Behind,
    /// The coordinator's link was lost for good.
    #[error("the link to the coordinator: {0}")]
    Link(LinkError),
}
