import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from lib.errors import UserError
from lib.models.build import build_model, build_pretrained
from lib.models.weights import fit_state, load_exact, read_state, unwrap_state

State = dict[str, Tensor]


def state_of(name: str, num_classes: int = 7, **kwargs: Any) -> State:
    torch.manual_seed(1)
    return dict(build_model(name, num_classes, **kwargs).state_dict())


def same_backbone(model: nn.Module, state: State, head: str) -> bool:
    own = model.state_dict()
    return all(torch.equal(own[key], state[key]) for key in state if not key.startswith(head))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_files_of_any_number_of_classes(tmp_path: Path, suffix: str) -> None:
    state = state_of("resnet8", image_size=32)
    file = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)
    built = build_pretrained("resnet8", 3, image_size=32, weights=str(file))
    assert built.note.endswith("fc is new (random): 3 classes instead of 7")
    assert same_backbone(built.model, state, "fc.")
    same_classes = build_pretrained("resnet8", 7, image_size=32, weights=str(file))
    assert "the head for 7 classes too" in same_classes.note
    assert torch.equal(same_classes.model.state_dict()["fc.weight"], state["fc.weight"])


def test_a_bundle_folder_is_a_file_of_weights(tmp_path: Path) -> None:
    state = state_of("resnet8", image_size=32)
    save_file(state, tmp_path / "model.safetensors")
    assert read_state(tmp_path).keys() == state.keys()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "args": {"lr": 0.1}},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {"state_dict": {f"module._orig_mod.{key}": value for key, value in state.items()}},
        lambda state: {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")},
    ],
)
def test_wrappers_of_other_trainers(tmp_path: Path, wrap: Callable[[State], Any]) -> None:
    state = state_of("resnet8", image_size=32)
    torch.save(wrap(state), tmp_path / "weights.pth")
    model = build_model("resnet8", 3, image_size=32, weights=str(tmp_path / "weights.pth"))
    assert same_backbone(model, state, "fc.")


def test_another_architecture_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    torch.save(state_of("resnet14", image_size=32), tmp_path / "weights.pth")
    with pytest.raises(UserError) as caught:
        build_model("resnet8", 7, image_size=32, weights=str(tmp_path / "weights.pth"))
    assert "not of resnet8: 44 of its 44 tensors fit" in caught.value.problem
    assert "unexpected: layer1.1.conv1.weight" in caught.value.problem
    assert caught.value.hint == "they are of resnet14: model.name=resnet14"

    model = build_model("resnet20", 7, image_size=32)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(UserError, match=r"missing: layer1\.2"):
        fit_state(model, state_of("resnet14", image_size=32), "resnet20")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_wider_network_is_refused() -> None:
    state = state_of("mobilenet_v2", image_size=32)
    state["features.3.conv.0.0.weight"] = torch.zeros(1, 1, 1, 1)
    with pytest.raises(UserError, match=r"another shape: features.3.conv.0.0.weight \[1, 1, 1, 1\]"):
        fit_state(build_model("mobilenet_v2", 7, image_size=32), state, "mobilenet_v2")


@pytest.mark.parametrize("content", [b"", b"not a file of weights", b"PK\x03\x04 cut"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files(tmp_path: Path, content: bytes, suffix: str) -> None:
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        read_state(file)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pth")
    with pytest.raises(UserError, match="holds more than tensors"):
        read_state(tmp_path / "whole.pth")


def test_a_file_without_a_state(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="holds no state dict"):
        read_state(tmp_path / "weights.pth")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_state(tmp_path / "weights.pth")


def test_rgb_weights_for_grey_images_and_back() -> None:
    grey = torch.rand(2, 1, 32, 32)
    rgb_model = build_model("mobilenet_v2", 4, image_size=32).eval()
    grey_model = build_model("mobilenet_v2", 4, channels=1, image_size=32).eval()
    fit_state(grey_model, dict(rgb_model.state_dict()), "mobilenet_v2")
    back = build_model("mobilenet_v2", 4, image_size=32).eval()
    fit_state(back, dict(grey_model.state_dict()), "mobilenet_v2")
    with torch.inference_mode():
        answer = rgb_model(grey.expand(-1, 3, -1, -1))
        torch.testing.assert_close(grey_model(grey), answer, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(back(grey.expand(-1, 3, -1, -1)), answer, rtol=1e-4, atol=1e-5)


def test_auxiliary_heads() -> None:
    theirs = torchvision.models.googlenet(weights=None, init_weights=False, aux_logits=True)
    model = build_model("googlenet", 5, image_size=64)
    note = fit_state(model, dict(theirs.state_dict()), "googlenet")
    assert note == "fc, aux1.fc2, aux2.fc2 are new (random): 5 classes instead of 1000"
    assert torch.equal(model.get_parameter("aux1.fc1.weight"), theirs.get_parameter("aux1.fc1.weight"))

    without = {key: value for key, value in theirs.state_dict().items() if not key.startswith("aux")}
    assert "aux1.fc2" in fit_state(build_model("googlenet", 1000, image_size=64), without, "googlenet")


def test_weights_of_an_auxiliary_head_that_is_not_there_are_left_out_with_a_sentence() -> None:
    state = state_of("inception_v3", image_size=299)
    note = fit_state(build_model("inception_v3", 3, image_size=96), state, "inception_v3")
    assert note.endswith("3 classes instead of 7; left out: AuxLogits, which this network has not")


def test_names_in_old_files() -> None:
    state = state_of("densenet121", image_size=32)
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)\.", r"\1.\2.", key): v for key, v in state.items()}
    assert old.keys() != state.keys()
    assert unwrap_state(old, "file").keys() == state.keys()
    assert set(
        unwrap_state({"encoder.layers.encoder_layer_0.mlp.linear_2.bias": torch.zeros(1)}, "file")
    ) == {"encoder.layers.encoder_layer_0.mlp.3.bias"}


def test_positions_of_a_vit_follow_the_image_size() -> None:
    small, large = (
        torchvision.models.VisionTransformer(size, 32, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=16)
        for size in (64, 96)
    )
    state = dict(small.state_dict())
    fit_state(large, state, "a small ViT")
    positions = large.get_parameter("encoder.pos_embedding")
    assert positions.shape == (1, 10, 16)
    expected = torchvision.models.vision_transformer.interpolate_embeddings(96, 32, dict(state))
    torch.testing.assert_close(positions, expected["encoder.pos_embedding"])


def test_positions_of_timms_vits_follow_the_image_size() -> None:
    # Two tokens, of the class and of distillation, stand before the positions.
    name = "timm:deit_tiny_distilled_patch16_224"
    small, large = (build_model(name, 3, image_size=size) for size in (64, 96))
    fit_state(large, dict(small.state_dict()), name)
    before, after = (model.get_parameter("pos_embed") for model in (small, large))
    assert (before.shape[1], after.shape[1]) == (2 + 4 * 4, 2 + 6 * 6)
    assert torch.equal(before[:, :2], after[:, :2])
    torch.testing.assert_close(after[0, 2], before[0, 2])  # corners stay where they are
    torch.testing.assert_close(after[0, -1], before[0, -1])


@pytest.mark.parametrize("name", ["mnasnet0_5", "squeezenet1_1", "resnet8"])
def test_load_exact(name: str) -> None:
    state = state_of(name, image_size=64)
    model = build_model(name, 7, image_size=64)
    load_exact(model, state, name)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    with pytest.raises(UserError, match="fit"):
        load_exact(build_model(name, 3, image_size=64), state, name)
    with pytest.raises(UserError, match="missing"):
        load_exact(model, dict(list(state.items())[:-1]), name)
