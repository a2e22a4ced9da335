//! The results of `cloister data check`, for people and as JSON.

use std::fmt;

use cloister_client::{Memory, Trial};
use cloister_experts::survey::SurveyReport;
use cloister_params::block::BlockKind;
use cloister_transport::printable;
use serde::Serialize;

use crate::byte_count::bytes;
use crate::demo::format::{percent, seconds};
use crate::failure::Failure;
use crate::whole_number::{counted, whole};

/// A class with fewer rows than this is pointed out.
const FEW: usize = 5;
/// Texts that are cut are pointed out if they are more than one in this many.
const ONE_OF: usize = 20;

/// All results of a check.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    #[serde(flatten)]
    notes: SurveyReport,
    /// The held-out file; none without one.
    held_out: Option<HeldOutRows>,
    /// Memory that training takes; none if there is a row at which training would stop.
    pub(super) memory: Option<Memory>,
    /// One round of training, if settings were given.
    pub(super) round: Option<TriedRound>,
}

/// Rows of the held-out file.
#[derive(Debug, Serialize)]
pub(super) struct HeldOutRows {
    rows: usize,
    /// Rows that the model cannot be evaluated on.
    bad_rows: usize,
    /// The first of them, each with its place and the error.
    first_bad_rows: Vec<String>,
    /// The message on the rest of the file, if it was not read.
    unread: Vec<String>,
}

impl From<SurveyReport> for HeldOutRows {
    fn from(report: SurveyReport) -> Self {
        let SurveyReport { rows, bad_rows, first_bad_rows, unread, .. } = report;
        Self { rows, bad_rows, first_bad_rows, unread }
    }
}

/// A round of training on this machine.
#[derive(Debug, Serialize)]
pub(super) struct TriedRound {
    seconds: f64,
    /// Experts, routers and shared parameters whose update the settings' clips would cut.
    clips: Vec<Clip>,
    /// The share of records' gradients that private training clipped. None if training is not private.
    share_of_gradients_clipped: Option<f64>,
}

/// Blocks of one kind.
#[derive(Clone, Debug, Serialize)]
struct Clip {
    kind: &'static str,
    blocks: usize,
    /// How many have an update that is longer than the clip.
    cut: usize,
    /// The length of the longest update divided by the clip.
    largest_over_clip: f64,
}

impl Answer {
    pub(super) fn new(notes: SurveyReport, held_out: Option<SurveyReport>) -> Self {
        Self { notes, held_out: held_out.map(HeldOutRows::from), memory: None, round: None }
    }

    /// How many rows of all files are bad, and how many there are.
    fn bad_and_all(&self) -> (usize, usize) {
        let (bad, all) = self.held_out.as_ref().map_or((0, 0), |rows| (rows.bad_rows, rows.rows));
        (self.notes.bad_rows + bad, self.notes.rows + all)
    }

    /// The messages on files of which the rest was not read.
    fn unread(&self) -> impl Iterator<Item = &String> {
        self.notes.unread.iter().chain(self.held_out.iter().flat_map(|rows| &rows.unread))
    }

    fn has_rows(&self) -> bool {
        self.notes.rows > 0 && self.held_out.as_ref().is_none_or(|held_out| held_out.rows > 0)
    }

    /// Whether the client would start.
    pub(super) fn can_be_trained_on(&self) -> bool {
        self.has_rows() && self.bad_and_all().0 == 0
    }

    /// The status that the command ends with.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        match self.bad_and_all() {
            (bad, _) if self.unread().next().is_some() => Err(Failure::config(format!(
                "the rest of a file was not read, so the counts are not complete; at least {} cannot be used, and the client \
                 would stop at them; correct or remove them, and check the file again",
                counted(bad, "row")
            ))),
            _ if !self.has_rows() => Err(Failure::config("a file has no rows; at least one is needed")),
            (0, _) => Ok(()),
            (bad, rows) => Err(Failure::config(format!(
                "{} of {} rows cannot be used, and the client would stop at them; correct or remove them",
                whole(bad),
                whole(rows)
            ))),
        }
    }

    /// What a hospital should check before it joins.
    fn hints(&self) -> Vec<String> {
        let SurveyReport { lengths, .. } = &self.notes;
        // Bad rows have no length: the share is that of the rows that would be trained on.
        let learnt = self.notes.rows - self.notes.bad_rows;
        let mut hints = Vec::new();
        if lengths.cut * ONE_OF > learnt {
            hints.push(format!(
                "longer than the {} tokens that the model reads: {} of {} texts, which loses {} of all tokens; use more \
                 --windows, or a task with a larger max_tokens (nine of ten texts have at most {})",
                whole(lengths.read),
                whole(lengths.cut),
                whole(learnt),
                percent(lengths.share_of_tokens_cut),
                whole(lengths.ninth_decile)
            ));
        }
        let classes = self.notes.classes.iter();
        let few = classes.filter(|(_, count)| **count < FEW);
        let few: Vec<String> = few.map(|(class, count)| format!("{class} ({count})")).collect();
        if !few.is_empty() {
            hints.push(format!("classes with fewer than {FEW} rows: {}", few.join(", ")));
        }
        hints.extend(self.notes.near_twins.iter().map(|twins| {
            format!("the classes {} may be meant to be one; if so, correct the labels", twins.join(", "))
        }));
        if self.notes.duplicates > 0 {
            hints.push(format!(
                "rows that repeat the text of another: {}; private training counts each as a record of its own",
                whole(self.notes.duplicates)
            ));
        }
        if self.notes.texts_of_several_classes > 0 {
            let count = whole(self.notes.texts_of_several_classes);
            hints.push(format!(
                "texts with several classes in different rows: {count}; at most one class of each is right"
            ));
        }
        if let Some(both @ 1..) = self.notes.rows_held_out_too {
            hints.push(format!(
                "rows that are among the held-out rows too: {}; the measured accuracy would be too high, \
                 so hold out other rows",
                whole(both)
            ));
        }
        if let Some(Memory { needed, free: Some(free) }) = self.memory
            && needed > free
        {
            hints.push(
                "less memory is free than training takes, so the client would end with status 69".to_owned(),
            );
        }
        hints
    }
}

