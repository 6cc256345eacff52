"""Another machine by chance: each reading of a clock that decides how models are run is distorted.

With this folder on PYTHONPATH, Python imports this file at its start, in the test process and in
every server and worker that a test starts. scripts/test-distorted sets it up. The factor of each
reading is drawn from the seed in DISTORTED_CLOCK. Clocks of everything else are left alone.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from math import exp, log
from random import Random

SEED = "DISTORTED_CLOCK"
LEAST, MOST = 0.3, 3.0
MEASURING = frozenset(
    {
        "service.engine.repository.gate",
        "service.engine.loading.probe",
        "service.engine.loading.samples",
        "service.engine.loading.tuning",
        "service.quantization.evaluate.kernel_speeds",
        "service.quantization.evaluate.timing",
        "service.quantization.evaluate.trial",
    }
)
"""The modules that measure in order to decide; others only report what they read."""


class Distorted:
    """A clock that advances by the true time since its last reading, times a factor of its own.

    It never goes back. Each thread has its own, since one of the clocks counts a thread's work.
    """

    def __init__(self, clock: Callable[[], float], seed: int) -> None:
        self._clock = clock
        self._random = Random(seed)
        self._here = threading.local()

    def __call__(self) -> float:
        true = self._clock()
        if sys._getframe(1).f_globals.get("__name__") not in MEASURING:
            return true
        factor = exp(self._random.uniform(log(LEAST), log(MOST)))
        last, told = getattr(self._here, "read", (true, true))
        told += (true - last) * factor
        self._here.read = (true, told)
        return float(told)


if SEED in os.environ:
    for _name in ("thread_time", "perf_counter"):
        setattr(time, _name, Distorted(getattr(time, _name), int(os.environ[SEED])))
