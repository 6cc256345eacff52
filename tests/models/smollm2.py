"""SmolLM2-135M-Instruct in FP32, if it has been built."""

from pathlib import Path

from tests.inprocess import ROOT

FOLDER: Path = ROOT / ".smollm2/fp32/1"


def there() -> bool:
    """Return True if it has been built."""
    return (FOLDER / "genai_config.json").is_file()
