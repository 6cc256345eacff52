"""The plan for running a model follows from its file, the probe and model.toml, with a reason."""

import re
from dataclasses import replace

import pytest

from service.config.model import BatchingConfig, InstancesConfig
from service.core.batching import BatchingMode
from service.core.tensors import DATATYPES, Dim, Signature, TensorSpec
from service.engine.loading.axes import Counts
from service.engine.loading.plan import (
    Plan,
    choose_mode,
    choose_plan,
    divided_rows,
    inline_rows,
    named_apart,
    not_a_batch,
    percent,
    room_for_lone,
    short_rows,
    wants_lone,
    wants_threads,
    worth_lone,
)
from service.engine.loading.probe import Probe
from service.engine.onnx_file.summary import Precision

COMBINE, ROWS, REQUESTS = BatchingMode
QDQ, DYNAMIC = Precision((("INT8", 1.0),), "QDQ"), Precision((("INT8", 1.0),), "dynamic")
MOVES = Probe(deviation=0.3, neighbours=0.2)


def takes(*shapes: tuple[Dim, ...]) -> Signature:
    specs = [TensorSpec(f"x{i}", DATATYPES["FP32"], shape) for i, shape in enumerate(shapes)]
    return Signature(tuple(specs), (TensorSpec("y", DATATYPES["FP32"], ("batch",)),))


BATCH = takes(("batch", 4))

MODES = [
    ("independent rows", QDQ, Probe(), "auto", COMBINE, ""),
    ("dynamic, but rows do not show it", DYNAMIC, Probe(), "auto", COMBINE, ""),
    ("never", QDQ, Probe(), "never", REQUESTS, "never"),
    ("a scale for the batch", DYNAMIC, MOVES, "auto", ROWS, "up to 30.0 % .*one scale"),
    ("a scale for the batch, for speed", DYNAMIC, MOVES, "always", COMBINE, "30.0 %.*anyway"),
    ("moves, and nobody knows why", QDQ, MOVES, "auto", REQUESTS, "request by request"),
    (
        "a batch that is none",
        DYNAMIC,
        Probe(neighbours=0.2, equivariant=False),
        "auto",
        REQUESTS,
        "",
    ),
    ("rounding by size", QDQ, Probe(deviation=0.01), "auto", COMBINE, ""),
    ("more than rounding by size", QDQ, Probe(deviation=0.1), "auto", REQUESTS, "10.0 %"),
    (
        "beyond the tolerance",
        QDQ,
        Probe(deviation=0.002, neighbours=0.002),
        "auto",
        REQUESTS,
        "0.2 %",
    ),
    ("one row", QDQ, Probe(alike=True), "auto", REQUESTS, "add rows to golden.npz"),
    (
        "one row of a dynamic model",
        DYNAMIC,
        Probe(alike=True),
        "auto",
        ROWS,
        "add rows to golden.npz",
    ),
    ("noise", QDQ, Probe(repeatable=False), "auto", REQUESTS, "from one run to the next"),
    ("noise, for speed", QDQ, Probe(repeatable=False), "always", COMBINE, "combined anyway"),
    ("fails together", QDQ, Probe(failure="8 rows: no"), "auto", ROWS, "8 rows: no"),
    ("fails together, for speed", QDQ, Probe(failure="8 rows: no"), "always", ROWS, "8 rows: no"),
    (
        "one answer for all",
        QDQ,
        Probe(row_per_row=False, failure="shape"),
        "auto",
        REQUESTS,
        "shape",
    ),
    ("moves, then fails", QDQ, Probe(neighbours=0.1, failure="no"), "auto", REQUESTS, "no"),
]


@pytest.mark.parametrize(("_", "precision", "probe", "combine", "mode", "note"), MODES)
def test_the_batching_mode_follows_the_probe_and_the_settings(
    _: str, precision: Precision, probe: Probe, combine: str, mode: BatchingMode, note: str
) -> None:
    chosen, why = choose_mode(
        BATCH, precision, probe, BatchingConfig.model_validate({"combine": combine})
    )
    assert chosen is mode
    assert re.search(note, why) and (why or mode is COMBINE)


