from types import SimpleNamespace

import numpy as np
import pytest

from lib.tune.effects import effect_sentence, main_effects
from lib.tune.variant import Numbers, Variant

KEY = "train.freeze"


def run(freeze: str, schedule: str, seed: int, accuracy: float) -> SimpleNamespace:
    correct = np.random.default_rng([seed, len(freeze), len(schedule)]).random(4000) < accuracy
    return SimpleNamespace(
        values={KEY: freeze, "optim.schedule": schedule, "run.seed": seed},
        seed=seed,
        correct=correct,
        rank_by=accuracy,
        history=[{"val": {"accuracy": accuracy - 0.1}}, {"val": {"accuracy": accuracy}}],
        train_s=10.0 if freeze == "none" else 2.0,
    )


def numbers(accuracies: dict[str, float], seeds: int = 3) -> Numbers:
    variants = [
        Variant(f"{freeze}, {schedule}", [run(freeze, schedule, seed, accuracy) for seed in range(seeds)])
        for freeze, accuracy in accuracies.items()
        for schedule in ("step", "cosine")
    ]
    return SimpleNamespace(variants=variants)


def test_an_option_is_compared_in_the_mean_over_what_it_was_combined_with() -> None:
    found = numbers({"head": 0.8, "none": 0.9, "early": 0.9})
    effects = main_effects(found, KEY)
    assert effects[-1].option == "head"
    assert effects[0].behind is None
    mean_of_head = np.mean([each.correct.mean() for each in found.variants[:2]])
    assert effects[-1].accuracy.mean == pytest.approx(mean_of_head)
    assert effects[-1].train_s == 2
    near, far = effects[1].behind, effects[-1].behind
    assert near is not None
    assert far is not None
    assert near.is_noise
    assert not far.is_noise
    told = effect_sentence(KEY, effects)
    assert f"{KEY}={effects[0].option} is best by validation" in told
    assert f"within noise of it: {effects[1].option}; worst is head, by +" in told
    assert effects[-1].curve == [(1, pytest.approx(0.7)), (2, pytest.approx(0.8))]


def test_what_is_within_noise_is_not_called_worse() -> None:
    told = effect_sentence(KEY, main_effects(numbers({"early": 0.9, "none": 0.9}), KEY))
    assert "within noise of it: " in told
    assert "worst" not in told


def test_a_single_seed_counts_the_images_alone() -> None:
    effects = main_effects(numbers({"head": 0.8, "none": 0.9}, seeds=1), KEY)
    assert effects[1].behind is not None
    assert effects[1].behind.seeds == 1
    assert 0.05 < effects[1].behind.low < effects[1].behind.mean < effects[1].behind.high < 0.15


def test_seeds_that_one_variant_lacks_are_left_out_and_one_option_has_no_effect() -> None:
    found = numbers({"head": 0.8, "none": 0.9})
    found.variants[0].runs.pop()
    assert all(each.accuracy.seeds == 2 for each in main_effects(found, KEY))
    assert main_effects(numbers({"head": 0.8}), KEY) == []
