"""A Kafka broker for each test: `ottla dev` as a context manager and as fixtures of pytest."""

import os
import shutil
import subprocess
import tempfile
import time

import pytest


class BrokerError(Exception):
    """The broker is not there; the message says why, with what it said last."""


def find_binary(binary=None):
    """The program: the one named, else OTTLA_BIN, else `ottla` on the PATH."""
    named = binary or os.environ.get("OTTLA_BIN")
    if named:
        if not os.access(named, os.X_OK) or os.path.isdir(named):
            origin = "the broker's binary" if binary else "OTTLA_BIN"
            raise BrokerError(f"{origin} is {named}, which is no program that can be run")
        return os.fspath(named)
    found = shutil.which("ottla")
    if not found:
        raise BrokerError("no `ottla` on the PATH: install it, or set OTTLA_BIN to where it is")
    return found


class Broker:
    """A broker that starts with `start()` or `with`, and ends with `stop()` or the block."""

    def __init__(self, binary=None, properties=None, ready_seconds=10):
        self.binary = binary
        self.properties = dict(properties or {})
        self.ready_seconds = ready_seconds
        self.bootstrap_servers = None
        self._process = None
        self._home = None

    def start(self):
        binary = find_binary(self.binary)
        self._home = tempfile.mkdtemp(prefix="ottla-test-")
        ready = os.path.join(self._home, "ready")
        command = [binary, "dev", "--ephemeral", "--port", "0", "--ready-file", ready, "--until-stdin-closes"]
        for name, value in self.properties.items():
            command += ["--override", f"{name}={value}"]
        with open(os.path.join(self._home, "log"), "wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
        deadline = time.monotonic() + self.ready_seconds
        while not os.path.exists(ready):
            status = self._process.poll()
            if status is not None:
                self._fail(f"{binary} ended with status {status} before it was ready")
            if time.monotonic() > deadline:
                self._fail(f"{binary} is not ready after {self.ready_seconds} s")
            time.sleep(0.005)
        with open(ready, encoding="utf-8") as file:
            self.bootstrap_servers = file.read().strip()
        return self

    def stop(self):
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process.stdin.close()
            self._process = None
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = None

    def _fail(self, reason):
        with open(os.path.join(self._home, "log"), encoding="utf-8", errors="replace") as file:
            said = "".join(file.readlines()[-20:])
        self.stop()
        raise BrokerError(f"{reason}; it said:\n{said}")

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


@pytest.fixture
def ottla_broker():
    """A broker of this test's own."""
    with Broker() as broker:
        yield broker


@pytest.fixture(scope="session")
def ottla_session_broker():
    """A broker that all tests of the run share."""
    with Broker() as broker:
        yield broker
