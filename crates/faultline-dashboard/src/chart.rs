//! Charts over time: the numbers stand in the page, as data for the script that draws them and as a table for everybody else.

use crate::page::Context;
use crate::parts;
use maud::{Markup, PreEscaped, html};
use serde_json::json;

/// Rows of a chart's table at most, the newest.
const MAX_ROWS: usize = 60;

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A number of things.
    Count,
    /// Seconds.
    Seconds,
}

/// A line of a chart.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// What it is, in the legend.
    pub(crate) name: &'static str,
    /// The custom property that holds its colour, without `--`.
    pub(crate) colour: &'static str,
    /// One value for each time; none where nothing is known.
    pub(crate) values: Vec<Option<f64>>,
}

/// A chart.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    /// The id of its region.
    pub(crate) id: &'static str,
    /// What it shows.
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
    /// The times, in seconds since 1970, ascending.
    pub(crate) times: Vec<i64>,
    pub(crate) lines: Vec<Line>,
}

impl Chart {
    /// The figure. Its numbers are a region of their own, so that what is drawn stays and is drawn on.
    pub(crate) fn show(&self, cx: &Context) -> Markup {
        cx.needs_charts();
        html! {
            figure.chart data-chart=(self.id) {
                figcaption { (self.title) }
                div.plot role="img" aria-label={ (self.title) "; the numbers are in the table below" } {}
                (cx.region(self.id, self.numbers()))
            }
        }
    }

    fn numbers(&self) -> Markup {
        let unit = if self.unit == Unit::Seconds { "s" } else { "" };
        let lines =
            self.lines.iter().map(|line| json!({ "name": line.name, "colour": line.colour, "values": line.values }));
        let data = json!({ "unit": unit, "times": self.times, "lines": lines.collect::<Vec<_>>() });
        // Within a script element only `<` could end it; escaped, the data is the same JSON.
        let data = data.to_string().replace('<', "\\u003c");
        let stamp = |time: i64| jiff::Timestamp::from_second(time).map_or_else(|_| String::new(), parts::clock);
        html! {
            script type="application/json" { (PreEscaped(data)) }
            details.numbers {
                summary { "Numbers" @if self.times.len() > MAX_ROWS { ", the last " (MAX_ROWS) } }
                div.scroll {
                    table {
                        thead { tr { th scope="col" { "Time (UTC)" } @for line in &self.lines { th.num scope="col" { (line.name) } } } }
                        tbody {
                            @for (at, time) in self.times.iter().enumerate().rev().take(MAX_ROWS) {
                                tr {
                                    th scope="row" { (stamp(*time)) }
                                    @for line in &self.lines { td.num { (self.value(line.values.get(at).copied().flatten())) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    fn value(&self, value: Option<f64>) -> String {
        match (value, self.unit) {
            (None, _) => "–".to_owned(),
            (Some(value), Unit::Seconds) => parts::span(value),
            (Some(value), Unit::Count) if value.fract() == 0.0 => format!("{value:.0}"),
            (Some(value), Unit::Count) => format!("{value:.1}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Chart, Line, Unit};
    use crate::page::Context;

    #[test]
    fn the_numbers_stand_in_the_page_and_cannot_leave_their_element() {
        let line = Line { name: "</script><b>", colour: "good", values: vec![Some(1.5), None] };
        let chart = Chart { id: "c", title: "<t>", unit: Unit::Seconds, times: vec![0, 60], lines: vec![line] };
        let cx = Context::for_test();
        let html = chart.show(&cx).into_string();
        assert!(cx.has_charts());
        assert!(!html.contains("</script><b>") && !html.contains("<t>"), "{html}");
        let data = html.split("application/json\">").nth(1).and_then(|rest| rest.split("</script>").next());
        let data: serde_json::Value = serde_json::from_str(data.expect("the data")).expect("JSON");
        assert_eq!(data["lines"][0]["values"], serde_json::json!([1.5, null]));
        assert!(html.contains("00:01:00") && html.contains("1 s") && html.contains('–'), "{html}");
    }
}
