"""Publishes a new version from the bytes of an upload: the complete folder appears at once.

Memory holds one block at a time, and the event loop is not blocked. After a failure the repository
is unchanged.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from service.core.errors import BodyTooLarge, MalformedRequest, UploadRejected
from service.engine.host.paths import check_model_name, check_version, version_file
from service.engine.onnx_file.summary import Precision
from service.engine.storage.contents import MODEL_FILE, Arriving, check_contents, find_model
from service.engine.storage.staging import Staging, is_taken, version_exists

BLOCK = 2**20
"""Bytes to collect before a thread writes them."""
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Published:
    """A published version: its number, the bytes of all its files, the SHA-256 of its model file in
    hexadecimal, and the precision of its weights."""

    number: int
    bytes: int
    sha256: str
    precision: Precision


@dataclass(frozen=True, slots=True)
class File:
    """Marks the beginning of a file; the following bytes are its content.

    ``name`` is the file name that the client sent, ``sha256`` the digest that it announced, in
    hexadecimal.
    """

    name: str
    sha256: str | None = None


Digests = dict[PurePosixPath, str | None]


async def publish(
    folder: Path,
    model: str,
    number: int | None,
    pieces: AsyncIterator[bytes | File],
    *,
    sha256: str | None = None,
    limit: int,
) -> Published:
    """Store files as a version of a model, which may be new. ``number`` None is the next number.

    Bytes before the first ``File`` are ``model.onnx``. If there are several files, one is the model
    and is renamed to ``model.onnx``; the others are its external data and other allowed files.
    ``sha256`` is the digest of the model file. ``limit`` is for the bytes of all files.

    If two uploads have the same number, the first to complete is published, and the other refused.

    Raises:
        InvalidName: the name of the model, the version or a file is not allowed.
        VersionExists: the number is taken.
        BodyTooLarge: the upload has more than ``limit`` bytes, or too many files.
        UploadRejected: the upload is no ONNX model, has another SHA-256, lacks external data, or
            has files that the model does not name.
        StorageFailed: the disk is full, or the write fails for another reason.
    """
    expected = _digest(sha256)
    async with _staged(folder, model, number) as staging:
        announced: Digests = {}
        async for path, block in _blocks(pieces, limit, announced):
            await asyncio.to_thread(staging.append, path, block)
        found = await asyncio.to_thread(_check, staging, expected, announced)
        return found(await asyncio.to_thread(staging.publish, number))


async def publish_files(
    folder: Path, model: str, files: Mapping[str, bytes], *, limit: int
) -> tuple[Published, ...]:
    """Store versions of several files each: ``{"1/model.onnx": ..., "1/weights.bin": ...}``.

    All versions are checked before the first is published. They are published in ascending order.

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
            ready.append((number, staging, await asyncio.to_thread(_check, staging)))
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
        # A shielded future, not an asyncio task: a server that stops cancels its tasks twice.
        loop = asyncio.get_running_loop()
        await asyncio.shield(loop.run_in_executor(None, staging.discard))


async def _blocks(
    pieces: AsyncIterator[bytes | File], limit: int, announced: Digests
) -> AsyncIterator[tuple[PurePosixPath, bytes]]:
    """Yield the path and the bytes to write, in blocks large enough for a thread. ``announced``
    receives the announced digest of each file."""
    arriving, path, held, total = Arriving(), None, bytearray(), 0
    async for piece in pieces:
        if isinstance(piece, File):
            if path is not None:
                yield path, bytes(held)
                held.clear()
            path = arriving.begin(piece.name)
            announced[path] = _digest(piece.sha256)
            continue
        path = path or arriving.begin(MODEL_FILE.name)
        total += len(piece)
        if total > limit:
            raise BodyTooLarge(f"the model has more than {limit} bytes")
        held += piece
        if len(held) >= BLOCK:
            yield path, bytes(held)
            held.clear()
    if path is not None:
        yield path, bytes(held)


def _check(
    staging: Staging, sha256: str | None = None, announced: Digests | None = None
) -> Callable[[int], Published]:
    """Make the files durable and check them. Return a function from the version's number to the
    result.

    ``sha256`` is the digest of the model file; ``announced`` has the digest of each file.
    """
    sums = staging.seal()
    if not staging.bytes:
        raise UploadRejected("the upload is empty, expected the bytes of an ONNX model")
    model = find_model(sums)
    for path, wanted in (*(announced or {}).items(), (model, sha256)):
        if wanted not in (None, sums[path]):
            raise UploadRejected(
                f"the SHA-256 of {path} as received is {sums[path]}, announced: {wanted}"
            )
    if model != MODEL_FILE:
        staging.rename(model, MODEL_FILE)
        sums[MODEL_FILE] = sums.pop(model)
    summary = check_contents(staging.folder, sums)
    return lambda number: Published(number, staging.bytes, sums[MODEL_FILE], summary.precision)


def _digest(given: str | None) -> str | None:
    if given is None:
        return None
    if not SHA256.fullmatch(given.lower()):
        raise MalformedRequest(f"a SHA-256 has 64 hexadecimal digits, got {given!r:.80}")
    return given.lower()


def _by_version(files: Mapping[str, bytes]) -> dict[int, dict[PurePosixPath, bytes]]:
    arriving: defaultdict[int, Arriving] = defaultdict(Arriving)
    versions: defaultdict[int, dict[PurePosixPath, bytes]] = defaultdict(dict)
    for name, data in files.items():
        number, path = version_file(name)
        versions[number][arriving[number].begin(str(path))] = data
    return versions
