//! Held-out accuracy over the rounds, next to the mean of models trained alone.

use crate::demo::format::{percent, percent_or_none};
use crate::demo::result::{DemoResult, RoundResult};
use crate::page::html::drawing;

/// Sizes in pixels.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 56.0;
/// Space at the right for the names of the lines.
const RIGHT: f64 = 150.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 54.0;
/// The smallest distance between the names of two lines.
const NAME_DISTANCE: f64 = 36.0;
/// The largest number of rounds that have a label.
const MOST_LABELS: usize = 12;

/// The curve as a figure.
pub(super) fn figure(result: &DemoResult) -> String {
    if result.federated_accuracy().is_none() {
        return "<p>No round closed with an accuracy.</p>".to_owned();
    }
    let curve = Curve::new(result);
    let content = [curve.axes(), curve.local_line(), curve.federated_line(), curve.names()].concat();
    let svg = drawing(WIDTH, HEIGHT, "Held-out accuracy after each round", &description(result), &content);
    format!("<figure class=\"wide\">{svg}</figure>")
}

/// The curve in words.
fn description(result: &DemoResult) -> String {
    let rounds: Vec<String> = result
        .rounds
        .iter()
        .map(|round| match round.accuracy.filter(|_| round.closed) {
            Some(accuracy) => format!("round {} {}", round.round, percent(accuracy)),
            None => format!("round {} none", round.round),
        })
        .collect();
    let local = percent_or_none(result.mean_local_accuracy());
    format!("Federated model: {}. Mean of models trained on one hospital alone: {local}.", rounds.join(", "))
}

/// The data of the curve, and the scale of its axes.
struct Curve<'a> {
    rounds: &'a [RoundResult],
    local: Option<f64>,
    floor: f64,
}

impl<'a> Curve<'a> {
    fn new(result: &'a DemoResult) -> Self {
        let local = result.mean_local_accuracy();
        let least = points(&result.rounds).map(|(_, accuracy)| accuracy).chain(local).fold(1.0, f64::min);
        Self { rounds: &result.rounds, local, floor: floor(least) }
    }

    fn x(&self, index: usize) -> f64 {
        let room = WIDTH - LEFT - RIGHT;
        // In the middle of equal columns, so that a single round is not on the axis.
        LEFT + room * (index as f64 + 0.5) / self.rounds.len() as f64
    }

    fn y(&self, accuracy: f64) -> f64 {
        let share = (accuracy - self.floor) / (1.0 - self.floor);
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share
    }

    fn axes(&self) -> String {
        let lines: String = ticks(self.floor).into_iter().map(|tick| self.tick(tick)).collect();
        let stride = self.rounds.len().div_ceil(MOST_LABELS).max(1);
        let labels: String =
            // From the end, so that the last round always has a label.
            (0..self.rounds.len()).rev().step_by(stride).map(|index| self.round_label(index)).collect();
        let (middle, bottom) = ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 4.0);
        format!(
            "{lines}{labels}<text class=\"axis\" x=\"0\" y=\"16\">held-out accuracy</text>\
             <text class=\"axis\" x=\"{middle:.1}\" y=\"{bottom}\" text-anchor=\"middle\">round</text>"
        )
    }

    fn tick(&self, accuracy: f64) -> String {
        let (y, right) = (self.y(accuracy), WIDTH - RIGHT);
        format!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{:.0} %</text>",
            LEFT - 8.0,
            y + 4.0,
            accuracy * 100.0,
        )
    }

    fn round_label(&self, index: usize) -> String {
        let (round, x, y) = (&self.rounds[index], self.x(index), HEIGHT - BOTTOM + 18.0);
        let aborted = if round.closed {
            String::new()
        } else {
            format!("<tspan x=\"{x:.1}\" dy=\"14\">aborted</tspan>")
        };
        format!(
            "<text class=\"tick\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{}{aborted}</text>",
            round.round
        )
    }

    fn local_line(&self) -> String {
        let Some(local) = self.local else {
            return String::new();
        };
        let (y, right) = (self.y(local), WIDTH - RIGHT);
        format!("<line class=\"local\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>")
    }

    fn federated_line(&self) -> String {
        let places: Vec<(f64, f64, f64)> = points(self.rounds)
            .map(|(index, accuracy)| (self.x(index), self.y(accuracy), accuracy))
            .collect();
        let path: Vec<String> = places.iter().map(|(x, y, _)| format!("{x:.1},{y:.1}")).collect();
        let stride = places.len().div_ceil(MOST_LABELS).max(1);
        let marks: String = places
            .iter()
            .map(|(x, y, _)| format!("<circle class=\"point\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\"/>"))
            .collect();
        let values: String =
            places.iter().rev().step_by(stride).map(|(x, y, accuracy)| value(*x, *y, *accuracy)).collect();
        format!("<polyline class=\"federated\" points=\"{}\"/>{marks}{values}", path.join(" "))
    }

    /// The lines' names at their right ends, moved apart where they would touch.
    fn names(&self) -> String {
        let Some((_, last)) = points(self.rounds).last() else {
            return String::new();
        };
        let federated = self.y(last);
        let Some(local) = self.local else {
            return name(federated, "federated", last, "federated-name");
        };
        let apart = self.y(local) - federated;
        let push = (NAME_DISTANCE - apart.abs()).max(0.0) / 2.0 * if apart < 0.0 { -1.0 } else { 1.0 };
        name(federated - push, "federated", last, "federated-name")
            + &name(self.y(local) + push, "local only, mean", local, "local-name")
    }
}

