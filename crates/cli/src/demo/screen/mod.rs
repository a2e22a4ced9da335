//! The display of a run in progress: what each hospital is doing, and a line for each round.
//!
//! Everything goes to stderr. Without a terminal, or with `--quiet`, only milestones are shown, each on a
//! line.

mod closing;
mod tracker;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use self::closing::{round_header, round_line};
use self::tracker::{Phase, Tracker};
use super::format::{fit, percent_or_none, printable};
use super::result::RoundResult;

pub(crate) use self::closing::closing_table;

/// The largest number of hospitals that have a line each; more of them share one.
const MOST_LINES: usize = 16;
/// How many characters of a hospital's name its line has.
const NAME_WIDTH: usize = 24;

/// The display of a run. All methods may be called from any thread. Hospitals that it was not given at the
/// start are ignored.
pub(crate) struct Screen {
    names: BTreeMap<u32, String>,
    tracker: Mutex<Tracker>,
    has_header: Mutex<bool>,
    bars: MultiProgress,
    view: View,
}

/// How hospitals are drawn.
enum View {
    /// Milestones only.
    Plain,
    /// A line for each hospital.
    Each(BTreeMap<u32, ProgressBar>),
    /// One line for all.
    Summary(ProgressBar),
}

impl Screen {
    /// A screen for hospitals with these numbers and names. Without a terminal on stderr it behaves as with `quiet`.
    pub(crate) fn new(members: &[(u32, String)], quiet: bool) -> Self {
        let plain = quiet || !std::io::stderr().is_terminal();
        let target = if plain { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bars = MultiProgress::with_draw_target(target);
        let view = match members.len() {
            _ if plain => View::Plain,
            0..=MOST_LINES => {
                View::Each(members.iter().map(|member| (member.0, member_bar(&bars, member))).collect())
            }
            _ => View::Summary(bars.add(ProgressBar::no_length().with_style(style("{wide_msg}")))),
        };
        let names = members.iter().map(|(party, name)| (*party, printable(name))).collect();
        let tracker = Mutex::new(Tracker::new(members.iter().map(|(party, _)| *party)));
        Self { names, tracker, has_header: Mutex::new(false), bars, view }
    }

    /// A hospital has read `done` of `total` bytes or rows of its notes.
    pub(crate) fn reading(&self, party: u32, done: u64, total: u64) {
        self.enter(party, Phase::Reading { done, total });
    }

    /// A hospital has trained `done` of `total` steps of a round.
    pub(crate) fn training(&self, party: u32, round: u64, done: u64, total: u64) {
        self.enter(party, Phase::Training { round, done, total });
    }

    /// A hospital has trained `done` of `total` steps on its own notes alone, for comparison.
    pub(crate) fn training_alone(&self, party: u32, done: u64, total: u64) {
        self.enter(party, Phase::TrainingAlone { done, total });
    }

    /// A hospital has finished, with its model's accuracy together and alone, if they are known. Without bars this is a line
    /// for each hospital; with bars the closing table shows it.
    pub(crate) fn finished(&self, party: u32, federated: Option<f64>, local: Option<f64>) {
        self.enter(party, Phase::Waiting);
        if matches!(self.view, View::Plain) {
            let (federated, local) = (percent_or_none(federated), percent_or_none(local));
            let name = self.name(party);
            self.note(&format!(
                "hospital {party} ({name}) has finished: {federated} together, {local} alone"
            ));
        }
    }

    /// A hospital has sent `sent` of `total` bytes of masked blocks.
    pub(crate) fn uploading(&self, party: u32, sent: u64, total: u64) {
        self.enter(party, Phase::Uploading { sent, total });
    }

    /// A hospital has announced its sketches.
    pub(crate) fn announced(&self, party: u32) {
        self.enter(party, Phase::Announced);
    }

    /// A hospital is gone. This is shown once, until it trains again.
    pub(crate) fn lost(&self, party: u32, why: &str) {
        // A killed hospital is reported by the demo first and by the coordinator when the link times out.
        if locked(&self.tracker).is_lost(party) {
            return;
        }
        let name = self.name(party);
        self.note(&format!("hospital {party} ({name}) lost: {why}"));
        self.enter(party, Phase::Lost);
    }

    fn name(&self, party: u32) -> &str {
        self.names.get(&party).map_or("unknown", String::as_str)
    }

    /// A hospital waits for others.
    pub(crate) fn waiting(&self, party: u32) {
        self.enter(party, Phase::Waiting);
    }

    /// Prints a line above the bars.
    pub(crate) fn note(&self, line: &str) {
        line.lines().for_each(|line| self.print(&printable(line)));
    }

    /// Prints a round's line of the table of rounds, the first time under its header.
    pub(crate) fn round(&self, round: &RoundResult) {
        let mut has_header = locked(&self.has_header);
        if !std::mem::replace(&mut *has_header, true) {
            self.print(&round_header());
        }
        self.print(&round_line(round));
    }

    /// Removes the bars from the terminal. What was printed above them stays.
    pub(crate) fn finish(&self) {
        match &self.view {
            View::Plain => {}
            View::Each(bars) => bars.values().for_each(ProgressBar::finish_and_clear),
            View::Summary(bar) => bar.finish_and_clear(),
        }
    }

    fn enter(&self, party: u32, phase: Phase) {
        let mut tracker = locked(&self.tracker);
        let (is_new, milestone) = tracker.enter(party, phase);
        match &self.view {
            View::Plain => milestone.iter().for_each(|line| self.print(line)),
            View::Each(bars) => bars.get(&party).into_iter().for_each(|bar| draw(bar, phase, is_new)),
            View::Summary(bar) if is_new => draw_summary(bar, &tracker),
            View::Summary(_) => {}
        }
    }

    /// Prints a line above the bars. A closed stderr must not end the run.
    fn print(&self, line: &str) {
        // Suspended, or the line would be drawn over by the next redraw of the bars.
        self.bars.suspend(|| {
            let _ = writeln!(std::io::stderr(), "{line}");
        });
    }
}

/// Draws a hospital's bar. The library redraws bars at a limited rate and only when called. The next call
/// after a change of phase can be minutes away, so such a change is drawn at once.
fn draw(bar: &ProgressBar, phase: Phase, is_new: bool) {
    let (position, length) = phase.progress();
    bar.set_length(length);
    bar.set_position(position);
    bar.set_message(phase.describe());
    if is_new {
        bar.force_draw();
    }
}

fn draw_summary(bar: &ProgressBar, tracker: &Tracker) {
    bar.set_message(tracker.summary());
    bar.force_draw();
}

fn member_bar(bars: &MultiProgress, (party, name): &(u32, String)) -> ProgressBar {
    // The convention of no-color.org: any value but an empty one.
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let template =
        if is_plain { "{prefix} {bar:20} {wide_msg}" } else { "{prefix} {bar:20.cyan/dim} {wide_msg}" };
    let prefix = format!("{party:>3} {:<NAME_WIDTH$}", fit(name, NAME_WIDTH));
    let bar = bars.add(ProgressBar::new(1).with_style(style(template)).with_prefix(prefix));
    draw(&bar, Phase::Waiting, true);
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is one of ours").progress_chars("━╸─")
}

/// The guarded value, even after a panic in another thread: no caller leaves it half changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::summary::sample;

    fn screen(members: u32) -> Screen {
        let members: Vec<(u32, String)> =
            (1..=members).map(|party| (party, format!("Hospital {party}"))).collect();
        Screen::new(&members, true)
    }

    #[test]
    fn a_quiet_screen_draws_no_bars() {
        let screen = screen(8);
        assert!(matches!(screen.view, View::Plain));
        assert!(screen.bars.is_hidden());
    }

    #[test]
    fn a_run_is_followed_to_its_end() {
        let screen = screen(3);
        screen.reading(1, 5, 10);
        screen.training(1, 1, 5, 10);
        screen.announced(1);
        screen.uploading(1, 4, 9);
        screen.lost(2, "killed by the demo");
        screen.waiting(3);
        screen.announced(99);
        assert_eq!(locked(&screen.tracker).summary(), "round 1: 1 waiting, 1 uploading, 1 lost");
        screen.training_alone(3, 9, 9);
        assert_eq!(locked(&screen.tracker).summary(), "round 1: 1 uploading, 1 training alone, 1 lost");
        screen.finished(3, Some(0.8), None);
        screen.round(&sample::aborted(1));
        assert!(*locked(&screen.has_header));
        screen.finish();
    }
}
