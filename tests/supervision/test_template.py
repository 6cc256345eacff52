"""The template forks workers, which become children of the supervisor."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.patience import until

ROOT = Path(__file__).parents[2]
WORKER = """
import json, os, socket
from service.forking import forked
from service.supervision.process import VARIABLE
told = json.loads(os.environ.pop(VARIABLE))
told = forked(told, socket.socket(fileno=told["channel"]))
channel = socket.socket(fileno=told["channel"])
found = [os.getpid(), os.getppid(), os.getpgid(0), sorted(os.sched_getaffinity(0))]
channel.sendall(json.dumps(found).encode())
channel.recv(1)
os._exit(told["code"])
"""
SUPERVISOR = """
import json, os, select, signal, sys, time
from service.supervision.process import shared_memory
from service.supervision.template import Template

board, inbox, other, table = (shared_memory(8) for _ in range(4))
template = Template([sys.executable, "-c", sys.argv[1]], [board, inbox, other, table])
fleet = {"board": board, "inbox": inbox, "outboxes": [inbox]}
cores = sorted(os.sched_getaffinity(0))[:1]
told = {"fleet": fleet, "table": table, "affinity": cores, "code": 3}
assert template.fork(told) is None, "it does not run"
orders = template.start()
assert orders is not None and template.loading and template.start() is None
select.select([orders], [], [], 60)
template.hear()
assert template.loaded and template.ended() is None

def ended(child):
    end = time.monotonic() + 60
    while (code := child.poll()) is None and time.monotonic() < end:
        time.sleep(0.01)
    return code

found = []
for _ in range(2):
    child, channel = template.fork(told)
    channel.setblocking(True)
    process, parent, group, bound = json.loads(channel.recv(1000))
    assert child.pid == process == group and parent == os.getpid() and bound == cores
    assert child.poll() is None
    found.append((child, channel))
found[0][1].send(b".")
assert ended(found[0][0]) == 3
found[1][0].send_signal(signal.SIGKILL)
assert ended(found[1][0]) == -signal.SIGKILL
found[1][0].send_signal(signal.SIGTERM)  # of a process that has ended: nothing happens

child, channel = template.fork(told)
template.kill()
assert template.fork(told) is None
code, closed = template.ended()
assert code == -signal.SIGKILL and closed.fileno() == -1
assert template.start() is None, "it starts again at once"
channel.send(b".")
assert ended(child) == 3, "workers do not end with the template"
print("passed")
"""


def test_workers_are_forked_adopted_and_survive_the_template() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SUPERVISOR, WORKER],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.stdout == "passed\n", done.stderr


def test_a_worker_ends_with_the_supervisor() -> None:
    script = SUPERVISOR.partition("found[0][1].send")[0]
    script += "print(child.pid, flush=True)\ntime.sleep(600)\n"
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            script,
            WORKER.replace("channel.recv(1)", "import time; time.sleep(600)"),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.communicate()
    file = Path(f"/proc/{worker}/stat")
    until(lambda: not file.exists() or file.read_text().split()[2] == "Z", "it did not end")
