"""gRPC's own reflection, by which tools such as grpcurl find services and messages."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc import StatusCode

from service.api.grpc.messages import files, message, pool

NONE = StatusCode.NOT_FOUND.value[0]


def reflection(package: str) -> Callable[[AsyncIterator[Any], Any], AsyncIterator[Any]]:
    """Return the handler of the reflection service in ``package``. The service has two versions
    with the same messages."""
    response = message(f"{package}.ServerReflectionResponse")

    async def answer(requests: AsyncIterator[Any], _: Any) -> AsyncIterator[Any]:
        async for request in requests:
            yield _answered(request, response)

    return answer


def _answered(request: Any, response: Any) -> Any:
    answer = response(valid_host=request.host, original_request=request)
    kind = request.WhichOneof("message_request")
    try:
        if kind == "list_services":
            for name in services():
                answer.list_services_response.service.add(name=name)
        elif kind == "file_by_filename":
            _add(answer, pool().FindFileByName(request.file_by_filename))
        elif kind == "file_containing_symbol":
            _add(answer, pool().FindFileContainingSymbol(request.file_containing_symbol))
        elif kind == "all_extension_numbers_of_type":
            found = pool().FindMessageTypeByName(request.all_extension_numbers_of_type)
            answer.all_extension_numbers_response.base_type_name = found.full_name
        else:  # there are no extensions
            raise KeyError(kind)
    except KeyError:
        answer.error_response.error_code = NONE
        answer.error_response.error_message = "there is no service, message or file with this name"
    return answer


def services() -> list[str]:
    """Return the names of all services."""
    return [f"{file.package}.{service.name}" for file in files() for service in file.service]


def _add(answer: Any, file: FileDescriptor) -> None:
    """Add the descriptors of a file's imports, and then of the file."""
    for each in (*file.dependencies, file):
        found = FileDescriptorProto()
        each.CopyToProto(found)
        answer.file_descriptor_response.file_descriptor_proto.append(found.SerializeToString())
