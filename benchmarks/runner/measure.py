"""What is measured, each on a database of its own. Every figure is per second of wall clock or in milliseconds."""

import contextlib
import statistics
import time

from runner.adapter import Failed, Process, Workers, call
from runner.postgres import Session

# Seconds of work, at the pace of the first look, over which the rate under a held snapshot is taken at least: what a queue does from
# time to time under it falls into one second or not.
AFTER_S = 6
# Seconds in which the second worker of a recovery must have got a job beside the first.
PROBE_S = 90


class Measured:
    """One peer with its adapter, on one cluster."""

    def __init__(self, peer, command, cluster, logs, options):
        self.peer = peer
        self.command = command
        self.cluster = cluster
        self.log = logs / f"{peer.adapter}.log"
        self.options = options
        # Jobs a second of a first look, by settings: how much a drain is given.
        self.pace = {}
        self.name = peer.adapter.replace("-", "_").removesuffix("_adapter")

    def call(self, url, *args, timeout=600, **more):
        return call(self.command, url, self.log, *args, timeout=timeout, **more)

    def database(self, settings):
        template = f"{self.name}_{settings}"
        self.cluster.template(template, lambda url: self.call(url, "setup", "--settings", settings, timeout=120))
        return self.cluster.database(template)

    def enqueue(self, url, jobs):
        done = self.call(url, "enqueue", "--jobs", jobs)
        return done["jobs"] / done["seconds"]

    # -- enqueue

    def bulk(self):
        with self.database("best") as database:
            return {"per_second": self.enqueue(database.url, self.options.jobs)}

    def single(self, clients):
        with self.database("default") as database:
            done = self.call(database.url, "single", "--clients", clients, "--seconds", self.options.seconds)
            return {"per_second": done["jobs"] / done["seconds"]}

    # -- drain

    def drain(self, settings, processes):
        jobs = self.fitting(settings)
        ran = self.run(settings, processes, jobs, self.options.limit)
        return {"per_second": ran["per_second"], "jobs": ran["handled"], "complete": ran["complete"]} | ran["twice"]

    def fitting(self, settings):
        """How many jobs take about as long as a drain shall, by a first look at the pace."""
        if settings not in self.pace:
            self.pace[settings] = self.run(settings, 1, 2000, self.options.limit / 4)["per_second"]
        wanted = int(self.pace[settings] * self.options.drain_s)
        return max(2000, min(self.options.jobs, wanted))

    def run(self, settings, processes, jobs, limit, hold_snapshot=False):
        """Drains a backlog; the rate is from the first handler's start until the database says that nothing is left."""
        with self.database(settings) as database:
            self.enqueue(database.url, jobs)
            database.settle()
            snapshot = held_snapshot(database) if hold_snapshot else contextlib.nullcontext()
            with snapshot, Workers(self.command, database.url, self.log, settings, processes) as workers:
                workers.start()
                complete = workers.reaches(jobs, limit)
                if workers.count == 0:
                    raise Failed(f"no job ran within {limit:.0f} s")
                series = workers.series()
                end_ns = self.drained(database, jobs) if complete else series[-1][0]
                # Whatever is run a second time has been begun by now.
                time.sleep(0.2)
                handled = workers.count
                first_ns = workers.first_ns()
            done = jobs if complete else handled
            return {
                "per_second": done / max(1e-9, (end_ns - first_ns) / 1e9),
                "handled": done,
                "complete": complete,
                "twice": {"ran_twice": handled - jobs} if handled > jobs else {},
                "series": series,
                "first_ns": first_ns,
                "end_ns": end_ns,
            }

    def drained(self, database, jobs):
        """When the database says that every job has ended, on the clock of the adapters."""
        query = self.peer.drained.format(jobs=jobs)
        deadline = time.monotonic() + 60
        while database.sql.one(query) != "t":
            if time.monotonic() > deadline:
                raise Failed("every handler ran, but the database has unfinished jobs after 60 s more")
            time.sleep(0.005)
        return time.monotonic_ns()

    # -- latency

    def latency(self, settings):
        """Enqueue to the start of the handler, one job at a time; each is enqueued when the one before has run, after a pause."""
        options = self.options
        with self.database(settings) as database, Workers(self.command, database.url, self.log, settings) as workers:
            workers.start()
            args = ["single", "--clients", 1, "--paced", "--pause-ms", options.pause_ms]
            producer = Process(self.command, database.url, self.log, *args)
            try:
                deadline = time.monotonic() + options.limit
                for n in range(options.latencies + options.warm_up):
                    producer.line()
                    arrived = workers.reaches(n + 1, max(0.1, deadline - time.monotonic()))
                    if producer.process.poll() is not None:
                        raise Failed(f"the producer ended with {producer.process.returncode}")
                    if not arrived:
                        break
            finally:
                producer.kill()
            # The first ones make connections and plans; whoever is too slow for more has them counted all the same.
            latencies = workers.latencies_us
            latencies = latencies[options.warm_up :] or latencies
            latencies = sorted(latency / 1000 for latency in latencies)
        if not latencies:
            return {"none_within_s": options.limit}
        return {
            "p50_ms": statistics.median(latencies),
            "p99_ms": latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))],
            "samples": len(latencies),
        }

    # -- a held snapshot

    def held(self):
        """The rate of a drain's last jobs with a snapshot held since before it, over the same without."""
        self.fitting("best")
        # A slow peer gets as far as the time allows.
        before = int(min(self.options.held_before, self.pace["best"] * self.options.held_limit / 2))
        after = max(1000, before // 4, int(self.pace["best"] * AFTER_S))
        rates = {}
        for held in (False, True):
            ran = self.run("best", 1, before + after, self.options.held_limit, hold_snapshot=held)
            rates[held], reached = rate_after(ran, before)
        return {
            "per_second": rates[True],
            "without": rates[False],
            "of_without": rates[True] / rates[False],
            "before": min(before, reached),
        }

    # -- recovery

    def recovery(self, settings):
        """From `kill -9` of a worker whose handlers hold jobs until another has run all of them."""
        jobs, limit = 10, self.options.recovery_limit
        with self.database(settings) as database:
            with (
                Workers(self.command, database.url, self.log, settings, hold=True) as dying,
                Workers(self.command, database.url, self.log, settings) as other,
            ):
                dying.start()
                self.enqueue(database.url, jobs)
                steady(dying)
                if dying.count == 0:
                    raise Failed("no job was begun within 30 s")
                other.start()
                jobs += self.probe(database, dying, other)
                steady(other)
                lost = dying.count
                dying.all[0].kill()
                killed = time.monotonic()
                # None of the first worker's jobs has ended, so that the second has to run every one.
                recovered = other.reaches(jobs, limit)
                took = time.monotonic() - killed
        return {"seconds": took if recovered else None, "limit": limit, "lost": lost}

    def probe(self, database, dying, other):
        """Enqueues single jobs until the second worker has run one, so that it is known to work; answers how many."""
        enqueued, until = 0, time.monotonic() + PROBE_S
        while time.monotonic() < until:
            if other.count:
                return enqueued
            before = dying.count + other.count
            self.enqueue(database.url, 1)
            other.reaches(1, 1) or (dying.count + other.count > before) or other.reaches(1, 9)
            enqueued += 1
        raise Failed(f"the first worker took every job within {PROBE_S} s, so that the second is not known to work")


@contextlib.contextmanager
def held_snapshot(database):
    """A transaction that is forgotten: whatever is deleted from now on can't be vacuumed."""
    session = Session(database.url)
    session.run("begin isolation level repeatable read")
    session.run("select count(*) from pg_class")
    yield
    session.run("rollback")
    session.close()


def steady(workers):
    """Waits until the count has stood still for three seconds, 30 at most."""
    seen, since, until = workers.count, time.monotonic(), time.monotonic() + 30
    while time.monotonic() < until and (time.monotonic() - since < 3 or not workers.count):
        if workers.count != seen:
            seen, since = workers.count, time.monotonic()
        time.sleep(0.05)


def rate_after(ran, before):
    """The rate from the moment when `before` jobs were begun, and how many that were; without it, that of the last quarter."""
    series = [(ran["first_ns"], 0), *ran["series"]]
    if ran["complete"]:
        series.append((ran["end_ns"], ran["handled"]))
    last_t, last_n = series[-1]
    if not ran["complete"]:
        before = min(before, last_n * 3 // 4)
    # Counts come every 50 ms, or with whole batches; between two of them the pace is taken as even.
    (t0, n0), (t1, n1) = next(pair for pair in zip(series, series[1:]) if pair[1][1] > before)
    t = t0 + (t1 - t0) * (before - n0) / (n1 - n0)
    return (last_n - before) / max(1e-9, (last_t - t) / 1e9), before
