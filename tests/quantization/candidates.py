"""Candidates with measurements, for tests."""

from service.quantization.evaluate.quality import Quality
from service.quantization.evaluate.timing import Timing
from service.quantization.evaluate.trial import Measurement
from service.quantization.graphs.fusion import Fusion
from service.quantization.recipes.build import Built
from service.quantization.recipes.catalogue import Dynamic, Recipe, Static
from service.quantization.search.decide import Candidate, Goal, Target

GOAL = Goal(Target.LATENCY, 0.01)


def candidate(
    name: str, speed: float = 1.0, drop: float = 0.0, size: int = 1000,
    deviation: float | None = 0.0, failure: str = "", rate: float | None = None,
) -> Candidate:  # fmt: skip
    built = Built(size, size, "INT8 QDQ", 17, Fusion(4, 0, 0, 0), 0.1)
    quality = Quality("accuracy", 0.9 - drop, 0.9, (), failure)
    timing = Timing(0.01 / speed, 0.01, speed, 8, 100 * (rate or speed), 100, rate or speed)
    measured = Measurement(0.1, 1000, 1000, quality, timing, deviation)
    method = Static() if deviation == 0 else Dynamic()
    return Candidate(Recipe(name, method), built, measured)


FP32 = candidate("FP32", size=4000)
