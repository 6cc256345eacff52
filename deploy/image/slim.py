"""Remove files that a server never imports from a folder of installed packages; print the sizes.

    python slim.py /opt/quantserve/lib/python3.11/site-packages

The removed files are listed here, with the reason. The image's build checks that no needed file is
removed: it serves every shipped model with the remaining files (``warm.py``).
"""

import re
import shutil
import sys
from collections import Counter
from pathlib import Path

UNUSED = {
    "onnxruntime": ("datasets", "tools", "transformers", "quantization", "backend"),
    "numpy": ("distutils", "f2py", "_pyinstaller", "testing/tests", "conftest.py"),
    "uvloop": ("handles", "includes"),
}
"""Unused parts: optimizers and quantizers; builders of extensions; Cython's sources."""
NEED_ONNX = ("tools", "quantization")
"""Parts of onnxruntime to keep if onnx is installed: quantizing needs them."""
INSTALLERS = ("pip", "setuptools", "wheel", "pkg_resources", "_distutils_hack")
OF_TOOLS = ("flatbuffers", "packaging")
"""Dependencies of onnxruntime that only its tools import."""
SOURCES = ("*.pyi", "*.pyx", "*.pxd", "*.pxi", "*.c", "*.h", "*.a", "*.lib")
MEGABYTE = 1e6


def main(folder: Path) -> None:
    with_onnx = (folder / "onnx").is_dir()
    traced = (folder / "opentelemetry/sdk").is_dir()
    for package, parts in UNUSED.items():
        for part in parts:
            if not (package == "onnxruntime" and with_onnx and part in NEED_ONNX):
                remove(folder / package / part)
    for name in INSTALLERS + (() if with_onnx or traced else OF_TOOLS):
        for found in (folder / name, *folder.glob(f"{name}-*.dist-info")):
            remove(found)
    for tests in list(folder.glob("**/tests")):
        remove(tests)
    for pattern in SOURCES:
        for source in folder.rglob(pattern):
            source.unlink()
    print_sizes(folder)


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def print_sizes(folder: Path) -> None:
    """Print the size of each package in megabytes, largest first."""
    sizes = Counter[str]()
    for file in folder.rglob("*"):
        if file.is_file():
            top = file.relative_to(folder).parts[0]
            sizes[re.split(r"[-.]", top)[0]] += file.stat().st_size
    for name, size in sizes.most_common(12):
        print(f"{size / MEGABYTE:7.1f} MB  {name}")
    print(f"{sizes.total() / MEGABYTE:7.1f} MB  in all")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
