"""Recognises the format of a file that is not an ONNX model, from its first bytes. Pure.

Sources: the formats' own documents; https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
"""

HEAD = 512
"""Bytes to read; tar's mark is at byte 257."""
GZIP_MAGIC = b"\x1f\x8b"
TAR_MAGIC, TAR_MAGIC_AT = b"ustar", 257
ONLY_ONNX = "only ONNX is served: export it"
UNPACK = "unpack it first"
STARTS = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the file: run git lfs pull"),
    (b"PK\x03\x04", f"a zip archive, as PyTorch and Keras write: {UNPACK}, or export it to ONNX"),
    (GZIP_MAGIC, f"compressed with gzip: {UNPACK}"),
    (b"BZh", f"compressed with bzip2: {UNPACK}"),
    (b"\xfd7zXZ\x00", f"compressed with xz: {UNPACK}"),
    (b"\x28\xb5\x2f\xfd", f"compressed with zstd: {UNPACK}"),
    (b"7z\xbc\xaf\x27\x1c", f"a 7z archive: {UNPACK}"),
    (b"\x89HDF\r\n\x1a\n", f"HDF5, as Keras writes: {ONLY_ONNX}"),
    (b"GGUF", f"GGUF: {ONLY_ONNX}"),
    *((bytes((0x80, n)), f"a pickle of Python: {ONLY_ONNX}") for n in range(2, 6)),
)
AT_FOUR = ((b"TFL3", "TensorFlow Lite"), (b"ORTM", "ONNX Runtime's own format"))
"""Marks of flatbuffers."""
MARKUP = (b"<!doctype html", b"<html", b"<?xml")


def foreign(head: bytes) -> str:
    """Describe the format of a file and what to do, from its first ``HEAD`` bytes; empty if it may
    be ONNX.

    >>> foreign(b"BZh91AY")
    'compressed with bzip2: unpack it first'
    """
    if not head:
        return "empty"
    for start, what in STARTS:
        if head.startswith(start):
            return what
    for mark, name in AT_FOUR:
        if head[4:8] == mark:
            return f"{name}: {ONLY_ONNX}"
    if head[TAR_MAGIC_AT:].startswith(TAR_MAGIC):
        return f"a tar archive: {UNPACK}"
    if head.lstrip().lower().startswith(MARKUP):
        return "a web page, not the file: check the address that it was downloaded from"
    return ""
