from service.core.generation import CallPiece, SamplingParameters, ToolCall, joined


def test_sampling_is_plain_unless_a_parameter_changes_scores() -> None:
    assert SamplingParameters(temperature=0.5, top_p=0.9, top_k=5, seed=1, logprobs=3).plain
    assert not SamplingParameters(bias={3: -100.0}).plain
    for penalty in ("repetition_penalty", "presence_penalty", "frequency_penalty"):
        assert SamplingParameters(**{penalty: 0.5}).penalised  # type: ignore[arg-type]


def test_the_pieces_of_calls_are_joined() -> None:
    pieces = [CallPiece(0, name="a"), CallPiece(0, '{"b'), CallPiece(0, '": 1}')]
    calls = (ToolCall("a", '{"b": 1}'), ToolCall("c", ""))
    assert joined([*pieces, CallPiece(1, name="c")]) == calls
    assert joined([]) == ()
