"""Builds and installs the adapters. Whoever can't be had is left out, with the reason."""

import os
import re
import shutil
import subprocess
import sys

from runner.peers import NODE, PYTHON, RUST

OLDEST_NODE = (22, 18)
# Installed from npm where the machine's own is missing or older.
NODE_PACKAGE = "node@22.23.3"
REPOSITORY = RUST.parent.parent


class Unavailable(Exception):
    """An adapter that can't be had here, and why."""


def last_error(log, name=""):
    """The last line that tells of an error, if there is one of those that name the program."""
    lines = [line.strip() for line in open(log, errors="replace") if re.search(r"^error|ERR", line)]
    lines = [line for line in lines if name in line] or lines
    return lines[-1] if lines else "see the log"


def run(command, log, cwd=None):
    """Runs a command with its output in the log; its last words are the reason if it fails."""
    with open(log, "ab") as out:
        try:
            ended = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        except OSError as error:
            raise Unavailable(f"{command[0]}: {error.strerror}") from error
    if ended.returncode:
        raise Unavailable(f"`{' '.join(map(str, command[:3]))} …` failed: {last_error(log)} ({log})")


class Builds:
    """The commands of the adapters, each ecosystem prepared once."""

    def __init__(self, logs):
        self.logs = logs
        self.prepared = {}

    def command(self, peer):
        """The adapter's command line, after it was built; raises Unavailable."""
        match peer.ecosystem:
            case "rust":
                return [self.rust_program(f"adapter-{peer.adapter}")]
            case "npm":
                node = self.once("npm", self.npm)
                return [node, NODE / f"{peer.adapter}.mjs"]
            case "pypi":
                python = self.once("pypi", self.pypi)
                return [python, PYTHON / f"{peer.adapter}.py"]

    def once(self, name, prepare):
        if name not in self.prepared:
            try:
                self.prepared[name] = prepare()
            except Unavailable as reason:
                self.prepared[name] = reason
        if isinstance(self.prepared[name], Unavailable):
            raise self.prepared[name]
        return self.prepared[name]

    def rust_program(self, name):
        """A program of the workspace; raises Unavailable if it was not built, which leaves the others alone."""
        self.once("rust", self.cargo)
        program = RUST / "target/release" / name
        if not program.exists():
            log = self.logs / "build-rust.log"
            raise Unavailable(f"it was not built: {last_error(log, name)} ({log})")
        return program

    def cargo(self):
        # What an earlier build has left must not pass for what this one could not build.
        for program in [*(RUST / "target/release").glob("adapter-*"), RUST / "target/release/cluster"]:
            program.unlink(missing_ok=True)
        # All of them by one call, whoever is asked for: cargo builds what they share once for each set of packages. Not
        # --locked: when Faultline's own dependencies change, the lock file follows; the peers are pinned by their manifests too.
        try:
            run(["cargo", "build", "--release", "--keep-going", "--workspace"], self.logs / "build-rust.log", RUST)
        except Unavailable as why:
            if not (RUST / "target/release/cluster").exists():
                raise why

    def faultline(self):
        """The program itself, for its HTTP API."""
        command = ["cargo", "build", "--release", "--locked", "--package", "faultline-cli"]
        run(command, self.logs / "build-faultline.log", REPOSITORY)
        target = os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")
        return REPOSITORY / target / "release/faultline"

    def npm(self):
        if not shutil.which("npm"):
            raise Unavailable("there is no npm")
        log = self.logs / "build-npm.log"
        node = self.node(log)
        run(["npm", "ci", "--no-audit", "--no-fund"], log, NODE)
        return node

    def node(self, log):
        """A node that is new enough: the machine's, or one from npm."""
        local = NODE / "runtime/node_modules/node/bin/node"
        for candidate in [shutil.which("node"), local]:
            if candidate and node_version(candidate) >= OLDEST_NODE:
                return candidate
        local.parents[3].mkdir(exist_ok=True)
        # It fetches the program in an install script, which npm may ask to allow.
        run(["npm", "install", "--prefix", ".", "--no-audit", "--no-fund", NODE_PACKAGE], log, local.parents[3])
        if node_version(local) < OLDEST_NODE:
            raise Unavailable(f"node {OLDEST_NODE[0]}.{OLDEST_NODE[1]} or newer is needed, and {NODE_PACKAGE} has none")
        return local

    def pypi(self):
        log = self.logs / "build-pypi.log"
        venv = PYTHON / ".venv"
        if not (venv / "bin/python").exists():
            run([sys.executable, "-m", "venv", str(venv)], log)
        run([str(venv / "bin/python"), "-m", "pip", "install", "--quiet", "-r", "requirements.txt"], log, PYTHON)
        return venv / "bin/python"


def node_version(node):
    try:
        told = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    except OSError:
        return (0, 0)
    found = re.match(r"v(\d+)\.(\d+)", told)
    return (int(found[1]), int(found[2])) if found else (0, 0)
