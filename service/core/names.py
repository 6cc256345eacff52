"""Names in a model repository: what a model and a version may be called, how a name that may not be
is shown, and what to rename it to. Pure.

Names are what every file system, URL and metric takes: ASCII letters, digits and ``_.-``, not
beginning with a dot or a dash.
"""

import re
import unicodedata

LANGUAGE_FILE = "genai_config.json"
"""What makes a version a language model."""
PREPROCESSOR_FILE = "preprocessor_config.json"
"""With which a model takes images, as Hugging Face writes it."""
TOKENIZER_FILE = "tokenizer.json"
"""With which a model takes texts."""
MODEL_FILE = "model.onnx"
SUFFIX = ".onnx"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
VERSION = re.compile(r"[1-9][0-9]{0,17}")
ALLOWED = "1 to 128 letters, digits, '_', '.' or '-', the first a letter, digit or '_'"
_NUMBERED = re.compile(r"(?:(?:v|ver|version)[ _.-]?)?0*([1-9][0-9]{0,17})(?:\.0+)*", re.IGNORECASE)


def displayed(name: str) -> str:
    """A file's name as text that is valid in JSON and harmless in a terminal: bytes that are not
    UTF-8 become ``\\xe9``, control characters ``\\n`` or ``\\u202e``."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def model_name_for(name: str) -> str:
    """The nearest name that a model may have: ``"Mon modèle"`` gives ``"Mon_modele"``; empty where
    nothing of the name is left."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    found = re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).strip("_").lstrip(".-")[:128]
    return found if NAME.fullmatch(found) else ""


def version_for(name: str) -> int | None:
    """The version that a folder's name means without being one: ``v1``, ``01``, ``1.0``, ``²``."""
    digits = "".join(
        str(unicodedata.digit(c)) if not c.isascii() and c.isdigit() else c for c in name
    )
    match = _NUMBERED.fullmatch(digits)
    return int(match[1]) if match else None
