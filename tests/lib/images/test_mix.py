import pytest
import torch

from lib.images.mix import mix_batch


@pytest.mark.parametrize("mix", ["mixup", "cutmix", "both"])
@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_targets_are_soft_and_sum_to_one(mix: str, alpha: float) -> None:
    images, labels = torch.rand(8, 3, 16, 16), torch.arange(8) % 5
    state = torch.random.get_rng_state()
    for seed in range(20):
        mixed, targets = mix_batch(mix, alpha, images, labels, num_classes=5, seed=seed)
        assert mixed.shape == images.shape
        assert targets.shape == (8, 5)
        torch.testing.assert_close(targets.sum(1), torch.ones(8))
        assert (targets >= 0).all()
        again = mix_batch(mix, alpha, images, labels, num_classes=5, seed=seed)
        assert torch.equal(mixed, again[0])
        assert torch.equal(targets, again[1])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_labels_are_blended_as_the_pictures_are() -> None:
    # Picture n is filled with the number n: what is left of it can be read off the mixture.
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 32, 32)
    numbers = torch.arange(4.0)
    for mix in ("mixup", "cutmix"):
        for seed in range(5):
            mixed, targets = mix_batch(mix, 1.0, images, torch.arange(4), num_classes=4, seed=seed)
            torch.testing.assert_close(mixed.mean((1, 2, 3)), targets @ numbers, atol=1e-4, rtol=0)


def test_seeds_draw_different_blends_and_both_draws_either() -> None:
    images, labels = torch.rand(4, 1, 16, 16), torch.arange(4)

    def kind(seed: int) -> str:
        mixed, _ = mix_batch("both", 1.0, images, labels, num_classes=4, seed=seed)
        is_pasted = ((mixed == images) | (mixed == images.roll(1, 0))).all()
        return "cutmix" if is_pasted else "mixup"

    assert {kind(seed) for seed in range(12)} == {"mixup", "cutmix"}


def test_a_batch_of_one_is_mixed_with_itself() -> None:
    images = torch.rand(1, 3, 8, 8)
    mixed, targets = mix_batch("both", 1.0, images, torch.tensor([1]), num_classes=3, seed=0)
    torch.testing.assert_close(mixed, images)
    torch.testing.assert_close(targets, torch.tensor([[0.0, 1.0, 0.0]]))
