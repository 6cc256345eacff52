"""One loaded ONNX graph, which runs on arrays."""

import ctypes
from contextlib import closing
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import onnxruntime as ort

from service.core.blame import blamed
from service.core.errors import ExecutionFailed, InputRejected
from service.core.shapes import doubtful_shapes
from service.core.tensors import (
    Array,
    Arrays,
    Datatype,
    Overriding,
)
from service.engine.onnx_file.empty import fatal_operator
from service.engine.onnx_file.snapshot import ModelFile, Snapshot, Source
from service.engine.onnx_file.summary import GraphSummary, summarise_model
from service.engine.onnx_file.zipmap import ZIPMAP, Labels, Unzipped, unzipped
from service.engine.runtime.execution import Control
from service.engine.runtime.graph_signature import signature_of
from service.engine.runtime.opening import SessionOptions, open_native
from service.engine.runtime.refusals import FAILURES, is_refusal, reason

ONNX_BFLOAT16 = 16
"""onnx.proto, TensorProto.DataType.BFLOAT16."""


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
        self._session, self.kernels, self.kernels_note = open_native(given, options, self._summary)
        self.signature = signature_of(self._session, given.name, self._summary)
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
