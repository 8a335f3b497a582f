"""An adapter's processes: the commands are in README.md."""

import json
import os
import signal
import subprocess
import threading
import time


class Failed(Exception):
    """An adapter that did not do what it was told."""


def environment(url, extra=None):
    # Nothing of the caller's reaches a peer but what a program needs to run.
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | {"DATABASE_URL": url, "PYTHONDONTWRITEBYTECODE": "1"} | (extra or {})


def call(command, url, log, *args, timeout, extra=None):
    """Runs a command of an adapter to its end; answers the line `done` if it prints one."""
    with open(log, "ab") as errors:
        try:
            ended = subprocess.run(
                [*command, *map(str, args)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment(url, extra),
                timeout=timeout,
            )
        except subprocess.TimeoutExpired as late:
            raise Failed(f"`{args[0]}` took more than {timeout} s") from late
    if ended.returncode:
        raise Failed(f"`{args[0]}` ended with {ended.returncode}; {last_words(log)}")
    lines = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith(b"{")]
    return next((line for line in lines if line["event"] == "done"), None)


def last_words(log):
    lines = [line.strip() for line in open(log, errors="replace") if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


class Process:
    """An adapter that reads lines and prints events, until it is killed."""

    def __init__(self, command, url, log, *args):
        self.log = log
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(
                [*command, *map(str, args)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment(url),
            )
        self.changed = threading.Condition()
        self.is_ready = False
        self.count = 0
        self.first_ns = 0
        # (nanoseconds, jobs) as they were told.
        self.series = []
        self.latencies_us = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            if not line.startswith("{"):
                continue
            event = json.loads(line)
            with self.changed:
                if event["event"] == "ready":
                    self.is_ready = True
                elif event["event"] == "count":
                    self.count, self.first_ns = event["n"], event["first"]
                    self.series.append((event["t"], event["n"]))
                    self.latencies_us += event["latencies_us"]
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    def wait(self, condition, timeout):
        """Waits until the condition holds; answers whether it does. Raises Failed when the process has ended without."""
        with self.changed:
            deadline = time.monotonic() + timeout
            while not condition():
                if self.process.poll() is not None:
                    raise Failed(f"the worker ended with {self.process.returncode}; {last_words(self.log)}")
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self.changed.wait(min(left, 0.5))
            return True

    def line(self):
        """The word to go on."""
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except BrokenPipeError as gone:
            raise Failed(f"the process has ended; {last_words(self.log)}") from gone

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdin.close()
        self.reader.join()
        self.process.stdout.close()


class Workers:
    """Some worker processes on one database, begun together."""

    def __init__(self, command, url, log, settings, count=1, hold=False):
        args = ["work", "--settings", settings, *(["--hold"] if hold else [])]
        self.all = [Process(command, url, log, *args) for _ in range(count)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for worker in self.all:
            worker.kill()

    def start(self):
        for worker in self.all:
            if not worker.wait(lambda worker=worker: worker.is_ready, 60):
                raise Failed("the worker was not ready within 60 s")
        for worker in self.all:
            worker.line()
        return self

    @property
    def count(self):
        return sum(worker.count for worker in self.all)

    @property
    def latencies_us(self):
        return [latency for worker in self.all for latency in worker.latencies_us]

    def first_ns(self):
        return min(worker.first_ns for worker in self.all if worker.first_ns)

    def reaches(self, jobs, timeout):
        """Waits until so many jobs were started, in all; answers whether they were."""
        deadline = time.monotonic() + timeout
        while self.count < jobs:
            if time.monotonic() > deadline:
                return False
            # Each reports every 50 ms.
            for worker in self.all:
                worker.wait(lambda: True, 0)
                if worker.process.poll() is not None:
                    raise Failed(f"a worker ended with {worker.process.returncode}; {last_words(worker.log)}")
            time.sleep(0.01)
        return True

    def series(self):
        """(nanoseconds, jobs started by all), in the order of time."""
        told = sorted((t, index, n) for index, worker in enumerate(self.all) for t, n in worker.series)
        counts, merged = [0] * len(self.all), []
        for t, index, n in told:
            counts[index] = n
            merged.append((t, sum(counts)))
        return merged
