"""Muon for the matrices within a network, AdamW for all else, behind the face of one optimizer.

    optimizer = MuonAdamW(groups, hidden_matrices(model), lr=1e-3, momentum=0.95)

Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks", leave embeddings, the head and
vectors to AdamW. Updates are as large as AdamW's (Liu et al. 2025, "Muon is scalable for LLM training"), so
one learning rate and decay serve both. torch's Muon takes matrices and no kernels of convolutions, which go
to AdamW as well: it is for transformers and the like, and has nothing to do in a plain ResNet.
"""

from typing import Any

from torch import nn
from torch.optim import AdamW, Muon

from lib.errors import UserError
from lib.models.head import classifier_paths


class MuonAdamW:
    """Two optimizers that step together; it has what the loop and a GradScaler use of an optimizer."""

    def __init__(
        self, groups: list[dict[str, Any]], matrices: list[nn.Parameter], *, lr: float, momentum: float
    ) -> None:
        chosen = set(map(id, matrices))
        self._muon = Muon(
            _part(groups, chosen, inside=True), lr=lr, momentum=momentum, adjust_lr_fn="match_rms_adamw"
        )
        self._adamw = AdamW(_part(groups, chosen, inside=False), lr=lr)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of both, to be read and set in place."""
        return [*self._muon.param_groups, *self._adamw.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        self._muon.zero_grad(set_to_none)
        self._adamw.zero_grad(set_to_none)

    def step(self) -> None:
        """Update all parameters that have a gradient."""
        self._muon.step()  # type: ignore[no-untyped-call]  # torch has no types here
        self._adamw.step()

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` takes."""
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where another one was."""
        self._muon.load_state_dict(state["muon"])
        self._adamw.load_state_dict(state["adamw"])


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Return the weights of linear layers and attention, but for those of the head."""
    heads = classifier_paths(model)
    return [
        parameter
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.MultiheadAttention) and path not in heads
        for parameter in module.parameters(recurse=False)
        if parameter.ndim == 2
    ]


def check_matrices(model: nn.Module, name: str) -> None:
    """Raise `UserError` if Muon would have nothing to do in a network."""
    if not hidden_matrices(model):
        raise UserError(
            f"optim.name=muon updates the matrices within a network, and {name} has none before its head",
            "set optim.name=adamw or optim.name=sgd",
        )


def _part(groups: list[dict[str, Any]], chosen: set[int], *, inside: bool) -> list[dict[str, Any]]:
    parts = [
        group | {"params": [p for p in group["params"] if (id(p) in chosen) == inside]} for group in groups
    ]
    return [part for part in parts if part["params"]]
