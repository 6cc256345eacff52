"""Reasons why an entry of a model's folder is not served, and what to do. Pure.

The reason is empty for entries that are not expected to be served, for example a README.
"""

from collections.abc import Sequence

from service.core.names import MODEL_FILE, VERSION, displayed, version_for

FORMATS = {
    "PyTorch": (".pt", ".pth", ".ckpt", ".torchscript", ".pt2", ".mar"),
    "safetensors": (".safetensors",),
    "TensorFlow": (".pb", ".h5", ".keras", ".hdf5"),
    "TensorFlow Lite": (".tflite", ".lite"),
    "ONNX Runtime's own format": (".ort",),
    "GGUF": (".gguf", ".ggml"),
    "TensorRT": (".engine", ".plan", ".trt"),
    "Core ML": (".mlmodel", ".mlpackage", ".mlmodelc"),
    "OpenVINO": (".xml",),
    "Paddle": (".pdmodel", ".pdiparams"),
    "Python's pickle": (".pkl", ".pickle", ".joblib"),
    "Caffe": (".caffemodel", ".prototxt"),
    "XGBoost": (".ubj", ".xgb"),
}
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".zst", ".rar")
DATA = (".data", "_data", ".bin", ".weight", ".weights")
HARMLESS = (
    ".md", ".txt", ".rst", ".html", ".pdf", ".json", ".jsonl", ".yaml", ".yml", ".toml", ".ini",
    ".cfg", ".csv", ".tsv", ".npz", ".npy", ".parquet", ".png", ".jpg", ".jpeg", ".svg", ".gif",
    ".py", ".ipynb", ".sh", ".log", ".lock", ".sha256", ".sha256sum", ".md5", ".sig", ".asc",
    ".model", ".vocab", ".pbtxt", ".tmpl", ".jinja", ".so", ".dll", ".dylib",
)  # fmt: skip
"""These include files of tokenizers, and libraries of custom operators."""
PAPERS = (
    "readme", "license", "licence", "notice", "changelog", "authors", "contributing", "copying",
    "makefile", "dockerfile", "sha256sums", "md5sums", "checksums",
)  # fmt: skip
"""Beginnings of the names of other documents."""
TRITON = "config.pbtxt"
"""Triton's settings of a model. The server reads this file."""
LISTED = 3
NOT_A_VERSION = "not a version: those are folders named 1, 2, 3 and so on"


def listed(names: Sequence[str]) -> str:
    """List the first names, and the number of further names."""
    shown = ", ".join(displayed(name) for name in names[:LISTED])
    more = len(names) - LISTED
    return f"{shown} and {more} more" if more > 0 else shown


def file_reason(name: str, flat: bool) -> str:
    """Return why a file is not served. ``flat``: a model file beside it is served, so an unknown
    file may be its external data."""
    lower = name.lower()
    for label, suffixes in FORMATS.items():
        if lower.endswith(suffixes):
            return f"{label} is not served, only ONNX is: export it to {MODEL_FILE}"
    if lower.endswith(ARCHIVES):
        return "an archive is not served: unpack it"
    if VERSION.fullmatch(name):
        return f"a version is a folder: put its file at {name}/{MODEL_FILE}"
    if flat or is_harmless(name):
        return ""
    if lower.endswith(DATA):
        return "a model's external data without its .onnx file beside it"
    return "not a model: only .onnx files are served"


def is_harmless(name: str) -> bool:
    """Return whether a file is documentation, settings or similar, and no part of a model's
    weights."""
    return name.lower().endswith(HARMLESS) or name.lower().startswith(PAPERS)


def folder_reason(name: str, models: Sequence[str], flat: bool, taken: frozenset[int]) -> str:
    """Return why a folder in a model's folder is not served. ``models`` are the .onnx files in it,
    ``taken`` the numbers of the existing versions."""
    free = max(taken, default=0) + 1
    number = version_for(name)
    if number is not None:
        better = free if number in taken else number
        return f"a version is named by its number alone: rename it to {better}"
    if name.removeprefix("-").isdigit():
        low = name.startswith("-") or not name.strip("0")
        bound = "the lowest version is 1" if low else "a version has at most 18 digits"
        return f"{bound}: rename it, for example to {free}"
    if models:
        return f"it holds {listed(models)}, but a version is named by a number: rename it to {free}"
    return "" if flat else NOT_A_VERSION
