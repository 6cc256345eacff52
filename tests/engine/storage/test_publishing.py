"""A version is published completely or not at all, and no other files remain."""

import asyncio
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from service.core.errors import (
    BodyTooLarge,
    InvalidName,
    MalformedRequest,
    QuantserveError,
    StorageFailed,
    StorageFull,
    UploadRejected,
    VersionExists,
)
from service.engine.storage.publishing import File, Published, publish, publish_files
from service.engine.storage.staging import Staging, remove_abandoned
from tests import disks
from tests.patience import PATIENCE

MODEL = (Path(__file__).parents[3] / "models/digits/1/model.onnx").read_bytes()
SHA256 = hashlib.sha256(MODEL).hexdigest()
LIMIT = 2**24


async def chunks(data: bytes, size: int = 10_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        await asyncio.sleep(0)
        yield data[at : at + size]


async def put(
    root: Path, data: bytes = MODEL, number: int | None = None, model: str = "m", limit: int = LIMIT
) -> Published:
    return await publish(root, model, number, chunks(data), limit=limit)


def tree(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def with_external_data(location: str) -> bytes:
    weights = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [weights],
    )
    model: onnx.ModelProto = helper.make_model(graph)
    data: bytes = model.SerializeToString()
    return data


async def test_a_new_model_gets_its_first_version(tmp_path: Path) -> None:
    done = await publish(tmp_path, "m", None, chunks(MODEL), sha256=SHA256.upper(), limit=LIMIT)
    assert (done.number, done.bytes, done.sha256) == (1, len(MODEL), SHA256)
    assert str(done.precision).startswith("INT8")
    assert (tmp_path / "m/1/model.onnx").read_bytes() == MODEL
    assert tree(tmp_path) == ["m", "m/1", "m/1/model.onnx"]


async def test_the_next_number_is_one_more_than_the_highest_name(tmp_path: Path) -> None:
    for name in ("2", "7", "x9", ".upload-old"):
        (tmp_path / "m" / name).mkdir(parents=True)
    (tmp_path / "m/11").write_text("a file takes the number as well")
    assert (await put(tmp_path)).number == 12
    assert (await put(tmp_path, number=5)).number == 5


@pytest.mark.parametrize("taken", ["folder", "file", "link"])
async def test_a_version_is_never_overwritten(tmp_path: Path, taken: str) -> None:
    (tmp_path / "m").mkdir()
    place = tmp_path / "m/3"
    if taken == "folder":
        place.mkdir()
    elif taken == "file":
        place.write_text("")
    else:
        place.symlink_to("nowhere")
    before = tree(tmp_path)
    with pytest.raises(VersionExists, match="version 3 already"):
        await put(tmp_path, number=3)
    assert tree(tmp_path) == before


async def test_a_version_created_during_the_upload_is_not_overwritten(tmp_path: Path) -> None:
    """Not even an empty folder: a user may be about to copy a model into it."""

    async def slow() -> AsyncIterator[bytes]:
        yield MODEL
        (tmp_path / "m/3").mkdir()

    with pytest.raises(VersionExists):
        await publish(tmp_path, "m", 3, slow(), limit=LIMIT)
    assert tree(tmp_path) == ["m", "m/3"]


BAD = {
    "empty": (b"", UploadRejected, "empty"),
    "not ONNX": (b"PK\3\4 a zip file", UploadRejected, "not an ONNX model"),
    "cut short": (MODEL[:-1], UploadRejected, "not an ONNX model"),
    "too large": (MODEL * 400, BodyTooLarge, "more than"),
    "without its weights": (with_external_data("w.bin"), UploadRejected, "w.bin"),
    "weights from elsewhere": (with_external_data("../../x"), UploadRejected, "outside"),
    "weights from the root": (with_external_data("/etc/passwd"), UploadRejected, "outside"),
    "weights with a zero": (with_external_data("a\0b"), UploadRejected, "outside"),
    "weights with a long name": (with_external_data("a" * 5000), UploadRejected, "not in"),
}


@pytest.mark.parametrize(("data", "kind", "text"), BAD.values(), ids=BAD.keys())
async def test_refused_uploads_leave_no_files(
    tmp_path: Path, data: bytes, kind: type[QuantserveError], text: str
) -> None:
    with pytest.raises(kind, match=text):
        await put(tmp_path, data)
    assert tree(tmp_path) == []


@pytest.mark.parametrize("digest", ["0" * 64, "xyz", ""])
async def test_a_wrong_digest_is_refused(tmp_path: Path, digest: str) -> None:
    with pytest.raises((UploadRejected, MalformedRequest), match="SHA-256"):
        await publish(tmp_path, "m", 1, chunks(MODEL), sha256=digest, limit=LIMIT)
    assert tree(tmp_path) == []


async def test_the_size_limit_is_exact(tmp_path: Path) -> None:
    await put(tmp_path, limit=len(MODEL))
    with pytest.raises(BodyTooLarge):
        await put(tmp_path, limit=len(MODEL) - 1)


@pytest.mark.parametrize("name", ["..", "a/b", ".hidden", "a\0b", "x" * 300])
async def test_names_are_checked_before_anything_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidName):
        await put(tmp_path, model=name)
    assert tree(tmp_path) == []


