//! Which jobs a list shows: read from its address and written back to it, so that every view is an address that can be
//! shared and comes back the same.
//!
//! A value that can't be used is never left out in silence, since the list would then hold other jobs than it says, and what
//! is done to "all that match" would be done to those. The same goes for a name that is not known.

use crate::fields::Fields;
use faultline_core::{durations, limits};
use faultline_store::read::{self, StateFilter};
use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};
use std::time::Duration;

/// What a list can be asked for, with the words for it.
pub(crate) const STATES: [&str; 7] = ["queued", "scheduled", "retrying", "running", "succeeded", "failed", "cancelled"];
/// Bytes of a text to look for at most.
const MAX_TEXT_BYTES: usize = 200;
/// Names in an address of a list that are not of its filter.
const OTHER_NAMES: [&str; 3] = ["older", "newer", "columns"];

/// A time as it was asked for: one of the calendar, or so long before one looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// This time.
    At(Timestamp),
    /// So long ago.
    Ago(Duration),
}

impl When {
    /// As a time, when it is `now`.
    pub(crate) fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => {
                let ago = SignedDuration::try_from(ago).unwrap_or(SignedDuration::MAX);
                now.checked_sub(ago).unwrap_or(Timestamp::MIN)
            }
        }
    }

    /// Reads `2h`, `2026-03-01T12:30:00Z`, or without a zone, as browsers write it, UTC: `2026-03-01T12:30`, `2026-03-01`.
    fn parse(text: &str) -> Result<Self, String> {
        if let Ok(ago) = durations::parse(text) {
            return Ok(Self::Ago(ago));
        }
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self::At(at));
        }
        let civil = text.parse::<civil::DateTime>().ok();
        let at = civil.and_then(|civil| civil.to_zoned(TimeZone::UTC).ok()).map(|zoned| zoned.timestamp());
        at.map(Self::At).ok_or_else(|| {
            format!("expected a time such as 2026-03-01T12:30Z, or how long ago, such as 15m or 2h, got {text:?}")
        })
    }
}

impl std::fmt::Display for When {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::At(at) => at.fmt(f),
            Self::Ago(ago) => f.write_str(&durations::format_ms(faultline_core::job::millis(*ago))),
        }
    }
}

/// Which jobs to show; what is `None` or empty does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// In one of these states.
    pub(crate) states: Vec<StateFilter>,
    /// Of this queue.
    pub(crate) queue: Option<String>,
    /// Of this kind.
    pub(crate) kind: Option<String>,
    /// With this key.
    pub(crate) key: Option<String>,
    /// With this entry among its headers, and with this value where one is given: `tenant`, `tenant=acme`.
    pub(crate) tag: Option<String>,
    /// Enqueued at this time or later.
    pub(crate) since: Option<When>,
    /// Enqueued before.
    pub(crate) until: Option<When>,
    /// With so many attempts or more.
    pub(crate) min_attempts: Option<i32>,
    /// Whose last error holds this text.
    pub(crate) error: Option<String>,
}

/// A value that can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The name in the address.
    pub(crate) field: String,
    /// What was expected, and what came.
    pub(crate) reason: String,
}

