"""Choice between ONNX Runtime's two sets of eight-bit kernels for a graph.

On x86 without VNNI the default kernels add two U8 x S8 products in 16 bits (``vpmaddubsw``), where
255 * 127 + 255 * 127 does not fit: the sum saturates, at worst to half of its value. The exact
kernels (``session.x64quantprecision``) store such weights as U8. With VNNI or AMX, and on Arm, the
default kernels add in 32 bits; there the exact kernels give the same answers and take up to twice
as long.

U8 weights cannot saturate in either set: ONNX Runtime's U8 x U8 kernels for AVX2 widen both sides
to 16 bits first (``vpmaddwd``) and add in 32. U8 x S8 with both sides computed at run time has no
exact kernel in ONNX Runtime; converters write U8 x U8 there.
"""

from enum import StrEnum
from functools import cache

import numpy as np
import onnxruntime as ort

from service.engine.cpu.saturation import Case, cases, model
from service.engine.cpu.trial_session import trial_session
from service.engine.onnx_file.snapshot import Source
from service.engine.onnx_file.weights import weights_fit

OPTION = "session.x64quantprecision"


class Kernels(StrEnum):
    """The two sets of 8-bit kernels."""

    DEFAULT = "default"
    EXACT = "exact"

    @classmethod
    def asked(cls, setting: str) -> "Kernels | None":
        """Return the kernels for ``[session] kernels`` of model.toml; None for "auto"."""
        return None if setting == "auto" else cls(setting)

    def apply(self, options: ort.SessionOptions) -> None:
        """Select this set in the options of a session."""
        if self is Kernels.EXACT:
            options.add_session_config_entry(OPTION, "1")


def choose(asked: Kernels | None, saturates: bool, fits: bool) -> Kernels:
    """Choose the kernels. ``asked``: the setting of model.toml; ``saturates``: whether the default
    kernels saturate on this machine; ``fits``: whether the weights are too small for that."""
    if asked is not None:
        return asked
    return Kernels.EXACT if saturates and not fits else Kernels.DEFAULT


def kernels_for(source: Source, asked: Kernels | None = None) -> Kernels:
    """Return the kernels for a model on this machine. The weights are read only if the choice
    depends on them."""
    tried = asked is None and saturates()
    return choose(asked, tried, tried and weights_fit(source))


@cache
def saturates() -> bool:
    """Return whether ONNX Runtime's default kernels compute wrong sums on this machine. The trial
    runs once in a process.

    A build of ONNX Runtime that cannot run the trial counts as saturating.
    """
    try:
        session = trial_session(model())
        return any(_wrong(session, case) for case in cases())
    except Exception:
        return True


def _wrong(session: ort.InferenceSession, case: Case) -> bool:
    answers = session.run(
        None, {name: np.full(shape, 255, np.uint8) for name, shape in case.inputs}
    )
    return any((answer != want).any() for answer, want in zip(answers, case.sums, strict=True))
