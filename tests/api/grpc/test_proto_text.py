"""The .proto files are read as protoc reads them; unsupported syntax is an error."""

import pytest

from service.api.grpc.proto_text import read_proto

TEXT = """
// A comment; with { a brace.
syntax = "proto3";
package some.where;
import "other.proto";
enum Kind { NONE = 0; SOME = 7; }
message Outer {
  message Inner { repeated int64 shape = 3; }
  oneof choice { bool flag = 1; Inner inner = 2; }
  map<string, Inner> by_some_name = 4;
  Kind kind = 5;
}
service Things {
  rpc Get(Outer) returns (stream Outer) {}
}
"""


def test_messages_enumerations_and_services_are_read() -> None:
    file = read_proto("thing.proto", TEXT)
    assert (file.name, file.package, list(file.dependency)) == (
        "thing.proto", "some.where", ["other.proto"],
    )  # fmt: skip
    [kind] = file.enum_type
    assert [(value.name, value.number) for value in kind.value] == [("NONE", 0), ("SOME", 7)]
    [outer] = file.message_type
    assert [nested.name for nested in outer.nested_type] == ["Inner", "BySomeNameEntry"]
    assert outer.nested_type[1].options.map_entry
    flag, inner, named, kind_field = outer.field
    assert flag.HasField("oneof_index") and inner.HasField("oneof_index")
    assert not named.HasField("oneof_index") and named.label == named.LABEL_REPEATED
    assert (named.number, kind_field.number, kind_field.type_name) == (4, 5, "Kind")
    [method] = file.service[0].method
    assert (method.client_streaming, method.server_streaming) == (False, True)


@pytest.mark.parametrize(
    "text", ["option java_package = 1;", "syntax = 'proto2';", "message A { bool a 1; }", "package"]
)
def test_unsupported_syntax_is_an_error(text: str) -> None:
    with pytest.raises((ValueError, StopIteration)):
        read_proto("bad.proto", text)
