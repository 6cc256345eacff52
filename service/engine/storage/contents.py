"""Allowed files of an uploaded version: its model, the external data that the model names, and the
files that belong to a model for language, texts or images.

Other files are refused, so that an upload cannot contain settings, code, or a golden set for its
own gate.
"""

from collections.abc import Container, Iterable, Mapping
from pathlib import Path, PurePosixPath

from service.core.errors import BodyTooLarge, InvalidName, LoadFailed, UploadRejected
from service.core.names import (
    GOLDEN_FILE,
    LANGUAGE_FILE,
    PREPROCESSOR_FILE,
    REPORT_FILE,
    TOKENIZER_FILE,
)
from service.core.names import MODEL_FILE as MODEL_NAME
from service.engine.host.paths import file_path, leads_outside
from service.engine.onnx_file.summary import GraphSummary, check_external_files, summarise

MODEL_FILE = PurePosixPath(MODEL_NAME)
MAX_FILES = 4096
"""Old exporters write a file for each tensor of a large model."""
RESERVED = {GOLDEN_FILE, REPORT_FILE}
"""Names with a meaning in a version's folder, which external data cannot have."""
COMPANIONS = frozenset(
    map(
        PurePosixPath,
        (
            LANGUAGE_FILE, "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
            "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
            "tokenizer.model", "config.json", "generation_config.json",
        ),
    )
)  # fmt: skip
"""Files that a model builder writes beside a language model. Only the chat template is a program,
and it runs in a sandbox."""
TEXT_COMPANIONS = frozenset(
    map(
        PurePosixPath,
        (
            TOKENIZER_FILE, "tokenizer_config.json", "special_tokens_map.json",
            "added_tokens.json", "vocab.txt", "vocab.json", "merges.txt", "config.json",
            "sentence_bert_config.json", "config_sentence_transformers.json", "modules.json",
            "1_Pooling/config.json", "ort_config.json", "README.md",
        ),
    )
)  # fmt: skip
"""Files that Optimum and sentence-transformers write beside a model that accepts texts."""
IMAGE_COMPANIONS = frozenset(map(PurePosixPath, (PREPROCESSOR_FILE, "config.json")))
"""Files beside a model that accepts images."""
SETTINGS_OR_CODE = {".toml", ".so", ".dll", ".dylib", ".pyd", ".py"}
SHOWN = 5


class Arriving:
    """The files of one version as they arrive."""

    def __init__(self) -> None:
        self.files: list[PurePosixPath] = []
        self._taken: set[PurePosixPath] = set()
        self._folders: set[PurePosixPath] = set()

    def begin(self, name: str) -> PurePosixPath:
        """Add the next file and return its path.

        Raises:
            InvalidName: no file of a version may have this name.
            UploadRejected: the upload has two files of this name.
            BodyTooLarge: there are too many files.
        """
        path = file_path(name)
        if path.name in RESERVED or SETTINGS_OR_CODE & {each.lower() for each in path.suffixes}:
            raise InvalidName(
                f'"{path}" cannot be uploaded: a version holds its model and external data, never'
                " settings, golden sets, reports or code"
            )
        if path in self._taken:
            raise UploadRejected(f'the upload has two files "{path}"')
        if path in self._folders or not self._taken.isdisjoint(path.parents):
            raise InvalidName(f'the upload has "{path}" both as a file and as a folder')
        if len(self.files) == MAX_FILES:
            raise BodyTooLarge(f"a version has at most {MAX_FILES} files")
        self.files.append(path)
        self._taken.add(path)
        self._folders.update(path.parents)
        return path


def find_model(files: Iterable[PurePosixPath]) -> PurePosixPath:
    """Return the file that is the model: ``model.onnx``, else the only top-level ``.onnx`` file.

    Raises:
        UploadRejected: there is no such file, or more than one.
    """
    files = set(files)
    if MODEL_FILE in files:
        return MODEL_FILE
    models = [path for path in files if path.suffix.lower() == ".onnx" and len(path.parts) == 1]
    if len(models) == 1:
        return models[0]
    if models:
        raise UploadRejected(
            f"the upload has several models: {listed(models)}; a version has one {MODEL_FILE}"
        )
    tops = {path.parts[0] for path in files}
    todo = ""
    if len(tops) == 1 and any(path.suffix.lower() == ".onnx" for path in files):
        todo = "; create the archive inside that folder, as in tar -C FOLDER -czf - ."
    raise UploadRejected(
        f"there is no {MODEL_FILE} at the top of the version's files, which are"
        f" {listed(files) or 'none'}{todo}"
    )


def check_contents(folder: Path, files: Mapping[PurePosixPath, object]) -> GraphSummary:
    """Read the model in a folder, and compare the files that it names with the uploaded ``files``.

    Raises:
        UploadRejected: the file is no model, files are missing or not allowed, or a file is too
            short.
    """
    try:
        summary = summarise(folder / MODEL_FILE)
        _compare(summary, folder, files)
        check_external_files(summary, folder)
    except LoadFailed as error:
        raise UploadRejected(str(error)) from error
    return summary


def listed(names: Iterable[object]) -> str:
    """Return the first few names, quoted since they may contain any character, and the number of
    the others."""
    every = sorted(map(str, names))
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(f"{name!r:.200}" for name in every[:SHOWN]) + more


def companions(files: Container[PurePosixPath]) -> frozenset[PurePosixPath]:
    """Return the files that are allowed beside a model with these files."""
    if PurePosixPath(LANGUAGE_FILE) in files:
        return COMPANIONS
    texts = TEXT_COMPANIONS if PurePosixPath(TOKENIZER_FILE) in files else frozenset()
    images = IMAGE_COMPANIONS if PurePosixPath(PREPROCESSOR_FILE) in files else frozenset()
    return texts | images


def _compare(summary: GraphSummary, folder: Path, files: Iterable[PurePosixPath]) -> None:
    """Report missing and extra files together: both may be one file with a wrong name."""
    came = {*files, MODEL_FILE}
    named = {PurePosixPath(name) for name in summary.external_files}
    missing = [path for path in named - came if not leads_outside(folder, folder / path)]
    reasons = []
    if missing:
        reasons.append(f"external data {listed(missing)} is not in the upload")
    if extra := came - named - companions(came) - {MODEL_FILE}:
        reasons.append(f"the upload has {listed(extra)}, which the model does not name")
    if reasons:
        raise UploadRejected("; ".join(reasons), tuple(sorted(map(str, missing))))
