"""Triton's model configuration as a client sends it with a load, in JSON. A setting without a
counterpart here is refused by name: ignoring it would suggest that it works.
"""

import re
from typing import Any

from pydantic import ValidationError

from service.api.protocol.json_tensors import parse_json
from service.core.errors import MalformedRequest
from service.triton.configuration import ModelConfiguration, problem

CODE = re.compile("custom_op|op_library|model_operations")
CODE_SAYS = (
    "custom operators are code, which a request must not provide; the operator of the server can "
    "name a library in model.toml"
)


def read_configuration(model: str, text: str) -> ModelConfiguration:
    """Return the configuration in a JSON text, for the model with this name.

    Raises:
        MalformedRequest: the text is not JSON, is for another model, or has an unsupported setting.
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
        raise MalformedRequest(f'config: the name is "{found.name:.80}", expected "{model}"')
    return found


def _refuse_code(document: Any) -> None:
    """Refuse custom operators, which are code, in each place where a client may name a library."""
    sections = [document, document.get("session"), document.get("parameters")]
    for section in sections:
        for key in section if isinstance(section, dict) else ():
            if CODE.search(key):
                raise MalformedRequest(f"config: {key:.80} is not supported: {CODE_SAYS}")


def _snake_case(value: Any) -> Any:
    """Convert the keys of protobuf JSON (camelCase) to protobuf field names (snake_case)."""
    if isinstance(value, dict):
        return {re.sub("[A-Z]", _lower, key): _snake_case(each) for key, each in value.items()}
    return [_snake_case(each) for each in value] if isinstance(value, list) else value


def _lower(found: re.Match[str]) -> str:
    return f"_{found[0].lower()}"
