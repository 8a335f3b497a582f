"""What every adapter from PyPI has in common; the same as rust/harness, which says more."""

import argparse
import asyncio
import json
import os
import sys
import time
from abc import ABC, abstractmethod

TEXT = "x" * 64
REPORT_EVERY_S = 0.05


def say(line):
    print(json.dumps(line), flush=True)


def payload(n, t=0):
    return {"n": n, "t": t, "text": TEXT}


class Meter:
    """What handlers touch. There is one in a process."""

    def __init__(self):
        self.count = 0
        self.first = 0
        self.latencies_us = []
        self.hold = False

    async def run(self, t):
        """What each handler does: counts itself, notes the latency if that is asked for, and with --hold never returns."""
        if self.count == 0:
            self.first = time.monotonic_ns()
        self.count += 1
        if t:
            self.latencies_us.append((time.monotonic_ns() - t) // 1000)
        if self.hold:
            await asyncio.Event().wait()

    async def report(self):
        told = 0
        while True:
            await asyncio.sleep(REPORT_EVERY_S)
            if self.count == told:
                continue
            told = self.count
            latencies, self.latencies_us = self.latencies_us, []
            now = time.monotonic_ns()
            say({"event": "count", "n": told, "t": now, "first": self.first, "latencies_us": latencies})


METER = Meter()


class Peer(ABC):
    """One queue as the runner sees it. An instance is what a producer holds."""

    batch = 1000

    @staticmethod
    @abstractmethod
    async def setup(url, settings):
        """Makes the schema in an empty database."""

    @abstractmethod
    async def connect(self, url, connections):
        """Makes this a producer."""

    @abstractmethod
    async def many(self, jobs):
        """The peer's bulk call; committed when it returns."""

    @abstractmethod
    async def one(self, job):
        """One job; committed when it returns."""

    @staticmethod
    @abstractmethod
    async def work(url, settings):
        """Connects, awaits ready(), then works until the process is killed."""


async def ready():
    """Says that the worker is about to begin, and waits for the word to do so."""
    say({"event": "ready"})
    if not await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
        os._exit(1)


def done(jobs, began):
    say({"event": "done", "jobs": jobs, "seconds": (time.monotonic_ns() - began) / 1e9})


async def enqueue(producer, jobs):
    began = time.monotonic_ns()
    for start in range(0, jobs, producer.batch):
        await producer.many([payload(n) for n in range(start, min(jobs, start + producer.batch))])
    done(jobs, began)


async def paced(producer, pause_ms):
    loop = asyncio.get_running_loop()
    n = 0
    while await loop.run_in_executor(None, sys.stdin.readline):
        # Pauses of different lengths, so that no poll falls into step with them.
        await asyncio.sleep(pause_ms / 1000 * (0.5 + (n % 11) / 10))
        await producer.one(payload(n, time.monotonic_ns()))
        n += 1


async def single(producer, clients, seconds):
    await asyncio.gather(*(producer.one(payload(n)) for n in range(clients)))
    began = time.monotonic_ns()
    until = began + seconds * 1_000_000_000

    async def client():
        jobs = 0
        while time.monotonic_ns() < until:
            await producer.one(payload(jobs))
            jobs += 1
        return jobs

    done(sum(await asyncio.gather(*(client() for _ in range(clients)))), began)


async def run(peer, args):
    url = os.environ["DATABASE_URL"]
    if args.command == "setup":
        await peer.setup(url, args.settings)
    elif args.command == "work":
        METER.hold = args.hold
        reporting = asyncio.create_task(METER.report())
        await peer.work(url, args.settings)
        reporting.cancel()
        raise SystemExit("the worker stopped by itself")
    else:
        producer = peer()
        await producer.connect(url, args.clients)
        if args.command == "enqueue":
            await enqueue(producer, args.jobs)
        elif args.paced:
            await paced(producer, args.pause_ms)
        else:
            await single(producer, args.clients, args.seconds)
    sys.stdout.flush()
    # Pools that are still open must not delay the end.
    os._exit(0)


def main(peer, start=asyncio.run):
    """The adapter's main function."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["setup", "enqueue", "single", "work"])
    parser.add_argument("--settings", choices=["best", "default", "recovery"], default="default")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--seconds", type=int)
    parser.add_argument("--paced", action="store_true")
    parser.add_argument("--pause-ms", type=float, default=0)
    parser.add_argument("--hold", action="store_true")
    start(run(peer, parser.parse_args()))