impl Filter {
    /// Reads a filter, or says of each value that can't be used why.
    pub(crate) fn parse(fields: &Fields) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut filter = Self::default();
        for word in fields.all("state").flat_map(|words| words.split(',')).map(str::trim) {
            match word.parse::<StateFilter>() {
                Ok(state) if !filter.states.contains(&state) => filter.states.push(state),
                Ok(_) => {}
                Err(reason) => problems.push(Problem { field: "state".into(), reason }),
            }
        }
        let mut text = |field: &str, max_bytes: usize| {
            let value = fields.get(field)?;
            let problem = if value.len() > max_bytes {
                Some(format!("must be at most {max_bytes} bytes, is {}", value.len()))
            } else if value.contains('\0') {
                Some("must not contain the character NUL".to_owned())
            } else {
                None
            };
            match problem {
                None => Some(value.to_owned()),
                Some(reason) => {
                    problems.push(Problem { field: field.to_owned(), reason });
                    None
                }
            }
        };
        filter.queue = text("queue", limits::MAX_NAME_BYTES);
        filter.kind = text("kind", limits::MAX_NAME_BYTES);
        filter.key = text("key", limits::MAX_KEY_BYTES);
        filter.tag = text("tag", MAX_TEXT_BYTES);
        filter.error = text("error", MAX_TEXT_BYTES);
        let mut time = |field: &str| match When::parse(fields.get(field)?) {
            Ok(when) => Some(when),
            Err(reason) => {
                problems.push(Problem { field: field.to_owned(), reason });
                None
            }
        };
        filter.since = time("since");
        filter.until = time("until");
        if let (Some(When::At(since)), Some(When::At(until))) = (filter.since, filter.until)
            && since >= until
        {
            problems.push(Problem { field: "until".into(), reason: "must be later than since".into() });
        }
        if let Some(least) = fields.get("attempts") {
            match least.parse() {
                Ok(least) if (0..=limits::MAX_ATTEMPTS).contains(&least) => filter.min_attempts = Some(least),
                _ => problems.push(Problem {
                    field: "attempts".into(),
                    reason: format!("expected a whole number from 0 to {}, got {least:?}", limits::MAX_ATTEMPTS),
                }),
            }
        }
        problems.extend(unknown_names(fields));
        if problems.is_empty() { Ok(filter) } else { Err(problems) }
    }

    /// The fields of an address that asks for the same.
    pub(crate) fn fields(&self) -> Fields {
        let mut fields = Fields::default();
        for state in &self.states {
            fields.push("state", state.as_str());
        }
        let texts = [
            ("queue", self.queue.clone()),
            ("kind", self.kind.clone()),
            ("key", self.key.clone()),
            ("tag", self.tag.clone()),
            ("since", self.since.map(|when| when.to_string())),
            ("until", self.until.map(|when| when.to_string())),
            ("attempts", self.min_attempts.map(|least| least.to_string())),
            ("error", self.error.clone()),
        ];
        for (name, value) in texts {
            if let Some(value) = value {
                fields.push(name, value);
            }
        }
        fields
    }

    /// As the store asks, when it is `now` by the database's clock.
    pub(crate) fn asked(&self, now: Timestamp) -> read::Filter {
        let tag = self.tag.as_ref().map(|tag| match tag.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (tag.clone(), None),
        });
        read::Filter {
            queue: self.queue.clone(),
            kind: self.kind.clone(),
            states: (!self.states.is_empty()).then(|| self.states.clone()),
            key: self.key.clone(),
            created_from: self.since.map(|since| since.at(now)),
            created_before: self.until.map(|until| until.at(now)),
            tag,
            min_attempts: self.min_attempts,
            error: self.error.clone(),
            before: None,
            after: None,
        }
    }

    /// The same with times that stand still: what is `now` stays what was meant.
    pub(crate) fn frozen(mut self, now: Timestamp) -> Self {
        self.since = self.since.map(|since| When::At(since.at(now)));
        self.until = self.until.map(|until| When::At(until.at(now)));
        self
    }

    /// Whether every job is meant.
    pub(crate) fn is_any(&self) -> bool {
        *self == Self::default()
    }

    /// In words, to stand behind "jobs".
    pub(crate) fn words(&self) -> String {
        let mut words = Vec::new();
        if !self.states.is_empty() {
            let states: Vec<&str> = self.states.iter().map(|state| state.as_str()).collect();
            words.push(format!("that are {}", states.join(" or ")));
        }
        let texts = [
            ("in queue", &self.queue),
            ("of kind", &self.kind),
            ("with key", &self.key),
            ("tagged", &self.tag),
            ("with an error that contains", &self.error),
        ];
        words.extend(texts.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_deref()?))));
        if let Some(least) = self.min_attempts {
            words.push(format!("with {least} or more attempts"));
        }
        let time = |when: When| match when {
            When::At(at) => format!("{} UTC", at.strftime("%F %T")),
            ago @ When::Ago(_) => format!("{ago} ago"),
        };
        words.extend(self.since.map(|since| format!("enqueued since {}", time(since))));
        words.extend(self.until.map(|until| format!("enqueued before {}", time(until))));
        words.join(", ")
    }
}