def test_the_tolerance_is_read_from_model_toml() -> None:
    probe = Probe(deviation=0.02, neighbours=0.02)
    assert choose_mode(BATCH, DYNAMIC, probe, BatchingConfig(tolerance=0.02))[0] is COMBINE
    assert choose_mode(BATCH, DYNAMIC, probe, BatchingConfig(tolerance=0.019))[0] is ROWS
    assert choose_mode(BATCH, DYNAMIC, MOVES, BatchingConfig(tolerance=0.5))[0] is COMBINE


@pytest.mark.parametrize(
    ("signature", "note"),
    [
        (takes(), "the model takes no input"),
        (takes((4, 3)), 'input "x0" has a first axis of fixed length'),
        (takes(("batch", 3), ()), 'input "x1" has no axes'),
        (takes(("n", "n")), 'input "x0" has the length "n" on two axes'),
        (takes(("n", 3), ("m", "n")), 'input "x1" has the length "n" on two axes'),
    ],
)
def test_models_whose_first_axis_is_not_a_batch_are_not_combined(
    signature: Signature, note: str
) -> None:
    for combine in ("auto", "always"):
        batching = BatchingConfig.model_validate({"combine": combine})
        assert choose_mode(signature, QDQ, Probe(), batching) == (REQUESTS, note)


def test_unnamed_axes_may_be_a_batch() -> None:
    assert choose_mode(takes((None, None)), QDQ, Probe(), BatchingConfig())[0] is COMBINE


TIMES = {1: 1.0, 2: 1.0}
EQUAL = Counts.EQUAL
OPEN = [
    ("shown", QDQ, Probe(TIMES, counts=EQUAL), "auto", COMBINE, ""),
    ("nothing tried", QDQ, Probe(TIMES), "auto", REQUESTS, 'nothing shows that inputs "x0" and'),
    ("any numbers", QDQ, Probe(TIMES, counts=Counts.ANY), "always", REQUESTS, "may differ"),
    ("one with several", QDQ, Probe(TIMES, counts=Counts.BROADCAST), "auto", COMBINE, ""),
    ("held to one", QDQ, Probe(TIMES, counts=Counts.BROADCAST), "always", COMBINE, ""),
    ("two fail", QDQ, Probe({1: 1.0}, counts=EQUAL, failure="2 rows: no"), "auto", REQUESTS, "no"),
    (
        "no row for a row",
        QDQ,
        Probe(TIMES, row_per_row=False, counts=EQUAL, failure="shape"),
        "auto",
        REQUESTS,
        "shape",
    ),
    ("four fail", QDQ, Probe(TIMES, counts=EQUAL, failure="4 rows: no"), "auto", ROWS, "4 rows"),
    ("moves", QDQ, Probe(TIMES, 0.3, 0.2, counts=EQUAL), "auto", REQUESTS, "answers change"),
    ("one scale", DYNAMIC, Probe(TIMES, 0.3, 0.2, counts=EQUAL), "auto", ROWS, "one scale"),
    (
        "time",
        DYNAMIC,
        Probe(TIMES, 0.3, 0.2, equivariant=False, counts=EQUAL),
        "auto",
        REQUESTS,
        "answers change",
    ),
    ("never", QDQ, Probe(TIMES, counts=EQUAL), "never", REQUESTS, "never to combine"),
]


