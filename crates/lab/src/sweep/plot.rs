//! Accuracy against ε, as SVG.

use std::fmt::Write;

use super::report::{SweepReport, SweepRow};
use crate::chart::{ChartFrame, HEIGHT, MARGIN, range};
use crate::ladder::COLOURS;

/// Width of the part with the lines, and of the legend.
const WIDTH: f64 = 560.0;
const LEGEND: f64 = 230.0;
/// Empty space between the frame and the first and last points.
const PADDING: f64 = 20.0;
/// By how much the marks of neighbouring rows are moved apart, so that error bars at one ε do not hide each other.
const APART: f64 = 4.0;
/// Half of the width of an error bar's caps.
const CAP: f64 = 3.0;
/// The most labels of a logarithmic axis.
const MOST_TICKS: i32 = 8;

/// The horizontal axis of a plot.
pub(super) struct PlottedAxis {
    /// What it shows.
    pub(super) title: String,
    /// Whether it is logarithmic.
    pub(super) is_log: bool,
}

impl SweepReport {
    /// The axis of ε, or of the swept value where no ε is finite.
    pub(super) fn plotted_axis(&self) -> PlottedAxis {
        let title = if self.has_epsilon() { self.axis.clone() } else { self.settings.key.clone() };
        let mut places = self.rows.iter().filter_map(|row| self.plotted(row));
        PlottedAxis { title, is_log: places.all(|place| place > 0.0) }
    }

    /// Where a swept row is on the axis; `None` for baselines, and for rows without a finite ε where others have one.
    pub(super) fn plotted(&self, row: &SweepRow) -> Option<f64> {
        let epsilon = row.epsilon.filter(|epsilon| epsilon.is_finite());
        row.value.and_then(|value| if self.has_epsilon() { epsilon } else { Some(value) })
    }

    fn has_epsilon(&self) -> bool {
        let mut swept = self.rows.iter().filter(|row| row.value.is_some());
        swept.any(|row| row.epsilon.is_some_and(f64::is_finite))
    }
}

/// Places of numbers on the axis.
struct AxisScale {
    is_log: bool,
    /// Both ends, of a logarithmic axis as powers of ten; they differ.
    ends: (f64, f64),
}

impl AxisScale {
    fn new(places: &[f64], is_log: bool) -> Self {
        let mut scale = Self { is_log, ends: (f64::INFINITY, f64::NEG_INFINITY) };
        for place in places {
            let at = scale.power(*place);
            scale.ends = (scale.ends.0.min(at), scale.ends.1.max(at));
        }
        // A single point, or none, is in the middle.
        if !scale.ends.0.is_finite() {
            scale.ends = (0.0, 1.0);
        } else if scale.ends.1 - scale.ends.0 < 1e-9 {
            scale.ends = (scale.ends.0 - 0.5, scale.ends.1 + 0.5);
        }
        scale
    }

    fn power(&self, place: f64) -> f64 {
        if self.is_log { place.log10() } else { place }
    }

    /// The horizontal place in the picture.
    fn x(&self, place: f64) -> f64 {
        let share = (self.power(place) - self.ends.0) / (self.ends.1 - self.ends.0);
        MARGIN + PADDING + share * (WIDTH - 2.0 * (MARGIN + PADDING))
    }

    /// Numbers that are labelled, within the ends: powers of ten and, where these are few, 2 and 5 times them.
    fn ticks(&self) -> Vec<f64> {
        let (low, high) = self.ends;
        if !self.is_log {
            return (0..=4).map(|part| low + f64::from(part) / 4.0 * (high - low)).collect();
        }
        let (first, last) = (low.floor() as i32, high.ceil() as i32);
        let step = ((last - first) / MOST_TICKS + 1) as usize;
        let factors: &[f64] = if high - low < 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let mut ticks = Vec::new();
        for power in (first..=last).step_by(step) {
            ticks.extend(factors.iter().map(|factor| factor * 10f64.powi(power)));
        }
        ticks.retain(|tick| (low - 1e-9..=high + 1e-9).contains(&tick.log10()));
        ticks
    }
}

