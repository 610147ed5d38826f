"""Where a network looked: Grad-CAM, a heat map of what spoke for a class.

    explainer = Explainer(predictor.bundle)
    heat = explainer.heat(predictor.prepare(data), class_index=3)       # float32 [h, w] from 0 to 1

Selvaraju et al. 2017, "Grad-CAM: Visual explanations from deep networks via gradient-based localization": the
channels of the last feature map, each weighted by the mean gradient of the class's logit, summed, and what is
negative left out. No architecture is known by name: the map is the last one that the logit depends on.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lib.bundle import Bundle
from lib.errors import UserError
from lib.images.overlay import overlay
from lib.images.preprocess import normalise, prepare
from lib.images.spec import PreprocessSpec

# Maps that are remembered, counted from the head. The patches of a transformer's last layers may have no
# say in the class; those that its last attention reads are three normalisations back.
_REMEMBERED = 16
# A class token, one for distillation, and four registers (Darcet et al. 2023).
_MOST_PREFIXES = 6


class Explainer:
    """Explains the answers of a bundle.

    It has a network of its own, loaded at the first question: what answers may be compiled, quantised or no
    torch at all, and has no gradients.
    """

    def __init__(self, bundle: Bundle, device: str = "cpu") -> None:
        self._bundle = bundle
        self._device = torch.device(device)
        self._loading = threading.Lock()
        self._model: nn.Module | None = None

    def load(self) -> nn.Module:
        """Return the network, in eval mode; any thread may call this."""
        with self._loading:
            if self._model is None:
                with torch.inference_mode(False):  # a weight of inference mode takes no part in gradients
                    self._model = self._bundle.build_model().to(self._device).requires_grad_(False)
            return self._model

    def heat(self, pixels: Tensor, class_index: int) -> NDArray[Any]:
        """Return the heat map of a class, float32 [h, w] from 0 to 1, for a prepared picture uint8 [c, h, w].

        One forward and one backward pass, in the thread that calls. Raises `UserError` if the network has no
        map of features.
        """
        return grad_cam(self.load(), pixels.to(self._device), self._bundle.preprocess, class_index)


def picture_explainer(bundle: Bundle, classes: Sequence[str]) -> Callable[[bytes, int], bytes | None]:
    """Return what lays a heat map over a picture, as a PNG: given its bytes and a place in `classes`.

    It gives None if the network has no map of features.
    """
    explainer = Explainer(bundle)

    def explain(data: bytes, class_index: int) -> bytes | None:
        own = bundle.classes.index(classes[class_index])
        return heat_picture(explainer.load(), bundle.preprocess, data, own)

    return explain


def heat_picture(model: nn.Module, spec: PreprocessSpec, data: bytes, class_index: int) -> bytes | None:
    """Return a picture with the heat map of a class over it, as a PNG; None if the network has no map."""
    pixels = prepare(data, spec)
    try:
        return overlay(pixels, grad_cam(model, pixels, spec, class_index))
    except UserError:
        return None


def grad_cam(model: nn.Module, pixels: Tensor, spec: PreprocessSpec, class_index: int) -> NDArray[Any]:
    """Return float32 [h, w] from 0 to 1 of a network in eval mode for uint8 [c, h, w] on its device."""
    outputs: deque[tuple[nn.Module, Tensor]] = deque(maxlen=_REMEMBERED)

    def remember(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor) and as_map(output, module) is not None:
            outputs.append((module, output))

    handles = [module.register_forward_hook(remember) for module in model.modules()]
    try:
        with torch.inference_mode(False), torch.enable_grad():
            images = normalise(pixels[None], spec).requires_grad_()
            logit = model(images)[0, class_index]
    finally:
        for handle in handles:
            handle.remove()
    tensors = [output for _, output in outputs]
    gradients: tuple[Tensor | None, ...] = ()
    if tensors:
        gradients = torch.autograd.grad(logit, tensors, allow_unused=True)
    for (module, output), gradient in zip(reversed(outputs), reversed(gradients), strict=True):
        if gradient is None:
            continue
        features, slopes = as_map(output.detach(), module), as_map(gradient, module)
        if features is not None and slopes is not None and slopes.any():
            heat = (slopes.mean((1, 2), keepdim=True) * features).sum(0).clamp_min(0)
            return _fitted(heat, spec.image_size)
    raise UserError(
        f"{type(model).__name__} has no map of features that Grad-CAM could show",
        "leave out explain; it works for convolutional networks and for transformers over patches",
    )


def as_map(output: Tensor, module: nn.Module) -> Tensor | None:
    """Return what a module gave for one image as a map [channels, side, side], or None if it is none.

    Maps are square, as images are: [1, c, s, s], or [1, s, s, c] of Swin. Tokens [1, s * s, c], some with a
    class token or a few registers before them, count where they are normalised: between two normalisations
    they are queries, keys and values.
    """
    if output.dim() == 4:
        _, first, second, third = output.shape
        if second == third > 1:
            return output[0]
        return output[0].permute(2, 0, 1) if first == second > 1 else None
    if output.dim() == 3 and isinstance(module, nn.LayerNorm | nn.RMSNorm):
        tokens = output.shape[1]
        side = int(tokens**0.5)
        if side > 1 and tokens - side * side <= _MOST_PREFIXES:
            return output[0, tokens - side * side :].T.reshape(-1, side, side)
    return None


def _fitted(heat: Tensor, side: int) -> NDArray[Any]:
    """Scale to a maximum of 1, or leave at 0, and resize to the side of the picture."""
    heat = heat.float() / heat.max().clamp_min(1e-12)
    resized: NDArray[Any] = interpolate(heat[None, None], (side, side), mode="bilinear")[0, 0].cpu().numpy()
    return resized
