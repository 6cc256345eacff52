"""Opens a version: reads its folder, and creates a session. Blocks; is called in a thread."""

from contextlib import closing, suppress
from pathlib import Path
from time import perf_counter

from service.config.model import ModelConfig
from service.core.errors import LoadFailed
from service.core.names import MODEL_FILE
from service.core.tensors import Signature
from service.engine.cpu.kernels import Kernels
from service.engine.cpu.providers import Provider
from service.engine.host.paths import leads_outside
from service.engine.host.resources import resident_bytes
from service.engine.loading.loaded import Loaded, Opened
from service.engine.loading.warm_up import warm_up
from service.engine.onnx_file.snapshot import Snapshot
from service.engine.onnx_file.summary import check_external_files, summarise_model
from service.engine.runtime.custom_ops import library
from service.engine.runtime.execution import Control
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session, new_control
from service.engine.storage.folder import (
    VersionFiles,
    has_preprocessor,
    has_tokenizer,
    is_language_model,
    read_model,
)


def load(folder: Path, config: ModelConfig, cores: int, allow_custom_ops: bool = False) -> Loaded:
    """Open the version in a folder ``models/<name>/<version>`` and warm it up.

    Raises:
        LoadFailed: with the reason, written for the model's operator.
    """
    model = read_model(folder.parent)
    found = model.versions.values() if model else ()
    files = next((each for each in found if each.home == folder), None)
    if files is None:
        raise LoadFailed(f"there is no {MODEL_FILE} in the folder of a version")
    return warm_up(open_version(files, config, allow_custom_ops), config, cores)


def open_version(
    files: VersionFiles,
    config: ModelConfig,
    allow_custom_ops: bool = False,
    control: Control | None = None,
) -> Opened:
    """Read a version's files and create a session for its graph. ``allow_custom_ops``: the custom
    operators that its model.toml names may be loaded. ``control`` ends the runs of the load.

    Raises:
        LoadFailed: with the reason, written for the model's operator.
    """
    started, memory = perf_counter(), resident_bytes()
    path = files.model
    if files.problem:
        raise LoadFailed(files.problem)
    if not path.is_file():
        raise LoadFailed(f"there is no {path.name} in the folder of the version")
    if leads_outside(files.root, path):
        raise LoadFailed(f"{path.name} leads outside the model repository")
    options = _options(files, config, allow_custom_ops)
    if is_language_model(files.home) and options.provider is not Provider.CPU:
        raise LoadFailed('model.toml: [session] provider: a language model runs on "cpu" only')
    with closing(Snapshot(path)) as snapshot:
        summary = summarise_model(snapshot.model(), path.name)
        check_external_files(summary, path.parent)
        snapshot.add(summary.external)
        session = Session(snapshot, options, summary, control)
    language, text, text_note, images, images_note = None, None, "", None, ""
    if is_language_model(files.home):
        from service.engine.loading.language import read_parts

        language = read_parts(files, session, config.generation, control or new_control())
    elif has_tokenizer(files.home) or config.text.task not in (None, "none"):
        from service.engine.loading.text import read_text

        text, text_note = read_text(files, session.signature, config.text)
    if language is None and (config.image is not None or has_preprocessor(files.home)):
        from service.engine.loading.images import read_images

        images, images_note = read_images(files, config.image, session.signature)
    seconds = perf_counter() - started
    opened = Opened(
        files,
        session,
        summary,
        snapshot,
        seconds,
        memory,
        language,
        text,
        text_note,
        images,
        images_note,
    )
    _check_names(config, opened.signature)
    return opened


def least_cache(files: VersionFiles, config: ModelConfig) -> int:
    """Return the minimum bytes of the cache of a language model; 0 for other models. Also 0 if its
    files are not usable: the load will report that."""
    if not is_language_model(files.home):
        return 0
    from service.engine.loading.language import least_cache_bytes

    with suppress(LoadFailed):
        return least_cache_bytes(files, config.generation)
    return 0


def _options(files: VersionFiles, config: ModelConfig, allow_custom_ops: bool) -> SessionOptions:
    name = config.session.custom_ops
    return SessionOptions(
        config.instances.threads or 1,
        kernels=Kernels.asked(config.session.kernels),
        provider=Provider(config.session.provider),
        custom_ops=None
        if name is None
        else library(files.shared, files.root, name, allow_custom_ops),
    )


def _check_names(config: ModelConfig, signature: Signature) -> None:
    """Check that the model has the outputs, labels and axes that model.toml names.

    Raises:
        LoadFailed: the model has no such output or axis, or another number of classes.
    """
    outputs = {spec.name: spec for spec in signature.outputs}
    for name, output in config.outputs.items():
        if name not in outputs:
            raise LoadFailed(f'model.toml: the model has no output "{name}"')
        classes = outputs[name].shape[-1] if outputs[name].shape else None
        if output.labels and isinstance(classes, int) and classes != len(output.labels):
            raise LoadFailed(
                f'model.toml: {len(output.labels)} labels for output "{name}", which is'
                f" {outputs[name]}"
            )
    axes = {dim for spec in signature.inputs for dim in spec.shape if isinstance(dim, str)}
    for name in config.probe.dims:
        if name not in axes:
            has = ", ".join(f'"{axis}"' for axis in sorted(axes)) or "none"
            raise LoadFailed(
                f'model.toml: probe.dims names "{name}"; the axes of the inputs are {has}'
            )
