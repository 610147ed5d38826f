from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from lib.images.randomness import seeded

DRAWS: dict[str, Callable[[], Tensor]] = {
    "rand": lambda: torch.rand(4),
    "randn": lambda: torch.randn(4),
    "randint": lambda: torch.randint(1_000_000, (4,)),
    "randperm": lambda: torch.randperm(50),
    "normal": lambda: torch.normal(0.0, 1.0, (4,)),
    "bernoulli": lambda: torch.bernoulli(torch.full((50,), 0.5)),
    "multinomial": lambda: torch.multinomial(torch.ones(1000), 4),
    "dirichlet": lambda: torch.distributions.Dirichlet(torch.ones(4)).sample(),
    "uniform_": lambda: torch.empty(4).uniform_(0, 1),
    "normal_": lambda: torch.empty(4).normal_(),
    "random_": lambda: torch.empty(4).random_(),
    "bernoulli_": lambda: torch.empty(50).bernoulli_(0.5),
    "exponential_": lambda: torch.empty(4).exponential_(),
    "rand_like": lambda: torch.rand_like(torch.zeros(4, dtype=torch.float64)),
    "randn_like": lambda: torch.randn_like(torch.zeros(4, dtype=torch.uint8), dtype=torch.float32),
    "randint_like": lambda: torch.randint_like(torch.zeros(4, dtype=torch.int32), 0, 1_000_000),
}


def _draw(draw: Callable[[], Tensor], seed: int) -> Tensor:
    with seeded(seed):
        return draw()


@pytest.mark.parametrize("name", DRAWS)
def test_draws_come_from_the_seed_alone(name: str) -> None:
    draw = DRAWS[name]
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first = _draw(draw, 7)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(_draw(draw, 7), first)
    assert not torch.equal(_draw(draw, 8), first)


def test_likeness_keeps_shape_and_type() -> None:
    with seeded(0):
        assert torch.rand_like(torch.zeros(2, 3, dtype=torch.float64)).dtype == torch.float64
        assert torch.randint_like(torch.zeros(2, 3, dtype=torch.int32), 5).shape == (2, 3)


def test_a_generator_of_the_caller_is_kept() -> None:
    with seeded(0):
        drawn = torch.rand(4, generator=torch.Generator().manual_seed(3))
    assert torch.equal(drawn, torch.rand(4, generator=torch.Generator().manual_seed(3)))


def test_threads_do_not_disturb_each_other() -> None:
    def draw(seed: int) -> list[float]:
        with seeded(seed):
            return [float(torch.rand(())) for _ in range(50)]

    expected = [draw(seed) for seed in range(16)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(draw, range(16))) == expected


def test_seeds_may_be_as_large_as_hashes() -> None:
    assert not torch.equal(_draw(DRAWS["rand"], 2**63 - 1), _draw(DRAWS["rand"], 2**62))


@pytest.mark.parametrize(
    "transform", [v2.AugMix(), v2.GaussianNoise(), v2.ElasticTransform(), v2.RandomPerspective()]
)
def test_transforms_of_torchvision_that_draw_in_other_ways(transform: v2.Transform) -> None:
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    if isinstance(transform, v2.GaussianNoise):
        image = image / 255
    state = torch.random.get_rng_state()
    first, again = (_draw(lambda: transform(image), 5) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(torch.random.get_rng_state(), state)