async def test_a_failed_upload_leaves_no_files(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield MODEL
        assert staged(tmp_path)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await publish(tmp_path, "m", None, broken(), limit=LIMIT)
    assert tree(tmp_path) == []


def staged(root: Path) -> list[Path]:
    return list(root.glob("*/.upload-*"))


async def test_a_cancelled_upload_leaves_no_files(tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(2**20)
            arrived.set()
            await asyncio.sleep(0)

    task = asyncio.create_task(publish(tmp_path, "m", None, endless(), limit=2**40))
    await arrived.wait()
    assert staged(tmp_path)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tree(tmp_path) == []


async def test_one_of_concurrent_uploads_of_one_version_is_stored(tmp_path: Path) -> None:
    second = (Path(__file__).parents[3] / "models/digits/2/model.onnx").read_bytes()
    results = await asyncio.gather(
        *(put(tmp_path, data, 1) for data in (MODEL, second) * 4), return_exceptions=True
    )
    won = [each for each in results if isinstance(each, Published)]
    lost = [each for each in results if isinstance(each, VersionExists)]
    assert (len(won), len(lost)) == (1, 7)
    stored = (tmp_path / "m/1/model.onnx").read_bytes()
    assert hashlib.sha256(stored).hexdigest() == won[0].sha256
    assert tree(tmp_path) == ["m", "m/1", "m/1/model.onnx"]


async def test_concurrent_uploads_without_a_number_get_different_numbers(tmp_path: Path) -> None:
    done = await asyncio.gather(*(put(tmp_path) for _ in range(8)))
    assert sorted(each.number for each in done) == list(range(1, 9))
    assert staged(tmp_path) == []


async def test_a_failed_upload_does_not_affect_others_of_the_same_new_model(tmp_path: Path) -> None:
    results = await asyncio.gather(
        *(put(tmp_path, data) for data in (b"no", MODEL) * 8), return_exceptions=True
    )
    assert sum(isinstance(each, Published) for each in results) == 8
    assert len(list((tmp_path / "m").iterdir())) == 8


async def test_a_model_folder_that_links_outside_is_not_written(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "m").symlink_to(outside)
    with pytest.raises(InvalidName, match="link"):
        await put(root)
    assert tree(outside) == []


async def test_the_root_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    await put(tmp_path / "root")
    assert (tmp_path / "real/m/1/model.onnx").exists()


async def test_files_beside_the_graph_are_stored_with_it(tmp_path: Path) -> None:
    weights = np.ones((4, 4), np.float32).tobytes()
    files = {
        "2/model.onnx": with_external_data("data/w.bin"),
        "2/data/w.bin": weights,
        "1/model.onnx": MODEL,
    }
    done = await publish_files(tmp_path, "m", files, limit=LIMIT)
    assert [each.number for each in done] == [1, 2]
    assert done[1].bytes == len(weights) + len(files["2/model.onnx"])
    assert (tmp_path / "m/2/data/w.bin").read_bytes() == weights
    assert staged(tmp_path) == []


WEIGHTS = np.ones((4, 4), np.float32).tobytes()
GRAPH = with_external_data("w.bin")


async def pieces(*given: bytes | tuple[str, bytes] | File) -> AsyncIterator[bytes | File]:
    for each in given:
        if isinstance(each, tuple):
            yield File(each[0])
            async for chunk in chunks(each[1], 10 if len(each[1]) < 10_000 else 2**20):
                yield chunk
        else:
            yield each


async def put_files(root: Path, *given: bytes | tuple[str, bytes] | File) -> Published:
    return await publish(root, "m", None, pieces(*given), limit=LIMIT)


@pytest.mark.parametrize("name", ["model.onnx", "net.onnx", "Net.ONNX"])
async def test_several_files_become_one_version(tmp_path: Path, name: str) -> None:
    graph = with_external_data("data/w.bin")
    done = await put_files(tmp_path, ("data/w.bin", WEIGHTS), (name, graph))
    assert (done.bytes, done.sha256) == (len(graph + WEIGHTS), hashlib.sha256(graph).hexdigest())
    assert tree(tmp_path / "m/1") == ["data", "data/w.bin", "model.onnx"]
    assert (tmp_path / "m/1/model.onnx").read_bytes() == graph
    assert (tmp_path / "m/1/data/w.bin").read_bytes() == WEIGHTS


async def test_file_names_in_the_graph_may_begin_with_a_dot_and_slash(tmp_path: Path) -> None:
    await put_files(tmp_path, ("m.onnx", with_external_data("./w.bin")), ("w.bin", WEIGHTS))
    assert tree(tmp_path / "m/1") == ["model.onnx", "w.bin"]


async def test_each_file_may_announce_its_digest(tmp_path: Path) -> None:
    good, bad = hashlib.sha256(WEIGHTS).hexdigest(), hashlib.sha256(b"").hexdigest()
    model = ("model.onnx", GRAPH)
    await put_files(tmp_path, model, File("w.bin", good), WEIGHTS)
    with pytest.raises(UploadRejected, match=f"w.bin .* is {good}, announced: {bad}"):
        await put_files(tmp_path, model, File("w.bin", bad), WEIGHTS)
    with pytest.raises(MalformedRequest, match="64 hexadecimal"):
        await put_files(tmp_path, model, File("w.bin", "1"), WEIGHTS)
    assert tree(tmp_path) == ["m", "m/1", "m/1/model.onnx", "m/1/w.bin"]


async def test_empty_files_are_stored(tmp_path: Path) -> None:
    with pytest.raises(UploadRejected, match="'w.bin' has 0 bytes, tensor 'w' needs 64"):
        await put_files(tmp_path, ("model.onnx", GRAPH), File("w.bin"))


M = ("model.onnx", GRAPH)
W = ("w.bin", WEIGHTS)
BAD_PIECES: dict[str, tuple[list[tuple[str, bytes]], type[QuantserveError], str]] = {
    "cut weights": ([M, ("w.bin", WEIGHTS[:-1])], UploadRejected, "has 63 bytes, .* needs 64"),
    "no weights": ([M], UploadRejected, "'w.bin' is not in the upload"),
    "no model": ([W], UploadRejected, "no model.onnx .* 'w.bin'"),
    "a model in a folder": ([("a/model.onnx", GRAPH), W], UploadRejected, "'a/model.onnx'"),
    "all in a folder": ([("a/model.onnx", GRAPH), ("a/w.bin", WEIGHTS)], UploadRejected, "tar -C"),
    "two models": ([("a.onnx", GRAPH), ("b.onnx", GRAPH)], UploadRejected, "'a.onnx', 'b.onnx'"),
    "a typo": ([M, ("W.bin", WEIGHTS)], UploadRejected, "'w.bin' is not in .*has 'W.bin'"),
    "one too many": ([M, W, ("x.bin", b"x")], UploadRejected, "has 'x.bin', which the model"),
    "the same twice": ([M, W, W], UploadRejected, 'two files "w.bin"'),
    "a parent's": ([M, ("../w.bin", WEIGHTS)], InvalidName, "'..'"),
    "the root's": ([M, ("/w.bin", WEIGHTS)], InvalidName, "''"),
    "hidden": ([M, (".w.bin", WEIGHTS)], InvalidName, "expected"),
    "a backslash": ([M, ("a\\w.bin", WEIGHTS)], InvalidName, "expected"),
    "a new line": ([M, ("w.bin\n", WEIGHTS)], InvalidName, "expected"),
    "a zero byte": ([M, ("w.bin\0", WEIGHTS)], InvalidName, "expected"),
    "no name": ([M, ("", WEIGHTS)], InvalidName, "''"),
    "settings": ([M, W, ("model.toml", b"")], InvalidName, "never settings"),
    "a pin": ([M, W, ("serving.toml", b"")], InvalidName, "never settings"),
    "a golden set": ([M, W, ("golden.npz", b"")], InvalidName, "golden sets"),
    "code": ([M, W, ("lib.so", b"")], InvalidName, "or code"),
    "numbered code": ([M, W, ("a/lib.SO.1", b"")], InvalidName, "or code"),
    "a folder that is a file": ([M, W, ("w.bin/x", b"")], InvalidName, "both as a file"),
    "a file that is a folder": ([("a/b", b"x"), ("a", b"x")], InvalidName, "both as a file"),
    "too many": ([(f"{n}", b"") for n in range(4097)], BodyTooLarge, "at most 4096 files"),
    "too large": ([M, ("w.bin", bytes(LIMIT))], BodyTooLarge, "more than"),
    "nothing in them": ([("model.onnx", b"")], UploadRejected, "empty"),
}  # fmt: skip


@pytest.mark.parametrize(("given", "kind", "text"), BAD_PIECES.values(), ids=BAD_PIECES.keys())
async def test_an_invalid_set_of_files_leaves_no_files(
    tmp_path: Path, given: list[tuple[str, bytes]], kind: type[QuantserveError], text: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(os, "fsync", lambda _: None)  # there are four thousand files
    with pytest.raises(kind, match=text):
        await put_files(tmp_path, *given)
    assert tree(tmp_path) == []


@pytest.mark.parametrize("name", ["golden.npz", "lib.so", "serving.toml", "report.json"])
async def test_external_data_cannot_have_a_reserved_name(tmp_path: Path, name: str) -> None:
    files = {"1/model.onnx": with_external_data(name), f"1/{name}": WEIGHTS}
    with pytest.raises(InvalidName, match="cannot be uploaded"):
        await publish_files(tmp_path, "m", files, limit=LIMIT)
    assert tree(tmp_path) == []


BAD_FILES = {
    "a path out": ({"1/../../x": b""}, InvalidName),
    "a file of the model, not of a version": ({"model.toml": b""}, InvalidName),
    "no graph": ({"1/weights.bin": b"x"}, UploadRejected),
    "a file that the graph does not name": ({"1/model.onnx": MODEL, "1/x": b""}, UploadRejected),
    "cut weights": ({"1/model.onnx": GRAPH, "1/w.bin": WEIGHTS[1:]}, UploadRejected),
    "settings": ({"1/model.onnx": MODEL, "1/model.toml": b""}, InvalidName),
    "a golden set": ({"1/model.onnx": MODEL, "1/golden.npz": b""}, InvalidName),
    "a file that is a folder too": ({"1/model.onnx": MODEL, "1/model.onnx/a": b""}, InvalidName),
    "a second version that is no model": ({"1/model.onnx": MODEL, "2/model.onnx": b"no"},
                                          UploadRejected),
    "too many bytes": ({"1/model.onnx": bytes(LIMIT + 1)}, BodyTooLarge),
}  # fmt: skip


@pytest.mark.parametrize(("files", "kind"), BAD_FILES.values(), ids=BAD_FILES.keys())
async def test_invalid_files_of_a_load_leave_no_files(
    tmp_path: Path, files: dict[str, bytes], kind: type[QuantserveError]
) -> None:
    with pytest.raises(kind):
        await publish_files(tmp_path, "m", files, limit=LIMIT)
    assert tree(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with disks.small_disk(folder, "64k") as disk:
        yield disk


async def test_a_full_disk_is_an_error_and_leaves_no_files(small_disk: Path) -> None:
    with pytest.raises(StorageFull, match="No space left"):
        await put(small_disk, bytes(2**21))
    assert tree(small_disk) == []
    await put(small_disk)
    assert tree(small_disk) == ["m", "m/1", "m/1/model.onnx"]


async def test_a_read_only_disk_is_an_error(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StorageFailed, match="Read-only") as caught:
        await put(small_disk)
    assert not isinstance(caught.value, StorageFull)
    assert str(small_disk) not in str(caught.value)


FILE_LIMIT = """
import asyncio, resource, sys
from pathlib import Path
from service.core.errors import StorageFull
from service.engine.storage.publishing import publish
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
async def chunks():
    yield bytes(50_000)
try:
    asyncio.run(publish(Path(sys.argv[1]), "m", None, chunks(), limit=2**20))
except StorageFull as error:
    print(error)
"""


def test_a_file_size_limit_is_an_error(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FILE_LIMIT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert "cannot store model" in done.stdout and "File too large" in done.stdout
    assert tree(tmp_path) == []


def test_only_uploads_of_dead_processes_are_removed(
    tmp_path: Path,
) -> None:
    live = Staging(tmp_path, "m")
    live.create()
    for name in ("m", "gone"):
        (tmp_path / name / ".upload-0123").mkdir(parents=True)
        (tmp_path / name / ".upload-0123/model.onnx").write_bytes(b"half")
    (tmp_path / "m/.upload-link").symlink_to(tmp_path)
    assert len(remove_abandoned(tmp_path)) == 2
    assert tree(tmp_path) == ["m", f"m/{live.folder.name}", "m/.upload-link"]
    live.discard()


def test_half_written_pins_are_removed_in_every_model_folder(tmp_path: Path) -> None:
    root, outside = tmp_path / "models", tmp_path / "outside"
    drafts = [".serving.toml-0123456789abcdef", ".quarantine.toml-0123456789abcdef"]
    for folder in (root, root / "m", root / "caf\udce9", outside):
        folder.mkdir()
        for draft in (*drafts, ".model.toml-0123456789abcdef", "serving.toml"):
            (folder / draft).touch()
    (root / "link").symlink_to(outside)
    (root / "pipe").mkdir()
    os.mkfifo(root / "pipe" / drafts[0])
    (root / "broken").symlink_to("nowhere")
    assert len(remove_abandoned(root)) == 6
    assert [each for each in tree(root) if Path(each).name in drafts] == [f"pipe/{drafts[0]}"]
    assert set(drafts) <= {each.name for each in outside.iterdir()}


def test_a_write_after_discard_creates_nothing(tmp_path: Path) -> None:
    staging = Staging(tmp_path, "m")
    staging.create()
    staging.discard()
    staging.append(PurePosixPath("data/w.bin"), b"x")
    assert tree(tmp_path) == []


def test_a_version_may_be_discarded_from_several_threads_at_once(tmp_path: Path) -> None:
    staging = Staging(tmp_path, "m")
    staging.create()
    staging.append(PurePosixPath("model.onnx"), b"x")
    threads = [threading.Thread(target=staging.discard) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tree(tmp_path) == []


async def test_one_call_may_publish_many_versions(tmp_path: Path) -> None:
    files = {f"{number}/model.onnx": MODEL for number in range(1, 12)}
    done = await publish_files(tmp_path, "m", files, limit=LIMIT)
    assert [each.number for each in done] == list(range(1, 12))


class TestBesideAFlatModel:
    """A model file without a version folder is version 1, which is never overwritten."""

    @pytest.fixture
    def flat(self, tmp_path: Path) -> Path:
        (tmp_path / "m").mkdir()
        (tmp_path / "m/model_quantized.onnx").write_bytes(MODEL)
        return tmp_path

    async def test_the_next_version_is_2(self, flat: Path) -> None:
        assert (await put(flat, MODEL)).number == 2
        assert (await put(flat, MODEL)).number == 3
        assert tree(flat) == [
            "m", "m/2", "m/2/model.onnx", "m/3", "m/3/model.onnx", "m/model_quantized.onnx",
        ]  # fmt: skip

    async def test_version_1_exists_already(self, flat: Path) -> None:
        with pytest.raises(VersionExists, match="has a version 1 already"):
            await put(flat, MODEL, 1)
        with pytest.raises(VersionExists):
            await publish_files(flat, "m", {"1/model.onnx": MODEL}, limit=LIMIT)
        assert tree(flat) == ["m", "m/model_quantized.onnx"]
