"""Triton's model configuration as a client sends it with a load, in JSON. What has no counterpart
here is refused by name: silence would be a promise.
"""

import re
from typing import Any

from pydantic import ValidationError

from service.api.protocol.json_tensors import parse_json
from service.core.errors import MalformedRequest
from service.triton.configuration import ModelConfiguration, problem

CODE = re.compile("custom_op|op_library|model_operations")
CODE_SAYS = (
    "custom operators are code, which no request can bring; the operator of the server names a "
    "library in model.toml"
)


def read_configuration(model: str, text: str) -> ModelConfiguration:
    """The configuration in a JSON text, for the model of this name.

    Raises:
        MalformedRequest: it is not JSON, is for another model, or has what does not exist here.
    """
    try:
        document = _snake_case(parse_json(text.encode()))
        _refuse_code(document)
        found = ModelConfiguration.model_validate(document)
    except MalformedRequest as error:
        raise MalformedRequest(str(error).replace("the body", "config")) from None
    except ValidationError as error:
        raise MalformedRequest(problem(error)) from None
    if found.name not in ("", model):
        raise MalformedRequest(f'config: the name is "{found.name:.80}", the model "{model}"')
    return found


def _refuse_code(document: Any) -> None:
    """Custom operators are code: wherever a client may name a library for them."""
    sections = [document, document.get("session"), document.get("parameters")]
    for section in sections:
        for key in section if isinstance(section, dict) else ():
            if CODE.search(key):
                raise MalformedRequest(f"config: {key:.80} is not supported: {CODE_SAYS}")


def _snake_case(value: Any) -> Any:
    """With keys as in protobuf's text, where they are as in its JSON."""
    if isinstance(value, dict):
        return {re.sub("[A-Z]", _lower, key): _snake_case(each) for key, each in value.items()}
    return [_snake_case(each) for each in value] if isinstance(value, list) else value


def _lower(found: re.Match[str]) -> str:
    return f"_{found[0].lower()}"
