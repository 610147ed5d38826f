import torchvision

from lib.config.names import FREEZE_STRATEGIES, MANTA_MODELS, TORCHVISION_MODELS
from lib.models.defaults import MANTA_SIZES
from lib.models.freeze import FROZEN_GROUPS
from lib.models.registry import MANTA_BUILDERS


def test_torchvision_models_are_torchvisions_list() -> None:
    assert list(TORCHVISION_MODELS) == torchvision.models.list_models(module=torchvision.models)


def test_names_and_registries_agree() -> None:
    assert tuple(MANTA_BUILDERS) == tuple(MANTA_SIZES) == MANTA_MODELS
    assert tuple(FROZEN_GROUPS) == FREEZE_STRATEGIES
