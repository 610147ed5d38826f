"""The messages and the service of the Open Inference Protocol over gRPC, built when this is imported.

serve.start(grpc_options={"port": 8001, "grpc_servicer_functions": [SERVICER]})
request = MESSAGES["ModelInferRequest"](model_name="digits", raw_input_contents=[data])

Numbers and types of the fields are those of the protocol's grpc_predict_v2.proto. They live in a pool of
their own, so that a client's generated code for the same protocol may be loaded beside them. Ray Serve's
proxies import this module, so it imports nothing large.
"""

from typing import Any

import grpc
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
SERVICER = f"{__name__}.add_to_server"
# Name of the choice within InferParameter, for WhichOneof.
CHOICE = "parameter_choice"
_PARAMETERS = "map InferParameter parameters"

# Fields of each message, in the order of their numbers: `[repeated|map|oneof] TYPE NAME`.
_FIELDS: dict[str, list[str]] = {
    "ServerLiveRequest": [],
    "ServerLiveResponse": ["bool live"],
    "ServerReadyRequest": [],
    "ServerReadyResponse": ["bool ready"],
    "ModelReadyRequest": ["string name", "string version"],
    "ModelReadyResponse": ["bool ready"],
    "ServerMetadataRequest": [],
    "ServerMetadataResponse": ["string name", "string version", "repeated string extensions"],
    "ModelMetadataRequest": ["string name", "string version"],
    "TensorMetadata": ["string name", "string datatype", "repeated int64 shape"],
    "ModelMetadataResponse": [
        "string name",
        "repeated string versions",
        "string platform",
        "repeated TensorMetadata inputs",
        "repeated TensorMetadata outputs",
    ],
    "InferParameter": [
        "oneof bool bool_param",
        "oneof int64 int64_param",
        "oneof string string_param",
        "oneof double double_param",
        "oneof uint64 uint64_param",
    ],
    "InferTensorContents": [
        "repeated bool bool_contents",
        "repeated int32 int_contents",
        "repeated int64 int64_contents",
        "repeated uint32 uint_contents",
        "repeated uint64 uint64_contents",
        "repeated float fp32_contents",
        "repeated double fp64_contents",
        "repeated bytes bytes_contents",
    ],
    "InferInputTensor": [
        "string name",
        "string datatype",
        "repeated int64 shape",
        _PARAMETERS,
        "InferTensorContents contents",
    ],
    "InferRequestedOutputTensor": ["string name", _PARAMETERS],
    "ModelInferRequest": [
        "string model_name",
        "string model_version",
        "string id",
        _PARAMETERS,
        "repeated InferInputTensor inputs",
        "repeated InferRequestedOutputTensor outputs",
        "repeated bytes raw_input_contents",
    ],
    "InferOutputTensor": [
        "string name",
        "string datatype",
        "repeated int64 shape",
        _PARAMETERS,
        "InferTensorContents contents",
    ],
    "ModelInferResponse": [
        "string model_name",
        "string model_version",
        "string id",
        _PARAMETERS,
        "repeated InferOutputTensor outputs",
        "repeated bytes raw_output_contents",
    ],
    "RepositoryIndexRequest": ["string repository_name", "bool ready"],
    "ModelIndex": ["string name", "string version", "string state", "string reason"],
    "RepositoryIndexResponse": ["repeated ModelIndex models"],
}
METHODS = (
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
    "RepositoryIndex",
)


def _message(name: str, fields: list[str]) -> DescriptorProto:
    message = DescriptorProto(name=name)
    for number, text in enumerate(fields, 1):
        *label, kind, field = text.split()
        if label == ["map"]:  # a repeated message of key and value, by the rules of proto3
            entry = _message(f"{field.title()}Entry", ["string key", f"{kind} value"])
            entry.options.map_entry = True
            message.nested_type.append(entry)
            kind = f"{name}.{entry.name}"
        added = message.field.add(name=field, number=number)
        added.label = added.LABEL_REPEATED if label in (["map"], ["repeated"]) else added.LABEL_OPTIONAL
        if label == ["oneof"]:
            if not message.oneof_decl:
                message.oneof_decl.add(name=CHOICE)
            added.oneof_index = 0
        if kind.islower() or kind[-2:] in ("32", "64"):
            added.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
        else:
            added.type = added.TYPE_MESSAGE
            added.type_name = f".{PACKAGE}.{kind}"
    return message


def _classes() -> dict[str, type[Message]]:
    file = FileDescriptorProto(name="manta/inference.proto", package=PACKAGE, syntax="proto3")
    file.message_type.extend(_message(name, fields) for name, fields in _FIELDS.items())
    service = file.service.add(name=SERVICE.rpartition(".")[2])
    for method in METHODS:
        kinds = {"input_type": f".{PACKAGE}.{method}Request", "output_type": f".{PACKAGE}.{method}Response"}
        service.method.add(name=method, **kinds)
    pool = DescriptorPool()
    pool.Add(file)
    found = {name: GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in _FIELDS}
    for each in found.values():
        each.__module__ = __name__
    return found


# Any: their fields are known at run time only.
MESSAGES: dict[str, Any] = _classes()


def __getattr__(name: str) -> Any:
    """Find a message by name, as pickle does when one goes from a proxy to a replica."""
    if name in MESSAGES:
        return MESSAGES[name]
    raise AttributeError(name)


def add_to_server(servicer: Any, server: Any) -> None:
    """Register the service on a gRPC server, as generated code would."""
    handlers = {
        method: grpc.unary_unary_rpc_method_handler(
            getattr(servicer, method),
            request_deserializer=MESSAGES[f"{method}Request"].FromString,
            response_serializer=MESSAGES[f"{method}Response"].SerializeToString,
        )
        for method in METHODS
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
