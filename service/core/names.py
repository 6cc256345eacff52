"""Names in a model repository: valid names of models and versions, how to show other names, and
what to rename them to. Pure.

Valid names work in every file system, URL and metric: ASCII letters, digits and ``_.-``, not
beginning with a dot or a dash.
"""

import re
import unicodedata

GOLDEN_FILE = "golden.npz"
REPORT_FILE = "report.json"
LANGUAGE_FILE = "genai_config.json"
"""A version with this file is a language model."""
PREPROCESSOR_FILE = "preprocessor_config.json"
"""The settings for images of a model, in Hugging Face's format."""
TOKENIZER_FILE = "tokenizer.json"
"""The tokenizer of a model that accepts texts."""
MODEL_FILE = "model.onnx"
SUFFIX = ".onnx"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
VERSION = re.compile(r"[1-9][0-9]{0,17}")
ALLOWED = "1 to 128 letters, digits, '_', '.' or '-', the first a letter, digit or '_'"
_NUMBERED = re.compile(r"(?:(?:v|ver|version)[ _.-]?)?0*([1-9][0-9]{0,17})(?:\.0+)*", re.IGNORECASE)


def displayed(name: str) -> str:
    """Convert a file's name to text that is valid in JSON and harmless in a terminal. Bytes that
    are not UTF-8 become escapes like ``\\xe9``, control characters ``\\n`` or ``\\u202e``."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def model_name_for(name: str) -> str:
    """Return the nearest valid model name: ``"Mon_modele"`` for ``"Mon modèle"``; empty if no valid
    character is left."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    found = re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).strip("_").lstrip(".-")[:128]
    return found if NAME.fullmatch(found) else ""


def version_for(name: str) -> int | None:
    """Return the version that an invalid folder name stands for: ``v1``, ``01``, ``1.0``, ``²``."""
    digits = "".join(
        str(unicodedata.digit(c)) if not c.isascii() and c.isdigit() else c for c in name
    )
    match = _NUMBERED.fullmatch(digits)
    return int(match[1]) if match else None
