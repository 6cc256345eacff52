"""``--from-int8``: converts a dynamically quantized model back to FP32, as the source of per-row
recipes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from service.core.errors import ConfigError, LoadFailed
from service.engine.onnx_file.summary import DYNAMIC_OPS, check_external_files, summarise
from service.quantization.graphs.parts import all_nodes
from service.quantization.recipes.restoring import restore


@dataclass(frozen=True, slots=True)
class Restored:
    """The FP32 file of a converted model, and a note on the conversion."""

    path: Path
    note: str


@contextmanager
def restored(given: Path, folder: Path) -> Iterator[Restored]:
    """Convert a dynamically quantized model to an FP32 file in ``folder``, removed on exit.

    Raises:
        ConfigError: it has no product that ``quantize_dynamic`` has quantized.
    """
    model = _read(given)
    found = restore(model)
    if not found:
        raise ConfigError(
            f"--from-int8 {given.name}: it is {summarise(given).precision} and contains no product "
            "that onnxruntime.quantization.quantize_dynamic has quantized; give its FP32 form "
            "instead"
        )
    counts = ", ".join(f"{count} {operator}" for operator, count in found.items())
    note = f'"FP32" is {given.name} converted back to floats from its 8-bit weights ({counts})'
    left = sorted({node.op_type for node in all_nodes(model.graph)} & DYNAMIC_OPS)
    if left:
        note += f"; {', '.join(left)} remains, with one scale for a whole batch"
    with TemporaryDirectory(prefix=".from-int8-", dir=folder) as scratch:
        path = Path(scratch, given.name)
        onnx.save(model, path)
        yield Restored(path, note)


def _read(given: Path) -> onnx.ModelProto:
    if not given.is_file():
        raise ConfigError(f"--from-int8 {given}: there is no such file")
    try:
        check_external_files(summarise(given), given.parent)
    except LoadFailed as error:
        raise ConfigError(f"--from-int8 {given.name}: {error}") from None
    return onnx.load(given)
