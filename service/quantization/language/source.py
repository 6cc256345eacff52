"""The forms in which a language model is given, and the packages that convert each to a graph."""

from enum import Enum
from importlib.util import find_spec
from pathlib import Path

from service.core.errors import ConfigError, LoadFailed
from service.core.names import LANGUAGE_FILE
from service.engine.storage.hub_json import hub_object
from service.quantization.extras import advice

CONFIG_FILE = "config.json"
WEIGHTS = "*.safetensors"
MAGIC = b"GGUF"
BUILDER = ("onnxruntime_genai", "torch", "transformers")


class Form(Enum):
    """A form of a given model. The value lists the packages that build its graph."""

    BUILT = ()
    HUGGING_FACE = BUILDER
    GGUF = (*BUILDER, "accelerate", "gguf")


def form_of(path: Path) -> Form | None:
    """Return the form of the language model at ``path``; None if there is none.

    Raises:
        ConfigError: the model cannot be converted.
    """
    if (path / LANGUAGE_FILE).is_file():
        return Form.BUILT
    if path.is_file():
        return Form.GGUF if _is_gguf(path) else None
    values = _config(path)
    if not isinstance(values.get("model_type"), str):
        return None
    _check_hugging_face(path, values)
    return Form.HUGGING_FACE


def check_packages(path: Path, form: Form) -> None:
    """Check that the packages of a form are installed.

    Raises:
        ConfigError: a package is missing.
    """
    missing = [package for package in form.value if find_spec(package) is None]
    if missing:
        what = "a GGUF file" if form is Form.GGUF else "a Hugging Face folder"
        raise ConfigError(f"{path}: {what} {advice(', '.join(missing), 'llm-build')}")


def _is_gguf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def _config(folder: Path) -> dict[str, object]:
    try:
        # Files may be links: a folder of the Hugging Face cache contains links to its blobs.
        return hub_object(folder, Path("/"), CONFIG_FILE)
    except LoadFailed as error:
        raise ConfigError(f"{folder}: {error}") from None


def _check_hugging_face(folder: Path, config: dict[str, object]) -> None:
    quantized = config.get("quantization_config")
    if quantized:
        method = quantized.get("quant_method") if isinstance(quantized, dict) else None
        raise ConfigError(
            f"{folder} is already quantized ({method or 'quantization_config in config.json'});"
            " give the original model, in FP32, FP16 or BF16"
        )
    if not any(folder.glob(WEIGHTS)):
        raise ConfigError(
            f"{folder} has {CONFIG_FILE}, but no weights in {WEIGHTS}; save it with"
            " model.save_pretrained(FOLDER)"
        )
