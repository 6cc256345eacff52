import pytest

from service.api.protocol.openai_tools import NamedTool, Tool, tools_of
from service.core.errors import BadArgument
from service.core.generation import ToolChoice

TOOLS = [
    Tool.model_validate({"type": "function", "function": {"name": name}}) for name in ("a", "b")
]
B = NamedTool.model_validate({"type": "function", "function": {"name": "b"}})


def test_requests_without_tools() -> None:
    assert tools_of(None, None, None) is None
    assert tools_of([], "none", True) is None
    with pytest.raises(BadArgument, match="only allowed together"):
        tools_of(None, B, None)


def test_all_functions_may_be_called_in_parallel_by_default() -> None:
    found = tools_of(TOOLS, "required", None)
    assert found is not None and found.choice is ToolChoice.REQUIRED and found.parallel
    assert [function.name for function in found.functions] == ["a", "b"]
    assert found.functions[0].parameters == {"type": "object"}
    single = tools_of(TOOLS, None, False)
    assert single is not None and not single.parallel and single.choice is ToolChoice.AUTO


def test_a_named_function_is_the_only_callable_one() -> None:
    found = tools_of(TOOLS, B, True)
    assert found is not None and found.choice is ToolChoice.REQUIRED
    assert found.named and not found.parallel
    assert [(each.name, each.place) for each in found.functions] == [("b", 1)]
