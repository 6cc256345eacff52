"""Every error the server tells somebody about, split first by whose turn it is to act.

QuantserveError
├── RequestError             the request's: change it, then send it again
│   ├── MalformedRequest       the bytes are not what the protocol says
│   ├── UnsupportedEncoding    the body is compressed in a way the server does not know
│   ├── BodyTooLarge           more bytes than the server takes
│   ├── MethodNotAllowed       the address exists, this verb on it does not
│   ├── NotFound               no such model, version or address
│   ├── SignatureMismatch      the tensors are not those that the model takes
│   ├── InputRejected          the tensors fit, the model refuses their values
│   └── Conflict               what is there already does not allow it
├── MomentError              the moment's: the same request may succeed later
│   ├── NotReady               the model or version is not serving now
│   ├── QueueFull              the queue of the model is at its bound
│   ├── DeadlineExceeded       the request waited longer than it allowed
│   └── ShuttingDown           the server is on its way out
├── ModelError               the model's: its operator must act
│   ├── LoadFailed             the version cannot be loaded
│   ├── GateFailed             the version loads, but is not fit to serve
│   └── ExecutionFailed        the graph failed on a request that fits its signature
└── ConfigError              the operator's: a setting, a folder or a port

Statuses of HTTP are not known here: they are a table in ``service.api.errors``.
"""

from service.core.checks import Check


class QuantserveError(Exception):
    """The root; its text is written for the person who has to act."""


class RequestError(QuantserveError):
    """The request is at fault."""


class MalformedRequest(RequestError):
    """The bytes are not what the protocol says."""


class UnsupportedEncoding(RequestError):
    """The body is compressed in a way the server does not know."""


class BodyTooLarge(RequestError):
    """The body has more bytes than the server takes, counted after decompression."""


class MethodNotAllowed(RequestError):
    """The address exists; this verb on it does not."""


class NotFound(RequestError):
    """No such model, version or address."""


class SignatureMismatch(RequestError):
    """The tensors are not those that the model takes."""


class InputRejected(RequestError):
    """The tensors fit the signature, but the model refuses their values."""


class Conflict(RequestError):
    """What is there already does not allow it."""


class MomentError(QuantserveError):
    """The same request may succeed later."""


class NotReady(MomentError):
    """The model or version is not serving now."""


class QueueFull(MomentError):
    """The queue of the model is at its bound."""


class DeadlineExceeded(MomentError):
    """The request waited longer than it allowed."""


class ShuttingDown(MomentError):
    """The server is on its way out."""


class ModelError(QuantserveError):
    """The model is at fault."""


class LoadFailed(ModelError):
    """The version cannot be loaded; the text is the reason shown for it everywhere."""


class GateFailed(ModelError):
    """The version is not fit to serve; ``checks`` are all that were made, with their figures."""

    def __init__(self, what: str, reason: str, checks: tuple[Check, ...] = ()) -> None:
        super().__init__(f"{what}: {reason}")
        self.reason = reason
        self.checks = checks


class ExecutionFailed(ModelError):
    """The graph failed on a request that fits its signature."""


class ConfigError(QuantserveError):
    """A setting, a folder or a port is not usable."""
