//! Answers on standard output: a table for people, JSON for programs.

use clap::ValueEnum;
use jiff::Timestamp;
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::io::Write;

/// How to print answers: aligned columns for people, one JSON document, or one JSON document a line.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
    Jsonl,
}

/// Characters of one cell of a list at most; the whole value is in the JSON.
const CELL_CHARS: usize = 80;

/// Prints a line.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Prints one thing: `text` for people, the value for programs.
pub(crate) fn answer(format: Format, value: &impl Serialize, text: &str) -> anyhow::Result<()> {
    match format {
        Format::Table => line(text),
        Format::Json => line(&serde_json::to_string_pretty(value)?),
        Format::Jsonl => line(&serde_json::to_string(value)?),
    }
}

/// Prints a list. In JSON it is an object with the list under `name`, as the HTTP API answers it, and `next_cursor`
/// where there is one.
pub(crate) fn list<T: Serialize>(
    format: Format,
    name: &str,
    items: &[T],
    next_cursor: Option<&str>,
    table: &impl std::fmt::Display,
) -> anyhow::Result<()> {
    match format {
        Format::Table => line(&table.to_string()),
        Format::Json => line(&serde_json::to_string_pretty(&Listed { name, items, next_cursor })?),
        Format::Jsonl => items.iter().try_for_each(|item| line(&serde_json::to_string(item)?)),
    }
}

/// A list as an object; not a `serde_json::Value`, which would round the numbers of payloads.
struct Listed<'a, T> {
    name: &'a str,
    items: &'a [T],
    next_cursor: Option<&'a str>,
}

impl<T: Serialize> Serialize for Listed<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(self.name, self.items)?;
        if let Some(cursor) = self.next_cursor {
            map.serialize_entry("next_cursor", cursor)?;
        }
        map.end()
    }
}

/// Rows under headings, printed in aligned columns.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    cell_chars: usize,
}

impl Table {
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()], cell_chars: CELL_CHARS }
    }

    /// For texts of this program: all of each cell.
    pub(crate) fn uncut(mut self) -> Self {
        self.cell_chars = usize::MAX;
        self
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: &[String; N]) {
        debug_assert_eq!(self.rows[0].len(), N);
        self.rows.push(cells.iter().map(|cell| shorten(&printable(cell), self.cell_chars)).collect());
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows[0].len();
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            if number > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// Facts, one a line, under aligned names.
pub(crate) fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> =
        facts.iter().map(|(name, value)| format!("{name:<width$}  {}", printable(value).trim_end())).collect();
    lines.join("\n")
}

/// A time to the millisecond, in UTC.
pub(crate) fn time(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// A value that may be missing.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Text from a job must not drive the terminal: control characters are shown as spaces.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn shorten(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    text.chars().take(chars - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_cells_cannot_drive_the_terminal() {
        let mut table = Table::new(&["NAME", "ERROR"]);
        table.row(&["a".into(), "\u{1b}[31mred\nline".into()]);
        table.row(&["longer".into(), "x".repeat(200)]);
        let text = table.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "NAME    ERROR");
        assert_eq!(lines[1], "a        [31mred line");
        assert_eq!(lines[2].chars().count(), 8 + CELL_CHARS);
    }
}
