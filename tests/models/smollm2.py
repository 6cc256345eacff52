"""SmolLM2-135M-Instruct in FP32, where it has been built."""

from pathlib import Path

from tests.inprocess import ROOT

FOLDER: Path = ROOT / ".smollm2/fp32/1"


def there() -> bool:
    """Whether it has been built."""
    return (FOLDER / "genai_config.json").is_file()
