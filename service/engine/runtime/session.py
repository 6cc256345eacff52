"""One loaded ONNX graph. At serving time only this module, ``kernels``, ``trial_session``
and ``snapshot`` import onnxruntime.
"""

import ctypes
from contextlib import closing
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
import onnxruntime as ort

from service.core.blame import blamed
from service.core.errors import ExecutionFailed, InputRejected, LoadFailed
from service.core.shapes import doubtful_shapes
from service.core.tensors import (
    DATATYPES,
    Array,
    Arrays,
    Datatype,
    Dim,
    Overriding,
    Signature,
    TensorSpec,
)
from service.engine.cpu.fusions import slow_fusions
from service.engine.cpu.kernels import Kernels, kernels_for
from service.engine.cpu.providers import Provider, check_installed
from service.engine.onnx_file.empty import fatal_operator
from service.engine.onnx_file.snapshot import ModelFile, Snapshot, Source
from service.engine.onnx_file.summary import GraphSummary, summarise_model
from service.engine.onnx_file.unshare import unshared
from service.engine.onnx_file.weights import overridable_weights
from service.engine.onnx_file.zipmap import ZIPMAP, Labels, Unzipped, unzipped
from service.engine.runtime.custom_ops import missing_operator
from service.engine.runtime.execution import Control
from service.engine.runtime.locales import missing_locale
from service.engine.runtime.refusals import FAILURES, is_refusal, reason

# ONNX Runtime's names of element types, and the datatypes of the protocol.
ELEMENT_TYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(bfloat16)": "BF16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
NO_NAMES = ("", "?", "-1", "None")
"""Symbols for an unknown length. They are not names that axes share."""
SUBGRAPHS = {"If", "Loop", "Scan"}
"""Operators with subgraphs, which may use weights of the outer graph."""
ZIPMAP_FALSE = "convert it with zipmap=False, so that it is a tensor"
ONNX_BFLOAT16 = 16
"""onnx.proto, TensorProto.DataType.BFLOAT16."""


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How to load a graph.

    ``threads``: the threads of one run. ``optimised``: the path to write the optimised graph to, if
    any. ``kernels``: None to choose for this machine. ``custom_ops``: a shared library of custom
    operators; it is code. ``provider``: the execution provider; operators that it lacks run on the
    CPU provider. ``spinning``: threads that wait for each other in a run keep their cores
    busy. That makes a run faster, but other work cannot use the cores.
    ``bound_to``: the cores of the threads beside the calling one, by the numbers of the operating
    system; empty for the cores of the process.
    """

    threads: int = 1
    optimised: Path | None = None
    kernels: Kernels | None = None
    provider: Provider = Provider.CPU
    custom_ops: Path | None = None
    spinning: bool = False
    bound_to: tuple[int, ...] = ()


def new_control() -> Control:
    """Create a control that ends the runs that it is passed to."""
    control: Control = ort.RunOptions()
    return control


class Session:
    """A loaded graph. It may be run from any thread, and several times at once.

    ``options`` are the options of its load, ``kernels`` the kernels in use. ``kernels_note`` says
    why they are not the requested ones, or which weights they do not convert. ``labels`` are the
    class names of outputs, if the file has them. ``outputs_note`` says which outputs differ from
    the file's declaration.
    """

    def __init__(
        self,
        source: Path | Snapshot,
        options: SessionOptions,
        summary: GraphSummary | None = None,
        control: Control | None = None,
    ) -> None:
        """Load a model. ``summary`` is the summary of its file, if it has been read. ``control``
        ends runs that are called without a control: those of the load.

        Raises:
            LoadFailed: ONNX Runtime rejects the model, or the protocol cannot carry one of its
                tensors.
        """
        self._source, self.options, self._control = source, options, control
        given = ModelFile(source) if isinstance(source, Path) else source
        self._summary = summary or summarise_model(given.model(), given.name)
        plain = _unzip(given, self._summary)
        self.labels: Labels = plain.labels if plain else {}
        self.outputs_note = plain.note if plain else ""
        self._session, self.kernels, self.kernels_note = _load(given, options, self._summary)
        self.signature = _signature(self._session, given.name, self._summary)
        self._fatal = fatal_operator(self._summary.operators)
        # InferenceSession.run checks names and devices at every call, but the signature has checked
        # them already. The inner object has no public name; if it is missing, use the wrapper.
        self._run = getattr(self._session, "_sess", self._session).run
        self._inputs = [spec.name for spec in self.signature.inputs]
        self._outputs = [spec.name for spec in self.signature.outputs]
        inputs = (*self.signature.inputs, *self.signature.optional)
        self._datatypes = {spec.name: spec.datatype for spec in inputs}
        specs = (*inputs, *self.signature.outputs)
        self._has_bfloat16 = any(spec.datatype.name == "BF16" for spec in specs)

    @property
    def native(self) -> ort.InferenceSession:
        """ONNX Runtime's session, for runs on memory of the caller."""
        return self._session

    def copy(
        self,
        threads: int | None = None,
        *,
        spinning: bool = False,
        bound_to: tuple[int, ...] = (),
    ) -> "Session":
        """Load the same model again, with as many threads unless ``threads`` is set.

        Raises:
            LoadFailed: see the constructor; or the files of a snapshot have changed.
        """
        options = replace(self.options, optimised=None, kernels=self.kernels)
        threads = threads or options.threads
        options = replace(options, threads=threads, spinning=spinning, bound_to=bound_to)
        if isinstance(self._source, Path):
            return Session(self._source, options, self._summary, self._control)
        with closing(self._source.again()) as snapshot:
            return Session(snapshot, options, self._summary, self._control)

    def run(
        self,
        inputs: Arrays,
        outputs: tuple[int, ...] | None = None,
        control: Control | None = None,
    ) -> Arrays:
        """Run the graph on inputs in the signature's order; return the outputs at these indices.

        Raises:
            InputRejected: the graph refuses the values, such as an index past a table's end.
            ExecutionFailed: the graph failed in any other way.
        """
        names = self._outputs if outputs is None else [self._outputs[i] for i in outputs]
        feed = dict(zip(self._inputs, inputs, strict=True))
        if type(inputs) is Overriding:
            feed.update(inputs.overrides)
        if self._fatal is not None:
            self._fatal.check(feed.values())
        control = control or self._control
        try:
            if self._has_bfloat16:
                return self._run_values(feed, names, control)
            return tuple(self._run(names, feed, control))
        except Exception as error:
            raise self._told(error, inputs) from error

    def _told(self, error: Exception, inputs: Arrays) -> InputRejected | ExecutionFailed:
        """Return the server's error for an error of a run."""
        text, said = str(error), reason(error)
        if FAILURES.search(text):
            return ExecutionFailed(f"the model failed: {said}")
        doubt = doubtful_shapes(self.signature, inputs)
        if doubt:
            return InputRejected(f"the model refuses {doubt}: {said}")
        if is_refusal(text, self.options.custom_ops is not None):
            why = blamed(self.signature, inputs, said.partition(": ")[2])
            return InputRejected(f"the model refuses these values: {said}: {why}")
        return ExecutionFailed(f"the model failed: {said}")

    def _run_values(
        self, feed: dict[str, Array], names: list[str], control: Control | None
    ) -> Arrays:
        values = {name: _to_value(self._datatypes[name], array) for name, array in feed.items()}
        return tuple(
            _from_value(v) for v in self._session.run_with_ort_values(names, values, control)
        )


