"""``quantserve upload``: stores a model, with its external data, as a version on the server."""

import argparse
import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from service.client import Refused, model_path
from service.commands.remote import client_of, describe_remote, tell_refusal
from service.core.errors import ConfigError, InvalidName, LoadFailed
from service.core.names import LANGUAGE_FILE, PREPROCESSOR_FILE, TOKENIZER_FILE
from service.engine.host.paths import file_path
from service.engine.onnx_file.summary import summarise
from service.engine.storage.contents import companions

MODEL_FILE = "model.onnx"


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the model, its files and its version."""
    describe_remote(parser)
    parser.add_argument("file", metavar="FILE", type=Path, help="the ONNX file")
    parser.add_argument(
        "more",
        metavar="MORE",
        type=Path,
        nargs="*",
        help="external data; files that the model names are found automatically next to it, and so"
        " is the tokenizer of a language model",
    )
    parser.add_argument("--version", type=int, help="its version (default: the next one)")


def run(flags: dict[str, Any]) -> int:
    """Upload. Returns the exit code.

    Raises:
        ConfigError, Unreachable
    """
    name = flags["name"]
    given = [flags["file"], *flags["more"]]
    model = next((path for path in given if path.suffix.lower() == ".onnx"), given[0])
    files = find_files(model, [path for path in given if path != model])
    query = {"sha256": _sha256(model)}
    if flags["version"] is not None:
        query["version"] = str(flags["version"])
    try:
        client = client_of(flags["url"], os.environ)
        done = client.upload(model_path(name, "versions"), query, *_body(files))
    except Refused as refused:
        return tell_refusal(refused)
    size, number = done["bytes"] / 1e6, done["version"]
    count = f", {len(files)} files" if len(files) > 1 else ""
    print(f"{name}: stored version {number} ({done['precision']}, {size:.2f} MB{count})")
    print(f"serve it with: quantserve swap {name} {number}")
    return 0


def find_files(model: Path, more: Sequence[Path]) -> dict[str, Path]:
    """Return the files to send, by their name in the version: the model, ``more``, external data
    that the model names, and companions such as a tokenizer.

    Raises:
        ConfigError: a file does not exist, or has a name that servers do not accept.
    """
    files = {MODEL_FILE: model}
    for path in more:
        name = _name(_inside(model.parent, path))
        if files.setdefault(name, path) != path:
            raise ConfigError(f"{files[name]} and {path} would both be {name} in the version")
    marks = set(map(PurePosixPath, (LANGUAGE_FILE, TOKENIZER_FILE, PREPROCESSOR_FILE)))
    there = {name for name in marks if (model.parent / name).is_file()}
    beside = {str(name): model.parent / name for name in companions(there)}
    files |= {name: path for name, path in beside.items() if path.is_file()}
    for given in _external_files(model):
        # No path outside the folder: the author of a model must not choose the files to send.
        name = _name(PurePosixPath(given).as_posix())
        if not files.setdefault(name, model.parent / name).is_file():
            raise ConfigError(f"{model} names external data {given!r}, which is not next to it")
    return files


def _inside(folder: Path, path: Path) -> str:
    """Return the path of a file relative to a folder, or its name if it is elsewhere."""
    near = Path(os.path.relpath(path, folder))
    return path.name if near.parts[:1] == ("..",) else near.as_posix()


def _name(path: str) -> str:
    try:
        return str(file_path(path))
    except InvalidName as error:
        raise ConfigError(f"servers do not accept this external data: {error}") from None


def _external_files(model: Path) -> tuple[str, ...]:
    try:
        return summarise(model).external_files
    except LoadFailed:
        return ()  # the server reports what is wrong with the file


def _body(files: Mapping[str, Path]) -> tuple[str, list[bytes | Path]]:
    """Return the Content-Type, and the parts of the body."""
    if len(files) == 1:
        return "application/octet-stream", [*files.values()]
    boundary = secrets.token_hex(16)
    return f"multipart/form-data; boundary={boundary}", [*_form(files, boundary.encode())]


def _form(files: Mapping[str, Path], boundary: bytes) -> Iterator[bytes | Path]:
    """Encode the files as a form, each with its digest.

    Source: https://www.rfc-editor.org/rfc/rfc7578
    """
    for name, path in files.items():
        head = (
            f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n'
            f"Content-Type: application/octet-stream\r\nX-Content-SHA256: {_sha256(path)}\r\n\r\n"
        )
        yield b"--" + boundary + b"\r\n" + head.encode()
        yield path
        yield b"\r\n"
    yield b"--" + boundary + b"--\r\n"


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as source:
            return hashlib.file_digest(source, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
