"""Which status each error becomes: a table, walked from the class of the error upwards."""

from service.core import errors

STATUS: dict[type[Exception], int] = {
    errors.MalformedRequest: 400,
    errors.UnsupportedEncoding: 415,
    errors.BodyTooLarge: 413,
    errors.MethodNotAllowed: 405,
    errors.NotFound: 404,
    errors.SignatureMismatch: 400,
    errors.InputRejected: 400,
    errors.Conflict: 409,
    errors.NotReady: 503,
    errors.QueueFull: 503,
    errors.DeadlineExceeded: 504,
    errors.ShuttingDown: 503,
    errors.LoadFailed: 500,
    errors.GateFailed: 409,
    errors.ExecutionFailed: 500,
    errors.ConfigError: 500,
}


def status_of(error: BaseException) -> int:
    """The status of an error; 500 for what is no error of ours."""
    return next((STATUS[c] for c in type(error).__mro__ if c in STATUS), 500)
