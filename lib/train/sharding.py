"""Fully sharded training: each worker keeps some rows of every parameter, its gradient and its moments.

    shard_blocks([model], world)                    # before the optimizer is built
    whole = gathered(model.state_dict())            # on every worker; worker 0 gets what an unsharded run has
    model.load_state_dict(scattered(whole, model))

Rajbhandari et al. 2020, "ZeRO: memory optimizations toward training trillion parameter models", stage 3, as
`torch.distributed.fsdp.fully_shard` does it: the weights of a block are gathered when it is computed and
freed after it, and its gradients are averaged into the rows of each worker. State on the disk is always
whole, so that a run goes on with any number of workers, sharded or not.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from lib.errors import UserError
from lib.images.spec import PreprocessSpec
from lib.models.groups import depth_groups
from lib.train.world import World


def shard_blocks(models: Sequence[nn.Module], world: World) -> None:
    """Share out networks over the workers, block by block, and move them to the device of each worker.

    Every worker must hold the same weights. Parameters must be contiguous: torch shards no other.
    """
    if world.device.type == "cuda":
        torch.cuda.set_device(world.device)  # where torch looks for the device of this worker
    mesh = init_device_mesh(world.device.type, (world.size,))
    for model in models:
        units = [model.get_submodule(path) for path in shard_paths(model)]
        for unit in [*units, model]:
            unit.register_forward_hook(_own_storage)
            # The last one too: weights that stay gathered would hide what a step has changed.
            fully_shard(unit, mesh=mesh, reshard_after_forward=True)


def shard_paths(model: nn.Module) -> list[str]:
    """Return the paths of the modules that are gathered one at a time: blocks, and layers with a matrix.

    What is left, such as single normalisations and position embeddings, is gathered for the whole of a step.
    """
    paths = [path for group in depth_groups(model) for path in group.modules]
    return [path for path in paths if any(p.ndim > 1 for p in model.get_submodule(path).parameters())]


def check_parameters(model: nn.Module, name: str) -> None:
    """Raise `UserError` if a network has a parameter that cannot be shared out."""
    scalars = [path for path, parameter in model.named_parameters() if parameter.ndim == 0]
    if scalars:
        problem = f"train.shard=full shares out rows, and {scalars[0]} of {name} is a single number"
        raise UserError(problem, "leave out train.shard, or choose another network")


def level(model: nn.Module, spec: PreprocessSpec, num_samples: int, batch_size: int, world: World) -> None:
    """Take a forward pass on nothing if this worker had one batch less to measure than worker 0.

    Every pass gathers each block, for which all workers must meet.
    """
    first, mine = (len(range(r * batch_size, num_samples, world.size * batch_size)) for r in (0, world.rank))
    if mine < first:
        with torch.inference_mode():
            model(torch.zeros(1, spec.channels, spec.image_size, spec.image_size, device=world.device))


def gathered(value: Any) -> Any:
    """Put the tensors within nested dicts, lists and tuples together, in the main memory of worker 0.

    All workers must call it; others than worker 0 get None in the place of what is sharded.
    """
    if isinstance(value, DTensor):
        whole: Tensor = value.full_tensor().detach()
        return whole.cpu() if value.device_mesh.get_rank() == 0 else None
    if isinstance(value, dict):
        return {key: gathered(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(gathered(item) for item in value)
    return value


def scattered(whole: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """Return the state of a whole network as `model`, whose parameters may be sharded, takes it."""
    own = dict(model.named_parameters())
    return {name: _like(value, own.get(name)) for name, value in whole.items()}


def scattered_optimizer(whole: dict[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """Return the state of an optimizer with what follows a parameter shared out like it."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if not any(isinstance(parameter, DTensor) for parameter in parameters):
        return whole
    state = {
        number: {key: _like(value, parameters[number]) for key, value in values.items()}
        for number, values in whole["state"].items()
    }
    return whole | {"state": state}


def _own_storage(_module: nn.Module, _inputs: Any, output: Any) -> Any:
    """Copy an output that is a view, such as that of ConvNeXt's stem.

    Torch gathers the weights again when the gradient of the output arrives, which it would miss if the next
    layer changed a view in place.
    """
    is_view = isinstance(output, Tensor) and output.requires_grad and output._base is not None
    return output.clone() if is_view else output


def _like(value: Any, shard: Any) -> Any:
    """Take this worker's rows of a whole tensor, if `shard` is sharded and of its shape."""
    if not isinstance(shard, DTensor) or not isinstance(value, Tensor) or value.shape != shard.shape:
        return value
    # Every worker has read the whole: nothing is sent. A copy, for the rows alone would keep the whole alive.
    return distribute_tensor(value, shard.device_mesh, shard.placements, src_data_rank=None).clone()
