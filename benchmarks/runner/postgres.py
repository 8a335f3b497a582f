"""One private cluster for everything, and a fresh database for each measurement."""

import itertools
import json
import os
import queue
import subprocess
import threading
import time

from runner.build import Unavailable

# The same for all. Everything else is as Postgres has it by default: fsync, synchronous_commit and full_page_writes are on.
SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    "max_connections": "400",
}
# How long one query of the runner may take.
ANSWER_S = 120


class Cluster:
    def __init__(self, program, log):
        command = [program, *(f"{name}={value}" for name, value in SETTINGS.items())]
        # The cluster ends when its standard input does, and so when this process ends in any way.
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open(log, "ab"))
        told = self.process.stdout.readline()
        if not told:
            raise Unavailable(f"Postgres did not start; see {log}")
        self.base = json.loads(told)["url"].rsplit("/", 1)[0]
        self.sql = Session(self.url("postgres"))
        self.numbers = itertools.count(1)

    def url(self, database):
        return f"{self.base}/{database}"

    def template(self, name, setup):
        """A database that `setup` has prepared, made when it is first asked for."""
        if self.sql.one(f"select count(*) from pg_database where datname = '{name}'") == "0":
            self.sql.run(f"create database {name}")
            try:
                setup(self.url(name))
            except BaseException:
                self.sql.run(f"drop database {name} with (force)")
                raise

    def database(self, template):
        return Database(self, template)

    def stop(self):
        self.sql.close()
        self.process.stdin.close()
        self.process.wait()


class Database:
    """A database of a measurement's own, gone when the measurement ends."""

    def __init__(self, cluster, template):
        self.cluster = cluster
        self.name = f"m{next(cluster.numbers)}"
        self.template = template

    def __enter__(self):
        self.cluster.sql.run(f"create database {self.name} template {self.template}")
        self.cluster.sql.run("checkpoint")
        self.url = self.cluster.url(self.name)
        self.sql = Session(self.url)
        return self

    def __exit__(self, *_):
        self.sql.close()
        self.cluster.sql.run(f"drop database {self.name} with (force)")

    def settle(self):
        """What autovacuum would have done before a backlog of this size came to be."""
        self.sql.run("vacuum (analyze)")
        self.sql.run("checkpoint")


class Session:
    """A psql that stays connected, for one thread at a time."""

    END = "--end-of-answer--"

    def __init__(self, url):
        # PGOPTIONS and the like of the caller must not reach it.
        env = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        self.process = subprocess.Popen(
            ["psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=0", url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=env,
        )
        self.turn = threading.Lock()
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def run(self, statement):
        """The answer's lines; raises RuntimeError for an error."""
        with self.turn:
            answer = self.ask(statement)
        wrong = [line for line in answer if line.startswith(("ERROR", "FATAL"))]
        if wrong:
            raise RuntimeError(f"{statement}: {wrong[0]}")
        return answer

    def ask(self, statement):
        self.process.stdin.write(f"{statement};\n\\echo {self.END}\n")
        self.process.stdin.flush()
        answer, deadline = [], time.monotonic() + ANSWER_S
        while True:
            try:
                line = self.lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise RuntimeError(f"no answer within {ANSWER_S} s: {statement}") from None
            if line is None:
                raise RuntimeError(f"psql ended: {answer}")
            if line == self.END:
                return answer
            answer.append(line)

    def one(self, query):
        return self.run(query)[0]

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
