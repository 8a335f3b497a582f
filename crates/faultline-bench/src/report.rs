//! The report as one HTML page that needs nothing else: figures, costs, and plots drawn as SVG from the data.

use crate::bench::Report;
use crate::figure::{Figure, Outcome};
use crate::plot;
use std::fmt::Write;

const STYLE: &str = "body{font:14px system-ui,sans-serif;margin:2rem;max-width:1260px;color:#222;background:#fff}\
    table{border-collapse:collapse;margin:.6rem 0 1.2rem}td,th{padding:.25rem .8rem .25rem 0;vertical-align:top;text-align:left;\
    border-top:1px solid #ddd}td.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}.bad{color:#b00;font-weight:bold}\
    .good{color:#2a6f36}.small{color:#666;font-size:12px}svg{width:100%;max-width:900px;height:auto}figure{margin:0 0 1.5rem}\
    figcaption{font-weight:600;margin-bottom:.3rem}";

const HEADINGS: [&str; 10] = [
    "what",
    "median",
    "spread",
    "ratio",
    "to",
    "budget",
    "WAL a job",
    "Postgres CPU a job",
    "worker CPU a job",
    "peak memory of a worker",
];

impl Report {
    /// The page.
    #[must_use]
    pub fn html(&self) -> String {
        let mut page = format!(
            "<!doctype html><html lang=en><meta charset=utf-8><title>faultline bench</title><style>{STYLE}</style>\
             <h1>faultline bench</h1><p>Version {}, {}, {} repeats of each measurement, Faultline and its ceiling in turn; a ratio is \
             the median of the ratios of each repeat. {}</p>",
            self.version,
            self.began.round(jiff::Unit::Second).unwrap_or(self.began),
            self.repeats,
            if self.quick { "<b>A quick run: the figures mean nothing.</b>" } else { "" }
        );
        let load = self
            .load_before
            .map_or(String::new(), |load| format!(", load average {load:.2} before the first measurement"));
        let _ = write!(page, "<p>{}{load}</p><p class=small>", escape(&self.machine));
        for (name, value) in &self.server {
            let _ = write!(page, "{} = {}; ", escape(name), escape(value));
        }
        page.push_str("</p>");
        for outcome in &self.outcomes {
            section(&mut page, outcome);
        }
        page.push_str("</html>\n");
        page
    }
}

fn section(page: &mut String, outcome: &Outcome) {
    let _ = write!(page, "<h2 id={0}>{0}</h2><p>{1}</p>", outcome.scenario, escape(&outcome.about));
    if let Some(failed) = &outcome.failed {
        let _ = write!(page, "<p class=bad>failed: {}</p>", escape(failed));
        return;
    }
    page.push_str("<table><tr>");
    HEADINGS.iter().for_each(|heading| {
        let _ = write!(page, "<th>{heading}");
    });
    for figure in &outcome.figures {
        row(page, figure);
    }
    page.push_str("</table>");
    for plot in &outcome.plots {
        plot::draw(page, plot);
    }
}

fn row(page: &mut String, figure: &Figure) {
    let note =
        figure.note.as_deref().map_or(String::new(), |note| format!("<br><span class=small>{}</span>", escape(note)));
    let show = |value| figure.unit.show(value);
    let _ = write!(
        page,
        "<tr><td>{}{note}<td class=n>{}<td class=n>{} - {}<td class=n>{}<td>{}<td>",
        escape(&figure.what),
        show(figure.median),
        show(figure.low),
        show(figure.high),
        figure.ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
        escape(figure.ceiling.as_deref().unwrap_or_default()),
    );
    if let Some(budget) = &figure.budget {
        let (class, word) = if budget.met { ("good", "met") } else { ("bad", "missed") };
        let _ = write!(page, "<span class={class}>{word}</span>: {}", escape(&budget.text));
    }
    let cost = figure.cost.unwrap_or_default();
    for (value, unit) in
        [(cost.wal_bytes, "B"), (cost.postgres_cpu_us, "µs"), (cost.worker_cpu_us, "µs"), (cost.worker_peak_mib, "MiB")]
    {
        let _ = write!(page, "<td class=n>{}", value.map_or(String::new(), |value| format!("{value:.0} {unit}")));
    }
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
