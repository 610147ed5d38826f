"""The messages that are built at run time are those of the protocol, as Triton's generated code has them."""

import pickle
import warnings

import pytest

from serving.messages import CHOICE, MESSAGES, METHODS, SERVICE

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tritonclient.grpc import service_pb2

NESTED = {
    "TensorMetadata": service_pb2.ModelMetadataResponse.TensorMetadata,
    "InferInputTensor": service_pb2.ModelInferRequest.InferInputTensor,
    "InferRequestedOutputTensor": service_pb2.ModelInferRequest.InferRequestedOutputTensor,
    "InferOutputTensor": service_pb2.ModelInferResponse.InferOutputTensor,
    "ModelIndex": service_pb2.RepositoryIndexResponse.ModelIndex,
}


@pytest.mark.parametrize("name", MESSAGES)
def test_fields_have_the_numbers_and_types_of_the_protocol(name: str) -> None:
    theirs = (NESTED[name] if name in NESTED else getattr(service_pb2, name)).DESCRIPTOR.fields_by_name
    ours = MESSAGES[name].DESCRIPTOR.fields
    assert [(f.name, f.number, f.type, f.is_repeated) for f in ours] == [
        (f.name, theirs[f.name].number, theirs[f.name].type, theirs[f.name].is_repeated) for f in ours
    ]


def test_methods_are_those_of_the_service() -> None:
    theirs = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert theirs.full_name == SERVICE
    for method in METHODS:
        assert theirs.methods_by_name[method].input_type.name == f"{method}Request"


def test_bytes_of_a_client_are_read_and_written() -> None:
    sent = service_pb2.ModelInferRequest(model_name="digits", raw_input_contents=[b"\0\1"])
    sent.inputs.add(name="image", datatype="BYTES", shape=[2, 3]).parameters["off"].bool_param = False
    read = MESSAGES["ModelInferRequest"].FromString(sent.SerializeToString())
    assert list(read.inputs[0].shape) == [2, 3]
    assert read.inputs[0].parameters["off"].WhichOneof(CHOICE) == "bool_param"
    assert read.SerializeToString() == sent.SerializeToString()


def test_a_message_goes_from_a_proxy_to_a_replica() -> None:
    message = MESSAGES["ModelInferRequest"](model_name="digits", raw_input_contents=[b"\0\1"])
    assert pickle.loads(pickle.dumps(message)) == message
