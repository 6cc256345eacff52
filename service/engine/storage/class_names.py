"""Names of classes: ``id2label`` in the config.json of a Hugging Face export. Blocks."""

from pathlib import Path

from service.core.errors import LoadFailed
from service.core.hub_labels import labels_of
from service.core.layout import HUB_FILE
from service.core.tensors import Signature
from service.engine.storage.folder import VersionFiles
from service.engine.storage.hub_json import hub_object

LOGITS = "logits"
"""The name that exporters use for the output of a classifier."""


def class_names(files: VersionFiles, signature: Signature) -> dict[str, tuple[str, ...]]:
    """Return the class names of the output ``logits``, or of the only output.

    The names come from the first config.json with names: in the version's folder, in the folder of
    the model file, or in the model's folder. Their number must fit the output. A file that cannot
    be used is ignored.
    """
    folders = dict.fromkeys((files.home, files.model.parent, files.shared))
    names = next(filter(None, (_names(each, files.root) for each in folders)), ())
    outputs = {spec.name: spec for spec in signature.outputs}
    output = outputs.get(LOGITS, signature.outputs[0] if len(outputs) == 1 else None)
    if not names or output is None or not output.shape:
        return {}
    classes = output.shape[-1]
    fits = classes == len(names) if isinstance(classes, int) else output.name == LOGITS
    return {output.name: names} if fits else {}


def _names(folder: Path, root: Path) -> tuple[str, ...]:
    """Return the class names in the order of their numbers; empty unless these are 0, 1, 2 etc."""
    try:
        return labels_of(hub_object(folder, root, HUB_FILE).get("id2label"))
    except LoadFailed:
        return ()
