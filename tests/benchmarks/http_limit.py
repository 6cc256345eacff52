"""The HTTP limit: a bare ASGI callable that reads the body and answers a constant.

No application under the same uvicorn can be faster, so this is the 1.00 of the results.
"""

import argparse
from pathlib import Path

import uvicorn
from starlette.types import Receive, Scope, Send

from tests.benchmarks.protocol import LENGTH_HEADER, Message


class Constant:
    """The ASGI callable: every request gets the same answer."""

    def __init__(self, message: Message) -> None:
        headers = message.headers() | {"Content-Length": str(len(message.content))}
        encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        self.start = {"type": "http.response.start", "status": 200, "headers": encoded}
        self.body = {"type": "http.response.body", "body": message.content}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body", False):
            pass
        await send(self.start)
        await send(self.body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--body", type=Path, required=True)
    parser.add_argument("--content-type", required=True)
    parser.add_argument("--header-length", type=int, help=LENGTH_HEADER)
    args = parser.parse_args()
    message = Message(args.body.read_bytes(), args.content_type, args.header_length)
    uvicorn.run(
        Constant(message),
        host="127.0.0.1",
        port=args.port,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