fn unknown_names(fields: &Fields) -> impl Iterator<Item = Problem> {
    let known = ["state", "queue", "kind", "key", "tag", "since", "until", "attempts", "error"];
    fields
        .names()
        .filter(move |name| !name.starts_with('_') && !known.contains(name) && !OTHER_NAMES.contains(name))
        .map(move |name| Problem {
            field: name.to_owned(),
            reason: format!("there is no such filter; there are {}", known.join(", ")),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<Filter, Vec<Problem>> {
        Filter::parse(&Fields::parse(query.as_bytes()))
    }

    fn refused(query: &str) -> Vec<String> {
        parse(query).expect_err("should be refused").into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn an_address_is_read_and_written_back_the_same() {
        for query in [
            "",
            "state=failed&state=retrying&queue=mail&kind=send%2Fmail&key=a+b%26c&tag=blue&since=2h&until=15m&attempts=3",
            "since=2026-03-01T12%3A30%3A00Z&error=%3Cscript%3Ealert%281%29%3C%2Fscript%3E",
        ] {
            let filter = parse(query).unwrap();
            assert_eq!(filter.fields().encode(), query);
            assert_eq!(parse(&filter.fields().encode()).unwrap(), filter);
        }
    }

    #[test]
    fn states_may_come_in_one_word_and_empty_fields_of_a_form_do_not_matter() {
        let filter = parse("state=failed,retrying,failed&queue=&kind=+&attempts=&older=x&columns=key").unwrap();
        assert_eq!(filter.fields().encode(), "state=failed&state=retrying");
        assert!(parse("queue=&state=").unwrap().is_any());
    }

    #[test]
    fn times_are_of_the_calendar_or_so_long_ago() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let at = |query: &str| parse(query).unwrap().since.unwrap().at(now).to_string();
        assert_eq!(at("since=15m"), "2026-03-01T11:45:00Z");
        assert_eq!(at("since=2026-02-28T10:00"), "2026-02-28T10:00:00Z");
        assert_eq!(at("since=2026-02-28T10:00:00%2B01:00"), "2026-02-28T09:00:00Z");
        assert_eq!(at("since=2026-02-28"), "2026-02-28T00:00:00Z");
        // Longer ago than time itself is from its beginning.
        assert_eq!(When::Ago(Duration::MAX).at(now), Timestamp::MIN);
    }

    #[test]
    fn what_cannot_be_used_is_named_and_never_left_out() {
        assert_eq!(refused("state=done"), ["state"]);
        assert_eq!(refused("stat=failed"), ["stat"]);
        assert_eq!(refused("since=yesterday&attempts=-1&attempts=2"), ["since", "attempts"]);
        assert_eq!(refused("attempts=many"), ["attempts"]);
        assert_eq!(refused("since=2026-03-02&until=2026-03-01"), ["until"]);
        assert_eq!(refused("key=a%00b"), ["key"]);
        assert_eq!(refused(&format!("queue={}", "x".repeat(129))), ["queue"]);
        assert_eq!(refused(&format!("error={}", "x".repeat(201))), ["error"]);
    }

    #[test]
    fn a_filter_is_said_in_words() {
        let filter = parse("state=failed,retrying&queue=mail&attempts=3&since=2h").unwrap();
        assert_eq!(
            filter.words(),
            "that are failed or retrying, in queue mail, with 3 or more attempts, enqueued since 2h ago"
        );
    }
}
