"""Builds the FP32 graph of a Hugging Face folder or of a GGUF file. Runs in a worker.

onnxruntime-genai's model builder writes the graph. For GGUF, it reads floats only and needs a
Hugging Face configuration. Therefore transformers first converts a GGUF file to a Hugging Face
folder.
"""

import os
import runpy
import sys
from collections import Counter
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory

from service.core.errors import ConfigError, LoadFailed
from service.quantization.language.agreement import check_agreement
from service.quantization.language.source import Form

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "ORT_DISABLE_TELEMETRY": "1"}
"""Environment variables that prevent the tools from using the network."""
BUILDER = "onnxruntime_genai.models.builder"


def convert(source: Path, form: Form, target: Path) -> str:
    """Convert a model to a version's folder in FP32. Returns a note for the report.

    Use a separate process: the environment and the arguments of the process are changed.

    Raises:
        ConfigError: the tools cannot convert the model, or convert it wrongly; states the reason.
        LoadFailed: the graph cannot be served.
        ModuleNotFoundError: a package of the extra ``llm-build`` is missing.
    """
    os.environ.update(OFFLINE)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with TemporaryDirectory(dir=target.parent) as name:
            scratch = Path(name)
            if form is Form.GGUF:
                types = _to_hugging_face(source, scratch / "folder")
                _build(scratch / "folder", target, scratch / "cache")
                check_agreement(scratch / "folder", target)
                return f"the weights of {source.name} were dequantized to FP32: {types}"
            _build(source, target, scratch / "cache")
            check_agreement(source, target)
            return f"FP32 was built from {source.name}"
    except (ConfigError, LoadFailed, ModuleNotFoundError):
        raise
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"it cannot be converted to a graph: {why:.500}") from error


def _build(source: Path, target: Path, cache: Path) -> None:
    """Run the builder as its command would. Scores are computed for the last token only. Layers
    with a sliding window keep all tokens in their cache, like all other layers."""
    sys.argv = [
        BUILDER, "-i", str(source), "-o", str(target), "-p", "fp32", "-e", "cpu", "-c", str(cache),
        "--extra_options", "prune_lm_head=true", "windowed_kv_cache=false", "hf_token=false",
    ]  # fmt: skip
    runpy.run_module(BUILDER, run_name="__main__")


def _to_hugging_face(source: Path, target: Path) -> str:
    """Write a GGUF file as a Hugging Face folder in FP32. Returns the types of its weights."""
    import torch
    from gguf import GGUFReader
    from safetensors.torch import save_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    types = Counter(tensor.tensor_type.name for tensor in GGUFReader(source).tensors)
    folder, file = source.parent, source.name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    config = deepcopy(model.config)
    config.architectures = [type(model).__name__]
    del config.quantization_config  # otherwise no tool reads the weights as floats
    config.save_pretrained(target)
    model.generation_config.save_pretrained(target)
    save_model(model, str(target / "model.safetensors"), metadata={"format": "pt"})
    tokenizer.save_pretrained(target)
    return ", ".join(f"{count} {name}" for name, count in types.most_common())
