"""Reads a ``tokenizer.json``. Needs the package ``tokenizers``."""

from pathlib import Path

from tokenizers import Tokenizer

from service.core.errors import FileUnreadable, LoadFailed
from service.files import read_small

TOKENIZER_BYTES = 256 * 2**20


def read_tokenizer(path: Path) -> Tokenizer:
    """Read the tokenizer of a file.

    Raises:
        LoadFailed: the file does not exist, or does not have this format.
    """
    try:
        text = read_small(path, TOKENIZER_BYTES)
    except FileUnreadable as error:
        raise LoadFailed(str(error)) from None
    if text is None:
        raise LoadFailed(
            f"there is no {path.name} beside the model: put the one of its Hugging Face repository"
            " there"
        )
    try:
        return Tokenizer.from_str(text.decode())
    except Exception as error:  # the library raises Exception itself
        raise LoadFailed(f"{path.name} is not a valid tokenizer: {error!s:.200}") from None
