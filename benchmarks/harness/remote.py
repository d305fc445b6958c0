"""The other end of a worker: starts the process, and stops it whenever it is not its turn."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any

from harness.contestants import Entry

ROOT = Path(__file__).parents[1]
#: Thread pools of OpenMP, MKL and OpenBLAS are as large as the contestant is told.
POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

#: Seconds for an answer. Compilers take minutes.
PATIENCE = 900


class WorkerError(Exception):
    """What a worker's contestant raised, in words."""


class Remote:
    """A worker process. Between commands it is stopped (SIGSTOP), so that no thread of its pools spins.

    Everyone therefore keeps the waiting policy that users have, and nobody pays for another's.
    """

    def __init__(self, entry: Entry, threads: int) -> None:
        self.entry, self.threads = entry, threads
        # Inductor would leave a pool of processes behind that wait for work.
        environment = os.environ | dict.fromkeys(POOLS, str(threads)) | {"TORCHINDUCTOR_COMPILE_THREADS": "1"}
        environment |= entry.environment
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [environment.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.worker", entry.name, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.stopped = False
        #: By `time.monotonic`: it is ended if it has no answer then.
        self.until = inf
        #: What the last command took, in seconds by the clock and of the processors.
        self.clock = self.cpu = 0.0
        #: What an iteration took of the processors in the last turn, in seconds.
        self.processor = 0.0

    @property
    def label(self) -> str:
        return f"{self.entry.title}, {self.threads} thread(s)"

    def ask(self, *command: Any) -> Any:
        """Let it run until it has answered.

        Raises:
            WorkerError: the command failed, or the process ended, or was ended because it never answered.
        """
        line = ""
        if self.process.poll() is None:
            self._signal(False)
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
            seconds = min(PATIENCE, max(1.0, self.until - time.monotonic()))
            patience = threading.Timer(seconds, self.process.kill)
            patience.start()
            try:
                line = self.process.stdout.readline()
            finally:
                patience.cancel()
        if not line:
            raise WorkerError(f"the process ended with status {self.process.wait()}")
        self._signal(True)
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        self.clock, self.cpu, self.processor = answer["clock"], answer["cpu"], answer["processor"]
        return answer["result"]

    def _signal(self, stop: bool) -> None:
        if hasattr(signal, "SIGSTOP") and stop is not self.stopped and self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP if stop else signal.SIGCONT)
            self.stopped = stop

    def end(self) -> None:
        """At once, whatever it does: it has nothing to save."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(BrokenPipeError):
                pipe.close()
