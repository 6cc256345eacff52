"""``genai_config.json``, as onnxruntime-genai's model builder writes it beside a decoder."""

import json
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from service.config.values import first_problem
from service.core.errors import FileUnreadable, LoadFailed
from service.core.names import LANGUAGE_FILE as CONFIG_FILE
from service.files import read_small

MOST_BYTES = 2**20


class Inputs(BaseModel):
    """Names of the graph's inputs; ``%d`` stands for the layer."""

    input_ids: str = "input_ids"
    attention_mask: str = "attention_mask"
    position_ids: str = "position_ids"
    past_key_names: str = "past_key_values.%d.key"
    past_value_names: str = "past_key_values.%d.value"


class Outputs(BaseModel):
    """Names of the graph's outputs."""

    logits: str = "logits"
    present_key_names: str = "present.%d.key"
    present_value_names: str = "present.%d.value"


class Decoder(BaseModel):
    """The shape of the decoder's cache."""

    num_hidden_layers: int = Field(ge=1, le=1024)
    num_key_value_heads: int = Field(ge=1, le=65536)
    head_size: int = Field(ge=1, le=65536)
    inputs: Inputs = Inputs()
    outputs: Outputs = Outputs()


class LanguageConfig(BaseModel):
    """The settings of a model in the file, without those that only onnxruntime-genai uses."""

    type: str = ""
    context_length: int = Field(ge=2, le=2**24)
    vocab_size: int = Field(ge=2, le=2**24)
    eos_token_id: int | list[int] = []
    decoder: Decoder

    @property
    def ends(self) -> tuple[int, ...]:
        """The tokens that end an answer."""
        given = self.eos_token_id
        return tuple(given) if isinstance(given, list) else (given,)


def read_config(home: Path) -> LanguageConfig:
    """Read the file in a version's folder.

    Raises:
        LoadFailed: the file cannot be read, or a value is missing or wrong.
    """
    try:
        text = read_small(home / CONFIG_FILE, MOST_BYTES) or b""
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("not an object")
        return LanguageConfig.model_validate(values.get("model"))
    except FileUnreadable as error:
        raise LoadFailed(str(error)) from None
    except ValidationError as error:
        problem = first_problem(error.errors())
        key = ".".join(filter(None, ("model", problem.key)))
        raise LoadFailed(f"{CONFIG_FILE}: {key}: {problem.message}") from None
    except (ValueError, RecursionError) as error:
        raise LoadFailed(f"{CONFIG_FILE} is not JSON: {error!s:.200}") from None
