//! Cohorts as maps: a row for each hospital, a column for each expert, shaded by consensus.

mod cell;

use self::cell::{Cell, Look, legend};
use crate::demo::format::{NONE, fit};
use crate::demo::result::{DemoResult, ExpertResult, MemberResult, RoundResult};
use crate::page::html::{drawing, escape};

/// The largest number of small maps.
const MOST_SMALL: usize = 24;

/// The map of the last closed round, its legend, and small maps of the other rounds.
pub(super) fn figures(result: &DemoResult) -> String {
    let Some(shown) = result.last_closed() else {
        return "<p>No round closed, so there are no cohorts.</p>".to_owned();
    };
    let most = most_consensus(result);
    let large = Map { result, round: shown, most, size: Size::large(result, shown) }.draw();
    let others = other_rounds(result, shown.round, most);
    format!(
        "<p>Each expert is averaged over its own cohort: the hospitals that use it alike. The rest of what is trained \
         is averaged over everyone and not shown. Round {}:</p>\
         {}<figure class=\"wide\">{large}</figure>{others}",
        shown.round,
        legend(most, result.sketches),
    )
}

/// Small maps of the rounds other than `shown`; of many rounds every n-th.
fn other_rounds(result: &DemoResult, shown: u64, most: f64) -> String {
    let others: Vec<&RoundResult> = result.rounds.iter().filter(|round| round.round != shown).collect();
    if others.is_empty() {
        return String::new();
    }
    let stride = others.len().div_ceil(MOST_SMALL);
    let picked = if stride > 1 { format!(", one of every {stride}") } else { String::new() };
    let maps: String =
        others.into_iter().step_by(stride).map(|round| small_figure(result, round, most)).collect();
    format!("<h3>The other rounds{picked}</h3><div class=\"maps\">{maps}</div>")
}

fn small_figure(result: &DemoResult, round: &RoundResult, most: f64) -> String {
    if !round.closed {
        return format!(
            "<figure><figcaption>Round {}</figcaption><p>aborted: nothing was opened</p></figure>",
            round.round
        );
    }
    let map = Map { result, round, most, size: Size::small(result, round) }.draw();
    format!("<figure><figcaption>Round {}</figcaption>{map}</figure>", round.round)
}

/// The largest consensus of all rounds, so that all maps have one scale.
fn most_consensus(result: &DemoResult) -> f64 {
    let experts = result.rounds.iter().flat_map(|round| &round.experts);
    experts.flat_map(|expert| expert.consensus.iter().flatten().copied()).fold(0.0, f64::max)
}

/// Sizes in pixels.
struct Size {
    cell_width: f64,
    cell_height: f64,
    layer_gap: f64,
    /// Space for hospitals' names; 0 leaves out all words.
    names: f64,
}

impl Size {
    fn large(result: &DemoResult, round: &RoundResult) -> Self {
        let width = (760.0 / round.experts.len().max(1) as f64).clamp(12.0, 46.0);
        let height: f64 = if result.members.len() > 16 { 17.0 } else { 24.0 };
        Self { cell_width: width, cell_height: height, layer_gap: 12.0, names: 230.0 }
    }

    fn small(result: &DemoResult, round: &RoundResult) -> Self {
        let width = (240.0 / round.experts.len().max(1) as f64).clamp(4.0, 13.0);
        let height: f64 = if result.members.len() > 16 { 6.0 } else { 11.0 };
        Self { cell_width: width, cell_height: height, layer_gap: 5.0, names: 0.0 }
    }
}

/// One round's map.
struct Map<'a> {
    result: &'a DemoResult,
    round: &'a RoundResult,
    most: f64,
    size: Size,
}

