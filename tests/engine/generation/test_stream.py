import pytest

from service.core.errors import ExecutionFailed
from service.core.generation import CallPiece, Delta, FinishReason
from service.engine.generation.stream import Stream

END = Delta("c", 3, (), FinishReason.STOP)


async def test_unread_pieces_are_joined() -> None:
    stream = Stream(1, lambda: None)
    for delta in (Delta("a", 1), Delta("b", 2), END):
        stream.tell(delta)
    assert [each async for each in stream] == [Delta("abc", 3, (), FinishReason.STOP)]


async def test_unread_pieces_of_calls_are_joined() -> None:
    stream, calls = Stream(1, lambda: None), (CallPiece(0, name="now"), CallPiece(0, "{}"))
    for delta in (Delta("a", 1, calls=calls[:1]), Delta("", 2, calls=calls[1:]), END):
        stream.tell(delta)
    assert [each async for each in stream] == [Delta("ac", 3, (), FinishReason.STOP, calls)]


async def test_pieces_before_an_error_are_read_first() -> None:
    stream, read = Stream(1, lambda: None), []
    stream.tell(Delta("a", 1))
    stream.tell(ExecutionFailed("broken"))
    stream.tell(END)
    with pytest.raises(ExecutionFailed, match="broken"):
        async for each in stream:
            read.append(each)
    assert read == [Delta("a", 1)]


def test_a_stream_is_closed_once_and_not_after_its_end() -> None:
    closed: list[int] = []
    stream = Stream(1, lambda: closed.append(1))
    stream.close()
    stream.close()
    assert closed == [1] and stream.over
    over = Stream(1, lambda: closed.append(2))
    over.tell(END)
    over.close()
    assert closed == [1]
