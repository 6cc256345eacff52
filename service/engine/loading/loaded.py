"""A version while and after it is loaded: the values that describe it."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from service.core.batching import BatchingMode, BatchPolicy
from service.core.extent import Extent
from service.core.tensors import Arrays, Signature
from service.engine.cpu.kernels import Kernels
from service.engine.cpu.providers import Provider
from service.engine.loading.plan import Plan
from service.engine.loading.probe import Probe
from service.engine.onnx_file.snapshot import Snapshot
from service.engine.onnx_file.summary import GraphSummary, Precision
from service.engine.onnx_file.zipmap import Labels
from service.engine.runtime.execution import Instance
from service.engine.runtime.session import Session
from service.engine.storage.folder import VersionFiles

if TYPE_CHECKING:
    from service.core.images import ImageSettings
    from service.engine.generation.language_model import LanguageModel
    from service.engine.loading.language import LanguageParts
    from service.engine.text.model import TextModel


@dataclass(frozen=True, slots=True)
class Loaded:
    """A version that is loaded and warm.

    ``kernels`` are the kernels in use; ``kernels_note`` says why they are not the requested ones,
    if so. ``labels`` are the class names of outputs, from the file or a config.json beside it.
    ``outputs_note`` says which outputs differ from the file's declaration. ``advice`` says how to
    make it faster. ``speed_note`` says that its speed was measured on another kind of machine.
    ``memory_bytes`` is the growth of the process; ``file_bytes`` counts the model's files. ``rows``
    are some rows of the probe, which the next version must run too. ``extent`` is the size up to
    which inputs may run in the event loop, None if none may. ``lone`` is an additional instance for
    lone requests, if there is one. A ``language`` model has no instances.
    ``text`` is set if the version accepts texts; ``text_note`` says why not, if there is a
    tokenizer. ``images`` and ``images_note`` are the same for images and a
    preprocessor_config.json. ``tuning_note`` says what ``quantserve tune`` chose, if it was used.
    ``provider`` is the execution provider.
    """

    signature: Signature
    instances: tuple[Instance, ...]
    policy: BatchPolicy
    plan: Plan
    probe: Probe
    precision: Precision
    kernels: Kernels
    kernels_note: str
    sha256: str
    file_bytes: int
    memory_bytes: int
    load_seconds: float
    rows: tuple[Arrays, ...] = ()
    extent: Extent | None = None
    lone: Instance | None = None
    labels: Labels = field(default_factory=dict)
    outputs_note: str = ""
    advice: str = ""
    speed_note: str = ""
    language: "LanguageModel | None" = None
    text: "TextModel | None" = None
    text_note: str = ""
    images: "ImageSettings | None" = None
    images_note: str = ""
    tuning_note: str = ""
    provider: Provider = Provider.CPU
    only_rows: bool = field(init=False, repr=False)
    """True if all requests consist of rows that share runs or are run one by one, as with most
    models. Then ``ModelVersion.submit`` needs no other checks than those of the signature."""

    def __post_init__(self) -> None:
        signature, whole = self.signature, self.plan.mode is BatchingMode.REQUESTS
        only_rows = signature.batchable and not (signature.may_stand_alone or whole)
        object.__setattr__(self, "only_rows", only_rows)

    @property
    def computed_by(self) -> str:
        """The kernels, or the execution provider that has its own."""
        return (self.kernels if self.provider is Provider.CPU else self.provider).value

    @property
    def promised_bytes(self) -> int:
        """Bytes by which the process may still grow as the cache of a language model fills."""
        return 0 if self.language is None else self.language.promised_bytes

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the operator."""
        told = (
            self.outputs_note, self.kernels_note, self.plan.note, self.advice, self.speed_note,
            self.text_note, self.images_note, self.tuning_note,
        )  # fmt: skip
        return tuple(filter(None, told))


@dataclass(frozen=True, slots=True)
class Opened:
    """A version with an ONNX Runtime session that has not run yet.

    ``memory_before`` is the memory of the process before the load, in bytes. ``language`` has the
    other parts of a language model, ``text`` those of a model that accepts texts, ``images`` the
    settings of a model that accepts images. ``text_note`` and ``images_note``: see ``Loaded``.
    """

    files: VersionFiles
    session: Session
    summary: GraphSummary
    snapshot: Snapshot
    seconds: float
    memory_before: int
    language: "LanguageParts | None" = None
    text: "TextModel | None" = None
    text_note: str = ""
    images: "ImageSettings | None" = None
    images_note: str = ""

    @property
    def signature(self) -> Signature:
        """The inputs that requests send, and the outputs that they receive."""
        if self.language is not None:
            return self.language.signature
        return with_texts(self.session.signature, self.text)


def with_texts(signature: Signature, text: "TextModel | None") -> Signature:
    """Return the signature of a version that may also accept texts."""
    return signature if text is None else replace(signature, texts=text.signature)
