//! How the program ends after a failure: with a sentence on stderr, and the documented exit code.

use std::fmt;
use std::process::ExitCode;

/// The kinds of failure that have an exit code of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FailureKind {
    /// The reader of the results closed the stream, as `head` does. Nothing is left to do, and it is no
    /// failure of the program.
    ReaderLeft = 0,
    /// Anything else.
    Error = 1,
    /// Flags that contradict each other.
    Usage = 2,
    /// A claim does not hold, or a test found what must not be: a model recites what it was trained on.
    Refuted = 3,
    /// A claim was not checked, or a test shows nothing.
    NotChecked = 4,
    /// A hospital's policy does not allow its data to be released.
    PrivacyRefused = 5,
    /// Too few custodians or shares.
    QuorumLost = 6,
    /// A peer cannot be reached, a port is in use, or there is too little memory: trying again may help.
    /// `EX_UNAVAILABLE` of `sysexits.h`.
    Unavailable = 69,
    /// A file that the program was given is wrong: trying again does not help. `EX_CONFIG` of `sysexits.h`.
    Config = 78,
}

/// A failure to report to the user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    kind: FailureKind,
    sentence: String,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, sentence: impl fmt::Display) -> Self {
        Self { kind, sentence: sentence.to_string() }
    }

    /// A wrong file or setting.
    pub(crate) fn config(sentence: impl fmt::Display) -> Self {
        Self::new(FailureKind::Config, sentence)
    }

    /// Anything else.
    pub(crate) fn error(sentence: impl fmt::Display) -> Self {
        Self::new(FailureKind::Error, sentence)
    }

    /// A model, or a file for training it, that cannot be used. Only missing memory may be there later.
    #[cfg(feature = "training")]
    pub(crate) fn experts(error: cloister_experts::ExpertsError) -> Self {
        match error {
            cloister_experts::ExpertsError::Memory { .. } => Self::new(FailureKind::Unavailable, error),
            _ => Self::config(error),
        }
    }

    /// The reader of the results closed the stream.
    pub(crate) fn reader_left() -> Self {
        Self::new(FailureKind::ReaderLeft, "the reader of the results closed the stream")
    }

    /// Whether to print the sentence.
    pub(crate) fn is_reported(&self) -> bool {
        self.kind != FailureKind::ReaderLeft
    }

    /// The kind.
    pub(crate) fn kind(&self) -> FailureKind {
        self.kind
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        // The variants' numbers are the documented codes, so no second table can differ from them.
        ExitCode::from(self.kind as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}
