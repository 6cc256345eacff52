"""One model from start to end: start the servers, verify their answers, then time them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from service.engine.cpu.kernels import Kernels
from tests.benchmarks import protocol
from tests.benchmarks.compute import Compute, computing
from tests.benchmarks.contest import Field, alternate, load
from tests.benchmarks.models import Served
from tests.benchmarks.protocol import Message, Protocol
from tests.benchmarks.results import Cell
from tests.benchmarks.servers import Launch, Server, serving
from tests.benchmarks.targets import clients_needed
from tests.benchmarks.verify import SAMPLES, expected, verify, verify_constant
from tests.benchmarks.wrk import LoadError

HTTP_LIMIT = "HTTP limit"
TUTORIAL = "FastAPI + pydantic"
QUANTSERVE = "quantserve"
SELF = "HTTP limit again"
WARM_UP_CLIENTS = 32
WARM_UP_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, for how long, and the folder for files."""

    clients: tuple[int, ...]
    rounds: int
    seconds: int
    self_check: bool
    tutorial_style: str
    scratch: Path


class Workload:
    """Measures one model. `setting` and `broken` are complete when `run` is exhausted."""

    def __init__(self, served: Served, plan: Plan, note: Callable[[str], None]) -> None:
        self._served = served
        self._plan = plan
        self._note = note
        self._pairs = expected(served, SAMPLES)
        self.setting = ""
        self.broken: list[str] = []

    def run(self) -> Iterator[Cell]:
        with ExitStack() as stack:
            ours = None
            if not self._plan.self_check:
                ours = stack.enter_context(serving(self._quantserve(), self._plan.scratch))
            tutorial = stack.enter_context(serving(self._tutorial(), self._plan.scratch))
            compute = stack.enter_context(computing(self._served))
            self.setting = f"{self._served.workload}: {compute.setting}"
            for wire in Protocol:
                rival = tutorial if wire is Protocol.JSON else None
                yield from self._protocol(wire, ours, rival, compute)

    def _protocol(
        self, wire: Protocol, ours: Server | None, rival: Server | None, compute: Compute
    ) -> Iterator[Cell]:
        question, constant = self._messages(wire, ours)
        body = self._file(f"{wire}.question", question)
        answer = self._file(f"{wire}.answer", constant)
        with ExitStack() as stack:
            launch = self._constant(HTTP_LIMIT, constant, answer)
            limit = stack.enter_context(serving(launch, self._plan.scratch))
            if ours is None:
                launch = self._constant(SELF, constant, answer)
                ours = stack.enter_context(serving(launch, self._plan.scratch))
            field = Field(self._served.workload, wire, question, body, limit, ours, rival, compute)
            self._verify(field, constant)
            for server in field.servers():
                load(field, server, WARM_UP_CLIENTS, WARM_UP_SECONDS)
            yield from self._cells(field)

    def _cells(self, field: Field) -> Iterator[Cell]:
        extra = clients_needed(field.workload, field.protocol)
        for clients in sorted({*self._plan.clients, *extra}):
            label = f"{field.workload}, {field.protocol}, {clients} clients"
            self._note(label)
            try:
                yield alternate(field, clients, self._plan.rounds, self._plan.seconds)
            except LoadError as error:
                self.broken.append(f"{label}: {error}")

    def _messages(self, wire: Protocol, ours: Server | None) -> tuple[Message, Message]:
        """Return the body for all servers, and a constant as long as the real answer."""
        feed, outputs = self._pairs[0]
        question = protocol.request(wire, feed, tuple(outputs))
        if ours is None:
            return question, protocol.answer(wire, self._served.name, outputs)
        return question, ours.ask(question)

    def _verify(self, field: Field, constant: Message) -> None:
        verify_constant(field.http_limit, field.question, constant)
        if self._plan.self_check:
            verify_constant(field.candidate, field.question, constant)
        else:
            verify(field.candidate, field.protocol, self._pairs)
        if field.tutorial is not None:
            # Default options get default kernels, right or not.
            pairs = expected(self._served, SAMPLES, Kernels.DEFAULT)
            verify(field.tutorial, field.protocol, pairs)

    def _file(self, name: str, message: Message) -> Path:
        path = self._plan.scratch / f"{self._served.workload}-{name}"
        path.write_bytes(message.content)
        return path

    def _quantserve(self) -> Launch:
        served = self._served
        arguments = ("serve", "--models", str(served.repository), "--host", "127.0.0.1")
        return Launch(QUANTSERVE, served.name, "service", arguments)

    def _tutorial(self) -> Launch:
        arguments = ("--model", str(self._served.graph), "--style", self._plan.tutorial_style)
        return Launch(TUTORIAL, self._served.name, "tests.benchmarks.tutorial", arguments)

    def _constant(self, name: str, message: Message, body: Path) -> Launch:
        arguments = ["--body", str(body), "--content-type", message.content_type]
        if message.header_length is not None:
            arguments += ["--header-length", str(message.header_length)]
        return Launch(name, self._served.name, "tests.benchmarks.http_limit", tuple(arguments))