@pytest.mark.parametrize(("case", "precision", "probe", "combine", "mode", "note"), OPEN)
@pytest.mark.parametrize("axes", [("unk__1", "unk__2"), (None, None), ("n", None)])
def test_inputs_are_combined_if_the_probe_found_a_common_batch(
    case: str,
    precision: Precision,
    probe: Probe,
    combine: str,
    mode: BatchingMode,
    note: str,
    axes: tuple[Dim, Dim],
) -> None:
    signature = takes((axes[0], 4), (axes[1], 3))
    batching = BatchingConfig.model_validate({"combine": combine})
    chosen, why = choose_mode(signature, precision, probe, batching)
    assert chosen is mode and re.search(note, why)
    shown = not not_a_batch(signature, precision, probe, batching)
    assert shown is (mode is not REQUESTS or case == "never")


NAMED = [
    ("user", "items", True),
    ("user", "unk__7", False),
    ("unk__1", "unk__2", False),
    ("ids_dynamic_axes_1", "mask_dynamic_axes_1", False),
    ("DynamicDimension.0", "DynamicDimension.1", False),
    ("s0", "s77", False),
    ("users", "s77", False),
    (None, None, False),
]


@pytest.mark.parametrize(("first", "second", "apart"), NAMED)
def test_axes_with_different_given_names_are_not_combined(
    first: Dim, second: Dim, apart: bool
) -> None:
    signature = takes((first, 4), (second, 4))
    probe = Probe(TIMES, counts=Counts.BROADCAST)
    mode, why = choose_mode(signature, QDQ, probe, BatchingConfig())
    assert named_apart(signature) is apart and mode is (REQUESTS if apart else COMBINE)
    assert ("one row with several" in why) is apart


def test_a_note_names_only_a_few_of_many_inputs() -> None:
    many = takes(*[(None, 2)] * 20)
    why = not_a_batch(many, QDQ, Probe(counts=Counts.ANY), BatchingConfig())
    assert why.startswith('inputs "x0" and "x1" and "x2" and 17 more may differ')


def test_an_input_without_a_shape_is_not_combined() -> None:
    unranked = TensorSpec("x", DATATYPES["FP32"], (), ranked=False)
    signature = Signature((unranked,), ())
    note = 'input "x" has no shape in the file'
    assert choose_mode(signature, QDQ, Probe(), BatchingConfig()) == (REQUESTS, note)


SHORT = Probe({1: 1e-5, 2: 1.2e-5, 64: 1e-4})
LONG = Probe({1: 5e-3, 2: 9e-3})
EVEN = Probe({1: 5e-3, 2: 1e-2, 4: 2e-2})


def plan(
    mode: BatchingMode,
    probe: Probe,
    cores: int = 4,
    instances: InstancesConfig | None = None,
    **batching: object,
) -> Plan:
    config = BatchingConfig.model_validate(batching)
    return choose_plan(mode, "", probe, config, instances or InstancesConfig(), cores)


def test_short_runs_are_executed_in_the_event_loop() -> None:
    assert plan(COMBINE, SHORT) == Plan(COMBINE, 64, 1, 1, True, "")


LINEAR = Probe({1: 3e-4, 2: 4e-4, 4: 6e-4, 8: 1.2e-3, 16: 2.3e-3, 32: 4.6e-3})


def test_with_one_core_longer_runs_use_the_event_loop_while_no_other_model_is_in_use() -> None:
    assert plan(COMBINE, LINEAR, cores=1) == Plan(COMBINE, 16, 1, 1, True, "", if_sole=True)
    assert plan(COMBINE, LINEAR, cores=2) == Plan(COMBINE, 16, 2, 1, False, "")
    assert plan(REQUESTS, Probe({1: 1.9e-3}), cores=1).if_sole
    # A second session with the cores of other workers is better for such rows.
    assert not plan(REQUESTS, Probe({1: 2.1e-3}), cores=1).inline


def test_settings_by_hand_keep_long_runs_out_of_the_event_loop() -> None:
    for instances in (InstancesConfig(count=1), InstancesConfig(lone_threads=4)):
        assert not plan(COMBINE, LINEAR, cores=1, instances=instances).inline
    assert plan(COMBINE, LINEAR, cores=1, instances=InstancesConfig(lone_threads=1)).inline
    assert not plan(COMBINE, LINEAR, cores=1, preferred_batch_size=32).inline
    assert plan(COMBINE, LINEAR, cores=1, preferred_batch_size=8).if_sole


