//! What a hospital's loop reports: events while it runs, and why it stopped early.

use std::collections::BTreeMap;

use cloister_params::evaluation::PublishedEvaluation;
use cloister_params::id::{BlockId, Round};
use cloister_privacy::ledger::LedgerError;
use cloister_transport::{Carrier, ConnectError, LinkError};
use cloister_updates::PrivateReport;
use thiserror::Error;

use crate::arriving_file::ArrivingFileError;
use crate::jobs::{Accuracy, FinalResult, RowCounts};
use crate::openings::OpeningsError;
use crate::record_file::JournalError;
use crate::training_error::TrainingError;

/// What happened, for the operator and for programs that watch. Nothing of it is sent to anybody.
#[derive(Clone, PartialEq, Debug)]
pub enum ClientEvent {
    /// An estimate of memory, before anything is loaded.
    Memory {
        /// Bytes that training takes, approximately.
        needed: usize,
        /// Bytes that are free, if the system says.
        free: Option<usize>,
    },
    /// The hospital's notes are being read.
    Reading {
        /// Bytes or rows that are read.
        done: u64,
        /// Bytes or rows of the file.
        total: u64,
    },
    /// Everything is loaded; the client connects next. There are no counts if a training program of the hospital's own reads
    /// the notes.
    Ready(Option<RowCounts>),
    /// This party is only a custodian, and connects next.
    CustodianReady,
    /// Something that the hospital should consider before it goes on.
    Warning(String),
    /// The policy was read again and has changed: it decides about plans from the next one on.
    PolicyReplaced,
    /// The link is open over this carrier, and the coordinator has accepted this party.
    Connected(Carrier),
    /// The link was lost for this reason, and the client connects again.
    Reconnecting(String),
    /// The coordinator cannot be reached, or rejects this hospital, for this reason. The client tries again. It is reported
    /// once for each reason in a row, and then each hour.
    Unreachable(String),
    /// Another edition of the consortium file is in force.
    Edition {
        /// Its number.
        number: u32,
        /// What has changed since the edition before, in words.
        changes: Vec<String>,
    },
    /// The program was told to stop.
    Stopping,
    /// A step of training is done.
    Training {
        /// Steps done.
        done: usize,
        /// Steps of the whole training.
        total: usize,
        /// Whether this is the training on the hospital's notes alone, for comparison.
        local: bool,
    },
    /// What private training did. The counts tell something about the records, so they stay in this hospital.
    PrivatelyTrained(PrivateReport),
    /// A round's training is done. Its metrics follow from the notes, so they stay in this hospital.
    Trained {
        /// The round that was trained for; an abort may since have ended it.
        round: Round,
        /// Losses in nats and whatever else the trainer measures, by name.
        metrics: BTreeMap<String, f64>,
    },
    /// A round's training failed, so this hospital does not take part in it.
    NotTrained(Round, String),
    /// The model of a round could not be evaluated here.
    NotEvaluated(Round, String),
    /// The round is a rehearsal: what was trained is dropped, and zeros take its place.
    Rehearsing(Round),
    /// A rehearsal went through all of its steps.
    Rehearsed(Round),
    /// The plan asks for counts of held-out records, and this hospital's trainer does not count records, so none are contributed.
    NotCounted,
    /// Updates were longer than the plan's clip, and were shortened to it.
    Clipped {
        /// How many of the plan's blocks. It stays in this hospital: it tells how large the update is.
        blocks: usize,
    },
    /// A chunk of the upload was handed to the network.
    Uploading {
        /// Chunks sent.
        sent: usize,
        /// Chunks of the upload.
        total: usize,
    },
    /// A round closed.
    Closed {
        /// The round whose closing a quorum of custodians signed.
        round: Round,
        /// Blocks whose sums were applied.
        applied: Vec<BlockId>,
        /// Those of them whose sums contain this hospital's update; empty if it did not take part.
        summed: Vec<BlockId>,
    },
    /// What the closing of a round published of the model that the round started from, on all members' held-out records.
    Published(Round, PublishedEvaluation),
    /// How well the model after a round does on this hospital's part of the held-out notes.
    Evaluated(Round, Accuracy),
    /// A round ended without a sum.
    Aborted(Round),
    /// This hospital does not take part in a round, for this reason.
    Refused(Round, String),
    /// A frame broke a rule, or something else went wrong that the operator should see.
    Fault(String),
    /// A frame came late, early or twice, as happens after a restart. It changed nothing, and nobody is at fault.
    Unexpected(String),
    /// The rounds are over, the model is written and evaluated.
    Finished(FinalResult),
}

/// Why a hospital stopped early.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The coordinator cannot be reached, or rejects this hospital.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The file of openings failed, or this party may not begin the epoch.
    #[error(transparent)]
    Openings(#[from] OpeningsError),
    /// The privacy ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A later edition of the consortium file does not list this party, or lists it with other keys.
    #[error("{0}")]
    NotListed(String),
    /// An edition of the consortium file cannot be written.
    #[error("cannot keep the new edition of the consortium file: {0}; check the data folder")]
    Edition(std::io::Error),
    /// The file of a model that arrives from the coordinator cannot be used.
    #[error(transparent)]
    Arriving(#[from] ArrivingFileError),
    /// What the next edition continues from cannot be written.
    #[error("cannot write epoch-start.toml: {0}; check the data folder's free space and permissions")]
    EpochStart(std::io::Error),
    /// The consortium file lists this party as a member, and it was started as a custodian alone.
    #[error(
        "the consortium file lists this party as a member, which `cloister custodian` cannot be; run `cloister client`, with \
         the task and this hospital's notes"
    )]
    IsMember,
    /// The hospital's policy did not let its data be released. The party went on as a custodian until the end.
    #[error("no contribution to {round}: {reason}")]
    PrivacyRefused {
        /// The first round that the policy refused.
        round: Round,
        /// The rule of the policy, the value, and the limit.
        reason: String,
    },
    /// The hospital's notes or the model's files cannot be used.
    #[error(transparent)]
    Setup(TrainingError),
    /// Training failed, in a round or at the end. The party did everything else.
    #[error("training: {0}")]
    Training(String),
    /// The rounds are over, and this hospital does not have the last model.
    #[error(
        "the rounds are over, but this hospital missed the end of the last one and does not have its model. Ask the \
         coordinator's operator to start it again with the same --data, then start this program again to get the model"
    )]
    Behind,
    /// The link to the coordinator failed in a way that connecting again does not help.
    #[error("the link to the coordinator: {0}")]
    Link(LinkError),
}
