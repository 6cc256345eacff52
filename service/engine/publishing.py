"""A new version, from bytes that arrive to a folder that is there as a whole.

Nothing is ever held in memory beyond one block; nothing blocks the event loop; whatever goes
wrong, the repository is afterwards as it was before.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from service.core.errors import (
    BodyTooLarge,
    InvalidName,
    LoadFailed,
    MalformedRequest,
    UploadRejected,
)
from service.engine.graph import Precision, check_external_files, summarise
from service.engine.paths import check_model_name, check_version, version_file
from service.engine.staging import Staging, is_taken, version_exists

MODEL_FILE = PurePosixPath("model.onnx")
BLOCK = 2**20
"""Bytes gathered before a thread is asked to write them."""
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Published:
    """A version that is in the repository: its size with all files, the SHA-256 of its graph in
    hexadecimal, and the precision of its weights."""

    number: int
    bytes: int
    sha256: str
    precision: Precision


async def publish(
    folder: Path,
    model: str,
    number: int | None,
    chunks: AsyncIterator[bytes],
    *,
    sha256: str | None = None,
    limit: int,
) -> Published:
    """Store one ``model.onnx`` as a version of a model, which may be new; None for the next number.

    Of two uploads of one number the first that is complete wins; the other is told.

    Raises:
        InvalidName: the model or version cannot be called that.
        VersionExists: the number is taken.
        BodyTooLarge: more than ``limit`` bytes came.
        UploadRejected: it is no ONNX model, not the one with that SHA-256, or not the whole of it.
        StorageFailed: the disk is full, or does not take it for another reason.
    """
    expected = _digest(sha256)
    async with _staged(folder, model, number) as staging:
        async for block in _blocks(chunks, limit):
            await asyncio.to_thread(staging.append, MODEL_FILE, block)
        found = await asyncio.to_thread(_check, staging, expected)
        return found(await asyncio.to_thread(staging.publish, number))


async def publish_files(
    folder: Path, model: str, files: Mapping[str, bytes], *, limit: int
) -> tuple[Published, ...]:
    """Store versions of several files each: ``{"1/model.onnx": ..., "1/weights.bin": ...}``.

    All versions are checked before the first is published, in ascending order.

    Raises:
        InvalidName, VersionExists, BodyTooLarge, UploadRejected, StorageFailed: see ``publish``.
    """
    total = sum(map(len, files.values()))
    if total > limit:
        raise BodyTooLarge(f"the files have {total} bytes, the limit is {limit}")
    async with AsyncExitStack() as stack:
        ready = []
        for number, parts in sorted(_by_version(files).items()):
            staging = await stack.enter_async_context(_staged(folder, model, number))
            for path, data in parts.items():
                await asyncio.to_thread(staging.append, path, data)
            ready.append((number, staging, await asyncio.to_thread(_check, staging, None)))
        return tuple([found(await asyncio.to_thread(each.publish, n)) for n, each, found in ready])


@asynccontextmanager
async def _staged(folder: Path, model: str, number: int | None) -> AsyncIterator[Staging]:
    check_model_name(model)
    if number is not None and is_taken(folder / model, check_version(number)):
        raise version_exists(model, number)
    staging = Staging(folder, model)
    try:
        await asyncio.to_thread(staging.create)
        yield staging
    finally:
        # A future, not a task, and shielded: a server that stops cancels everything once more.
        loop = asyncio.get_running_loop()
        await asyncio.shield(loop.run_in_executor(None, staging.discard))


async def _blocks(chunks: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    held = bytearray()
    total = 0
    async for chunk in chunks:
        total += len(chunk)
        if total > limit:
            raise BodyTooLarge(f"the model has more than {limit} bytes")
        held += chunk
        if len(held) >= BLOCK:
            yield bytes(held)
            held.clear()
    yield bytes(held)


def _check(staging: Staging, sha256: str | None) -> Callable[[int], Published]:
    """Make the files durable and read what they are; what is missing is the version's number."""
    sums = staging.seal()
    if MODEL_FILE not in sums:
        raise UploadRejected(f"there is no {MODEL_FILE} among the files of the version")
    if not staging.bytes:
        raise UploadRejected("the upload is empty, expected the bytes of an ONNX model")
    found = sums[MODEL_FILE]
    if sha256 not in (None, found):
        raise UploadRejected(f"the SHA-256 of what arrived is {found}, announced was {sha256}")
    try:
        summary = summarise(staging.folder / MODEL_FILE)
        check_external_files(summary, staging.folder)
    except LoadFailed as error:
        raise UploadRejected(str(error)) from error
    return lambda number: Published(number, staging.bytes, found, summary.precision)


def _digest(given: str | None) -> str | None:
    if given is None:
        return None
    if not SHA256.fullmatch(given.lower()):
        raise MalformedRequest(f"a SHA-256 has 64 hexadecimal digits, got {given!r:.80}")
    return given.lower()


def _by_version(files: Mapping[str, bytes]) -> dict[int, dict[PurePosixPath, bytes]]:
    versions: dict[int, dict[PurePosixPath, bytes]] = {}
    for name, data in files.items():
        number, path = version_file(name)
        versions.setdefault(number, {})[path] = data
    for parts in versions.values():
        for path in parts:
            if any(parent in parts for parent in path.parents):
                raise InvalidName(f'"{path}" is inside of what is a file too')
    return versions
