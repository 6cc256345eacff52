"""Prints a change of the serving version phase by phase, while it happens."""

import sys

from service.client import Client, Document, Refused, model_path
from service.commands.columns import columns
from service.commands.remote import CHECKS, report_rows, tell_refusal


def change(client: Client, model: str, verb: str, document: Document) -> int:
    """Request a swap or rollback; print each phase and a summary. Returns the exit code.

    Raises:
        Unreachable: there is no server, or the connection was lost; the server may still complete
            the change.
    """
    print(f"{model}: {verb} ...", flush=True)
    try:
        with client.watching(model_path(model, "events"), _tell):
            answer = client.post(model_path(model, verb), document)
    except Refused as refused:
        return tell_refusal(refused)
    except KeyboardInterrupt:
        print("quantserve: interrupted; the server continues the change", file=sys.stderr)
        return 130
    print(summary(answer))
    return 0


def _tell(event: str, data: Document) -> None:
    if event == "phase" and data.get("status") != "started":
        print(phase_line(data), flush=True)


def phase_line(data: Document) -> str:
    """Return a line such as ``  version 2  warm-up     0.123 s  done``."""
    version, phase = data.get("version", ""), data.get("phase", "")
    status, detail = data.get("status", ""), data.get("detail", "")
    seconds = f"{data.get('seconds') or 0.0:9.3f} s"
    return f"  version {version}  {phase:<12} {seconds}  {status}  {detail}".rstrip()


def summary(answer: Document) -> str:
    """Return the summary: the version that serves now, and the gate's measurements."""
    seconds = answer.get("seconds") or 0.0
    row = [answer.get("model"), answer.get("from_version") or "-", answer.get("to_version")]
    shown = [*map(str, row), f"{seconds:.3f} s", str(answer.get("note") or "")]
    parts = [columns(["MODEL", "BEFORE", "NOW", "TOOK", ""], [shown])]
    if forced := answer.get("forced"):
        parts.append(f"forced, although {forced}")
    if checks := report_rows(answer):
        parts.append(columns(CHECKS, checks))
    return "\n\n".join(parts)
