"""The packages that quantizing needs in addition to serving, and the extra that installs each."""

EXTRAS = {
    "jinja2": "quantize",
    "onnx": "quantize",
    "ml_dtypes": "quantize",
    "onnx_ir": "quantize",
    "sympy": "quantize",
    "tokenizers": "llm-build",
    "torch": "hqq",
}


def what_to_install(error: ModuleNotFoundError) -> str:
    """How to install a missing package, as text; "" if it belongs to no extra."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return ""
    return f"needs {package}: pip install 'quantserve[{EXTRAS[package]}]'"
