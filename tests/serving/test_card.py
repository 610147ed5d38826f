from pathlib import Path

from lib.bundle import GateFacts
from lib.predict.ensemble import Ensemble
from lib.predict.folder import read_folder, release
from serving.card import card_of
from serving.schemas import ModelName

CHECK = {"name": "min_accuracy", "asked": "at least 0.9", "told": "0.95"}
FACTS = GateFacts(
    version="0",
    dataset={"digest": "x"},
    split="test",
    num_samples=179,
    checks=[CHECK | {"limit": 0.9, "found": 0.95, "passed": True}],
)
NAME = ModelName(name="digits", version="1")


def test_a_model_says_which_gate_it_has_passed(
    digits_bundle: Path, ensemble_path: Path, tmp_path: Path
) -> None:
    for number, path in enumerate((digits_bundle, ensemble_path)):
        assert card_of(Ensemble.load(path), NAME).gate is None
        released = release(read_folder(path), tmp_path / str(number), FACTS, "")
        gate = card_of(Ensemble.load(released), NAME).gate
        assert gate is not None
        assert (gate.split, gate.num_samples) == ("test", 179)
        assert [check.model_dump() for check in gate.checks] == [CHECK]
