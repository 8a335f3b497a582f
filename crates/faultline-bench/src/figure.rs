//! What was measured, as it is printed, stored and drawn.

use serde::Serialize;

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Jobs in a second: more is better.
    JobsPerSecond,
    /// Milliseconds: less is better.
    Milliseconds,
    /// Bytes: less is better.
    Bytes,
    /// MiB: less is better.
    Mebibytes,
    /// Statements in a second: less is better.
    StatementsPerSecond,
}

impl Unit {
    /// The value in words.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Self::JobsPerSecond if value >= 10_000.0 => format!("{:.1}k/s", value / 1000.0),
            Self::JobsPerSecond => format!("{value:.0}/s"),
            Self::Milliseconds => format!("{value:.2} ms"),
            Self::Bytes => format!("{value:.0} B"),
            Self::Mebibytes => format!("{value:.1} MiB"),
            Self::StatementsPerSecond => format!("{value:.2}/s"),
        }
    }
}

/// What a job costs beside time, over the whole measurement, from the system's own accounts.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Cost {
    /// Write-ahead log of the measured part.
    pub wal_bytes: Option<f64>,
    /// Processor time of the whole server, µs.
    pub postgres_cpu_us: Option<f64>,
    /// Processor time of the workers, µs.
    pub worker_cpu_us: Option<f64>,
    /// The most memory that a worker had resident, MiB; not per job.
    pub worker_peak_mib: Option<f64>,
}

impl Cost {
    /// The median of each of its parts.
    pub(crate) fn median(costs: &[Self]) -> Self {
        let of = |part: fn(&Self) -> Option<f64>| {
            let known: Vec<f64> = costs.iter().filter_map(part).collect();
            (!known.is_empty()).then(|| median(&known))
        };
        Self {
            wal_bytes: of(|cost| cost.wal_bytes),
            postgres_cpu_us: of(|cost| cost.postgres_cpu_us),
            worker_cpu_us: of(|cost| cost.worker_cpu_us),
            worker_peak_mib: of(|cost| cost.worker_peak_mib),
        }
    }
}

/// What a figure shall reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// In words.
    pub text: String,
    /// Whether it does.
    pub met: bool,
}

/// One figure over all repeats.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// What it counts.
    pub unit: Unit,
    /// The middle of the repeats.
    pub median: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
    /// Each repeat.
    pub samples: Vec<f64>,
    /// What the ratio is to.
    pub ceiling: Option<String>,
    /// The median of the ratios of each repeat to the ceiling's of the same repeat.
    pub ratio: Option<f64>,
    /// What it shall reach.
    pub budget: Option<Budget>,
    /// Costs of a job.
    pub cost: Option<Cost>,
    /// What must be known to read it.
    pub note: Option<String>,
}

impl Figure {
    pub(crate) fn new(what: impl Into<String>, unit: Unit, samples: Vec<f64>) -> Self {
        let (low, high) = samples.iter().fold((f64::MAX, f64::MIN), |(low, high), &s| (low.min(s), high.max(s)));
        Self {
            what: what.into(),
            unit,
            median: median(&samples),
            low,
            high,
            samples,
            ceiling: None,
            ratio: None,
            budget: None,
            cost: None,
            note: None,
        }
    }

    /// Compares each repeat with that of another figure which was measured beside it.
    pub(crate) fn beside(mut self, ceiling: &Self) -> Self {
        let ratios: Vec<f64> = self.samples.iter().zip(&ceiling.samples).map(|(own, other)| own / other).collect();
        self.ceiling = Some(ceiling.what.clone());
        self.ratio = (!ratios.is_empty()).then(|| median(&ratios));
        self
    }

    pub(crate) fn costing(mut self, costs: &[Cost]) -> Self {
        self.cost = Some(Cost::median(costs));
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// A ratio of at least so much.
    pub(crate) fn at_least(self, ratio: f64) -> Self {
        let met = self.ratio.is_some_and(|own| own >= ratio);
        let text = format!("at least {:.0} % of it", ratio * 100.0);
        self.budget(text, met)
    }

    /// A value below so much.
    pub(crate) fn below(self, limit: f64) -> Self {
        let (met, text) = (self.median < limit, format!("below {}", self.unit.show(limit)));
        self.budget(text, met)
    }

    pub(crate) fn budget(mut self, text: impl Into<String>, met: bool) -> Self {
        self.budget = Some(Budget { text: text.into(), met });
        self
    }
}

/// The middle value; of two in the middle their mean. Not a number if there is none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// A line of a plot.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// Whether it is Faultline's, which is drawn thicker.
    pub own: bool,
    /// Where it goes.
    pub points: Vec<(f64, f64)>,
}

/// As many points as a line of a plot needs at most.
pub(crate) const MOST_POINTS: u64 = 1000;

/// Points over a long time, thinned out: of each stretch its highest, so that no peak goes missing.
pub(crate) fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let stretch = points.len().div_ceil(usize::try_from(MOST_POINTS).unwrap_or(usize::MAX)).max(1);
    points.chunks(stretch).filter_map(|part| part.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1))).collect()
}

/// A plot.
#[derive(Debug, Clone, Serialize)]
pub struct Plot {
    /// What it shows.
    pub title: String,
    /// The name of the horizontal axis.
    pub x: String,
    /// The name of the vertical axis.
    pub y: String,
    /// Whether the vertical axis is logarithmic.
    pub log: bool,
    /// What is drawn.
    pub lines: Vec<Line>,
}

/// What a scenario has measured.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The scenario.
    pub scenario: &'static str,
    /// What was done.
    pub about: String,
    /// The figures.
    pub figures: Vec<Figure>,
    /// The plots.
    pub plots: Vec<Plot>,
    /// Why it could not be measured, or must not be believed.
    pub failed: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_repeat_by_repeat() {
        // The machine was twice as slow in the second repeat, for both.
        let ceiling = Figure::new("by hand", Unit::JobsPerSecond, vec![100.0, 50.0, 100.0]);
        let own = Figure::new("Faultline", Unit::JobsPerSecond, vec![90.0, 46.0, 91.0]).beside(&ceiling).at_least(0.9);
        assert_eq!(own.ratio, Some(0.91));
        assert_eq!(own.budget.map(|budget| budget.met), Some(true));
        assert_eq!((own.median, own.low, own.high), (90.0, 46.0, 91.0));
    }

    #[test]
    fn a_budget_without_a_ratio_is_not_met() {
        let own = Figure::new("Faultline", Unit::JobsPerSecond, vec![90.0]).at_least(0.9);
        assert_eq!(own.budget.map(|budget| budget.met), Some(false));
    }

    #[test]
    fn a_thinned_line_keeps_its_peaks_and_a_short_one_all_of_its_points() {
        let line = |n: u32| (0..n).map(|at| (f64::from(at), if at == 777 { 9.0 } else { 1.0 })).collect::<Vec<_>>();
        assert_eq!(thinned(&line(900)), line(900));
        let long = thinned(&line(72_000));
        assert!((500..=1000).contains(&long.len()), "{}", long.len());
        assert_eq!(long.iter().filter(|point| point.1 > 8.0).collect::<Vec<_>>(), [&(777.0, 9.0)]);
    }

    #[test]
    fn the_median_of_two_is_their_mean() {
        assert!((median(&[1.0, 2.0]) - 1.5).abs() < 1e-9 && median(&[]).is_nan());
    }
}
