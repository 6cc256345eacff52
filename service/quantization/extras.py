"""The packages that quantizing needs in addition to serving, and the extra that installs each."""

EXTRAS = {
    "accelerate": "llm-build",
    "gguf": "llm-build",
    "jinja2": "quantize",
    "onnx": "quantize",
    "ml_dtypes": "quantize",
    "onnx_ir": "quantize",
    "onnxruntime_genai": "llm-build",
    "sympy": "quantize",
    "tokenizers": "llm-build",
    "torch": "hqq",
    "transformers": "llm-build",
}


def what_to_install(error: ModuleNotFoundError) -> str:
    """Return a text on how to install a missing package; "" if it belongs to no extra."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return ""
    return advice(package, EXTRAS[package])


def advice(packages: str, extra: str) -> str:
    """Return the text that ``packages`` are needed, and how to install them."""
    return f"needs {packages}: pip install 'quantserve[{extra}]'"
