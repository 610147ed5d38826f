"""What the endpoint answers, as pydantic models: they feed OpenAPI and every response is built from them.

Answer(predictions=[Prediction(label="7", index=7, probability=0.98)], …).model_dump_json()
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class Schema(BaseModel):
    """Base of every answer: closed, described by its docstrings."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, protected_namespaces=())


class Problem(Schema):
    """Every answer that is not a success."""

    error: str = Field(examples=["the image is empty (0 bytes)"])
    """What is wrong."""
    hint: str = Field(examples=["send the bytes of a picture: curl --data-binary @photo.jpg URL/predict"])
    """What to do about it."""


class Prediction(Schema):
    """One class and how likely it is."""

    label: str = Field(examples=["7"])
    """Name of the class."""
    index: int = Field(examples=[7])
    """Its place in the list of classes of `GET /model`."""
    probability: Annotated[float, Field(ge=0, le=1)] = Field(examples=[0.98])
    """Probabilities of all classes sum to 1."""


class ModelName(Schema):
    """Which model answered."""

    name: str = Field(examples=["digits"])
    """Name of the run that trained it; also the model name of `/v2`."""
    version: str = Field(examples=["3f9c2a71d0be"])
    """Changes with the content of the bundle."""


class Timing(Schema):
    """Where the time went, in milliseconds."""

    decode: float = Field(examples=[1.9])
    """From bytes to pixels, waiting for a free decoder included."""
    queue: float = Field(examples=[0.4])
    """Waiting for the model."""
    forward: float = Field(examples=[21.3])
    """The forward pass of the batch that this image was in."""
    total: float = Field(examples=[24.0])
    """From the first byte of the request to this answer; for many images, of the request as a whole."""


class Answer(Schema):
    """The most likely classes of one image, best first."""

    predictions: list[Prediction]
    model: ModelName
    members_used: int = Field(examples=[1])
    """How many members of the ensemble were asked; 1 for a bundle."""
    timing_ms: Timing


ANSWERS = TypeAdapter(list[Answer])


class Preprocessing(Schema):
    """What happens to an image before the network sees it: short side to `resize_size`, centre crop."""

    image_size: int = Field(examples=[224])
    resize_size: int = Field(examples=[256])
    channels: int = Field(examples=[3])
    interpolation: str = Field(examples=["bilinear"])
    mean: list[float]
    std: list[float]


class ModelMember(Schema):
    """One network of the endpoint."""

    arch: str = Field(examples=["resnet18"])
    version: str = Field(examples=["3f9c2a71d0be"])
    weight: float = Field(examples=[1.0])
    engine: str = Field(examples=["openvino"])
    """What runs it, as `serve.engine` names it."""
    precision: str = Field(examples=["fp32"])
    """fp32, int8 or half."""


class ModelCard(ModelName):
    """What is being served."""

    members: list[ModelMember]
    classes: list[str] = Field(examples=[["0", "1", "2"]])
    """Labels in the order of `Prediction.index`."""
    preprocessing: Preprocessing
    views: str = Field(examples=["none"])
    """Test-time views that are averaged."""
    cascade: dict[str, Any] | None = None
    """When members after the first are asked; null when there is one member."""


class ServerMetadata(Schema):
    """`GET /v2` of the Open Inference Protocol."""

    name: str = "manta"
    version: str
    extensions: list[str] = []


class Live(Schema):
    """`GET /v2/health/live`."""

    live: bool


class Ready(Schema):
    """`GET /v2/health/ready` and `GET /v2/models/NAME/ready`."""

    ready: bool


class TensorMetadata(Schema):
    """Name, type and shape of a tensor; -1 stands for any number."""

    name: str = Field(examples=["probabilities"])
    datatype: str = Field(examples=["FP32"])
    shape: list[int] = Field(examples=[[-1, 10]])


class ModelMetadata(Schema):
    """`GET /v2/models/NAME` of the Open Inference Protocol."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
