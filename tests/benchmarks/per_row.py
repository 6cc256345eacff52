"""Measures per-row recipes: the forms on a sentence encoder, a recommender that is
served, and the worst row of a network whose rows differ in size.

Ratios are to FP32, or to onnxruntime.quantization's dynamic form, measured alternately in one run.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime as ort
from onnxruntime.quantization import QuantType, quantize_dynamic

from service.engine.cpu.kernels import saturates
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from service.quantization.data.rows import Rows, save_rows
from service.quantization.evaluate.quality import cosine
from service.quantization.recipes.build import WorkDir, build, prepare
from service.quantization.recipes.catalogue import PerRow, Recipe, per_row
from tests.benchmarks import models, quantize_cases, wrk
from tests.benchmarks import protocol as wires
from tests.benchmarks.kernels import defaults, in_turns
from tests.benchmarks.line import Line
from tests.benchmarks.protocol import Protocol, Tensors
from tests.benchmarks.servers import Launch, Server, serving

CALIBRATING, JUDGING = 64, 200
TOKENS = 64
TIMED_SECONDS, TURN_SECONDS = 6.0, 0.02
"""Turns have several runs each, so that weights stay in the caches as in serving."""
CLIENTS, ROUNDS, SECONDS = 32, 5, 3
BATCH = 32
SAME = 1e-6
ROWS_LEAST, COMBINED_LEAST = 1.8, 0.9


def forms(cache: Path) -> Iterator[Line]:
    """Measure each form on MiniLM: time of 64 tokens, cosine, influence of other rows."""
    case = quantize_cases.sentences(cache)
    files = sorted(case.data.glob("*.npz"))[: CALIBRATING + JUDGING]
    feeds = [_feed(path) for path in files]
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        work_dir = WorkDir(Path(folder))
        rows = tuple(tuple(feed.values()) for feed in feeds[:CALIBRATING])
        save_rows(Rows(rows), work_dir.calibration)
        prepare(case.model, work_dir)
        dynamic = Path(folder, "dynamic.onnx")
        quantize_dynamic(
            work_dir.prepared("processed"), dynamic, per_channel=True, weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )  # fmt: skip
        sessions = {"FP32": defaults(case.model, 1, True), "dynamic": defaults(dynamic, 1, True)}
        recipes = list(per_row(saturates()))
        for recipe in recipes:
            path = Path(folder, f"{len(sessions)}.onnx")
            build(recipe, work_dir, path)
            sessions[recipe.name] = _session(path)
        want = [sessions["FP32"].run(None, feed)[0] for feed in feeds[CALIBRATING:]]
        times = _times(sessions, _row_of_tokens(feeds[0]))
    fp32, dynamic_times = times["FP32"], times["dynamic"]
    for recipe in recipes:
        session = sessions[recipe.name]
        got = [session.run(None, feed)[0] for feed in feeds[CALIBRATING:]]
        mean = float(np.mean([cosine(a, b) for a, b in zip(want, got, strict=True)]))
        share = float(np.median(times[recipe.name] / fp32))
        beside = float(np.median(times[recipe.name] / dynamic_times))
        assert isinstance(recipe.method, PerRow)
        least, most = (0.999, 0.47) if recipe.method.smoothing else (0.998, 0.46)
        if not recipe.method.asymmetric:  # the targets are for the more accurate form
            least = 0.997
        yield Line(f"{recipe.name}: share of FP32's time", most, share, least=False)
        yield Line(f"{recipe.name}: of quantize_dynamic's", 1.12, beside, least=False)
        yield Line(f"{recipe.name}: mean cosine", least, mean)
        moved = _moved(session, feeds[CALIBRATING:])
        yield Line(f"{recipe.name}: moved by other rows", SAME, moved, least=False)


def recommender(cache: Path) -> Iterator[Line]:
    """Measure the requests/s of the per-row form, served with combined rows, relative to the
    dynamic form, row by row and combined."""
    source = quantize_cases.recommender(cache)
    with tempfile.TemporaryDirectory(dir=cache) as folder, ExitStack() as stack:
        home = Path(folder)
        servers = {
            name: stack.enter_context(_serving(home, name, settings, path))
            for name, settings, path in _candidates(source, home)
        }
        for wire in Protocol:
            rates = _rates(servers, wire, source, home)
            for other, least in (("rows", ROWS_LEAST), ("combined", COMBINED_LEAST)):
                ratios = [a / b for a, b in zip(rates["per-row"], rates[other], strict=True)]
                spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
                what = f"{wire}, {CLIENTS} clients: to dynamic, {other} ({spread})"
                yield Line(what, least, median(ratios))
            yield Line(f"{wire}: requests/s of the per-row form", 0, median(rates["per-row"]))


def worst_row_and_speed(fp32: Path, published: Path, data: Path) -> Iterator[Line]:
    """Measure the speed at batch 32, and the lowest cosine of any row."""
    sessions = {"FP32": defaults(fp32, 1, True), "published": _session(published)}
    name = sessions["FP32"].get_inputs()[0].name
    with np.load(data) as archive:
        x = archive[name]
    times = _times(sessions, {name: x[:BATCH]})
    speed = float(np.median(times["FP32"] / times["published"]))
    want, got = (session.run(None, {name: x})[0] for session in sessions.values())
    worst = min(cosine(a, b) for a, b in zip(want, got, strict=True))
    yield Line(f"times FP32's speed in batches of {BATCH}", 1.8, speed)
    yield Line("cosine of the worst row", 0.995, worst)


def _candidates(source: Path, home: Path) -> Iterator[tuple[str, str, Path]]:
    """Return the name, model.toml and file of each server's model."""
    dynamic, rows = home / "dynamic.onnx", home / "per-row.onnx"
    quantize_dynamic(
        source, dynamic, per_channel=True, weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul"],
    )  # fmt: skip
    work_dir = WorkDir(home)
    feeds = (tuple(models.inputs(source, seed).values()) for seed in range(CALIBRATING))
    save_rows(Rows(tuple(feeds)), work_dir.calibration)
    prepare(source, work_dir)
    build(Recipe("per row", PerRow(reduce_range=saturates())), work_dir, rows)
    yield "rows", "", dynamic
    yield "combined", '[batching]\ncombine = "always"\n', dynamic
    yield "per-row", "", rows


