"""Torch as an engine: eager or compiled, on a GPU also in half precision and as CUDA graphs.

forward = torch_engine(bundle, torch.device("cpu"), threads=2)
logits = forward(pixels)                 # uint8 [b, c, h, w] -> float32 [b, classes], on the CPU

The number of threads is that of the thread that calls (`torch.set_num_threads`).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lib.bundle import Bundle
from lib.images.preprocess import normalise
from lib.images.spec import PreprocessSpec

_WARM_UPS = 3

Forward = Callable[[Tensor], Tensor]


def torch_engine(bundle: Bundle, device: torch.device, threads: int) -> Forward:  # noqa: ARG001
    """Run the network as it is, channels last."""
    return _eager(_network(bundle, device), bundle.preprocess, device)


def half_engine(bundle: Bundle, device: torch.device, threads: int) -> Forward:  # noqa: ARG001
    """Run the network in half precision."""
    return _eager(_network(bundle, device).half(), bundle.preprocess, device)


def compiled_engine(bundle: Bundle, device: torch.device, threads: int) -> Forward:  # noqa: ARG001
    """Run the network as torch.compile builds it: once for one picture, once for any number of them."""
    network = torch.compile(_network(bundle, device))

    def run(images: Tensor) -> Tensor:
        if len(images) > 1:
            torch._dynamo.mark_dynamic(images, 0)
        logits: Tensor = network(images)
        return logits

    return _eager(run, bundle.preprocess, device)


def graph_engine(bundle: Bundle, device: torch.device, threads: int) -> Forward:  # noqa: ARG001
    """Run the network as CUDA graphs."""
    return _Graphs(_network(bundle, device), bundle.preprocess, device)


def half_graph_engine(bundle: Bundle, device: torch.device, threads: int) -> Forward:  # noqa: ARG001
    """Run the network as CUDA graphs, in half precision."""
    return _Graphs(_network(bundle, device).half(), bundle.preprocess, device)


def _network(bundle: Bundle, device: torch.device) -> nn.Module:
    return bundle.build_model().to(device).to(memory_format=torch.channels_last)


def _eager(network: Callable[[Tensor], Tensor], spec: PreprocessSpec, device: torch.device) -> Forward:
    dtype = _dtype(network)

    @torch.inference_mode()
    def forward(pixels: Tensor) -> Tensor:
        return network(_images(pixels.to(device), spec, dtype)).float().cpu()

    return forward


def _dtype(network: object) -> torch.dtype:
    tensors = network.parameters() if isinstance(network, nn.Module) else iter(())
    return next((tensor.dtype for tensor in tensors), torch.float32)


def _images(pixels: Tensor, spec: PreprocessSpec, dtype: torch.dtype) -> Tensor:
    images = pixels if pixels.is_floating_point() else normalise(pixels, spec)
    return images.to(dtype).contiguous(memory_format=torch.channels_last)


class _Graphs:
    """A network as CUDA graphs: one for each power of two of pictures, kept with its input and output.

    Starting kernels one by one takes a small network longer than running them. A batch is filled up to the
    next power of two with what lay there before; rows are independent in eval mode.
    """

    def __init__(self, network: nn.Module, spec: PreprocessSpec, device: torch.device) -> None:
        self._network = network
        self._spec = spec
        self._device = device
        self._graphs: dict[tuple[int, torch.dtype], tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Tensor:
        count = len(pixels)
        key = (1 << (count - 1).bit_length(), pixels.dtype)
        if key not in self._graphs:
            self._graphs[key] = self._capture(pixels, key[0])
        graph, given, found = self._graphs[key]
        given[:count].copy_(pixels)
        graph.replay()
        return found[:count].float().cpu()

    def _capture(self, pixels: Tensor, size: int) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        given = torch.zeros((size, *pixels.shape[1:]), dtype=pixels.dtype, device=self._device)
        given = given.contiguous(memory_format=torch.channels_last)
        # Libraries choose their algorithms in the first passes, which must not be part of the graph.
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]  # torch has none here
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                self._run(given)
        torch.cuda.current_stream(self._device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found = self._run(given)
        return graph, given, found

    def _run(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self._network(_images(pixels, self._spec, _dtype(self._network)))
        return logits
