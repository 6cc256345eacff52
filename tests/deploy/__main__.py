"""Tests and measures the deployment on a real container engine: python -m tests.deploy

PROMETHEUS_IMAGE, HAPROXY_IMAGE and GRAFANA_IMAGE name images that cannot be pulled. Tests that
need no engine are run by pytest (test_*.py).
"""

import sys

from tests.deploy.composed import check_stack
from tests.deploy.container import check_memory, check_own_models
from tests.deploy.engine import available
from tests.deploy.image import check_image
from tests.deploy.scale import measure_scale

CHECKS = {
    "image": check_image,
    "own": check_own_models,
    "memory": check_memory,
    "stack": check_stack,
    "scale": measure_scale,
}


def main(chosen: list[str]) -> int:
    if not available():
        print("no Docker engine answers: nothing was checked", file=sys.stderr)
        return 2
    report: dict[str, str] = {}
    try:
        for name in chosen or CHECKS:
            CHECKS[name](report)
    finally:
        for what, found in report.items():
            print(f"{what:<45}{found}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