def test_short_runs_use_the_event_loop_of_one_core_whatever_else_is_in_use() -> None:
    short = Probe({1: 1e-4, 2: 1.5e-4, 4: 2.5e-4, 8: 4.5e-4, 16: 8.5e-4, 32: 1.65e-3})
    assert plan(COMBINE, short, cores=1) == Plan(COMBINE, 16, 1, 1, True, "")
    assert plan(COMBINE, LINEAR, cores=1, preferred_batch_size=2) == Plan(
        COMBINE, 2, 1, 1, True, ""
    )


def test_the_most_rows_in_the_event_loop_depend_on_the_plan() -> None:
    batching = BatchingConfig()
    sole = plan(COMBINE, LINEAR, cores=1)
    assert inline_rows(sole, LINEAR, batching) == 16
    assert inline_rows(replace(sole, if_sole=False), LINEAR, batching) == 4
    assert inline_rows(replace(sole, mode=ROWS), LINEAR, batching) == 64


def test_a_batch_for_the_event_loop_of_one_core_is_about_as_fast_as_the_preferred_one() -> None:
    fixed = Probe({1: 1.9e-3, 2: 2e-3, 4: 2.1e-3, 8: 2.2e-3, 16: 3.9e-3, 32: 4.1e-3})
    assert plan(COMBINE, fixed, cores=1) == Plan(COMBINE, 32, 1, 1, False, "")
    unmeasured = plan(COMBINE, Probe({1: 1.1e-3}), cores=1, combine="always")
    assert unmeasured == Plan(COMBINE, 2, 1, 1, False, "")
    early = Probe({1: 1.1e-3, 2: 2.1e-3, 4: 3.9e-3})
    assert plan(COMBINE, early, cores=1) == Plan(COMBINE, 4, 1, 1, True, "", if_sole=True)


def test_idle_instances_divide_rows_unless_a_setting_is_against_it() -> None:
    free = InstancesConfig()

    def least(instances: InstancesConfig = free, **batching: object) -> int:
        return divided_rows(EVEN, BatchingConfig.model_validate(batching), instances)

    assert least() == 1 and least(combine="always") == 2
    assert not least(preferred_batch_size=8) and not least(max_queue_delay=0.1)
    assert not least(InstancesConfig(count=8))
    assert not divided_rows(SHORT, BatchingConfig(combine="always"), free)


def test_a_row_by_row_model_keeps_all_cores_busy() -> None:
    assert plan(ROWS, LONG) == Plan(ROWS, 1, 4, 1, False, "")
    assert plan(ROWS, Probe({1: 2e-4})).instances == 4
    assert plan(ROWS, Probe({1: 2e-4}), cores=1) == Plan(ROWS, 1, 1, 1, True, "")


def test_a_model_without_measurements_is_not_run_in_the_event_loop() -> None:
    assert plan(REQUESTS, Probe()) == Plan(REQUESTS, 1, 4, 1, False, "")


def test_settings_of_model_toml_have_priority() -> None:
    two = InstancesConfig(count=2, threads=3)
    assert plan(COMBINE, SHORT, instances=two) == Plan(COMBINE, 64, 2, 3, False, "")
    assert plan(COMBINE, LONG, cores=8, instances=InstancesConfig(threads=4)).instances == 2
    assert plan(COMBINE, SHORT, preferred_batch_size=8).preferred_rows == 8
    assert plan(COMBINE, SHORT, max_batch_size=16).preferred_rows == 16
    assert plan(ROWS, SHORT, preferred_batch_size=8).preferred_rows == 1


