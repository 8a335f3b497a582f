"""The tables: medians of the rounds, with their ratio to Faultline."""

import json
import statistics

from runner.facts import FACTS, QUESTIONS
from runner.peers import FAULTLINE, FAULTLINE_HTTP

BEGIN, END = "<!-- results -->", "<!-- end of results -->"


def medians(measurements, scenario, peer, field):
    values = [row[field] for row in measurements if row["scenario"] == scenario and row["peer"] == peer and field in row]
    return statistics.median(values) if values else None


def count(value):
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def rate(measurements, scenario, peer):
    """A rate, and what Faultline's is as a multiple of it."""
    value = medians(measurements, scenario, peer, "per_second")
    if value is None:
        return failure(measurements, scenario, peer)
    ours = medians(measurements, scenario, FAULTLINE, "per_second")
    ratio = f" ({value / ours:.2f})" if ours else ""
    return f"{count(value)}{ratio}"


def latency(measurements, scenario, peer):
    p50 = medians(measurements, scenario, peer, "p50_ms")
    if p50 is None:
        limit = medians(measurements, scenario, peer, "none_within_s")
        return f"> {limit * 1000:,.0f}" if limit else failure(measurements, scenario, peer)
    p99 = medians(measurements, scenario, peer, "p99_ms")
    ours = medians(measurements, scenario, FAULTLINE, "p50_ms")
    ratio = f" ({p50 / ours:.2f})" if ours else ""
    return f"{p50:.1f} / {p99:.1f}{ratio}"


def held(measurements, scenario, peer):
    share = medians(measurements, scenario, peer, "of_without")
    if share is None:
        return failure(measurements, scenario, peer)
    before = medians(measurements, scenario, peer, "before")
    return f"{share:.0%} ({count(medians(measurements, scenario, peer, 'per_second'))}) after {before:,.0f}"


def seconds(measurements, scenario, peer):
    rows = [row for row in measurements if row["scenario"] == scenario and row["peer"] == peer and "limit" in row]
    if not rows:
        return failure(measurements, scenario, peer)
    took = [row["seconds"] for row in rows]
    if None in took:
        return f"> {rows[0]['limit']:.0f} s"
    return f"{statistics.median(took):.1f} s"


def failure(measurements, scenario, peer):
    failed = any(row["scenario"] == scenario and row["peer"] == peer and "error" in row for row in measurements)
    return "failed" if failed else "-"


TABLES = [
    ("Enqueue, jobs per second", [("bulk", "bulk, one client", rate), ("single-8", "one by one, 8 clients", rate),
                                  ("single-64", "one by one, 64 clients", rate)]),
    ("Drain, jobs per second", [("drain-best-1", "best, 1 process", rate), ("drain-best-2", "best, 2 processes", rate),
                                ("drain-default-1", "default, 1 process", rate),
                                ("drain-default-2", "default, 2 processes", rate)]),
    ("Latency of an idle queue, p50 / p99 in ms", [("latency-best", "best", latency),
                                                   ("latency-default", "default", latency)]),
    ("Under stress", [("held", "held snapshot: share of the rate without (jobs per second)", held),
                      ("recovery-default", "recovery after `kill -9`, default", seconds),
                      ("recovery-tuned", "the same, tuned", seconds)]),
]


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def figures(result):
    peers, measurements = result["peers"], result["measurements"]
    parts = []
    for title, columns in TABLES:
        columns = [column for column in columns if any(row["scenario"] == column[0] for row in measurements)]
        rows = []
        for peer in peers:
            cells = [cell(measurements, scenario, peer) for scenario, _, cell in columns]
            if set(cells) - {"-"}:
                rows.append([peer, *cells])
        if rows:
            parts.append(f"### {title}\n\n" + table(["", *(name for _, name, _ in columns)], rows))
    return "\n\n".join(parts)


# What counts in a column: the field, what it is called beside the column's name, and whether more of it is better.
COUNTS = {
    rate: [("per_second", "", True)],
    latency: [("p50_ms", ", p50", False), ("p99_ms", ", p99", False)],
    held: [("of_without", "", True)],
    seconds: [("seconds", "", False)],
}


