"""The HTTP status of each error: a table, searched from the class of the error upwards."""

from service.core import errors
from service.core.events import Outcome

STATUS: dict[type[Exception], int] = {
    errors.MalformedRequest: 400,
    errors.BadArgument: 400,
    errors.UnsupportedEncoding: 415,
    errors.BodyTooLarge: 413,
    errors.ResponseTooLarge: 413,
    errors.BodyTimeout: 408,
    errors.MethodNotAllowed: 405,
    errors.NotSupported: 501,
    errors.NotFound: 404,
    errors.SignatureMismatch: 400,
    errors.InputRejected: 400,
    errors.InvalidName: 400,
    errors.UploadRejected: 400,
    errors.Conflict: 409,
    errors.VersionExists: 409,
    errors.NotPersisted: 409,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotReady: 503,
    errors.QueueFull: 503,
    errors.MemoryFull: 503,
    errors.DeadlineExceeded: 504,
    errors.TooManyLoads: 503,
    errors.CodecFailed: 503,
    errors.ShuttingDown: 503,
    errors.LoadFailed: 500,
    errors.GateFailed: 409,
    errors.RunTimeout: 504,
    errors.ExecutionFailed: 500,
    errors.StorageFailed: 500,
    errors.StorageFull: 507,
    errors.ConfigError: 500,
    errors.FileUnreadable: 500,
}


def status_of(error: BaseException) -> int:
    """Return the HTTP status of an error; 500 for an error that is not a ``QuantserveError``."""
    return next((STATUS[c] for c in type(error).__mro__ if c in STATUS), 500)


def outcome_of(error: BaseException) -> Outcome:
    """Return the outcome of a request that ended with this error."""
    if isinstance(error, errors.DeadlineExceeded):
        return Outcome.EXPIRED
    if isinstance(error, errors.TransientError):
        return Outcome.REJECTED
    return Outcome.INVALID if isinstance(error, errors.RequestError) else Outcome.FAILED
