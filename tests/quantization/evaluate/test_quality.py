"""Scores, and errors that a mean would hide."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.core.errors import ConfigError
from service.quantization.data.labels import apart
from service.quantization.evaluate.quality import check_metric, choose_metric, compare

RNG = np.random.default_rng(0)


def answers(values: np.ndarray) -> list[tuple[np.ndarray]]:
    return [(values[i : i + 1],) for i in range(len(values))]


def test_equal_answers_score_full() -> None:
    scores = answers(RNG.standard_normal((20, 5)).astype(np.float32))
    found = compare(["y"], "agreement", scores, scores, None)
    assert (found.score, found.drop, found.failure) == (1.0, 0.0, "")
    assert found.outputs[0].cosine == pytest.approx(1)


def test_a_constant_slice_fails_despite_a_high_mean_cosine() -> None:
    boxes = RNG.uniform(0, 640, (40, 4)).astype(np.float32)
    classes = RNG.uniform(0, 1, (40, 2)).astype(np.float32)
    want = np.concatenate([boxes, classes], axis=1)
    got = np.concatenate([boxes, np.zeros_like(classes)], axis=1)
    found = compare(["boxes"], "cosine", answers(want), answers(got), None)
    assert found.outputs[0].cosine > 0.99
    assert "2 slices are constant" in found.failure


def test_an_unlikely_class_may_become_zero() -> None:
    want = np.array([[0.9, 0.0999, 1e-4], [0.2, 0.7997, 3e-4]] * 8, np.float32)
    got = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]] * 8, np.float32)
    assert compare(["p"], "agreement", answers(want), answers(got), None).failure == ""


def test_nan_fails() -> None:
    want = RNG.standard_normal((10, 3)).astype(np.float32)
    got = want.copy()
    got[3, 1] = np.nan
    found = compare(["y"], "agreement", answers(want), answers(got), None)
    assert 'output "y" has NaN' in found.failure


def masked(values: np.ndarray) -> np.ndarray:
    """A class that no row may choose, and a row without any choice."""
    found = values.copy()
    found[:, 1] = -np.inf
    found[4] = -np.inf
    return found


@pytest.mark.parametrize("metric", ["auto", "agreement", "cosine", "r2"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_masked_scores_are_left_out_of_the_comparison(metric: str, dtype: type) -> None:
    values = RNG.standard_normal((20, 5)).astype(dtype)
    want = answers(masked(values))
    metric = choose_metric(metric, None, ["y"], want)
    same = compare(["y"], metric, want, want, None)
    assert (same.score, same.failure) == (pytest.approx(1), "")
    assert same.outputs[0].sqnr == 200
    near = compare(["y"], metric, want, answers(masked(values * dtype(1.01))), None)
    assert near.failure == "" and 0.9 < near.score <= 1.0 + 1e-12
    assert 30 < near.outputs[0].sqnr < 50
    far = compare(["y"], "cosine", want, answers(masked(-values)), None)
    assert far.score < -0.5
    still = values.copy()
    still[:, 3] = 0
    assert "constant" in compare(["y"], metric, want, answers(masked(still)), None).failure


@pytest.mark.parametrize(("value", "text"), [(-1e9, "-1e+09 instead of -inf"), (np.nan, "nan")])
def test_a_lost_mask_fails(value: float, text: str) -> None:
    values = RNG.standard_normal((20, 5)).astype(np.float32)
    got = masked(values)
    got[2, 1] = value
    found = compare(["y"], "agreement", answers(masked(values)), answers(got), None)
    assert f"1 elements of a row, [0, 1] is {text}" in found.failure
    assert (found.outputs[0].sqnr, found.outputs[0].worst_slice) == (-200, 1)


def test_answers_that_are_all_nan_fail() -> None:
    want = RNG.standard_normal((20, 5)).astype(np.float32)
    found = compare(["y"], "cosine", answers(want), answers(np.full_like(want, np.nan)), None)
    assert found.failure and found.outputs[0].cosine == 0 and found.outputs[0].worst_cosine == -1


@given(
    st.sampled_from([np.float16, np.float32, np.float64]).flatmap(
        lambda dtype: arrays.arrays(dtype, (2, 6, 3), elements=arrays.from_dtype(np.dtype(dtype)))
    ),
    st.sampled_from(["agreement", "cosine", "r2"]),
)
def test_figures_are_finite_and_nothing_warns(both: np.ndarray, metric: str) -> None:
    want, got = answers(both[0]), answers(both[1])
    for found in (
        compare(["y"], metric, want, got, None),
        compare(["y"], metric, want, want, None),
    ):
        (output,) = found.outputs
        figures = (output.agreement or 0.0, output.cosine, output.sqnr, output.worst_cosine)
        assert np.isfinite(figures).all()
        assert found.failure or np.isfinite(found.score)


def test_labels_are_compared_despite_nan_and_infinity() -> None:
    labels = np.array([0, 2, 4] * 8)
    scores = masked(np.eye(5, dtype=np.float32)[labels])
    scores[4] = np.eye(5)[labels[4]]
    scores[:, 1] = np.nan
    found = compare(["y"], "accuracy", answers(scores), answers(scores), labels)
    assert (found.score, found.reference) == (1, 1)


def test_another_shape_fails() -> None:
    want = np.ones((4, 3), np.float32)
    found = compare(["y"], "cosine", answers(want), answers(want[:, :2]), None)
    assert "has shape [1, 2], FP32 gives [1, 3]" in found.failure


def test_accuracy_is_measured_for_both_models() -> None:
    labels = np.arange(10) % 2
    right = np.eye(2, dtype=np.float32)[labels] + RNG.random((10, 1), np.float32)
    wrong = right.copy()
    wrong[:2] = wrong[:2, ::-1]
    found = compare(["y"], "accuracy", answers(right), answers(wrong), labels)
    assert (found.reference, found.score) == (1.0, 0.8)
    assert found.drop == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("values", "labels", "metric"),
    [
        (np.eye(4, dtype=np.float32), np.arange(4), "accuracy"),
        (np.ones((4, 1), np.float32), np.arange(4) / 3, "r2"),
        (RNG.standard_normal((4, 9)).astype(np.float32), None, "agreement"),
        (RNG.random((4, 6)).astype(np.float32), None, "r2"),
        (np.array([[0.6, 0.8], [0.8, -0.6]], np.float32), None, "cosine"),
        (np.ones((4, 1), np.float32), None, "r2"),
    ],
)
def test_the_metric_follows_from_labels_and_outputs(
    values: np.ndarray, labels: np.ndarray | None, metric: str
) -> None:
    assert choose_metric("auto", labels, ["y"], answers(values)) == metric


def test_accuracy_without_labels_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs labels"):
        check_metric("accuracy", None)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("f1", "give auto, accuracy"),
        ("no_such_module:f", "ModuleNotFoundError"),
        ("os:sep", "is str, not a function"),
    ],
)
def test_an_invalid_metric_is_refused_before_any_work(asked: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"--metric {asked}.*{message}"):
        check_metric(asked, None)


def test_outputs_of_several_lengths_are_compared_by_direction() -> None:
    rows = [(RNG.random((1, 3, length), np.float32),) for length in (5, 6, 7)]
    assert choose_metric("auto", None, ["frames"], rows) == "cosine"
    assert compare(["frames"], "cosine", rows, rows, None).failure == ""


def test_a_metric_that_fails_on_fp32_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_metric.py").write_text("def f(outputs, labels): return outputs['no']\n")
    monkeypatch.chdir(tmp_path)
    scores = answers(np.eye(2, dtype=np.float32))
    with pytest.raises(ConfigError, match="--metric broken_metric:f fails on FP32's answers: Key"):
        compare(["y"], "broken_metric:f", scores, scores, None)


def test_a_varying_number_of_boxes_requires_a_metric(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "box_metric.py").write_text("def f(outputs, labels): return len(outputs['y'])\n")
    monkeypatch.chdir(tmp_path)
    want, got = ([(np.ones((n, 4), np.float32),) for n in counts] for counts in ((3, 4), (3, 5)))
    assert "only a --metric" in compare(["y"], "cosine", want, got, None).failure
    found = compare(["y"], "box_metric:f", want, got, None)
    assert (found.score, found.failure) == (2.0, "")


def test_a_state_beside_class_scores_is_judged_by_its_direction() -> None:
    scores = [RNG.standard_normal((1, 4)).astype(np.float32) for _ in range(20)]
    states = [RNG.standard_normal((2, 1, 64)).astype(np.float32) for _ in range(20)]
    want = list(zip(scores, states, strict=True))
    noisy = [state + 0.12 * RNG.standard_normal(state.shape).astype(np.float32) for state in states]
    got = list(zip(scores, noisy, strict=True))
    found = compare(["scores", "state"], "agreement", want, got, None)
    assert found.outputs[1].agreement is None
    assert found.score == found.outputs[1].cosine > 0.99


def test_scalars_and_outputs_without_a_value_are_compared() -> None:
    want = [
        (np.asarray(float(i), np.float32), np.ones((i % 2, 3), np.float32), np.zeros((3, 0)))
        for i in range(20)
    ]
    for metric in ("r2", "cosine", "agreement"):
        found = compare(["number", "edges", "none"], metric, want, want, None)
        assert (found.score, found.failure) == (1.0, "")
    assert choose_metric("auto", None, ["number", "edges", "none"], want) == "r2"
    assert choose_metric("auto", np.arange(20) / 7, ["number", "edges", "none"], want) == "r2"


def test_labels_of_each_element_count_where_runs_differ_in_length() -> None:
    labels = apart([np.arange(1 + i % 3) for i in range(20)])
    want = [(np.eye(3, dtype=np.float32)[each],) for each in labels]
    got = [(answer[::-1].copy(),) for (answer,) in want]
    assert choose_metric("auto", labels, ["y"], want) == "accuracy"
    found = compare(["y"], "accuracy", want, got, labels)
    assert found.reference == 1.0
    assert 0 < found.score < 1


@pytest.mark.parametrize(
    ("name", "width"),
    [("sentence_embedding", 8), ("last_hidden_state", 8), ("pooler_output", 8), ("y", 8),
     ("output", 384)],
)  # fmt: skip
def test_an_embedding_has_no_top_1(name: str, width: int) -> None:
    """Its largest value means nothing: the direction is compared, and no top-1 is reported."""
    vectors = RNG.standard_normal((20, width)).astype(np.float32)
    if name == "y":  # this name has no meaning; the length has
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    want = answers(vectors)
    assert choose_metric("auto", None, [name], want) == "cosine"
    found = compare([name], "cosine", want, want, None)
    assert found.outputs[0].agreement is None
    asked = compare([name], "agreement", want, answers(vectors[:, ::-1]), None)
    assert asked.outputs[0].agreement is None
    assert asked.score < 1


def test_top_1_agreement_of_scores_and_of_decisions() -> None:
    scores = answers(RNG.standard_normal((20, 8)).astype(np.float32))
    classes = answers(RNG.integers(0, 3, (20, 1)))
    for rows in (scores, classes):
        assert compare(["pred"], "agreement", rows, rows, None).outputs[0].agreement == 1.0


def test_quantities_have_no_top_1() -> None:
    rows = answers(RNG.standard_normal((20, 1)).astype(np.float32))
    assert compare(["y"], "r2", rows, rows, None).outputs[0].agreement is None