impl Map<'_> {
    fn draw(&self) -> String {
        let columns = self.columns();
        let width = columns.last().map_or(self.size.names, |(left, _)| left + self.size.cell_width) + 1.0;
        let height = self.row(self.result.members.len()) + if self.has_words() { 22.0 } else { 1.0 };
        let cells: String = columns.iter().map(|(left, expert)| self.column(*left, expert)).collect();
        let words = if self.has_words() { self.names() + &self.heads(&columns) } else { String::new() };
        let title = format!("Cohorts of round {}", self.round.round);
        drawing(width, height, &title, &self.description(), &(words + &cells))
    }

    fn has_words(&self) -> bool {
        self.size.names > 0.0
    }

    fn description(&self) -> String {
        let experts: Vec<String> = self
            .round
            .experts
            .iter()
            .map(|expert| {
                let summed = self.round.summed(expert).len();
                format!("layer {} expert {}: {summed} in the sum", expert.layer, expert.expert)
            })
            .collect();
        experts.join("; ")
    }

    /// The experts with the left edges of their columns, with a gap between layers.
    fn columns(&self) -> Vec<(f64, &ExpertResult)> {
        let mut left = self.size.names;
        let mut before = None;
        let mut columns = Vec::new();
        for expert in &self.round.experts {
            if before.is_some_and(|layer| layer != expert.layer) {
                left += self.size.layer_gap;
            }
            before = Some(expert.layer);
            columns.push((left, expert));
            left += self.size.cell_width;
        }
        columns
    }

    fn row(&self, index: usize) -> f64 {
        let top = if self.has_words() { 44.0 } else { 1.0 };
        top + index as f64 * self.size.cell_height
    }

    fn names(&self) -> String {
        let baseline = self.size.cell_height / 2.0 + 4.0;
        let rows = self.result.members.iter().enumerate();
        let names: String = rows.map(|(index, member)| name(member, self.row(index) + baseline)).collect();
        let below = self.row(self.result.members.len()) + 16.0;
        format!("{names}<text class=\"axis\" x=\"0\" y=\"{below:.1}\">hospitals in the sum</text>")
    }

    fn heads(&self, columns: &[(f64, &ExpertResult)]) -> String {
        let layers: String = columns
            .chunk_by(|left, right| left.1.layer == right.1.layer)
            .map(|layer| {
                format!(
                    "<text class=\"axis\" x=\"{:.1}\" y=\"14\">layer {}</text>",
                    layer[0].0, layer[0].1.layer
                )
            })
            .collect();
        let experts: String = columns.iter().map(|(left, expert)| self.head(*left, expert)).collect();
        let middle = self.row(0) - 8.0;
        format!("<text class=\"axis\" x=\"0\" y=\"{middle}\">expert</text>{layers}{experts}")
    }

    /// An expert's number above its column and the size of its sum below.
    fn head(&self, left: f64, expert: &ExpertResult) -> String {
        let middle = left + self.size.cell_width / 2.0;
        let below = self.row(self.result.members.len()) + 16.0;
        let fallback = if expert.choice == "fallback" { "*" } else { "" };
        let summed = if expert.opened {
            format!("{}{fallback}", self.round.summed(expert).len())
        } else {
            NONE.to_owned()
        };
        format!(
            "<text class=\"tick\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text class=\"tick\" x=\"{middle:.1}\" y=\"{below:.1}\" text-anchor=\"middle\">{summed}</text>",
            self.row(0) - 8.0,
            expert.expert,
        )
    }

    fn column(&self, left: f64, expert: &ExpertResult) -> String {
        let summed = self.round.summed(expert);
        let rows = self.result.members.iter().enumerate();
        rows.map(|(index, member)| self.cell(left, self.row(index), expert, member, &summed)).collect()
    }

    fn cell(
        &self,
        left: f64,
        top: f64,
        expert: &ExpertResult,
        member: &MemberResult,
        summed: &[u32],
    ) -> String {
        let look = Look::in_round(self.round, expert, member.party);
        let is_summed = summed.contains(&member.party);
        let place = Cell { left, top, width: self.size.cell_width, height: self.size.cell_height };
        let drawn = place.draw(look, self.most, is_summed);
        if !self.has_words() {
            return drawn;
        }
        format!(
            "<g><title>{}</title>{drawn}</g>",
            words(member, expert, &look.describe(self.result.sketches), is_summed)
        )
    }
}

fn name(member: &MemberResult, y: f64) -> String {
    format!(
        "<text x=\"22\" y=\"{y:.1}\"><tspan class=\"tick\" x=\"18\" text-anchor=\"end\">{}</tspan>\
         <tspan x=\"26\">{}</tspan></text>",
        member.party,
        escape(&fit(&member.name, 29)),
    )
}

fn words(member: &MemberResult, expert: &ExpertResult, what: &str, is_summed: bool) -> String {
    let cohort = if is_summed { ", in the cohort" } else { "" };
    let place = format!("layer {}, expert {}", expert.layer, expert.expert);
    format!("{} {}, {place}: {what}{cohort}", member.party, escape(&member.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::summary::sample;

    #[test]
    fn the_last_closed_round_is_large_and_the_others_are_small() {
        let mut result = sample::run(8, 4);
        result.rounds.push(sample::aborted(5));
        let html = figures(&result);
        assert_eq!(html.matches("role=\"img\"").count(), 4);
        assert!(html.contains("Round 4:</p>"));
        assert!(html.contains("aborted: nothing was opened"));
        assert_eq!(html.matches("<g><title>").count(), 8 * 16, "words for each cell of the large map alone");
    }

    #[test]
    fn of_a_hundred_rounds_some_are_drawn() {
        let html = figures(&sample::run(5, 100));
        assert!(html.contains("The other rounds, one of every 5"));
        assert_eq!(html.matches("<figcaption>").count(), 20);
    }

    #[test]
    fn dots_are_as_many_as_members_of_cohorts() {
        let result = sample::run(8, 1);
        let summed: usize =
            result.rounds[0].experts.iter().map(|expert| result.rounds[0].summed(expert).len()).sum();
        assert_eq!(figures(&result).matches("class=\"dot\"").count(), summed + 1, "one dot is in the legend");
    }

    #[test]
    fn rounds_without_experts_or_consensus_are_drawn() {
        let mut result = sample::run(2, 2);
        result.rounds[0].experts.clear();
        result.rounds[1].experts.clear();
        assert!(figures(&result).contains("Cohorts of round 2"));
        assert!(figures(&sample::without_rounds()).contains("No round closed"));
    }
}
