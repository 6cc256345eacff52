"""Protocol extensions that this server does not support and must refuse. No I/O.

If they were ignored, answers would be wrong: tensors in shared memory would be missing if shared
memory is off, and a sequence would lose its state.

Source: Triton's shared memory and sequence extensions. Other reserved parameters (``triton_*``,
``headers``) do not change an answer; they are ignored.
"""

from collections.abc import Mapping
from typing import Any

from service.core.errors import MalformedRequest

NO_SHARED_MEMORY = (
    "shared memory is not supported by this server, unless --shared-memory allows it; send tensors"
    " in the request, as binary data if they are large"
)
SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")


def refuse_sequence(parameters: Mapping[str, Any]) -> None:
    """Refuse the parameters of a sequence; an id of 0 or "" means no sequence.

    Raises:
        MalformedRequest: the request is part of a sequence.
    """
    for name in SEQUENCE:
        if parameters.get(name):
            raise MalformedRequest(
                f'parameter "{name}" is {parameters[name]!r:.40}: sequences are not supported,'
                " no state is kept between requests; send the model's state as inputs and read the"
                " next state from its outputs"
            )