/// Index and accuracy of the rounds that closed.
fn points(rounds: &[RoundResult]) -> impl Iterator<Item = (usize, f64)> {
    let closed = rounds.iter().enumerate().filter(|(_, round)| round.closed);
    closed.filter_map(|(index, round)| Some((index, round.accuracy?)))
}

/// Where the axis of accuracies begins: at least ten points below the least value, and at most at 70 %, so
/// that small differences do not look large.
fn floor(least: f64) -> f64 {
    let ten_below = ((least * 10.0).floor() - 1.0) / 10.0;
    ten_below.clamp(0.0, 0.7)
}

/// The labelled accuracies, from the floor to 1.
fn ticks(floor: f64) -> Vec<f64> {
    let tenths = (floor * 10.0).round() as u32..=10;
    let stride = if tenths.clone().count() > 7 { 2 } else { 1 };
    tenths.rev().step_by(stride).map(|tenth| f64::from(tenth) / 10.0).collect()
}

fn value(x: f64, y: f64, accuracy: f64) -> String {
    format!(
        "<text class=\"value\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        y - 11.0,
        percent(accuracy)
    )
}

fn name(y: f64, name: &str, accuracy: f64, class: &str) -> String {
    let x = WIDTH - RIGHT + 10.0;
    format!(
        "<text class=\"{class}\" x=\"{x}\" y=\"{:.1}\">{name}<tspan x=\"{x}\" dy=\"15\">{}</tspan></text>",
        y - 2.0,
        percent(accuracy)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::summary::sample;

    #[test]
    fn the_axis_begins_below_all_values() {
        assert_eq!(floor(0.38), 0.2);
        assert_eq!(floor(0.05), 0.0);
        assert_eq!(floor(0.99), 0.7);
        assert_eq!(ticks(0.7), [1.0, 0.9, 0.8, 0.7]);
        assert_eq!(ticks(0.2), [1.0, 0.8, 0.6, 0.4, 0.2]);
    }

    #[test]
    fn every_closed_round_has_a_point_and_its_value() {
        let mut result = sample::run(8, 5);
        result.rounds.insert(2, sample::aborted(3));
        let svg = figure(&result);
        assert_eq!(svg.matches("<circle").count(), 5);
        assert!(svg.contains(">aborted<"));
        assert!(svg.contains("54.0 %"));
        assert!(svg.contains("stroke") == svg.contains("style="), "colours come from the style sheet");
    }

    #[test]
    fn names_of_close_lines_do_not_touch() {
        let mut result = sample::run(8, 3);
        for member in &mut result.members {
            member.local_accuracy = result.rounds[2].accuracy;
        }
        let curve = Curve::new(&result);
        let names = curve.names();
        let heights: Vec<f64> =
            names.split(" y=\"").skip(1).filter_map(|rest| rest.split('"').next()?.parse().ok()).collect();
        assert_eq!(heights.len(), 2);
        assert!((heights[1] - heights[0]).abs() >= NAME_DISTANCE - 0.2, "{heights:?}");
    }

    #[test]
    fn without_accuracy_there_is_no_curve() {
        assert!(!figure(&sample::without_rounds()).contains("<svg"));
    }
}