impl TriedRound {
    pub(super) fn new(trial: &Trial) -> Self {
        let kinds = ["experts", "routers", "shared parameters"];
        let mut clips = kinds.map(|kind| Clip::new(kind, trial)).to_vec();
        clips.retain(|clip| clip.blocks > 0);
        Self {
            seconds: trial.seconds,
            clips,
            share_of_gradients_clipped: trial
                .private
                // With a small sampling probability a round may draw no record.
                .map(|report| report.clipped as f64 / report.drawn.max(1) as f64),
        }
    }
}

impl Clip {
    /// What the clip cuts of the blocks of one kind.
    fn new(kind: &'static str, trial: &Trial) -> Self {
        let norms = trial.updates.iter().filter(|update| name(update.kind) == kind);
        let norms: Vec<f64> = norms.map(|update| update.over_clip).collect();
        Self {
            kind,
            blocks: norms.len(),
            cut: norms.iter().filter(|&&norm| norm > 1.0).count(),
            largest_over_clip: norms.iter().copied().fold(0.0, f64::max),
        }
    }
}

fn name(kind: BlockKind) -> &'static str {
    match kind {
        BlockKind::Expert { .. } => "experts",
        BlockKind::Router { .. } => "routers",
        BlockKind::Shared => "shared parameters",
        BlockKind::Routing { .. } => "routing",
        BlockKind::Evaluation => "evaluation",
        BlockKind::Regions { .. } => "regions",
    }
}

fn row(f: &mut fmt::Formatter<'_>, what: &str, value: String) -> fmt::Result {
    writeln!(f, "{what:<28}{value}")
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SurveyReport { lengths, .. } = &self.notes;
        row(f, "rows", whole(self.notes.rows))?;
        row(f, "rows that cannot be learnt", whole(self.notes.bad_rows))?;
        for bad in &self.notes.first_bad_rows {
            // Names and labels come from a file, so they must not command the terminal.
            writeln!(f, "  {}", printable(bad.as_bytes()))?;
        }
        let most = whole(self.notes.most_rows_of_a_record);
        row(f, "records", format!("{}, of at most {most} rows", whole(self.notes.records)))?;
        let (median, ninth, longest) =
            (whole(lengths.median), whole(lengths.ninth_decile), whole(lengths.longest));
        row(
            f,
            "tokens of a text",
            format!("{median} in the middle, nine of ten at most {ninth}, longest {longest}"),
        )?;
        let cut = format!("{}, of which the model reads {}", whole(lengths.cut), whole(lengths.read));
        row(f, "texts that are cut", format!("{cut} tokens"))?;
        row(f, "repeated texts", whole(self.notes.duplicates))?;
        if let Some(HeldOutRows { rows, bad_rows, first_bad_rows, .. }) = &self.held_out {
            let bad = format!("{}, of which {} cannot be measured on", whole(*rows), whole(*bad_rows));
            row(f, "held-out rows", bad)?;
            first_bad_rows.iter().try_for_each(|bad| writeln!(f, "  {}", printable(bad.as_bytes())))?;
        }
        for unread in self.unread() {
            row(f, "NOT READ", printable(unread.as_bytes()).to_string())?;
        }
        for (class, count) in &self.notes.classes {
            row(f, "class", format!("{:>6}  {}", whole(*count), printable(class.as_bytes())))?;
        }
        if let Some(Memory { needed, free }) = self.memory {
            let free = free.map_or_else(String::new, |free| format!("; {} are free", bytes(free as u64)));
            row(f, "memory for training", format!("about {}{free}", bytes(needed as u64)))?;
        }
        if let Some(round) = &self.round {
            row(f, "a round of training", format!("{} s", seconds(round.seconds)))?;
            for Clip { kind, blocks, cut, largest_over_clip } in &round.clips {
                let value =
                    format!("{cut} of {blocks}; the longest update is {largest_over_clip:.2} of the clip");
                row(f, &format!("clipped {kind}"), value)?;
            }
            if let Some(share) = round.share_of_gradients_clipped {
                row(f, "clipped gradients", percent(share))?;
            }
        }
        self.hints().iter().try_for_each(|hint| writeln!(f, "\n- {}", printable(hint.as_bytes())))
    }
}
