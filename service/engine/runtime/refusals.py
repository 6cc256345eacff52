"""Decides from the text of an error whether ONNX Runtime refused the inputs of a run, or failed.

The status alone does not tell: up to 1.2x a check in a kernel is a RUNTIME_EXCEPTION, later it is a
FAIL, and so is a run that was terminated or that found no memory. A version has run its own rows at
load, so what a node refuses later depends on the values or shapes of the request.

tests/engine/refused_*.py have a graph for each operator. Run test_refusals.py with the oldest and
the newest version that pyproject.toml allows; it says how.
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
"""Failures whatever the status: a terminated run, no memory, thread or disk space, a device error,
a missing kernel."""
CHECK = re.compile(r"\S.*? was false\.\s*")
"""What a check in a kernel (ORT_ENFORCE) begins with: the condition, in C++."""
NUMBERLESS = re.compile(r"sto(?:f|d|ld|i|l|ll|ul|ull)\b")
"""The function of C++ that has failed, which is all that Cast says of a text that is no number."""


class Verdict(StrEnum):
    """Whether an error of a node with this status is a refusal."""

    REFUSED = "refused"
    FAILED = "failed"
    TEXT = "text"  # as the text says, see REFUSALS


STATUSES = {
    "INVALID_ARGUMENT": Verdict.REFUSED,
    "FAIL": Verdict.REFUSED,
    "RUNTIME_EXCEPTION": Verdict.TEXT,
}
"""All others are failures: NOT_IMPLEMENTED, EP_FAIL, INVALID_GRAPH, NO_SUCHFILE and so on."""
ANY = ""
REFUSALS: tuple[tuple[str, re.Pattern[str]], ...] = (
    # By operator: what it says in an exception. Broadcasting (Add, Mul, Where and others), Reshape,
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
    """Whether the inputs are at fault: False for a failure, and for an unknown error.

    ``custom``: operators of a library beside ONNX Runtime's own may run. They have FAIL for
    whatever goes wrong, so there the text has to tell.

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
    """ONNX Runtime's message without its prefix, conditions and places in its source code."""
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error))
    text = re.sub(r"^Load model from /(?:proc/self|dev)/fd/\d+(?: failed:)?", "", text)
    text = re.sub(r"\S*/onnxruntime/\S+?:\d+ (?:.*?\) )?(?:const )?(?:\[with .*?\] )?", "", text)
    text = re.sub(r"\S+\.(?:cc|h):\d+ \S+ ", "", text)
    text = re.sub(r"^Load model from .*? failed:", "", text)
    nodes = list(NODE.finditer(text))
    if nodes:
        # Of a node in the branch of another one, the inner one is at fault.
        operator, name = nodes[-1].groups()
        said = text[nodes[-1].end() :]
        if operator == "Cast" and NUMBERLESS.match(said):
            said = "a text is not a number"
        node = f'{operator} "{name}"' if name else operator
        text = f"{node}: {CHECK.sub('', said, count=1) or said}"
    return " ".join(text.split())
