//! Lines over steps, as SVG.

use std::fmt::Write;

/// Sizes in the units of the SVG's view box.
pub(crate) const HEIGHT: f64 = 300.0;
pub(crate) const MARGIN: f64 = 50.0;
const LEGEND_TOP: f64 = 24.0;
const LEGEND_LINE: f64 = 12.0;

/// The frame of a chart of shares.
pub(crate) struct ChartFrame {
    /// The shares at the bottom and at the top, which differ.
    pub(crate) range: (f64, f64),
    /// Width of the part with the lines, margins included.
    pub(crate) width: f64,
    /// Width of the legend to the right of it; 0 for none.
    pub(crate) legend: f64,
    /// A label under each step.
    pub(crate) ticks: Vec<String>,
    /// How many lines the legend has, for which the picture may have to be higher.
    pub(crate) entries: usize,
}

impl ChartFrame {
    /// The picture up to its lines.
    pub(crate) fn open(&self, title: &str, below: &str) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" \
             font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
            self.width + self.legend,
            HEIGHT.max(LEGEND_TOP + LEGEND_LINE * self.entries as f64)
        );
        for part in [0.0, 0.25, 0.5, 0.75, 1.0] {
            let share = self.range.0 + part * (self.range.1 - self.range.0);
            let at = self.y(share);
            let _ = writeln!(svg, "<path d=\"M{MARGIN} {at:.1}H{}\" stroke=\"#ddd\"/>", self.width - MARGIN);
            let _ = writeln!(svg, "<text x=\"14\" y=\"{:.1}\">{share:.3}</text>", at + 4.0);
        }
        for (at, tick) in self.ticks.iter().enumerate() {
            let (x, y) = (self.x(at) - 8.0, HEIGHT - MARGIN + 16.0);
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y}\">{tick}</text>");
        }
        let (x, y) = (self.width / 2.0 - 90.0, HEIGHT - 10.0);
        let _ = writeln!(svg, "<text x=\"{MARGIN}\" y=\"20\">{title}</text>");
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\">{below}</text>");
        svg
    }

    /// A line through the values of steps; a single value is a dash, because a polyline of one point is
    /// invisible. `style` has its attributes.
    pub(crate) fn line(&self, svg: &mut String, values: &[(usize, f64)], style: &str) {
        if let [(step, only)] = values {
            let (x, y) = (self.x(*step), self.y(*only));
            let _ = writeln!(svg, "<path d=\"M{x:.1} {y:.1}h20\" stroke-width=\"2\" {style}/>");
            return;
        }
        let mut points = Vec::with_capacity(values.len());
        for (step, value) in values {
            points.push(format!("{:.1},{:.1}", self.x(*step), self.y(*value)));
        }
        let points = points.join(" ");
        let _ = writeln!(svg, "<polyline points=\"{points}\" fill=\"none\" stroke-width=\"2\" {style}/>");
    }

    /// Words over a value of the first step.
    pub(crate) fn label(&self, svg: &mut String, value: f64, words: &str, colour: &str) {
        let (x, y) = (MARGIN + 4.0, self.y(value) - 4.0);
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y:.1}\" fill=\"{colour}\">{words}</text>");
    }

    /// A line of the legend.
    pub(crate) fn entry(&self, svg: &mut String, at: usize, words: &str, style: &str) {
        let (x, y) = (self.width - MARGIN + 10.0, LEGEND_TOP + LEGEND_LINE * at as f64);
        let _ = writeln!(svg, "<path d=\"M{x} {}h20\" stroke-width=\"2\" {style}/>", y - 4.0);
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{y}\">{words}</text>", x + 26.0);
    }

    fn x(&self, at: usize) -> f64 {
        let steps = self.ticks.len().saturating_sub(1).max(1) as f64;
        MARGIN + at as f64 * (self.width - 2.0 * MARGIN) / steps
    }

    /// The height of a share in the picture, which grows downwards.
    pub(crate) fn y(&self, share: f64) -> f64 {
        let (bottom, top) = self.range;
        HEIGHT - MARGIN - (share - bottom) / (top - bottom) * (HEIGHT - 2.0 * MARGIN)
    }
}

/// The smallest range with ends at whole twentieths that has all of these shares, at least a twentieth wide.
pub(crate) fn range(shares: impl Iterator<Item = f64>) -> (f64, f64) {
    let (least, most) = shares.fold((1.0, 0.0), |(least, most), share| (share.min(least), share.max(most)));
    let bottom = (f64::min(least, 0.95) * 20.0).floor() / 20.0;
    (bottom, ((most * 20.0).ceil() / 20.0).max(bottom + 0.05))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_holds_every_share_and_is_never_empty() {
        assert_eq!(range([0.771, 0.86].into_iter()), (0.75, 0.9));
        assert_eq!(range([1.0].into_iter()), (0.95, 1.0));
        let (bottom, top) = range([0.8].into_iter());
        assert!(bottom <= 0.8 && top > bottom && top >= 0.8);
        let (bottom, top) = range(std::iter::empty());
        assert!(top > bottom);
    }
}