def ahead(result):
    """The columns in which a peer is ahead of Faultline's library, and how far: a factor above 1 also where less is better."""
    measurements, found = result["measurements"], []
    for title, columns in TABLES:
        for scenario, name, cell in columns:
            for field, called, more_is_better in COUNTS[cell]:
                rows = [row for row in measurements if row.get(field) is not None]
                # Which is measured at its defaults only.
                at = "recovery-default" if scenario == "recovery-tuned" else scenario
                ours = medians(rows, at, FAULTLINE, field)
                for peer in result["peers"]:
                    theirs = medians(rows, scenario, peer, field)
                    if not ours or not theirs or peer in (FAULTLINE, FAULTLINE_HTTP):
                        continue
                    lead = theirs / ours if more_is_better else ours / theirs
                    if lead > 1:
                        found.append(f"- {title.split(',')[0]}, {name}{called}: {peer}, by a factor of {lead:.2f}")
    return found or ["- nowhere in these columns"]


def facts(result):
    """What each does beside being fast, each fact with its source."""
    known = [peer for peer in result["peers"] if peer in FACTS]
    rows, notes = [], []
    for peer in known:
        cells = []
        for question in QUESTIONS:
            answer, source = FACTS[peer][question]
            notes.append(source)
            cells.append(f"{answer} [{len(notes)}]")
        rows.append([peer, *cells])
    listed = "\n".join(f"{n}. {note}" for n, note in enumerate(notes, 1))
    return table(["", *QUESTIONS.values()], rows) + f"\n\nSources:\n\n{listed}"


def markdown(result):
    machine, options = result["machine"], result["options"]
    skipped = [f"- {peer} was left out: {why}" for peer, why in result["skipped"].items()]
    errors = [
        f"- {row['peer']}, {row['scenario']}, round {row['round']}: {row['error']}"
        for row in result["measurements"]
        if "error" in row
    ]
    twice = [
        f"- {row['peer']}, {row['scenario']}, round {row['round']}: {row['ran_twice']:,} jobs were run twice"
        for row in result["measurements"]
        if "ran_twice" in row
    ]
    told = "\n".join(
        [
            f"Measured on {result['began']} in {options['rounds']} round{'' if options['rounds'] == 1 else 's'} on {machine['cores']} cores "
            f"({machine['processor']}), {machine['memory_gib']} GiB, {machine['system']}; PostgreSQL {result['postgres']} "
            f"with {', '.join(f'{name} {value}' for name, value in result['settings'].items())} on the same machine; "
            f"load average {machine['load_before']} before and {machine['load_after']} after. Faultline "
            f"{result['faultline']}. Peers: {', '.join(version for peer, version in result['peers'].items() if peer not in (FAULTLINE, FAULTLINE_HTTP))}.",
            "",
            "Medians of the rounds. In brackets the ratio to Faultline's library in the same column: of rates, more is better; of "
            "latencies, less.",
        ]
    )
    if options["quick"]:
        told = "**A quick run: it shows that every adapter works, not how fast it is.**\n\n" + told
    parts = [told, figures(result)]
    for title, lines in (
        ("Where a peer is ahead", ahead(result)),
        ("Left out", skipped),
        ("Failed", errors),
        ("Run twice", twice),
    ):
        if lines:
            parts.append(f"### {title}\n\n" + "\n".join(lines))
    parts.append("### What each does beside\n\n" + facts(result))
    return "\n\n".join(parts) + "\n"


def write(result, directory):
    (directory / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    (directory / "result.md").write_text(markdown(result))


def write_docs(result, page):
    """Puts the tables between the marks of docs/benchmarks.md."""
    text = page.read_text()
    head, rest = text.split(BEGIN, 1)
    tail = rest.split(END, 1)[1]
    page.write_text(f"{head}{BEGIN}\n\n{markdown(result)}\n{END}{tail}")
