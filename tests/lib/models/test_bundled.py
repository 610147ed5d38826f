import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lib.errors import UserError
from lib.models.build import Built, build_pretrained, check_weights
from lib.models.bundled import bundle_facts
from lib.models.defaults import default_preprocess

DIGITS = tuple("0123456789")


def go_on(bundle: Path, classes: tuple[str, ...], name: str = "lenet5", **kwargs: object) -> Built:
    torch.manual_seed(5)
    shape = {"channels": 1, "image_size": 28, **kwargs}
    return build_pretrained(name, len(classes), weights=str(bundle), classes=classes, **shape)


def head_of(built: Built) -> torch.Tensor:
    return built.model.get_parameter("classifier.5.weight").detach()


def test_facts(digits_bundle: Path, tmp_path: Path) -> None:
    for path in (digits_bundle, digits_bundle / "model.safetensors"):
        facts = bundle_facts(path)
        assert facts is not None
        assert (facts.arch, tuple(facts.classes), facts.stem) == ("lenet5", DIGITS, "standard")
    assert bundle_facts("none") is None
    assert bundle_facts(tmp_path) is None


def test_the_same_classes_take_over_everything(digits_bundle: Path) -> None:
    built = go_on(digits_bundle, DIGITS)
    assert built.note.endswith("every tensor was taken over, the head for 10 classes by name too")
    stored = load_file(digits_bundle / "model.safetensors")
    assert all(torch.equal(value, stored[key]) for key, value in built.model.state_dict().items())


def test_the_head_follows_the_names_of_the_classes(digits_bundle: Path) -> None:
    turned = DIGITS[::-1]
    built = go_on(digits_bundle, turned)
    assert built.note.endswith("by name too, in another order")
    image = torch.rand(4, 1, 28, 28)
    ours, theirs = (each.model.eval()(image) for each in (built, go_on(digits_bundle, DIGITS)))
    torch.testing.assert_close(ours.flip(1), theirs)


def test_classes_that_are_new_get_random_rows(digits_bundle: Path) -> None:
    stored = head_of(go_on(digits_bundle, DIGITS))
    built = go_on(digits_bundle, ("owl", "7", "3"))
    assert built.note.endswith("the head was taken over by name for 2 classes; new (random): owl")
    assert torch.equal(head_of(built)[1:], stored[[7, 3]])
    assert not any(torch.equal(head_of(built)[0], row) for row in stored)


def test_other_classes_get_a_new_head_even_if_they_are_as_many(digits_bundle: Path) -> None:
    names = tuple(f"bird {number}" for number in range(10))
    built = go_on(digits_bundle, names)
    assert built.note.endswith("the head is new (random): 10 classes, none of the bundle's 10")
    assert not torch.equal(head_of(built), head_of(go_on(digits_bundle, DIGITS)))
    stored = load_file(digits_bundle / "model.safetensors")
    assert torch.equal(built.model.get_parameter("classifier.3.weight"), stored["classifier.3.weight"])


def test_a_bundle_of_another_network_says_what_to_type(digits_bundle: Path) -> None:
    with pytest.raises(UserError, match="is a bundle of lenet5, not of resnet8") as caught:
        check_weights("resnet8", str(digits_bundle))
    assert caught.value.hint == "model.name=lenet5"


def test_a_run_is_not_its_bundle(digits_bundle: Path) -> None:
    with pytest.raises(UserError, match="no such file of weights") as caught:
        check_weights("lenet5", str(digits_bundle.parent))
    assert caught.value.hint == f"its bundle: model.weights={digits_bundle}"


def test_a_size_that_the_weights_do_not_fit_says_what_to_type(digits_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"another shape: classifier.1.weight \[120, 256\]") as caught:
        go_on(digits_bundle, DIGITS, image_size=32)
    assert caught.value.hint == "model.image_size=28, as in the bundle"
    file = tmp_path / "lenet.safetensors"  # without what the bundle knows of it
    shutil.copy(digits_bundle / "model.safetensors", file)
    with pytest.raises(UserError) as caught:
        go_on(file, DIGITS, image_size=32)
    assert caught.value.hint == "they are of lenet5 at another size: model.image_size=28"


def test_a_bundle_that_has_changed_is_refused(digits_bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(digits_bundle, copy)
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="has changed since the bundle was written"):
        go_on(copy, DIGITS)


def test_a_bundle_of_another_stem_says_what_to_type(digits_bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(digits_bundle, copy)
    manifest = (copy / "bundle.json").read_text()
    (copy / "bundle.json").write_text(manifest.replace('"standard"', '"small"'))
    with pytest.raises(UserError, match=r"with model\.stem=small") as caught:
        go_on(copy, DIGITS)
    assert caught.value.hint == "model.stem=small"


def test_a_bundle_brings_its_preprocessing(digits_bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(digits_bundle, copy)
    manifest = json.loads((copy / "bundle.json").read_text())
    assert (manifest["preprocess"]["mean"], manifest["preprocess"]["std"]) == ([0.5], [0.5])
    manifest["preprocess"] |= {"mean": [0.25], "std": [0.25]}
    (copy / "bundle.json").write_text(json.dumps(manifest))
    own = default_preprocess("lenet5", str(digits_bundle), channels=1)
    assert own == default_preprocess("lenet5", channels=1)
    assert default_preprocess("lenet5", str(copy), channels=3)["mean"] == (0.25, 0.25, 0.25)
