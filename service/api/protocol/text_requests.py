"""Parses text requests: OpenAI's embeddings, and the requests of Text Embeddings Inference.

Source: https://platform.openai.com/docs/api-reference/embeddings,
https://huggingface.github.io/text-embeddings-inference
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from service.core.errors import BadArgument
from service.core.texts import MOST_CHARACTERS, MOST_TEXTS, Prompt, TextOptions

Text = Annotated[str, Field(max_length=MOST_CHARACTERS)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=MOST_TEXTS)]


def _inputs(given: Any) -> Any:
    """Check that the input is one text, several texts, the tokens of one text, or the tokens of
    several texts. Not a union type: pydantic would report an error for each of its branches."""
    if isinstance(given, str):
        return given
    kinds = set(map(type, given)) if isinstance(given, list) else set()
    if kinds == {list}:
        if all(each and set(map(type, each)) == {int} for each in given):
            return given
    elif kinds in ({str}, {int}):
        return given
    raise ValueError(
        "expected a text, a list of texts, a list of tokens, or a list of such lists; not empty"
    )


Inputs = Annotated[Any, AfterValidator(_inputs)]


class _Arguments(BaseModel):
    # Validators are built at the first request, because most servers have no text model.
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True, defer_build=True)


class EmbeddingsRequest(_Arguments):
    """``POST /v1/embeddings``. ``truncate`` is not part of OpenAI's API."""

    model: str = Field(min_length=1)
    input: Inputs
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(None, ge=1, le=2**20)
    truncate: bool | None = None

    @property
    def prompts(self) -> list[Prompt]:
        """All texts, as strings or as tokens."""
        return _prompts(self.input)

    @property
    def options(self) -> TextOptions:
        """The options for the model."""
        return TextOptions(self.truncate, dimensions=self.dimensions)


class _TEI(_Arguments):
    model: str | None = None
    truncate: bool | None = None
    truncation_direction: Literal["Right", "right"] | None = None


class EmbedRequest(_TEI):
    """``POST /embed``."""

    inputs: Inputs
    normalize: bool = True
    dimensions: int | None = Field(None, ge=1, le=2**20)
    prompt_name: None = None

    @property
    def prompts(self) -> list[Prompt]:
        """All texts, as strings or as tokens."""
        return _prompts(self.inputs)

    @property
    def options(self) -> TextOptions:
        """The options for the model."""
        return TextOptions(self.truncate, self.normalize, self.dimensions)


class RerankRequest(_TEI):
    """``POST /rerank``."""

    query: Text
    texts: Texts
    raw_scores: bool = False
    return_text: bool = False

    @property
    def prompts(self) -> list[Prompt]:
        """The query with each text."""
        return [(self.query, text) for text in self.texts]

    @property
    def options(self) -> TextOptions:
        """The options for the model."""
        return TextOptions(self.truncate, raw=self.raw_scores)


class PredictRequest(_TEI):
    """``POST /predict``: a text, a list of one text or a pair of texts, or a list of such lists."""

    inputs: Text | Texts | Annotated[list[Texts], Field(min_length=1, max_length=MOST_TEXTS)]
    raw_scores: bool = False

    @property
    def single(self) -> bool:
        """True if there is only one text or pair: its answer has no list around it."""
        return isinstance(self.inputs, str) or isinstance(self.inputs[0], str)

    @property
    def prompts(self) -> list[Prompt]:
        """All texts and pairs of texts.

        Raises:
            BadArgument: a list has more than two texts.
        """
        given: Any = self.inputs
        if isinstance(given, str):
            return [given]
        return [_one(each) for each in ([given] if self.single else given)]

    @property
    def options(self) -> TextOptions:
        """The options for the model."""
        return TextOptions(self.truncate, raw=self.raw_scores)


def _prompts(given: Any) -> list[Prompt]:
    return [given] if isinstance(given, str) or isinstance(given[0], int) else given


def _one(texts: list[str]) -> Prompt:
    if len(texts) > 2:
        raise BadArgument(
            f"inputs: {len(texts)} texts in one list, expected 1 or 2; send a list of lists for a"
            " batch",
            "inputs",
        )
    return texts[0] if len(texts) == 1 else (texts[0], texts[1])
