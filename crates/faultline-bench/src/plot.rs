//! Lines over two axes, as SVG.

use crate::figure::{Line, Plot};
use crate::report::escape;
use std::fmt::Write;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 38.0;
/// What lines are drawn in, in turn; they differ in lightness too.
const COLOURS: [&str; 7] = ["#4878a8", "#e49444", "#2f7d4f", "#967bb6", "#333333", "#b8860b", "#d1615d"];
/// Grid lines of an axis, about.
const STEPS: f64 = 5.0;

/// One axis: values from `from` to `to` on the way from `start` to `end`.
struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
    log: bool,
}

impl Axis {
    fn place(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.log { value.max(self.from).log10() } else { value };
        let share = (scale(value) - scale(self.from)) / (scale(self.to) - scale(self.from)).max(1e-9);
        self.start + share * (self.end - self.start)
    }

    /// Values at round numbers.
    fn marks(&self) -> Vec<f64> {
        if self.log {
            let mut marks = Vec::new();
            let mut at = 10f64.powf(self.from.log10().floor());
            while at <= self.to * 1.001 {
                marks.push(at);
                at *= 10.0;
            }
            return marks.into_iter().filter(|mark| *mark >= self.from * 0.999).collect();
        }
        let step = round_step((self.to - self.from) / STEPS);
        let mut marks = Vec::new();
        let mut at = (self.from / step).ceil() * step;
        while at <= self.to + step * 0.001 {
            marks.push(at);
            at += step;
        }
        marks
    }
}

/// The next of 1, 2, 5, 10, … above.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.max(1e-9).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|round| *round >= step).unwrap_or(step)
}

/// Draws a plot; nothing where there is nothing to draw.
pub(crate) fn draw(page: &mut String, plot: &Plot) {
    let points = || plot.lines.iter().flat_map(|line| &line.points);
    let Some((mut least, mut most, mut first, mut last)) =
        points().map(|&(x, y)| (y, y, x, x)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1), a.2.min(b.2), a.3.max(b.3)))
    else {
        return;
    };
    if plot.log {
        (least, most) = (least.max(1e-3), most.max(1e-2));
    } else {
        (least, first) = (0.0, first.min(0.0));
    }
    (most, last) = (most.max(least + 1e-6), last.max(first + 1e-6));
    let x = Axis { from: first, to: last, start: LEFT, end: WIDTH - RIGHT, log: false };
    let y = Axis { from: least, to: most, start: HEIGHT - BOTTOM, end: TOP, log: plot.log };
    let _ = write!(
        page,
        "<figure><figcaption>{title}</figcaption><svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"{title}\" font-size=\"11\" fill=\"#555\">",
        title = escape(&plot.title),
        height = HEIGHT + 16.0 * rows(plot.lines.len()),
    );
    grid(page, &x, &y, plot);
    for (number, line) in plot.lines.iter().enumerate() {
        curve(page, line, COLOURS[number % COLOURS.len()], &x, &y);
        legend(page, line, number);
    }
    page.push_str("</svg></figure>");
}

fn grid(page: &mut String, x: &Axis, y: &Axis, plot: &Plot) {
    for mark in y.marks() {
        let at = y.place(mark);
        let _ = write!(
            page,
            "<path d=\"M{LEFT} {at:.1}H{:.1}\" stroke=\"#e4e4e4\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            short(mark)
        );
    }
    for mark in x.marks() {
        let at = x.place(mark);
        let _ = write!(
            page,
            "<path d=\"M{at:.1} {TOP}V{:.1}\" stroke=\"#f1f1f1\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 14.0,
            short(mark)
        );
    }
    let middle = f64::midpoint(TOP, HEIGHT - BOTTOM);
    let _ = write!(
        page,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
         <text transform=\"translate(12 {middle:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        WIDTH - RIGHT,
        HEIGHT - BOTTOM + 28.0,
        escape(&plot.x),
        escape(&plot.y)
    );
}

fn curve(page: &mut String, line: &Line, colour: &str, x: &Axis, y: &Axis) {
    let mut path = String::new();
    for &(at, value) in &line.points {
        let command = if path.is_empty() { 'M' } else { 'L' };
        let _ = write!(path, "{command}{:.1} {:.1}", x.place(at), y.place(value));
    }
    let width = if line.own { 2.2 } else { 1.3 };
    let _ = write!(page, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>");
}

/// Lines of the legend under a plot, three to a row.
#[expect(clippy::cast_precision_loss, reason = "a plot has a handful of lines")]
fn rows(lines: usize) -> f64 {
    lines.div_ceil(3) as f64
}

#[expect(clippy::cast_precision_loss, reason = "a plot has a handful of lines")]
fn legend(page: &mut String, line: &Line, number: usize) {
    let (left, top) = (LEFT + (number % 3) as f64 * 275.0, HEIGHT + (number / 3) as f64 * 16.0);
    let _ = write!(
        page,
        "<path d=\"M{left} {top}h16\" stroke=\"{}\" stroke-width=\"3\"/><text x=\"{}\" y=\"{}\" fill=\"#222\">{}</text>",
        COLOURS[number % COLOURS.len()],
        left + 22.0,
        top + 4.0,
        escape(&line.name)
    );
}

fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => format!("{}M", value / 1e6),
        v if v >= 1e4 => format!("{}k", value / 1e3),
        v if v >= 1.0 || v == 0.0 => format!("{}", (value * 100.0).round() / 100.0),
        _ => format!("{}", (value * 10_000.0).round() / 10_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(from: f64, to: f64, log: bool) -> Axis {
        Axis { from, to, start: 0.0, end: 100.0, log }
    }

    #[test]
    fn marks_are_round_and_inside() {
        assert_eq!(axis(0.0, 9.3, false).marks(), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(axis(0.5, 120.0, true).marks(), [1.0, 10.0, 100.0]);
    }

    #[test]
    fn a_decade_is_as_long_as_the_next() {
        let axis = axis(1.0, 100.0, true);
        assert!((axis.place(10.0) - 50.0).abs() < 1e-9);
    }

    #[test]
    fn what_has_no_points_is_not_drawn_and_words_are_escaped() {
        let mut plot = Plot { title: "a<b".into(), x: String::new(), y: String::new(), log: false, lines: Vec::new() };
        let mut page = String::new();
        draw(&mut page, &plot);
        assert_eq!(page, "");
        plot.lines.push(Line { name: "x".into(), own: true, points: vec![(0.0, 1.0), (1.0, 2.0)] });
        draw(&mut page, &plot);
        assert!(page.contains("a&lt;b") && page.contains("<path") && !page.contains("NaN"), "{page}");
    }
}
