//! Accuracy against ε as a Vega-Lite specification, with its data in it.

use serde_json::{Value, json};

use super::report::{SweepReport, SweepRow};

/// The specification: a line with points and error bars for each swept row, and a rule for each baseline. Without a
/// finite ε, accuracy is drawn over the swept value.
pub(super) fn specification(report: &SweepReport) -> Value {
    let axis = report.plotted_axis();
    let values: Vec<Value> = report.rows.iter().map(|row| line(report, row)).collect();
    let scale = if axis.is_log { "log" } else { "linear" };
    let x = json!({
        "field": "x", "type": "quantitative", "title": axis.title, "scale": { "type": scale, "zero": false },
    });
    let y = json!({
        "field": "accuracy", "type": "quantitative", "title": "accuracy", "scale": { "zero": false },
    });
    let colour = json!({ "field": "row", "type": "nominal", "title": "row" });
    let swept = json!([{ "filter": "!datum.is_baseline && isValid(datum.x)" }]);
    let tooltip = json!([
        { "field": "row" }, { "field": "value" }, { "field": "epsilon" }, { "field": "accuracy" },
        { "field": "low" }, { "field": "high" }, { "field": "is_on_front" },
    ]);
    json!({
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "title": format!("{}: accuracy against {}", report.dataset, axis.title),
        "width": 480,
        "height": 300,
        "data": { "values": values },
        "layer": [
            {
                "transform": swept,
                "mark": { "type": "line", "point": false },
                "encoding": { "x": x, "y": y, "color": colour },
            },
            {
                "transform": swept,
                "mark": { "type": "errorbar", "ticks": true },
                "encoding": {
                    "x": x,
                    "y": { "field": "low", "type": "quantitative", "title": "accuracy", "scale": { "zero": false } },
                    "y2": { "field": "high" },
                    "color": colour,
                },
            },
            {
                "transform": swept,
                "mark": { "type": "point", "filled": true, "size": 60 },
                "encoding": {
                    "x": x,
                    "y": y,
                    "color": colour,
                    "shape": { "field": "is_on_front", "type": "nominal", "title": "Pareto front" },
                    "tooltip": tooltip,
                },
            },
            {
                "transform": [{ "filter": "datum.is_baseline" }],
                "mark": { "type": "rule", "strokeDash": [6, 3] },
                "encoding": { "y": y, "color": colour, "tooltip": tooltip },
            },
        ],
    })
}

/// A row's data. An unbounded ε is a text, which no axis has a place for.
fn line(report: &SweepReport, row: &SweepRow) -> Value {
    let interval = row.accuracy.widest();
    let unbounded = row.epsilon.filter(|epsilon| epsilon.is_infinite()).map(|_| crate::epsilons::UNBOUNDED);
    json!({
        "row": row.row,
        "strategy": row.strategy,
        "value": row.value,
        "x": report.plotted(row),
        "epsilon": unbounded.map_or(json!(row.epsilon), |text| json!(text)),
        "accuracy": row.accuracy.mean,
        "low": interval.map(|interval| interval.low),
        "high": interval.map(|interval| interval.high),
        "is_baseline": row.value.is_none(),
        "is_on_front": row.is_on_front,
    })
}
