//! Cohorts as figures: a row for each hospital, a column for each opened block.

use cloister_audit::{EvidenceReport, RoundSummary};
use cloister_params::block::BlockKind;
use cloister_params::id::PartyId;
use cloister_wire::statement::AbortReason;

use crate::page::html::{drawing, escape};

/// Sizes in pixels.
const CELL: f64 = 18.0;
const LEFT: f64 = 34.0;
const TOP: f64 = 64.0;
/// Room for the name of the last column.
const RIGHT: f64 = 30.0;
/// The largest number of rounds that are drawn.
const MOST_ROUNDS: usize = 12;

/// The maps of the closed rounds; of many rounds every n-th.
pub(super) fn figures(report: &EvidenceReport) -> String {
    let closed: Vec<&RoundSummary> = report.rounds.iter().filter(|round| !round.cohorts.is_empty()).collect();
    if closed.is_empty() {
        return "<p>No round closed, so there are no sums.</p>".to_owned();
    }
    let stride = closed.len().div_ceil(MOST_ROUNDS);
    let mut maps = String::new();
    for round in closed.into_iter().step_by(stride) {
        let map = map(round);
        maps.push_str(&format!("<figure><figcaption>Round {}</figcaption>{map}</figure>", round.round.0));
    }
    let every = if stride > 1 { format!(", one of every {stride} rounds") } else { String::new() };
    format!(
        "<p>A row for each hospital that announced, and a column for each block of parameters{every}. Filled: its update is \
         in the sum. Empty: its expert did not align, so its update is in no sum of this block. Grey: its upload did not \
         arrive.</p><div class=\"maps\">{maps}</div>"
    )
}

fn map(round: &RoundSummary) -> String {
    let members = &round.announced;
    let width = LEFT + CELL * round.cohorts.len() as f64 + RIGHT;
    let height = TOP + CELL * members.len() as f64 + 4.0;
    let mut content = String::new();
    for (row, member) in members.iter().enumerate() {
        let y = TOP + CELL * row as f64;
        content.push_str(&format!(
            "<text class=\"tick\" x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            y + CELL - 5.0,
            member.0
        ));
        for (column, cohort) in round.cohorts.iter().enumerate() {
            let class = class(&cohort.summed, &cohort.absent, *member);
            let x = LEFT + CELL * column as f64;
            content.push_str(&format!(
                "<rect class=\"{class}\" x=\"{x:.0}\" y=\"{y:.0}\" width=\"{:.0}\" height=\"{:.0}\"/>",
                CELL - 2.0,
                CELL - 2.0
            ));
        }
    }
    for (column, cohort) in round.cohorts.iter().enumerate() {
        let x = LEFT + CELL * column as f64 + 12.0;
        content.push_str(&format!(
            "<text class=\"tick\" transform=\"translate({x:.0} {:.0}) rotate(-60)\">{}</text>",
            TOP - 6.0,
            escape(&label(cohort.kind))
        ));
    }
    let title = format!("Whose updates were summed in round {}", round.round.0);
    let description = "A row for each hospital, a column for each block of parameters.";
    drawing(width, height, &title, description, &content)
}

fn class(summed: &[PartyId], absent: &[PartyId], member: PartyId) -> &'static str {
    if summed.contains(&member) {
        "cell"
    } else if absent.contains(&member) {
        "lost"
    } else {
        "few"
    }
}

/// A block's name over its column.
fn label(kind: BlockKind) -> String {
    match kind {
        BlockKind::Expert { layer, expert } => format!("{layer}.{expert}"),
        BlockKind::Router { layer } => format!("router {layer}"),
        BlockKind::Shared => "shared".to_owned(),
        BlockKind::Routing { layer } => format!("routing {layer}"),
        BlockKind::Regions { layer } => format!("regions {layer}"),
        BlockKind::Evaluation => "accuracy".to_owned(),
    }
}

/// Why a round was aborted, as a part of a sentence.
pub(super) fn in_words(reason: AbortReason) -> &'static str {
    match reason {
        AbortReason::TooFewAnnounced => "too few members announced",
        AbortReason::NotSealed => "too few custodians signed the first seal",
        AbortReason::TooFewUploaded => "too few uploads arrived",
        AbortReason::BadDealing => "a member dealt shares that do not fit",
    }
}
