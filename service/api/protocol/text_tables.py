"""Tables in V1 for models that accept both texts and tensors: the choice between the two. No I/O.

Plain strings are texts. A table with a column that has the name of a text input has texts, too.
"""

from dataclasses import replace
from typing import Any

from service.api.protocol.json_table import FORMS
from service.api.protocol.json_tensors import Bytes
from service.core.tensors import Signature

HEAD_BYTES = 4096
"""Bytes of CSV that are searched for the names of the columns."""


def of_table(message: dict[str, Any], signature: Signature) -> Signature:
    """Return the signature for the table in a message: ``signature.texts`` or ``signature``."""
    if signature.texts is None:
        return signature
    table = next((message[form] for form in FORMS if form in message), None)
    if type(table) is dict:
        columns = table.get("columns")
        return _by_names(list(columns) if type(columns) is list else list(table), signature)
    first = table[0] if type(table) is list and table else None
    if type(first) is str:
        return signature.texts
    return _by_names(list(first), signature) if type(first) is dict else signature


def of_csv(body: Bytes, signature: Signature) -> Signature:
    """Return the signature for CSV with a header: ``signature.texts`` or ``signature``."""
    if signature.texts is None:
        return signature
    lines = bytes(body[:HEAD_BYTES]).decode(errors="replace").splitlines()
    return _by_names([name.strip(' "') for name in lines[0].split(",")] if lines else [], signature)


def _by_names(names: list[Any], signature: Signature) -> Signature:
    """Return the signature for these columns. Optional text inputs become required if they have a
    column."""
    texts = signature.texts
    assert texts is not None, "it was asked before. This is a bug."
    if not any([spec.name in names for spec in (*texts.inputs, *texts.optional)]):
        return signature
    given = tuple([spec for spec in texts.optional if spec.name in names])
    return replace(texts, inputs=(*texts.inputs, *given), optional=()) if given else texts
