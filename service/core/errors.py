"""All errors that the server reports, grouped by who has to act.

QuantserveError
├── RequestError             the request's: change it, then send it again
│   ├── MalformedRequest       the bytes are not what the protocol says
│   │   └── BadArgument          an argument of a request in text is not what is taken
│   ├── UnsupportedEncoding    the body is compressed in a way the server does not know
│   ├── BodyTooLarge           more bytes than the server takes
│   ├── ResponseTooLarge       the answer would have more bytes than the server gives
│   ├── BodyTimeout            the body did not arrive in time
│   ├── MethodNotAllowed       the address exists, this verb on it does not
│   ├── NotSupported           a part of the protocol that the server does not have
│   ├── NotFound               no such model, version or address
│   ├── SignatureMismatch      the tensors are not those that the model takes
│   ├── InputRejected          the tensors fit, the model refuses their values
│   ├── InvalidName            a name or path that the model repository does not take
│   ├── UploadRejected         the files are no model, or not those that were announced
│   ├── Conflict               what is there already does not allow it
│   │   ├── VersionExists        the version is there already
│   │   └── NotPersisted         the choice would not outlive a restart: its file cannot be written
│   ├── Unauthenticated        a key is needed, and none that is known came
│   └── Forbidden              nobody, or not this key, may do that
├── TransientError              the moment's: the same request may succeed later
│   ├── NotReady               the model or version is not serving now
│   ├── QueueFull              the queue of the model is at its bound
│   │   └── WouldExpire        it would probably wait longer than it allows
│   ├── MemoryFull             requests and answers in flight take all memory that is for them
│   ├── DeadlineExceeded       the request waited longer than it allowed
│   ├── TooManyLoads           as many versions are being loaded as may be at a time
│   ├── CodecFailed            the process that reads and writes long JSON died or took too long
│   └── ShuttingDown           the server is shutting down
├── ModelError               the model's: its operator must act
│   ├── LoadFailed             the version cannot be loaded
│   ├── GateFailed             the version loads, but is not fit to serve
│   ├── RunTimeout             a run of the graph took longer than the model may
│   └── ExecutionFailed        the graph failed on a request that fits its signature
├── StorageFailed            the disk's: it is read-only, or broken
│   └── StorageFull            there is no room left on it
└── ConfigError              the operator's: a setting, a folder or a port
    └── FileUnreadable         a file beside a model is no regular file, too large, or not readable

HTTP statuses are a table in ``service.api.protocol.errors``.
"""

from service.core.checks import Check


class QuantserveError(Exception):
    """The root; its text is written for the person who has to act."""


class RequestError(QuantserveError):
    """The request is at fault."""


class MalformedRequest(RequestError):
    """The body is not valid in its protocol."""


class BadArgument(MalformedRequest):
    """An argument of a request to a language model is invalid; ``param`` is its name."""

    def __init__(self, message: str, param: str | None) -> None:
        super().__init__(message)
        self.param = param


class UnsupportedEncoding(RequestError):
    """The body is compressed in a way the server does not know."""


class BodyTooLarge(RequestError):
    """The body has more bytes than the server takes, counted after decompression."""


class ResponseTooLarge(RequestError):
    """The answer would have more bytes than the server gives."""


class BodyTimeout(RequestError):
    """The body did not arrive in the time that a client has to send it."""


class MethodNotAllowed(RequestError):
    """The address exists; this verb on it does not."""


class NotSupported(RequestError):
    """A part of the protocol that the server does not have."""


class NotFound(RequestError):
    """No such model, version or address."""


class SignatureMismatch(RequestError):
    """The tensors are not those that the model takes."""


class InputRejected(RequestError):
    """The tensors fit the signature, but the model refuses their values."""


class InvalidName(RequestError):
    """A name or path that the model repository does not take."""


class UploadRejected(RequestError):
    """The files are no model, or not those that were announced; ``missing`` are the paths of files
    that the model names and that did not come."""

    def __init__(self, reason: str, missing: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.missing = missing


class Conflict(RequestError):
    """The current state does not allow the change."""


class VersionExists(Conflict):
    """The version is there already; versions are never overwritten."""


class NotPersisted(Conflict):
    """The choice would not outlive a restart: the file that keeps it cannot be written."""


class Unauthenticated(RequestError):
    """A key is needed, and none that is known came."""


class Forbidden(RequestError):
    """No key, or not this one, allows the change."""


class TransientError(QuantserveError):
    """The same request may succeed later."""


class NotReady(TransientError):
    """The model or version is not serving now."""


class QueueFull(TransientError):
    """The queue of the model is at its bound. ``retry_after``: seconds until there is probably
    room."""

    retry_after = 1.0


class WouldExpire(QueueFull):
    """The request would probably wait longer than it allows."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class MemoryFull(TransientError):
    """Requests and answers in flight take all the memory that is for them."""


class DeadlineExceeded(TransientError):
    """The request waited longer than it allowed."""


class TooManyLoads(TransientError):
    """As many versions are being loaded as may be at a time."""


class CodecFailed(TransientError):
    """The process that reads and writes long JSON died, or took too long; another one follows."""


class ShuttingDown(TransientError):
    """The server is shutting down."""


class ModelError(QuantserveError):
    """The model is at fault."""


class LoadFailed(ModelError):
    """The version cannot be loaded; the text is the reason shown for it everywhere."""


class GateFailed(ModelError):
    """The version is not fit to serve; ``checks`` are all that were made, with their figures.
    ``again``: the version is not at fault, and may be tried again as it is."""

    def __init__(
        self, what: str, reason: str, checks: tuple[Check, ...] = (), *, again: bool = False
    ) -> None:
        super().__init__(f"{what}: {reason}")
        self.again = again
        self.reason = reason
        self.checks = checks


class RunTimeout(ModelError):
    """A run of the graph took longer than the model may."""


class ExecutionFailed(ModelError):
    """The graph failed on a request that fits its signature."""


class StorageFailed(QuantserveError):
    """The disk under the model repository cannot be written to."""


class StorageFull(StorageFailed):
    """There is no room left on the disk under the model repository."""


class ConfigError(QuantserveError):
    """A setting, a folder or a port is not usable."""


class FileUnreadable(ConfigError):
    """A file beside a model is not a regular file, is too large, or cannot be read."""
