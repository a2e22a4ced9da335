//! The progress of a long-running program on stderr: a bar on a terminal, otherwise a message for each tenth.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The display on stderr. The library that draws the bar respects `NO_COLOR`.
pub(crate) struct ProgressDisplay {
    bar: ProgressBar,
    is_terminal: bool,
    /// Where tenths go without a terminal.
    tenths: fn(&str, u64),
    /// The name and the tenth of the last line, so that no tenth is printed twice.
    reported: (String, u64),
}

impl ProgressDisplay {
    /// For a command: without a terminal, each tenth is a line.
    #[cfg(feature = "training")]
    pub(crate) fn new() -> Self {
        Self::with_tenths(|what, percent| crate::output::tell(format_args!("{what}: {percent} %")))
    }

    /// For a service: without a terminal, tenths are messages of its log, at the lowest level.
    pub(crate) fn for_service() -> Self {
        Self::with_tenths(|what, percent| tracing::debug!("{what}: {percent} %"))
    }

    fn with_tenths(tenths: fn(&str, u64)) -> Self {
        let style = ProgressStyle::with_template("{msg:20} {wide_bar:.cyan/dim} {pos}/{len}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style);
        Self { bar, is_terminal: std::io::stderr().is_terminal(), tenths, reported: (String::new(), 0) }
    }

    /// Reports that `done` of `total` of something are done.
    pub(crate) fn step(&mut self, what: &str, done: u64, total: u64) {
        if self.is_terminal {
            self.bar.set_length(total);
            self.bar.set_message(what.to_owned());
            self.bar.set_position(done);
        } else if let Some(percent) = self.tenth(what, done, total) {
            (self.tenths)(what, percent);
        }
        if done >= total {
            self.bar.reset();
        }
    }

    /// Has something printed above the bar.
    pub(crate) fn above_bar(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// The percentage, if it is a tenth that was not reported yet.
    fn tenth(&mut self, what: &str, done: u64, total: u64) -> Option<u64> {
        let tenth = 10 * done / total.max(1);
        if self.reported.0 == what && self.reported.1 == tenth || tenth == 0 {
            return None;
        }
        self.reported = (what.to_owned(), tenth);
        Some(10 * tenth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tenth_is_shown_once() {
        let mut progress = ProgressDisplay::for_service();
        let mut percentages =
            |what| -> Vec<u64> { (1..=40).filter_map(|done| progress.tenth(what, done, 40)).collect() };
        let tenths: Vec<u64> = (1..=10).map(|tenth| 10 * tenth).collect();
        assert_eq!(percentages("training"), tenths);
        assert_eq!(percentages("uploading"), tenths);
        assert_eq!(percentages("training"), tenths, "the next round is shown again");
    }
}