def _unzip(source: Source, summary: GraphSummary) -> Unzipped | None:
    """Remove ZipMap from a model that has it."""
    plain = unzipped(source.model()) if ZIPMAP in summary.operators else None
    if plain is not None:
        source.replace(plain.model)
    return plain


def _load(
    source: Source, options: SessionOptions, summary: GraphSummary
) -> tuple[ort.InferenceSession, Kernels, str]:
    check_installed(options.provider)
    kernels, note = kernels_for(source, options.kernels), ""
    if kernels is Kernels.EXACT:
        try:
            return _open_exact(source, options, summary), kernels, _overridable(source)
        except Exception as error:
            # The exact kernels lack signed activations in QLinear operators. If the file itself is
            # wrong, the second attempt fails too, and reports the reason.
            note = f"default kernels are used and may saturate; exact ones fail: {reason(error)}"
    try:
        return (
            _open(source, options, summary),
            Kernels.DEFAULT,
            note or _saturating(source, options),
        )
    except LoadFailed:
        raise
    except Exception as error:
        text = str(error)
        known = missing_locale(text) or missing_operator(text, options.custom_ops) or reason(error)
        if ZIPMAP in summary.operators and "seq(map" in known:
            known += f"; {ZIPMAP_FALSE}"
        raise LoadFailed(f"ONNX Runtime rejects {source.name}: {known}") from error


def _saturating(source: Source, options: SessionOptions) -> str:
    """Return a note if default kernels were requested and their sums may saturate; else ""."""
    if options.kernels is None or kernels_for(source) is Kernels.DEFAULT:
        return ""
    return (
        "default kernels are used, as requested, and may saturate on this machine;"
        ' kernels = "auto" does not'
    )


def _overridable(source: Source) -> str:
    """Return a note on the weights that the exact kernels do not convert; "" if there are none."""
    names = overridable_weights(source)
    if not names:
        return ""
    return (
        f"sums of weight {names[0]!r:.80} may saturate: it is listed among the inputs, so a request"
        " may override it, and exact kernels do not convert it; export with"
        " keep_initializers_as_inputs=False"
    )


def _open_exact(
    source: Source, options: SessionOptions, summary: GraphSummary
) -> ort.InferenceSession:
    if summary.operators & SUBGRAPHS:
        return _open(source, options, summary, Kernels.EXACT, unshared(source.model()))
    try:
        return _open(source, options, summary, Kernels.EXACT)
    except Exception:
        model = unshared(source.model())
        if model is None:
            raise
        return _open(source, options, summary, Kernels.EXACT, model)


