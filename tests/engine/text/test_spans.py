from service.engine.text.spans import LabelledToken, Span, as_json, spans

TEXT = "Ann Smith in Paris"


def token(label: str, start: int, end: int, word: int | None, score: float = 1.0) -> LabelledToken:
    return LabelledToken(label, score, start, end, word)


def test_spans_begin_and_continue() -> None:
    found = spans(
        [
            token("B-LOC", 0, 0, None),
            token("B-PER", 0, 3, 0, 0.5),
            token("I-PER", 4, 7, 1, 1.0),
            token("O", 7, 9, 1),  # another token of the word "Smith"
            token("O", 10, 12, 2),
            token("I-LOC", 13, 18, 3),
        ]
    )
    assert found == [Span("PER", 0.75, 0, 9), Span("LOC", 1.0, 13, 18)]
    assert [each["word"] for each in as_json(found, TEXT)] == ["Ann Smith", "Paris"]


def test_a_begin_label_starts_a_new_span_of_the_same_kind() -> None:
    tokens = [token("B-PER", 0, 3, 0), token("B-PER", 4, 9, 1)]
    assert len(spans(tokens)) == 2
    assert len(spans([tokens[0], token("I-PER", 4, 9, 1)])) == 1


def test_adjacent_labels_without_a_prefix_are_joined() -> None:
    tokens = [token("PER", 0, 3, 0), token("PER", 4, 9, 1), token("LOC", 10, 12, 2)]
    assert [each.label for each in spans(tokens)] == ["PER", "LOC"]


def test_without_labelled_tokens_there_are_no_spans() -> None:
    assert spans([]) == [] and spans([token("O", 0, 3, 0)]) == []
