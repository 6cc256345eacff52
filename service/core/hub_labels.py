"""The labels of a Hugging Face config.json. Pure."""

from typing import Any


def labels_of(id2label: Any) -> tuple[str, ...]:
    """Return the labels of ``id2label`` in the order of their numbers; () unless the numbers are 0,
    1, 2 and so on."""
    if not isinstance(id2label, dict):
        return ()
    try:
        by_id = {int(key): str(value) for key, value in id2label.items()}
    except ValueError:
        return ()
    return tuple(by_id[i] for i in sorted(by_id)) if set(by_id) == set(range(len(by_id))) else ()
