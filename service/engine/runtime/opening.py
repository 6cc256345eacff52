"""Gives a model to ONNX Runtime, with the options, kernels and execution provider that fit it."""

from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort

from service.core.errors import LoadFailed
from service.engine.cpu.fusions import slow_fusions
from service.engine.cpu.kernels import Kernels, kernels_for
from service.engine.cpu.providers import Provider, check_installed
from service.engine.onnx_file.snapshot import Source
from service.engine.onnx_file.summary import GraphSummary
from service.engine.onnx_file.unshare import unshared
from service.engine.onnx_file.weights import overridable_weights
from service.engine.onnx_file.zipmap import ZIPMAP
from service.engine.runtime.custom_ops import missing_operator
from service.engine.runtime.graph_signature import ZIPMAP_FALSE
from service.engine.runtime.locales import missing_locale
from service.engine.runtime.refusals import reason

SUBGRAPHS = {"If", "Loop", "Scan"}
"""Operators with subgraphs, which may use weights of the outer graph."""


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


def open_native(
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
