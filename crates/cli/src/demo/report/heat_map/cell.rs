//! The cells of a map and their legend.

use cloister_params::plan::SketchForm;

use crate::demo::format::NONE;
use crate::demo::result::{ExpertResult, RoundResult};

/// Shades of the legend.
const SHADES: u32 = 5;
/// Side of a legend's cell in pixels.
const SIDE: f64 = 18.0;

/// What a cell shows: the part that a hospital has in an expert's sum of a round.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Look {
    /// It did not announce, or its upload did not arrive.
    Lost,
    /// It routed too few tokens to the expert, or has no score.
    FewTokens,
    /// Its consensus.
    Consensus(f64),
}

impl Look {
    /// The look of a hospital's cell for an expert of a round.
    pub(super) fn in_round(round: &RoundResult, expert: &ExpertResult, party: u32) -> Self {
        let place = round.announced.iter().position(|announced| *announced == party);
        // Consensus is listed in the order of announcements, so the place there is the index.
        let Some(place) = place.filter(|_| round.uploaded.contains(&party)) else {
            return Self::Lost;
        };
        expert.consensus.get(place).copied().flatten().map_or(Self::FewTokens, Self::Consensus)
    }

    /// The same in words.
    pub(super) fn describe(self, form: SketchForm) -> String {
        let withheld = form == SketchForm::Withheld;
        match self {
            Self::Lost => "lost".to_owned(),
            Self::FewTokens if withheld => "no score".to_owned(),
            Self::FewTokens => "too few tokens".to_owned(),
            Self::Consensus(score) if withheld => format!("score {score:.2}"),
            Self::Consensus(consensus) => format!("consensus {consensus:.1}"),
        }
    }
}

/// A cell's place in pixels.
pub(super) struct Cell {
    /// Its left edge.
    pub(super) left: f64,
    /// Its upper edge.
    pub(super) top: f64,
    /// Its width.
    pub(super) width: f64,
    /// Its height.
    pub(super) height: f64,
}

impl Cell {
    /// The cell as SVG: shaded by consensus up to `most`, crossed out if the hospital is lost, struck through
    /// if it has too few tokens, and with a dot if it is in the sum. Marks as well as colours, for readers
    /// who cannot tell colours apart.
    pub(super) fn draw(&self, look: Look, most: f64, is_summed: bool) -> String {
        let drawn = match look {
            Look::Lost => self.frame("lost", 1.0) + &stroke(&(self.rising() + &self.falling())),
            Look::FewTokens => self.frame("few", 1.0) + &stroke(&self.rising()),
            Look::Consensus(consensus) => self.frame("cell", opacity(consensus, most)),
        };
        if is_summed { drawn + &self.dot() } else { drawn }
    }

    fn frame(&self, class: &str, opacity: f64) -> String {
        let Self { left, top, width, height } = self;
        format!(
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             fill-opacity=\"{opacity:.2}\"/>"
        )
    }

    fn rising(&self) -> String {
        let (right, bottom) = (self.left + self.width, self.top + self.height);
        format!("M{:.1} {bottom:.1}L{right:.1} {:.1}", self.left, self.top)
    }

    fn falling(&self) -> String {
        let (right, bottom) = (self.left + self.width, self.top + self.height);
        format!("M{:.1} {:.1}L{right:.1} {bottom:.1}", self.left, self.top)
    }

    fn dot(&self) -> String {
        let (x, y) = (self.left + self.width / 2.0, self.top + self.height / 2.0);
        let radius = 0.22 * self.width.min(self.height);
        format!("<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\"/>")
    }
}

fn stroke(path: &str) -> String {
    format!("<path class=\"cross\" d=\"{path}\"/>")
}

/// A consensus of 0 is shaded faintly, so that it is not taken for an empty cell.
fn opacity(consensus: f64, most: f64) -> f64 {
    let share = if most > 0.0 { consensus / most } else { 0.0 };
    0.04 + 0.96 * share
}

/// The legend of maps whose largest consensus is `most`.
pub(super) fn legend(most: f64, form: SketchForm) -> String {
    let shades: String = (0..SHADES).map(legend_shade).collect();
    let single = |look, is_summed| legend_cell(0).draw(look, 1.0, is_summed);
    let (scale, unscored) = match form {
        SketchForm::Withheld => (
            format!("score, 0 to {most:.2}: how well this hospital's experts agree with what was published"),
            "no score: there was nothing to compare with",
        ),
        SketchForm::Pairs | SketchForm::Signs => (
            format!("consensus, 0 to {most:.1}: how many other hospitals' experts agree with this one"),
            "too few tokens to be scored",
        ),
    };
    let items = [
        item(SHADES, &shades, &scale),
        item(1, &single(Look::Consensus(0.5), true), "in the cohort: its update is in the sum"),
        item(1, &single(Look::FewTokens, false), unscored),
        item(1, &single(Look::Lost, false), "lost, or absent in this round"),
    ]
    .concat();
    format!(
        "<ul class=\"legend\" aria-label=\"Legend of the maps\">{items}<li>* too few agreed, so everyone was summed</li>\
         <li>{NONE} not opened: below the floor</li></ul>"
    )
}

fn legend_shade(step: u32) -> String {
    let share = f64::from(step) / f64::from(SHADES - 1);
    legend_cell(step).draw(Look::Consensus(share), 1.0, false)
}

fn legend_cell(index: u32) -> Cell {
    Cell { left: 1.0 + f64::from(index) * SIDE, top: 1.0, width: SIDE, height: SIDE }
}

fn item(cells: u32, drawn: &str, words: &str) -> String {
    let (width, height) = (f64::from(cells) * SIDE + 2.0, SIDE + 2.0);
    format!("<li><svg width=\"{width}\" height=\"{height}\" aria-hidden=\"true\">{drawn}</svg> {words}</li>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::summary::sample;

    #[test]
    fn cells_tell_lost_from_silent_from_scored() {
        let mut round = sample::run(8, 3).rounds.remove(2);
        let mut expert = round.experts.remove(0);
        expert.consensus = vec![None, Some(2.5), None, None, None, None, Some(1.0), None];
        assert_eq!(Look::in_round(&round, &expert, 1), Look::FewTokens);
        assert_eq!(Look::in_round(&round, &expert, 2), Look::Consensus(2.5));
        assert_eq!(
            Look::in_round(&round, &expert, 7),
            Look::Lost,
            "it announced, and its upload did not arrive"
        );
        assert_eq!(Look::in_round(&round, &expert, 99), Look::Lost);
        expert.consensus.clear();
        assert_eq!(Look::in_round(&round, &expert, 2), Look::FewTokens, "an expert without scores");
    }

    #[test]
    fn looks_differ_by_more_than_colour() {
        let draw = |look, is_summed| legend_cell(0).draw(look, 4.0, is_summed);
        assert!(draw(Look::Consensus(4.0), false).contains("fill-opacity=\"1.00\""));
        assert!(draw(Look::Consensus(0.0), false).contains("fill-opacity=\"0.04\""));
        assert!(draw(Look::Consensus(2.0), true).contains("<circle"));
        assert_eq!(draw(Look::FewTokens, false).matches('M').count(), 1);
        assert_eq!(draw(Look::Lost, false).matches('M').count(), 2);
        assert!(!legend_cell(0).draw(Look::Consensus(0.0), 0.0, false).contains("NaN"));
    }
}
