from service.core.generation import SamplingParameters


def test_sampling_is_plain_unless_a_parameter_changes_scores() -> None:
    assert SamplingParameters(temperature=0.5, top_p=0.9, top_k=5, seed=1, logprobs=3).plain
    assert not SamplingParameters(bias={3: -100.0}).plain
    for penalty in ("repetition_penalty", "presence_penalty", "frequency_penalty"):
        assert SamplingParameters(**{penalty: 0.5}).penalised  # type: ignore[arg-type]
