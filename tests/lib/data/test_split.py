from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.config.packing import SplitSection
from lib.data.sources import Item, Source
from lib.data.split import assign_splits, plan_shards
from lib.errors import UserError


def _source(counts: dict[str, int], splits: dict[int, str] | None = None, size_bytes: int = 1000) -> Source:
    """Make a source with so many items of each class; `splits` names the split of single items."""
    labels = [label for label, count in enumerate(counts.values()) for _ in range(count)]
    items = [Item(f"{n}", label, size_bytes, (splits or {}).get(n)) for n, label in enumerate(labels)]
    return Source("test", list(counts), items, lambda _: (b"", "png"))


def _assign(source: Source, shares: SplitSection, seed: int) -> list[str]:
    labels, given = [item.label for item in source.items], [item.split for item in source.items]
    return assign_splits(source.classes, labels, given, shares, seed)


def test_each_class_gives_its_share() -> None:
    source = _source({"a": 100, "b": 10, "c": 3})
    splits = _assign(source, SplitSection(val=0.2, test=0.1), seed=0)
    counted = Counter(zip((item.label for item in source.items), splits, strict=True))
    assert [counted[0, name] for name in ("train", "val", "test")] == [70, 20, 10]
    assert [counted[1, name] for name in ("train", "val", "test")] == [7, 2, 1]
    assert [counted[2, name] for name in ("train", "val", "test")] == [1, 1, 1]


def test_the_seed_decides_who() -> None:
    source = _source({"a": 50, "b": 50})
    first, again, other = (_assign(source, SplitSection(), seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.integers(3, 40), min_size=1, max_size=4),
    shares=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)).filter(lambda pair: sum(pair) < 1),
)
def test_no_split_of_a_class_is_empty(counts: list[int], shares: tuple[float, float]) -> None:
    source = _source({str(n): count for n, count in enumerate(counts)})
    splits = _assign(source, SplitSection(val=shares[0], test=shares[1]), seed=0)
    expected = {"train", *(name for name, share in zip(("val", "test"), shares, strict=True) if share > 0)}
    for label in range(len(counts)):
        found = {split for item, split in zip(source.items, splits, strict=True) if item.label == label}
        assert found == expected


def test_zero_shares_leave_everything_to_train() -> None:
    source = _source({"a": 1, "b": 1})
    assert _assign(source, SplitSection(val=0, test=0), seed=0) == ["train", "train"]


def test_splits_of_the_source_are_kept() -> None:
    source = _source({"a": 20}, dict.fromkeys(range(5), "test"))
    splits = _assign(source, SplitSection(val=0.2, test=0.5), seed=0)
    assert splits[:5] == ["test"] * 5
    assert Counter(splits[5:]) == {"train": 12, "val": 3}


def test_a_class_with_too_few_images() -> None:
    with pytest.raises(UserError) as caught:
        _assign(_source({"cat": 2, "dog": 50, "emu": 1}), SplitSection(), seed=0)
    assert caught.value.problem == (
        "each class needs at least 3 images, for train and val and test; too few of: cat (2), emu (1)"
    )
    assert "split.test=0" in caught.value.hint


def test_classes_without_images_are_passed_over() -> None:
    splits = assign_splits(["a", "b", "c"], [2, 2, 2, 2], [None] * 4, SplitSection(val=0.2, test=0), seed=0)
    assert Counter(splits) == {"train": 3, "val": 1}


def test_a_source_without_a_train_part() -> None:
    with pytest.raises(UserError, match="at least 1 image, for train"):
        _assign(_source({"a": 2}, {0: "val", 1: "test"}), SplitSection(), seed=0)


def test_shards_are_numbered_named_and_complete() -> None:
    source = _source({"a": 60, "b": 40})
    splits = _assign(source, SplitSection(), seed=0)
    plans = plan_shards(source, splits, seed=0, shard_size_bytes=30_000, resize=None)
    assert [plan.path for plan in plans if plan.split == "train"] == [
        f"train/train-{number:06d}.tar" for number in range(8)
    ]
    assert sorted(number for plan in plans for number in plan.items) == list(range(100))
    assert all(splits[number] == plan.split for plan in plans for number in plan.items)
    sizes = [len(plan.items) for plan in plans if plan.split == "train"]
    assert max(sizes) - min(sizes) <= 1
    # Classes are mixed within a shard.
    assert all(len({source.items[n].label for n in plan.items}) == 2 for plan in plans)


def test_shards_of_another_seed_differ() -> None:
    source = _source({"a": 30})
    first, again, other = (
        plan_shards(source, ["train"] * 30, seed=seed, shard_size_bytes=1e9, resize=None)
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_pictures_that_will_be_resized_count_for_less() -> None:
    source = _source({"a": 100}, size_bytes=1_000_000)
    plans = [
        plan_shards(source, ["train"] * 100, seed=0, shard_size_bytes=1e7, resize=resize)
        for resize in (None, 64)
    ]
    assert [len(plan) for plan in plans] == [10, 1]


def test_a_shard_holds_at_least_one_picture() -> None:
    plans = plan_shards(_source({"a": 3}), ["train"] * 3, seed=0, shard_size_bytes=1, resize=None)
    assert [len(plan.items) for plan in plans] == [1, 1, 1]