def _open(
    source: Source,
    options: SessionOptions,
    summary: GraphSummary,
    kernels: Kernels = Kernels.DEFAULT,
    model: bytes | None = None,
) -> ort.InferenceSession:
    """Create the session of the model, or of ``model``, a changed copy with the same files."""
    runtime = _runtime_options(options)
    kernels.apply(runtime)
    given = source.give(runtime, model)
    provider = options.provider
    session = ort.InferenceSession(
        given,
        runtime,
        providers=[(provider.native, provider.options(options.threads))],
        disabled_optimizers=list(slow_fusions(summary.operators)),
    )
    if provider.native not in session.get_providers():
        # ONNX Runtime's package takes the CPU provider after an error, and only prints it.
        raise LoadFailed(f'provider "{provider}" cannot run {source.name}; see standard output')
    return session


def _runtime_options(options: SessionOptions) -> ort.SessionOptions:
    runtime = ort.SessionOptions()
    runtime.intra_op_num_threads = options.threads
    runtime.inter_op_num_threads = 1
    runtime.log_severity_level = 4  # errors are raised; other messages would go to stderr
    # Spinning threads use the cores that decode requests: they doubled the cost of a small model.
    runtime.add_session_config_entry("session.intra_op.allow_spinning", str(int(options.spinning)))
    runtime.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if options.spinning:
        runtime.add_session_config_entry("session.force_spinning_stop", "1")  # when a run ends
        # Smaller blocks, so that threads wait less for the slowest: MiniLM took 0.89 of the time.
        runtime.add_session_config_entry("session.dynamic_block_base", "4")
    if options.bound_to and options.threads > 1:
        # One entry for each thread beside the calling one; ONNX Runtime counts cores from 1.
        cores = ",".join(str(core + 1) for core in options.bound_to)
        affinities = ";".join([cores] * (options.threads - 1))
        runtime.add_session_config_entry("session.intra_op_thread_affinities", affinities)
    if options.custom_ops is not None:
        _register(runtime, options.custom_ops)
    if options.optimised is not None:
        runtime.optimized_model_filepath = str(options.optimised)
    return runtime


def _register(runtime: ort.SessionOptions, library: Path) -> None:
    try:
        runtime.register_custom_ops_library(str(library))
    except Exception as error:
        why = str(error).rpartition(": ")[2]
        raise LoadFailed(f"custom_ops {library.name} cannot be loaded: {why}") from error


def _signature(session: ort.InferenceSession, file: str, summary: GraphSummary) -> Signature:
    """Return the inputs and outputs of the graph, from ONNX Runtime and the model file.

    Raises:
        LoadFailed: there is no output, or the protocol cannot carry a tensor.
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    defaults = [arg for arg in session.get_overridable_initializers() if arg.type in ELEMENT_TYPES]
    if not outputs:
        raise LoadFailed(f"{file} has no output: there is nothing to serve")
    return Signature(
        tuple(_spec("input", arg, summary) for arg in inputs),
        tuple(_spec("output", arg, summary) for arg in outputs),
        tuple(_spec("input", arg, summary) for arg in defaults),
    )


def _spec(role: str, arg: ort.NodeArg, summary: GraphSummary) -> TensorSpec:
    datatype = ELEMENT_TYPES.get(arg.type)
    if datatype is None:
        what = f'{role} "{arg.name}" is a {arg.type}, which the protocol cannot carry'
        raise LoadFailed(f"{what}; {_instead(arg.type)}")
    shape = tuple(map(_dim, arg.shape))
    # ONNX Runtime shows a tensor without a shape as a scalar; only the file distinguishes them.
    ranked = bool(shape) or arg.name not in summary.unranked
    categories = summary.categories.get(arg.name, ())
    return TensorSpec(arg.name, DATATYPES[datatype], shape, ranked, categories)


def _instead(kind: str) -> str:
    """Return advice for a type that the protocol cannot carry."""
    if kind.startswith("seq(map"):
        return ZIPMAP_FALSE
    if kind.startswith("seq(tensor"):
        return "make each of its tensors an output, or join them into one tensor with Concat"
    return "convert the model so that it is a tensor of numbers or strings"


def _dim(given: int | str | None) -> Dim:
    """Return an axis of the signature: None for a name that exporters write for "unknown"."""
    if isinstance(given, str) and given.strip() in NO_NAMES:
        return None
    return given


def _to_value(datatype: Datatype, array: Array) -> ort.OrtValue:
    array = np.ascontiguousarray(array)
    if datatype.name == "BF16":
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, ONNX_BFLOAT16)
    return ort.OrtValue.ortvalue_from_numpy(array)


def _from_value(value: ort.OrtValue) -> Array:
    if value.data_type() != "tensor(bfloat16)":
        result: Array = value.numpy()
        return result
    # NumPy has no bfloat16, so ONNX Runtime does not convert it: copy the bits.
    shape = value.shape()
    bits = ctypes.string_at(value.data_ptr(), 2 * prod(shape))
    return np.frombuffer(bits, np.uint16).reshape(shape)