def test_combine_always_batches_even_if_it_is_not_faster() -> None:
    flat = Probe({1: 1e-3, 2: 2e-3, 4: 4e-3})
    assert plan(COMBINE, flat).preferred_rows == 1
    assert plan(COMBINE, flat, combine="always").preferred_rows == 2
    assert plan(COMBINE, flat, combine="always", max_batch_size=1).preferred_rows == 1


def test_threads_are_tried_for_long_rows_without_settings() -> None:
    long, free = plan(COMBINE, LONG), InstancesConfig()
    assert wants_threads(long, LONG, free, 4)
    assert not wants_threads(long, LONG, free, 1)
    assert not wants_threads(long, LONG, InstancesConfig(count=1), 4)
    assert not wants_threads(plan(ROWS, LONG), LONG, free, 4)
    assert not wants_threads(plan(COMBINE, SHORT), SHORT, free, 4)
    assert not wants_threads(plan(REQUESTS, Probe()), Probe(), free, 4)


def test_a_second_session_is_tried_for_long_rows_if_memory_allows() -> None:
    long, free = plan(COMBINE, LONG), InstancesConfig()
    assert wants_lone(long, LONG, free, 4, has_room=True)
    assert wants_lone(plan(ROWS, LONG), LONG, free, 4, has_room=True)
    assert not wants_lone(long, LONG, free, 4, has_room=False)
    assert not wants_lone(long, LONG, free, 1, has_room=True)
    assert not wants_lone(long, LONG, InstancesConfig(threads=1), 4, has_room=True)
    assert not wants_lone(plan(COMBINE, SHORT), SHORT, free, 4, has_room=True)


def test_lone_threads_of_model_toml_need_no_measurement() -> None:
    short = plan(COMBINE, SHORT)
    asked, usual = InstancesConfig(count=2, lone_threads=2), InstancesConfig(lone_threads=1)
    assert wants_lone(replace(short, inline=False), SHORT, asked, 1, has_room=False)
    assert not wants_lone(short, SHORT, asked, 4, has_room=True)
    assert not wants_lone(plan(COMBINE, LONG), LONG, usual, 4, has_room=True)


@pytest.mark.parametrize(
    ("speedup", "slowdown", "worth"),
    [
        (1.19, 1.0, False),
        (1.2, 1.0, True),
        (1.2, 2.0, True),
        (0.93, 1.29, False),
        (0.93, 1.3, True),
        (0.79, 2.0, False),
    ],
)
def test_a_second_session_is_used_only_if_it_is_fast_enough(
    speedup: float, slowdown: float, worth: bool
) -> None:
    assert worth_lone(speedup, slowdown) is worth


def test_a_second_session_leaves_memory_for_other_models() -> None:
    assert room_for_lone(100, held=100, memory=900)
    assert not room_for_lone(101, held=100, memory=900)
    assert not room_for_lone(1, held=299, memory=900)


def test_percentages_are_readable() -> None:
    assert percent(0.0026) == "up to 0.3 %"
    assert percent(1.5) == percent(float("inf")) == "more than 100 %"


def test_models_with_unbounded_time_are_not_run_in_the_event_loop() -> None:
    config, instances = BatchingConfig(), InstancesConfig()
    found = choose_plan(COMBINE, "", SHORT, config, instances, 4, "operator Loop")
    assert not found.inline and found.instances == 4


@pytest.mark.parametrize(
    ("seconds", "most"),
    [({}, 0), ({1: 1.0}, 0), ({1: 1e-5}, 1), ({1: 1e-5, 8: 9e-4, 64: 2e-3, 128: 1e-4}, 8)],
)
def test_batch_sizes_are_short_up_to_the_first_long_one(
    seconds: dict[int, float], most: int
) -> None:
    assert short_rows(Probe(seconds), 1e-3) == most


def test_batch_sizes_without_a_measurement_are_not_run_in_the_event_loop() -> None:
    few = Probe({1: 1e-5, 2: 1.2e-5})
    assert plan(COMBINE, few, preferred_batch_size=2).inline
    assert not plan(COMBINE, few, preferred_batch_size=32).inline
