"""Lines of printed text for a recogniser, and the share of lines that it reads without a mistake.

Needs rapidocr-onnxruntime (with --no-deps), Pillow, and matplotlib for its fonts.
"""

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import onnx

HEIGHT, WIDTH = 48, 320
FONTS = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "DejaVuSans-Bold")
LONGEST = 24
"""More letters do not fit the width."""


def recogniser() -> Path:
    """Return the file of PP-OCRv4's model, which reads one line of Chinese or Latin text."""
    models = _package("rapidocr_onnxruntime") / "models"
    return next(models.glob("*_rec_infer.onnx"))


def write(texts: list[str], path: Path) -> None:
    """Draw each text as a line of its own, in changing fonts, and save it with its label."""
    images = np.stack([_drawn(text, number) for number, text in enumerate(texts)])
    np.savez(path, x=images, labels=np.array(texts))


def read_right(outputs: dict[str, np.ndarray], labels: np.ndarray | None) -> float:
    """The metric: the share of lines in which every letter except spaces is right."""
    assert labels is not None
    scores = next(iter(outputs.values()))
    said = [_letters(row.argmax(axis=-1)) for row in scores]
    pairs = zip(said, labels, strict=True)
    return float(np.mean([got == str(want).replace(" ", "") for got, want in pairs]))


def lines(texts: list[str]) -> list[str]:
    """Return beginnings of sentences that fit on a line, each once."""
    found = []
    for text in texts:
        line = ""
        for word in text.split():
            if len(line) + len(word) >= LONGEST:
                break
            line = f"{line} {word}".strip()
        if len(line) > LONGEST // 2:
            found.append(line)
    return list(dict.fromkeys(found))


def _letters(classes: np.ndarray) -> str:
    """Decode letters: repeats are one letter, class 0 is no letter (connectionist temporal
    classification)."""
    starts = np.insert(classes[1:] != classes[:-1], 0, True)
    alphabet = _alphabet()
    return "".join(alphabet[c] for c in classes[starts & (classes > 0)]).replace(" ", "")


@cache
def _alphabet() -> list[str]:
    model = onnx.load(recogniser(), load_external_data=False)
    characters = next(p.value for p in model.metadata_props if p.key == "character")
    return ["", *characters.splitlines(), " "]


def _drawn(text: str, number: int) -> np.ndarray:
    from PIL import Image, ImageDraw, ImageFont

    rng = np.random.default_rng(number)
    folder = _package("matplotlib") / "mpl-data/fonts/ttf"
    font = ImageFont.truetype(folder / f"{FONTS[number % len(FONTS)]}.ttf", 28)
    size = (max(WIDTH, round(font.getlength(text)) + 16), HEIGHT)
    paper, ink = int(rng.integers(190, 256)), int(rng.integers(0, 70))
    image = Image.new("L", size, paper)
    ImageDraw.Draw(image).text((8, 6), text, fill=ink, font=font)
    gray = np.asarray(image.resize((WIDTH, HEIGHT)), np.float32) + rng.normal(0, 6, (HEIGHT, WIDTH))
    scaled = (np.clip(gray, 0, 255) / 127.5 - 1).astype(np.float32)
    return np.repeat(scaled[None], 3, axis=0)


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None, f"missing package: {name}"
    assert spec.origin is not None
    return Path(spec.origin).parent
