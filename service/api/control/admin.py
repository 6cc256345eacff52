"""The serving version of a model: swap and rollback."""

from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from service.api.auth.audit import Audit
from service.api.control.error_handlers import Error, Responses, documented
from service.api.control.lookup import NOT_FOUND, NOT_READY, ModelName
from service.api.protocol.errors import status_of
from service.api.protocol.finite_json import FiniteJSON
from service.api.protocol.json_body import body_docs, json_object
from service.config.values import first_problem
from service.core.checks import Check
from service.core.errors import GateFailed, MalformedRequest
from service.core.events import Verb
from service.engine.repository.repository import ModelRepository
from service.engine.repository.rollout_options import Cause, RolloutOptions
from service.engine.repository.steps import Served

Body = TypeVar("Body", bound=BaseModel)


def _as_integer(value: Any) -> Any:
    """Return 1.0 as 1: in JSON, these are the same number."""
    return int(value) if type(value) is float and value.is_integer() else value


class RollbackRequest(BaseModel):
    """``force`` lets the version serve even if it fails a check. The version must still load."""

    model_config = ConfigDict(extra="forbid", strict=True)

    force: bool = False
    allow_signature_change: bool = False


class SwapRequest(RollbackRequest):
    """``version`` is a number or "latest". A number is pinned: the version serves until the next
    swap, also after restarts. "latest" selects the highest version on disk and removes the pin."""

    version: Annotated[
        Annotated[int, Field(ge=1)] | Literal["latest"], BeforeValidator(_as_integer)
    ]


class CheckAnswer(BaseModel):
    """One check of the gate. Its values are numbers, or text if the check has no numbers; null for
    NaN and infinity. ``detail`` has more information, if any, such as the element that failed."""

    name: str = Field(examples=["golden"])
    measure: str = Field(examples=["cosine"])
    output: str = Field(examples=["probabilities"])
    measured: float | str | None = Field(examples=[0.9991])
    required: float | str | None = Field(examples=[0.9])
    passed: bool = True
    detail: str = ""


class PhaseAnswer(BaseModel):
    """One phase and its duration in seconds."""

    name: str = Field(examples=["golden"])
    status: str = Field(examples=["done"])
    seconds: float = Field(examples=[0.0041])
    detail: str = ""


class SwapAnswer(BaseModel):
    """The result of a swap. Every request that is sent after it is answered by ``to_version``.

    ``persisted`` is true if the choice is kept after a restart. If not, ``note`` has the reason
    (``--no-pin``).
    """

    model: str = Field(examples=["digits"])
    from_version: int | None = Field(examples=[2])
    to_version: int = Field(examples=[1])
    changed: bool = True
    forced: str = Field("", description="checks that failed and were waived")
    persisted: bool = True
    note: str = ""
    seconds: float = Field(examples=[0.31])
    phases: list[PhaseAnswer]
    checks: list[CheckAnswer]


class GateReport(Error):
    """The reason why a version may not serve, with all checks that were made. The old version
    continues to serve."""

    checks: list[CheckAnswer] = []


FAILED = documented(
    409,
    "A check failed, there is no previous version, or the choice cannot be saved; nothing changed",
    GateReport,
)
ERRORS: Responses = NOT_FOUND | NOT_READY | FAILED


def admin(repository: ModelRepository, audit: Audit) -> APIRouter:
    """Return the routes that change the serving version."""
    router = APIRouter(
        prefix="/admin/models/{name}",
        tags=["admin"],
        responses=ERRORS,
    )

    @router.post(
        "/swap",
        summary="Swap the serving version",
        response_model=SwapAnswer,
        openapi_extra=body_docs(SwapRequest, {"version": 1}, required=True),
    )
    async def swap(name: ModelName, request: Request) -> Response:
        """Loads the version, checks it in the gate, and switches to it. No request is lost, and the
        old version stays loaded for a rollback. A swap waits for a running swap of the same model.
        It continues if the client disconnects."""
        asked = _read(SwapRequest, await json_object(request))
        options = RolloutOptions(Cause.SWAP, asked.force, asked.allow_signature_change)
        try:
            with audit.change(request, Verb.SWAP, name, forced=asked.force) as change:
                change.after = asked.version if isinstance(asked.version, int) else None
                served = await repository.swap(name, asked.version, options)
                change.before, change.after = served.old or None, served.new
                change.note = served.not_persisted
        except GateFailed as error:
            return _refusal(error)
        return _answer(served)

    @router.post(
        "/rollback",
        summary="Roll back to the previous version",
        response_model=SwapAnswer,
        openapi_extra=body_docs(RollbackRequest, {}),
    )
    async def rollback(name: ModelName, request: Request) -> Response:
        """Switches at once if the previous version is still loaded. Otherwise the version is loaded
        and checked in the gate again. A second rollback undoes the first."""
        asked = _read(RollbackRequest, await json_object(request))
        options = RolloutOptions(Cause.ROLLBACK, asked.force, asked.allow_signature_change)
        try:
            with audit.change(request, Verb.ROLLBACK, name, forced=asked.force) as change:
                served = await repository.rollback(name, options)
                change.before, change.after = served.old or None, served.new
                change.note = served.not_persisted
        except GateFailed as error:
            return _refusal(error)
        return _answer(served)

    return router


def _read(kind: type[Body], document: dict[str, Any]) -> Body:
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        problem = first_problem(error.errors(include_url=False))
        text = f"{problem.key}: {problem.message}, got {problem.given!r:.80}"
        raise MalformedRequest(text) from None


def _answer(served: Served) -> Response:
    answer = SwapAnswer(
        model=served.model,
        from_version=served.old or None,
        to_version=served.new,
        changed=served.changed,
        forced=served.forced,
        persisted=not served.not_persisted,
        note=served.not_persisted or ("" if served.changed else "it was already serving"),
        seconds=sum(phase.seconds for phase in served.phases),
        phases=[PhaseAnswer(**phase._asdict()) for phase in served.phases],
        checks=[_check(check) for check in served.checks],
    )
    return FiniteJSON(_document(answer))


def _refusal(error: GateFailed) -> Response:
    report = GateReport(error=str(error), checks=[_check(check) for check in error.checks])
    return FiniteJSON(_document(report), status_of(error))


def _document(answer: SwapAnswer | GateReport) -> dict[str, Any]:
    """Return the body to send. Checks without a detail have no key ``detail``."""
    found = answer.model_dump()
    for check in found["checks"]:
        if not check["detail"]:
            del check["detail"]
    return found


def _check(check: Check) -> CheckAnswer:
    return CheckAnswer(
        name=check.name,
        measure=check.measure,
        output=check.output,
        measured=check.measured,
        required=check.required,
        passed=check.passed,
        detail=check.detail,
    )
