"""A constant stream of requests, as a separate process: `python -m tests.benchmarks.paced`.

Requests start at fixed times, independent of the server, and latency counts from these times. If
the server stalls, all requests that are due meanwhile count as slow. Times are those of the
monotonic clock, which all processes of a machine share.
"""

import argparse
import asyncio
import re
import sys
from pathlib import Path
from time import monotonic

import numpy as np

LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--port", type=int, required=True)
    add("--path", required=True)
    add("--body", type=Path, required=True, help="file with the body of every request")
    add("--header-length", type=int, help="of the binary extension")
    add("--rate", type=float, required=True, help="requests a second")
    add("--connections", type=int, default=8)
    add("--seconds", type=float, required=True)
    add("--out", type=Path, required=True, help="file for times due and done, and statuses")
    arguments = parser.parse_args()
    start = monotonic() + 0.5
    tasks = (connection(arguments, start, first) for first in range(arguments.connections))
    rows = [row for part in await asyncio.gather(*tasks) for row in part]
    np.save(arguments.out, np.array(sorted(rows)))
    return 0


async def connection(
    arguments: argparse.Namespace, start: float, first: int
) -> list[tuple[float, float, int]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", arguments.port)
    request = message(arguments)
    rows = []
    for number in range(first, int(arguments.rate * arguments.seconds), arguments.connections):
        due = start + number / arguments.rate
        await asyncio.sleep(max(0.0, due - monotonic()))
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(head)
        await reader.readexactly(int(length[1]) if length else 0)
        rows.append((due, monotonic(), int(head.split(b" ", 2)[1])))
    writer.close()
    return rows


def message(arguments: argparse.Namespace) -> bytes:
    body: bytes = arguments.body.read_bytes()
    lines = [f"POST {arguments.path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
    if arguments.header_length:
        lines.append(f"Inference-Header-Content-Length: {arguments.header_length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