def _serving(home: Path, name: str, settings: str, model: Path) -> AbstractContextManager[Server]:
    repository = home / name
    folder = repository / "recommender"
    (folder / "1").mkdir(parents=True)
    shutil.copy(model, folder / "1/model.onnx")
    if settings:
        (folder / "model.toml").write_text(settings)
    arguments = ("serve", "--models", str(repository), "--host", "127.0.0.1")
    return serving(Launch(name, "recommender", "service", arguments), home)


def _rates(
    servers: dict[str, Server], wire: Protocol, source: Path, home: Path
) -> dict[str, list[float]]:
    """Return the requests/s of each server in each round. The first server changes."""
    message = wires.request(wire, models.inputs(source, 1), ("score",))
    body = home / f"{wire}.body"
    body.write_bytes(message.content)
    rates: dict[str, list[float]] = {name: [] for name in servers}
    for turn in range(ROUNDS + 1):
        order = [*islice([*servers] * 2, turn % len(servers), turn % len(servers) + len(servers))]
        for name in order:
            load = wrk.Load(servers[name].url, body, message)
            found = wrk.run(load, CLIENTS, SECONDS)
            if turn:  # the first round warms up
                rates[name].append(found.requests / found.seconds)
            servers[name].settle()
    return rates


def _session(path: Path) -> ort.InferenceSession:
    """Create a session with the options of serving and one thread."""
    return Session(path, SessionOptions(1))._session


def _times(sessions: dict[str, ort.InferenceSession], feed: Tensors) -> dict[str, np.ndarray]:
    """Return the seconds of a run in each round; all sessions run alternately."""
    calls = [partial(session.run, None, feed) for session in sessions.values()]
    taken = in_turns(calls, TIMED_SECONDS, TURN_SECONDS)
    return dict(zip(sessions, taken.T, strict=True))


def _feed(path: Path) -> Tensors:
    with np.load(path) as archive:
        return {name: np.atleast_2d(archive[name]) for name in archive.files}


def _row_of_tokens(like: Tensors) -> Tensors:
    rng = np.random.default_rng(0)
    return {
        name: np.ones((1, TOKENS), values.dtype) if "mask" in name
        else rng.integers(1000, 20_000, (1, TOKENS), values.dtype)
        for name, values in like.items()
    }  # fmt: skip


def _moved(session: ort.InferenceSession, feeds: list[Tensors]) -> float:
    """Return the largest change of a row's answer in a batch with another row."""
    groups: dict[tuple[int, ...], list[Tensors]] = {}
    for feed in feeds:
        groups.setdefault(next(iter(feed.values())).shape, []).append(feed)
    moved = 0.0
    for group in groups.values():
        for one, other in zip(group, group[1:], strict=False):
            pair = {name: np.concatenate([one[name], other[name]]) for name in one}
            twice = {name: np.concatenate([one[name], one[name]]) for name in one}
            got, want = session.run(None, pair)[0][0], session.run(None, twice)[0][0]
            moved = max(moved, float(np.abs(got - want).max()))
    return moved
