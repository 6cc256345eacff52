"""Decides from the text of an error whether ONNX Runtime refused the inputs of a run, or failed.

The status alone is not enough. Up to 1.2x a failed check in a kernel is a RUNTIME_EXCEPTION, in
later versions a FAIL. A run that was terminated or had no memory is a FAIL too. A version has run
its own rows at load, so an input that a node refuses later depends on the values or shapes of the
request.

tests/engine/refused_*.py have a graph for each operator. Run test_refusals.py with the oldest and
the newest version that pyproject.toml allows; test_refusals.py says how.
"""

import re
from enum import StrEnum

STATUS = re.compile(r"^\[ONNXRuntimeError\] : \d+ : (\w+) : ")
NODE = re.compile(r"Non-zero .*?running (\w+) node\. Name:'(.*?)' Status Message: ")
FAILURES = re.compile(
    r"terminate flag"
    r"|[Ff]ailed to allocate|bad_alloc|[Oo]ut of memory|[Cc]annot allocate memory|BFCArena"
    r"|[Nn]ot implemented|[Cc]ould not find an implementation|[Nn]o kernel|[Kk]ernel not found"
    r"|pthread|thread pool|[Ff]ailed to create thread|[Rr]esource temporarily unavailable"
    r"|bad_array_new|[Nn]o space left|[Ii]nput/output error|[Tt]oo many open files"
    r"|CUDA|CUDNN|cuda|cudnn"
)
"""Texts of failures, for any status: a terminated run, no memory, thread or disk space, a device
error, a missing kernel."""
CHECK = re.compile(r"\S.*? was false\.\s*")
"""The beginning of an error of a check in a kernel (ORT_ENFORCE): the condition, in C++."""
NUMBERLESS = re.compile(r"sto(?:f|d|ld|i|l|ll|ul|ull)\b")
"""The C++ function that failed. Cast reports only this for a text that is not a number."""


class Verdict(StrEnum):
    """The meaning of a status: an error of a node is a refusal, a failure, or the text decides."""

    REFUSED = "refused"
    FAILED = "failed"
    TEXT = "text"  # the text decides, see REFUSALS


STATUSES = {
    "INVALID_ARGUMENT": Verdict.REFUSED,
    "FAIL": Verdict.REFUSED,
    "RUNTIME_EXCEPTION": Verdict.TEXT,
}
"""All others are failures: NOT_IMPLEMENTED, EP_FAIL, INVALID_GRAPH, NO_SUCHFILE and so on."""
ANY = ""
REFUSALS: tuple[tuple[str, re.Pattern[str]], ...] = (
    # The text of an exception by operator. Broadcasting (Add, Mul, Where and others), Reshape,
    # Squeeze, Unsqueeze, Pad, CumSum, reductions, DequantizeLinear and Concat use checks.
    (ANY, CHECK),
    (ANY, re.compile("Integer overflow")),  # in the size of a tensor
    (ANY, re.compile(r"shape\.Size\(\) must be >= 0")),  # ConstantOfShape, Tile, Range, HannWindow
    (ANY, re.compile(r"out of (?:data )?(?:bounds|range)|[Oo]ut of range", re.I)),
    (ANY, re.compile(r"mismatch|[Ii]nvalid|must (?:be|have|match)|should (?:be|have|match)")),
    ("Cast", NUMBERLESS),
    ("Div", re.compile("by zero")),
    ("Mod", re.compile("by zero")),
    ("RotaryEmbedding", re.compile("cos_cache")),  # more positions than the table has
    ("OneHotEncoder", re.compile("Unknown Category")),
    ("LabelEncoder", re.compile("key|label", re.I)),
    ("TreeEnsembleClassifier", re.compile("features")),
    ("TreeEnsembleRegressor", re.compile("features")),
    ("TreeEnsemble", re.compile("features")),
    *((each, re.compile("^$")) for each in ("ArgMax", "ArgMin", "ReduceMax", "ReduceMin")),  # of 0
)


def is_refusal(error: str, custom: bool = False) -> bool:
    """Return True if the inputs caused the error; False for a failure, and for an unknown error.

    ``custom``: the graph may have operators of another library than ONNX Runtime. They use FAIL for
    every error, so the text decides.

    >>> node = "Non-zero status code returned while running Add node. Name:'a' Status Message: "
    >>> is_refusal(f"[ONNXRuntimeError] : 1 : FAIL : {node}Attempting to broadcast. 8 by 12")
    True
    >>> is_refusal("[ONNXRuntimeError] : 1 : FAIL : Exiting due to terminate flag being set")
    False
    """
    status = STATUS.match(error)
    if status is None or FAILURES.search(error):
        return False
    verdict = STATUSES.get(status[1], Verdict.FAILED)
    if custom and status[1] == "FAIL":
        verdict = Verdict.TEXT
    nodes = list(NODE.finditer(error))
    if not nodes:
        return status[1] == "INVALID_ARGUMENT"  # the inputs, before any node has run
    if verdict is Verdict.TEXT:
        operator, text = nodes[-1][1], error[nodes[-1].end() :].strip()
        return any(name in (ANY, operator) and said.search(text) for name, said in REFUSALS)
    return verdict is Verdict.REFUSED


def reason(error: Exception) -> str:
    """Return ONNX Runtime's message without its prefix, conditions and locations in its source
    code."""
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error))
    text = re.sub(r"^Load model from /(?:proc/self|dev)/fd/\d+(?: failed:)?", "", text)
    text = re.sub(r"\S*/onnxruntime/\S+?:\d+ (?:.*?\) )?(?:const )?(?:\[with .*?\] )?", "", text)
    text = re.sub(r"\S+\.(?:cc|h):\d+ \S+ ", "", text)
    text = re.sub(r"^Load model from .*? failed:", "", text)
    nodes = list(NODE.finditer(text))
    if nodes:
        # If a node is in the branch of another node, the inner node caused the error.
        operator, name = nodes[-1].groups()
        said = text[nodes[-1].end() :]
        if operator == "Cast" and NUMBERLESS.match(said):
            said = "a text is not a number"
        node = f'{operator} "{name}"' if name else operator
        text = f"{node}: {CHECK.sub('', said, count=1) or said}"
    return " ".join(text.split())
