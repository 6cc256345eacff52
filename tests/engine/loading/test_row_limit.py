"""Requests that are split into parts, and the errors of requests that cannot be split."""

import pytest

from service.config.model import BatchingConfig
from service.core.batching import BatchingMode
from service.engine.loading.plan import Plan
from service.engine.loading.probe import Probe
from service.engine.loading.row_limit import PART_SECONDS, part_rows, refusal

PROBE = Probe({1: PART_SECONDS / 4, 2: PART_SECONDS / 2, 8: PART_SECONDS, 16: 2 * PART_SECONDS})


def plan(mode: BatchingMode, preferred: int = 2, note: str = "") -> Plan:
    return Plan(mode, preferred, 1, 1, False, note)


def test_parts_have_the_preferred_size_or_the_largest_short_size() -> None:
    unset = BatchingConfig()
    assert part_rows(plan(BatchingMode.COMBINE, 2), PROBE, unset) == 8
    assert part_rows(plan(BatchingMode.COMBINE, 16), PROBE, unset) == 16
    assert part_rows(plan(BatchingMode.COMBINE, 2), Probe({1: 1.0, 2: 2.0}), unset) == 2
    assert part_rows(plan(BatchingMode.ROWS, 1), PROBE, unset) == 1


@pytest.mark.parametrize("mode", BatchingMode)
def test_max_batch_size_of_model_toml_is_kept_as_a_limit(mode: BatchingMode) -> None:
    limited = BatchingConfig(max_batch_size=64)
    assert part_rows(plan(mode), PROBE, limited) == 0
    told = refusal(plan(mode), limited)
    assert "max_batch_size in [batching] of model.toml" in told and "send fewer rows" in told
    assert ("remove it" in told) is (mode is not BatchingMode.REQUESTS)


def test_the_error_states_that_rows_influence_each_other() -> None:
    whole = plan(BatchingMode.REQUESTS, note="answers change by 3 %")
    assert part_rows(whole, PROBE, BatchingConfig()) == 0
    assert "in one run (answers change by 3 %), so it cannot be cut" in refusal(
        whole, BatchingConfig()
    )
