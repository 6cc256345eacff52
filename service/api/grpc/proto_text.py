"""Reads the .proto files of this package: the part of proto3 that they use. No I/O.

``protoc`` would be a further build tool, and its output is tied to a version of protobuf.
"""

import re
from collections.abc import Iterator

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    ServiceDescriptorProto,
)

_TOKEN = re.compile(r'"[^"]*"|[\w.]+|[{}()<>;=,]')
_COMMENT = re.compile(r"//[^\n]*")
_SCALARS = {
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "float": FieldDescriptorProto.TYPE_FLOAT,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "string": FieldDescriptorProto.TYPE_STRING,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
    "uint64": FieldDescriptorProto.TYPE_UINT64,
}
_ONE, _MANY = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.LABEL_REPEATED


def read_proto(name: str, text: str) -> FileDescriptorProto:
    """Return the descriptor of a file with this name and text.

    Raises:
        ValueError: the file has syntax that is not supported.
    """
    file = FileDescriptorProto(name=name, syntax="proto3")
    words = iter(_TOKEN.findall(_COMMENT.sub("", text)))
    for word in words:
        if word == "syntax":
            _expect(words, "=", '"proto3"', ";")
        elif word == "package":
            file.package = next(words)
            _expect(words, ";")
        elif word == "import":
            file.dependency.append(next(words).strip('"'))
            _expect(words, ";")
        elif word == "message":
            _message(words, file.message_type.add())
        elif word == "enum":
            _enumeration(words, file.enum_type.add())
        elif word == "service":
            _service(words, file.service.add())
        else:
            raise ValueError(f"{name}: unknown {word}")
    return file


def _expect(words: Iterator[str], *wanted: str) -> None:
    for each in wanted:
        found = next(words, "the end")
        if found != each:
            raise ValueError(f"expected {each}, found {found}")


def _message(words: Iterator[str], message: DescriptorProto) -> None:
    message.name = next(words)
    _expect(words, "{")
    _members(words, message, None)


def _members(words: Iterator[str], message: DescriptorProto, choice: int | None) -> None:
    """Read the members between braces: of a message, or of the oneof with the number ``choice``."""
    while (word := next(words)) != "}":
        if word == "message":
            _message(words, message.nested_type.add())
        elif word == "enum":
            _enumeration(words, message.enum_type.add())
        elif word == "oneof":
            message.oneof_decl.add(name=next(words))
            _expect(words, "{")
            _members(words, message, len(message.oneof_decl) - 1)
        elif word == "map":
            _map(words, message)
        else:
            repeated = word == "repeated"
            field = _field(words, message, next(words) if repeated else word)
            field.label = _MANY if repeated else _ONE
            if choice is not None:
                field.oneof_index = choice


def _field(words: Iterator[str], message: DescriptorProto, kind: str) -> FieldDescriptorProto:
    field = message.field.add(name=next(words), label=_ONE)
    _expect(words, "=")
    field.number = int(next(words))
    _expect(words, ";")
    _set_type(field, kind)
    return field


def _set_type(field: FieldDescriptorProto, kind: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type_name = kind  # a message or an enumeration: the pool resolves it


def _map(words: Iterator[str], message: DescriptorProto) -> None:
    _expect(words, "<")
    key = next(words)
    _expect(words, ",")
    value = next(words)
    _expect(words, ">")
    name = next(words)
    entry = "".join(part.capitalize() for part in name.split("_")) + "Entry"
    nested = message.nested_type.add(name=entry)
    nested.options.map_entry = True
    for number, (part, kind) in enumerate((("key", key), ("value", value)), 1):
        _set_type(nested.field.add(name=part, number=number, label=_ONE), kind)
    field = _field(iter((name, *[next(words) for _ in range(3)])), message, entry)
    field.label = _MANY


def _enumeration(words: Iterator[str], enumeration: EnumDescriptorProto) -> None:
    enumeration.name = next(words)
    _expect(words, "{")
    while (name := next(words)) != "}":
        _expect(words, "=")
        enumeration.value.add(name=name, number=int(next(words)))
        _expect(words, ";")


def _service(words: Iterator[str], service: ServiceDescriptorProto) -> None:
    service.name = next(words)
    _expect(words, "{")
    while (word := next(words)) != "}":
        if word != "rpc":
            raise ValueError(f"expected rpc, found {word}")
        method = service.method.add(name=next(words))
        method.input_type, method.client_streaming = _side(words)
        _expect(words, "returns")
        method.output_type, method.server_streaming = _side(words)
        _expect(words, "{", "}")


def _side(words: Iterator[str]) -> tuple[str, bool]:
    _expect(words, "(")
    word = next(words)
    stream = word == "stream"
    name = next(words) if stream else word
    _expect(words, ")")
    return name, stream