/// The plot: a line with error bars for each swept row, a dashed line for each baseline, and a legend.
pub(super) fn svg(report: &SweepReport) -> String {
    let axis = report.plotted_axis();
    let places: Vec<f64> = report.rows.iter().filter_map(|row| report.plotted(row)).collect();
    let scale = AxisScale::new(&places, axis.is_log);
    let mut shares = Vec::new();
    for row in &report.rows {
        let interval = row.accuracy.widest();
        shares.extend([row.accuracy.mean, interval.map_or(row.accuracy.mean, |interval| interval.low)]);
        shares.extend(interval.map(|interval| interval.high));
    }
    let names = names(report);
    let frame = ChartFrame {
        range: range(shares.into_iter()),
        width: WIDTH,
        legend: LEGEND,
        ticks: Vec::new(),
        entries: names.len() + 4,
    };
    let title = format!("{}: accuracy with 95 % intervals, the wider of seeds and texts", report.dataset);
    let mut svg = frame.open(&escaped(&title), &escaped(&axis.title));
    for tick in scale.ticks() {
        let (x, bottom, y) = (scale.x(tick), HEIGHT - MARGIN, HEIGHT - MARGIN + 16.0);
        let _ = writeln!(svg, "<path d=\"M{x:.1} {bottom}v4\" stroke=\"#555\"/>");
        let label = label(tick);
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{label}</text>");
    }
    let curves = names.iter().filter(|(_, is_baseline)| !is_baseline).count();
    let mut drawn = 0;
    for (at, (name, is_baseline)) in names.iter().enumerate() {
        let rows: Vec<&SweepRow> = report.rows.iter().filter(|row| row.row == *name).collect();
        let colour = COLOURS[at % COLOURS.len()];
        if *is_baseline {
            baseline(&mut svg, &frame, rows[0], colour);
            let style = format!("stroke=\"{colour}\" stroke-dasharray=\"6 3\"");
            frame.entry(&mut svg, at, &format!("{} (baseline)", escaped(name)), &style);
        } else {
            // Curves are moved to both sides of their places alike.
            let shift = APART * (f64::from(drawn) - (curves as f64 - 1.0) / 2.0);
            drawn += 1;
            curve(&mut svg, &frame, report, &rows, (&scale, shift, colour));
            frame.entry(&mut svg, at, &escaped(name), &format!("stroke=\"{colour}\""));
        }
    }
    notes(&mut svg, report, names.len());
    svg + "</svg>\n"
}

/// Each row's name once, in order, and whether it is a baseline.
fn names(report: &SweepReport) -> Vec<(String, bool)> {
    let mut names: Vec<(String, bool)> = Vec::new();
    for row in &report.rows {
        if !names.iter().any(|(name, _)| *name == row.row) {
            names.push((row.row.clone(), row.value.is_none()));
        }
    }
    names
}

fn baseline(svg: &mut String, frame: &ChartFrame, row: &SweepRow, colour: &str) {
    let (y, end) = (frame.y(row.accuracy.mean), WIDTH - MARGIN);
    if let Some(interval) = row.accuracy.widest() {
        let (top, bottom) = (frame.y(interval.high), frame.y(interval.low));
        let _ = writeln!(
            svg,
            "<rect x=\"{MARGIN}\" y=\"{top:.1}\" width=\"{}\" height=\"{:.1}\" fill=\"{colour}\" opacity=\"0.07\"/>",
            end - MARGIN,
            bottom - top
        );
    }
    let _ = writeln!(
        svg,
        "<path d=\"M{MARGIN} {y:.1}H{end}\" stroke=\"{colour}\" stroke-width=\"1.5\" stroke-dasharray=\"6 3\"/>"
    );
}

/// A line through a row's points in the order of the axis, with error bars, and a ring for the Pareto front.
fn curve(
    svg: &mut String,
    frame: &ChartFrame,
    report: &SweepReport,
    rows: &[&SweepRow],
    (scale, shift, colour): (&AxisScale, f64, &str),
) {
    let mut points: Vec<(f64, &SweepRow)> = Vec::new();
    for row in rows {
        points.extend(report.plotted(row).map(|place| (scale.x(place) + shift, *row)));
    }
    points.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let mut path = Vec::with_capacity(points.len());
    for (x, row) in &points {
        path.push(format!("{x:.1},{:.1}", frame.y(row.accuracy.mean)));
    }
    let path = path.join(" ");
    let _ =
        writeln!(svg, "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>");
    for (x, row) in points {
        let y = frame.y(row.accuracy.mean);
        if let Some(interval) = row.accuracy.widest() {
            let (top, bottom, left) = (frame.y(interval.high), frame.y(interval.low), x - CAP);
            let width = 2.0 * CAP;
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {top:.1}V{bottom:.1}M{left:.1} {top:.1}h{width}M{left:.1} {bottom:.1}h{width}\" \
                 stroke=\"{colour}\"/>"
            );
        }
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        if row.is_on_front {
            ring(svg, x, y);
        }
    }
}

fn ring(svg: &mut String, x: f64, y: f64) {
    let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"6\" fill=\"none\" stroke=\"black\"/>");
}

/// Under the legend: the sign of the front, and rows that the axis has no place for.
fn notes(svg: &mut String, report: &SweepReport, entries: usize) {
    let (x, mut y) = (WIDTH - MARGIN + 20.0, 24.0 + 12.0 * (entries as f64 + 1.0));
    if report.rows.iter().any(|row| row.is_on_front) {
        ring(svg, x, y - 4.0);
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{y}\">Pareto front</text>", x + 16.0);
        y += 16.0;
    }
    let absent =
        report.rows.iter().filter(|row| row.value.is_some() && report.plotted(row).is_none()).count();
    if absent > 0 {
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{y}\">not drawn, without a finite ε: {absent}</text>",
            x - 10.0
        );
    }
}

/// A tick's label: large and small powers of ten as such.
fn label(tick: f64) -> String {
    if tick != 0.0 && !(1e-3..1e5).contains(&tick.abs()) {
        return format!("{tick:.0e}");
    }
    let text = format!("{tick:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A text in XML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
