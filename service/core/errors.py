"""All errors that the server reports, grouped by who has to act.

QuantserveError
├── RequestError             the client must change the request before it sends it again
│   ├── MalformedRequest       the body is not valid in its protocol
│   │   └── BadArgument          an argument of a request to a language model is invalid
│   ├── UnsupportedEncoding    the server does not support the compression of the body
│   ├── BodyTooLarge           the body has more bytes than the server accepts
│   ├── ResponseTooLarge       the answer would have more bytes than the server allows
│   ├── BodyTimeout            the body did not arrive in time
│   ├── MethodNotAllowed       the address exists, but not with this HTTP method
│   ├── NotSupported           the server does not implement this part of the protocol
│   ├── NotFound               no such model, version or address
│   ├── SignatureMismatch      the tensors do not match the model's signature
│   ├── InputRejected          the tensors match, but the model refuses their values
│   ├── InvalidName            the model repository does not accept this name or path
│   ├── UploadRejected         the files are no model, or not the files that were announced
│   ├── Conflict               the current state does not allow the change
│   │   ├── VersionExists        the version exists already
│   │   └── NotPersisted         a restart would lose the choice: its file cannot be written
│   ├── Unauthenticated        the request needs a key, and has none that is known
│   └── Forbidden              no key, or not this key, allows the change
├── TransientError             the same request may succeed later
│   ├── NotReady               the model or version is not serving now
│   ├── QueueFull              the queue of the model is full
│   │   └── WouldExpire          the request would probably wait longer than it allows
│   ├── MemoryFull             requests and answers in flight use all memory reserved for them
│   ├── DeadlineExceeded       the request waited longer than it allowed
│   ├── TooManyLoads           the largest number of concurrent loads is reached
│   ├── CodecFailed            the process that reads and writes long JSON died or took too long
│   └── ShuttingDown           the server is shutting down
├── ModelError               the operator of the model must act
│   ├── LoadFailed             the version cannot be loaded
│   ├── GateFailed             the version loads, but is not fit to serve
│   ├── RunTimeout             a run of the graph exceeded its time limit
│   └── ExecutionFailed        the graph failed on a request that fits its signature
├── StorageFailed            the disk is read-only or broken
│   └── StorageFull            the disk is full
└── ConfigError              the operator must correct a setting, a folder or a port
    └── FileUnreadable         a file beside a model is no regular file, too large, or not readable

HTTP statuses are a table in ``service.api.protocol.errors``.
"""

from service.core.checks import Check


class QuantserveError(Exception):
    """The base class of all errors. Its text is written for the person who has to act."""


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
    """The server does not support the compression of the body."""


class BodyTooLarge(RequestError):
    """The body has more bytes than the server accepts, counted after decompression."""


class ResponseTooLarge(RequestError):
    """The answer would have more bytes than the server allows."""


class BodyTimeout(RequestError):
    """The body did not arrive in the time that a client has to send it."""


class MethodNotAllowed(RequestError):
    """The address exists, but not with this HTTP method."""


class NotSupported(RequestError):
    """The server does not implement this part of the protocol."""


class NotFound(RequestError):
    """No such model, version or address."""


class SignatureMismatch(RequestError):
    """The tensors do not match the model's signature."""


class InputRejected(RequestError):
    """The tensors fit the signature, but the model refuses their values."""


class InvalidName(RequestError):
    """The model repository does not accept this name or path."""


class UploadRejected(RequestError):
    """The files are no model, or not the files that were announced. ``missing`` are the paths of
    files that the model names and that were not uploaded."""

    def __init__(self, reason: str, missing: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.missing = missing


class Conflict(RequestError):
    """The current state does not allow the change."""


class VersionExists(Conflict):
    """The version exists already; versions are never overwritten."""


class NotPersisted(Conflict):
    """A restart would lose the choice: the file that stores it cannot be written."""


class Unauthenticated(RequestError):
    """The request needs a key, and has none that is known."""


class Forbidden(RequestError):
    """No key, or not this one, allows the change."""


class TransientError(QuantserveError):
    """The same request may succeed later."""


class NotReady(TransientError):
    """The model or version is not serving now."""


class QueueFull(TransientError):
    """The queue of the model is full. ``retry_after``: seconds until it probably has room."""

    retry_after = 1.0


class WouldExpire(QueueFull):
    """The request would probably wait longer than it allows."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class MemoryFull(TransientError):
    """Requests and answers in flight use all the memory that is reserved for them."""


class DeadlineExceeded(TransientError):
    """The request waited longer than it allowed."""


class TooManyLoads(TransientError):
    """The largest number of concurrent loads is reached."""


class CodecFailed(TransientError):
    """The process that reads and writes long JSON died or took too long. It is replaced."""


class ShuttingDown(TransientError):
    """The server is shutting down."""


UNANSWERED = "the server stopped before there was an answer"
"""The message of ``ShuttingDown`` for an admitted request."""


class ModelError(QuantserveError):
    """The model is at fault."""


class LoadFailed(ModelError):
    """The version cannot be loaded; the text is the reason shown for it everywhere."""


class GateFailed(ModelError):
    """The version is not fit to serve. ``checks`` are all checks that were made, with their
    figures. ``again``: the version is not at fault, and may be tried again without a change."""

    def __init__(
        self, what: str, reason: str, checks: tuple[Check, ...] = (), *, again: bool = False
    ) -> None:
        super().__init__(f"{what}: {reason}")
        self.again = again
        self.reason = reason
        self.checks = checks


class RunTimeout(ModelError):
    """A run of the graph exceeded its time limit."""


class ExecutionFailed(ModelError):
    """The graph failed on a request that fits its signature."""


class StorageFailed(QuantserveError):
    """The disk under the model repository cannot be written to."""


class StorageFull(StorageFailed):
    """The disk under the model repository is full."""


class ConfigError(QuantserveError):
    """A setting, a folder or a port is not usable."""


class FileUnreadable(ConfigError):
    """A file beside a model is not a regular file, is too large, or cannot be read."""
