"""What the endpoint answers, as pydantic models: they feed OpenAPI and every response is built from them.

Answer(predictions=[Prediction(label="7", index=7, probability=0.98)], …).model_dump_json()
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

# The smallest PNG: one grey pixel.
EXAMPLE_IMAGE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg=="


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


class Explanation(Schema):
    """Where the network looked: Grad-CAM (Selvaraju et al. 2017) over the picture as the network saw it."""

    label: str = Field(examples=["7"])
    """The class that the map speaks for."""
    arch: str = Field(examples=["resnet18"])
    """The network that is explained: of an ensemble its first member."""
    png: str = Field(json_schema_extra={"contentEncoding": "base64", "contentMediaType": "image/png"})
    """The picture with the map on it, as a PNG in base64; the hotter, the more it spoke for the class."""


class Answer(Schema):
    """The most likely classes of one image, best first."""

    predictions: list[Prediction]
    model: ModelName
    members_used: int = Field(examples=[1])
    """How many members of the ensemble were asked; 1 for a bundle."""
    timing_ms: Timing
    explanation: Explanation | None = None
    """Only with `explain=true`; the time it took is not in `timing_ms`."""


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
    """Its share in the answer when all members are asked."""
    engine: str = Field(examples=["openvino"])
    """What runs it, as `serve.engine` names it."""
    precision: str = Field(examples=["fp32"])
    """fp32, int8 or half."""
    preprocessing: Preprocessing


class Cascade(Schema):
    """Whom an image is shown to, stage by stage, until the answer is confident enough."""

    order: list[int] = Field(examples=[[0, 1]])
    """The member of each stage, as an index of `members`."""
    views: list[str] = Field(examples=[["none", "hflip"]])
    """The views that it is asked with."""
    thresholds: list[float | None] = Field(examples=[[0.93]])
    """The confidence from which an image stops after a stage; null where none stops. The last stops all."""
    expected_mean_members: float = Field(examples=[1.2])
    """Members that an image needed on average, where the thresholds were measured."""


class Validated(Schema):
    """What drift is measured against: the answers that the model gave where it was validated."""

    split: str = Field(examples=["val"])
    num_samples: int = Field(examples=[5000])


class ServedVersion(Schema):
    """One of the versions that answer under one name."""

    version: str = Field(examples=["3f9c2a71d0be"])
    weight: float = Field(examples=[1.0])
    """Share of the requests that it answers."""
    shadow: float = Field(examples=[0.0])
    """Share of the requests that it is only compared on."""


class GateCheck(Schema):
    """One requirement of a release gate."""

    name: str = Field(examples=["min_accuracy"])
    asked: str = Field(examples=["at least 0.9"])
    told: str = Field(examples=["0.9329"])
    """What was measured."""


class PassedGate(Schema):
    """The release gate that a model has passed."""

    split: str = Field(examples=["test"])
    num_samples: int = Field(examples=[10000])
    checks: list[GateCheck]


class ModelCard(ModelName):
    """What is being served."""

    members: list[ModelMember]
    """The networks; a bundle has one."""
    classes: list[str] = Field(examples=[["0", "1", "2"]])
    """Labels in the order of `Prediction.index`."""
    preprocessing: Preprocessing
    """That of the member that is asked first."""
    combine: str = Field(examples=["mean"])
    """How several members become one answer."""
    views: str = Field(examples=["none"])
    """Test-time views that are averaged, unless a request chooses others."""
    allowed_views: list[str] = Field(examples=[["none"]])
    """What `views` of a request may be. With others than `views` every member is asked."""
    cascade: Cascade | None = None
    """When members after the first are asked; null if all of them always are."""
    baseline: Validated | None = None
    """What drift is measured against; null for a bundle that was written without: it has no such metric."""
    gate: PassedGate | None = None
    """What was asked of it before it was released; null if it has passed no gate."""
    versions: list[ServedVersion] = []
    """All that answer, the one described here first; the others are being tried."""


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


class ModelIndex(Schema):
    """An entry of `POST /v2/repository/index`."""

    name: str = Field(examples=["digits"])
    version: str = Field(examples=["3f9c2a71d0be"])
    state: str = Field(examples=["READY"])
    reason: str


class RequestSchema(Schema):
    """Base of what clients send: no text is taken for a number."""

    model_config = ConfigDict(strict=True)


class InferInput(RequestSchema):
    """A tensor that is sent."""

    name: str = Field(examples=["image"])
    """`image`, or `pixels`: the network's input, preprocessed by the client as `GET /model` says."""
    datatype: str = Field(examples=["BYTES"])
    """`BYTES` for `image`, `FP32` for `pixels`."""
    shape: list[Annotated[int, Field(ge=0, lt=2**31)]] = Field(examples=[[1]])
    """[n] for `image`, [n, channels, image_size, image_size] for `pixels`."""
    parameters: dict[str, Any] = {}
    """`binary_data_size`: bytes of this tensor after the JSON."""
    data: list[Any] | None = Field(default=None, examples=[[EXAMPLE_IMAGE]])
    """Elements: base64 text for `image`, numbers for `pixels`; flat, or in rows."""


class InferOutput(RequestSchema):
    """An output that is asked for."""

    name: str = Field(examples=["probabilities"])
    """`probabilities` or `label`."""
    parameters: dict[str, Any] = {}
    """`binary_data`: whether to send it in binary after the JSON."""


class InferRequest(RequestSchema):
    """Body of `POST /v2/models/NAME/infer`."""

    id: str | None = Field(default=None, examples=["42"])
    """Comes back in the answer."""
    parameters: dict[str, Any] = {}
    """`binary_data_output`: whether to send all outputs in binary after the JSON."""
    inputs: list[InferInput]
    outputs: list[InferOutput] = []
    """Which outputs to send; all, if none is named."""


class OutputTensor(TensorMetadata):
    """A tensor of the answer."""

    parameters: dict[str, Any] | None = None
    """`binary_data_size`: bytes of this tensor after the JSON."""
    data: list[float] | list[str] | None = Field(default=None, examples=[["7"]])
    """Elements, flat; none if they are in binary."""


class InferResponse(Schema):
    """Answer of `POST /v2/models/NAME/infer`."""

    model_name: str = Field(examples=["digits"])
    model_version: str = Field(examples=["3f9c2a71d0be"])
    id: str | None = None
    """As in the request."""
    outputs: list[OutputTensor]
