"""Which network a file of weights is of, to tell the user what to type.

recognise(read_state("weights.pth"))      # ("resnet34", "standard"), or None
"""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from lib.config.names import MANTA_MODELS, TORCHVISION_MODELS
from lib.models.defaults import default_preprocess
from lib.models.head import aux_paths, classifier_paths
from lib.models.sizes import build_skeleton
from lib.models.stem import can_be_small, first_conv, make_small

# Depends on the size of the images, and can be resampled.
POSITIONS = "encoder.pos_embedding"


def recognise(state: dict[str, Tensor], first: str = "") -> tuple[str, str] | None:
    """Name and stem of the network of Manta or torchvision whose backbone has the tensors of `state`.

    The names are tried one after the other (seconds for all), `first` before the others.
    """
    others = (name for name in (*MANTA_MODELS, *TORCHVISION_MODELS) if name != first)
    for name in [first, *others] if first else others:
        model = build_skeleton(name, 2, image_size=default_preprocess(name)["image_size"])
        if _is_of(state, model):
            return name, "standard"
        # The stem changes the shape of one tensor, and the name of none.
        if can_be_small(model) and set(_names(state)) >= set(_names(model.state_dict())):
            make_small(model, name)
            if _is_of(state, model):
                return name, "small"
    return None


def _names(state: Mapping[str, Tensor]) -> Iterable[str]:
    return (key for key in state if not key.endswith(".num_batches_tracked"))


def _is_of(state: dict[str, Tensor], model: nn.Module) -> bool:
    classifiers, auxiliary = classifier_paths(model), aux_paths(model)
    conv = first_conv(model)

    def backbone(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
        """Shapes by name, but for what may differ between networks of this name."""
        shapes = {}
        for key, tensor in tensors.items():
            is_head = key.rpartition(".")[0] in classifiers or key.split(".")[0] in auxiliary
            if is_head or key == POSITIONS or key.endswith(".num_batches_tracked"):
                continue
            of_colour = conv is not None and key == f"{conv[0]}.weight"
            shapes[key] = (*tensor.shape[:1], *tensor.shape[2:]) if of_colour else tuple(tensor.shape)
        return shapes

    return backbone(state) == backbone(dict(model.state_dict()))
