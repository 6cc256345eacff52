"""How a version is run: its policy, its instances, and whether requests share runs."""

from pathlib import Path

import numpy as np
import pytest

from service.config.model import ModelConfig
from service.core.batching import BatchingMode
from service.core.errors import LoadFailed
from service.engine.loading.loader import load
from tests.engine import graphs, quantizers
from tests.engine.loading.test_loader import loaded

ROOT = Path(__file__).parents[3]


def test_a_policy_follows_model_toml_and_the_plan(tmp_path: Path) -> None:
    batching = {
        "max_batch_size": 16,
        "preferred_batch_size": 4,
        "max_queue_delay": 0.5,
        "max_queue_size": 7,
        "timeout": 2.0,
    }
    policy = loaded(graphs.linear(), tmp_path, batching=batching).policy
    assert (policy.mode, policy.max_rows, policy.preferred_rows) == (BatchingMode.COMBINE, 16, 4)
    assert (policy.max_delay, policy.max_queue, policy.timeout) == (0.5, 7, 2.0)


@pytest.mark.parametrize("kind", ["threads", "sessions"])
def test_instances_are_threads_of_one_session_or_separate_sessions(
    kind: str, tmp_path: Path
) -> None:
    instances = {"count": 3, "kind": kind, "threads": 1}
    found = loaded(graphs.linear(), tmp_path, instances=instances).instances
    sessions = {id(each.run.__self__) for each in found}  # type: ignore[attr-defined]
    assert (len(found), len(sessions)) == (3, 3 if kind == "sessions" else 1)


def test_a_model_that_cannot_run_its_golden_rows_is_not_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "golden.npz", **{"inputs/x": np.ones((4, 7), np.float32)})
    with pytest.raises(LoadFailed, match="golden.npz, first row: the model refuses .*Reshape"):
        loaded(graphs.eights(), tmp_path)


def test_a_model_without_generated_rows_is_run_request_by_request(tmp_path: Path) -> None:
    table = graphs.model(
        [graphs.node("Gather", "w", "x", to="y")],
        [graphs.value("x", ["batch"], graphs.INT64)],
        [graphs.value("y", ["batch"])],
        [graphs.constant("w", np.zeros(0, np.float32))],
    )
    found = loaded(table, tmp_path)
    assert found.plan.mode is BatchingMode.REQUESTS
    assert "no rows for the probe" in found.plan.note and "add golden.npz" in found.plan.note


def test_statically_quantized_models_are_combined(tmp_path: Path) -> None:
    """Rounding is no false alarm: many widths and seeds, ranges from tiny to huge."""
    for width in (7, 32, 100):
        model = quantizers.static(graphs.linear(width, 33, hidden=65), tmp_path, width=width)
        found = loaded(model, tmp_path / str(width))
        assert found.plan.mode is BatchingMode.COMBINE and not found.plan.note
        assert found.probe.neighbours == 0


@pytest.mark.parametrize("model", ["digits/1", "digits/2", "diabetes/1"])
def test_the_shipped_models_are_combined(model: str) -> None:
    found = load(ROOT / "models" / model, ModelConfig(), 2)
    assert found.plan.mode is BatchingMode.COMBINE and not found.plan.note
    assert str(found.precision) == "INT8 QDQ"
    assert found.probe.neighbours == 0 and found.probe.deviation < 1e-3


def test_one_golden_row_does_not_hide_dynamic_scales(tmp_path: Path) -> None:
    """Copies of one row share a scale without a deviation; generated rows beside it do not."""
    np.savez(tmp_path / "golden.npz", **{"inputs/x": np.ones((1, 32), np.float32)})
    found = loaded(quantizers.dynamic(graphs.linear(), tmp_path), tmp_path)
    assert found.plan.mode is BatchingMode.ROWS


def test_a_large_tolerance_allows_dynamic_scales_to_be_combined(tmp_path: Path) -> None:
    model = quantizers.dynamic(graphs.linear(), tmp_path)
    strict, lax = (loaded(model, tmp_path, batching={"tolerance": t}) for t in (1e-3, 10.0))
    assert (strict.plan.mode, lax.plan.mode) == (BatchingMode.ROWS, BatchingMode.COMBINE)


PADDING = {"buckets": [8, 16], "values": {"ids": 0, "attention_mask": 0}}


def test_padding_is_used_only_if_answers_do_not_change(tmp_path: Path) -> None:
    good = loaded(graphs.attention(), tmp_path, batching={"padding": PADDING})
    assert good.policy.padding is not None and good.plan.note == ""
    bad = loaded(graphs.attention(heed_mask=False), tmp_path, batching={"padding": PADDING})
    assert bad.policy.padding is None and "when padded: not padded" in bad.plan.note
    always = {"padding": PADDING, "combine": "always"}
    forced = loaded(graphs.attention(heed_mask=False), tmp_path, batching=always)
    assert forced.policy.padding is not None and "as model.toml says" in forced.plan.note


def test_padding_is_used_only_if_requests_are_combined(tmp_path: Path) -> None:
    never = {"padding": PADDING, "combine": "never"}
    found = loaded(graphs.attention(), tmp_path, batching=never)
    assert found.policy.padding is None
    assert found.plan.note.endswith("not padded, since requests do not share runs")


def test_long_rows_may_get_all_cores(tmp_path: Path) -> None:
    """By measurement: one instance with all cores, or one instance per core."""
    model = graphs.linear(2048, 2048, hidden=4096)
    plan = loaded(model, tmp_path, cores=2, batching={"max_batch_size": 1}).plan
    assert (plan.instances, plan.threads) in {(1, 2), (2, 1)}
