import json
import shutil
from pathlib import Path

import pytest

from tests.jobs.conftest import Run


def words(digits: Path, *members: Path) -> list[str]:
    listed = ", ".join(str(member) for member in members)
    return [f"members=[{listed}]", f"data.root={digits}", "out=out", "cascade.max_accuracy_drop=0.06"]


def test_bundles_become_an_ensemble_that_is_evaluated_like_one(
    job: Run, digits: Path, digits_bundle: Path, large_bundle: Path, tmp_path: Path
) -> None:
    given = words(digits, digits_bundle, large_bundle)
    planned = job("ensemble", *given, "--dry-run")
    assert planned.code == 0, planned.err
    assert "90 images to fit to, 89 to measure" in planned.out
    assert not (tmp_path / "out").exists()

    ended = job("ensemble", *given, "views=[hflip, rotations]", "combine=vote")
    assert ended.code == 0, ended.err
    for said in (
        "% lenet5",
        "% resnet8",
        "members on average",
        f"python -m serving bundle={tmp_path / 'out'}",
    ):
        assert said in ended.out
    manifest = json.loads((tmp_path / "out/ensemble.json").read_text())
    assert manifest["allowed_views"] == ["hflip", "rotations", "none"]
    assert (manifest["combine"], manifest["vote"]) == ("vote", "hard")
    measured = manifest["measured"]
    assert set(measured["views"]) == {"hflip", "rotations", "none"}
    page = (tmp_path / "out/report/index.html").read_text()
    for said in ("<h2>Ensemble</h2>", "<h2>Views</h2>", "<h2>Cascade</h2>", "lenet5"):
        assert said in page
    # Only what is in the folder is needed.
    shutil.copytree(tmp_path / "out", tmp_path / "moved")
    shutil.rmtree(tmp_path / "out")
    evaluation = [f"bundle={tmp_path / 'moved'}", f"data.root={digits}", "run.num_workers=0", "out=scores"]
    scored = job("evaluate", *evaluation)
    assert scored.code == 0, scored.err
    assert "asked on average" in scored.out
    result = json.loads((tmp_path / "scores/result.json").read_text())
    assert result["metrics"]["test"]["num_samples"] == 179
    assert result["metrics"]["test"]["accuracy"] > 0.9
    assert sum(result["members_used"]) == pytest.approx(1)


def test_greedy_selection_that_keeps_one_member_says_so(
    job: Run, digits: Path, digits_bundle: Path, reversed_bundle: Path, tmp_path: Path
) -> None:
    ended = job("ensemble", *words(digits, digits_bundle, reversed_bundle), "select=greedy")
    assert ended.code == 2
    assert "alone: no other member helps it" in ended.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["members=[one]"], "members: 1 member make no ensemble; give two bundles or more"),
        (["members=[]"], "members: 0 members make no ensemble"),
        (["members=[one, one]"], "members: one is there twice"),
        (["views=[]"], "views=[] names none"),
        (["views=mirror"], "views=mirror: must be"),
        (["vote=soft"], "vote=soft has no effect with combine=mean"),
        (["cascade.max_accuracy_drop=null", "cascade.stages=views"], "cascade.stages=views has no effect"),
        (["cascade.stages=views"], "cascade.stages=views has no effect with views=none"),
        (["split=tests"], "it has: train, val, test"),
        (["out=taken"], "exists"),
        (
            ["cascade.max_accuracy_drop=0.002"],
            "the 89 to fit it to cannot show that less than 3.7 points are lost",
        ),
    ],
)
def test_what_cannot_be_put_together_is_a_sentence(
    job: Run,
    digits: Path,
    digits_bundle: Path,
    reversed_bundle: Path,
    tmp_path: Path,
    change: list[str],
    sentence: str,
) -> None:
    (tmp_path / "taken").mkdir()
    ended = job("ensemble", *words(digits, digits_bundle, reversed_bundle), *change)
    assert ended.code == 2
    assert sentence in ended.err


def test_members_that_do_not_fit_are_named(
    job: Run, digits: Path, digits_bundle: Path, reversed_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    copy, damaged = tmp_path / "copy", tmp_path / "damaged"
    shutil.copytree(digits_bundle, copy)
    shutil.copytree(digits_bundle, damaged)
    (damaged / "model.safetensors").write_bytes(b"nothing")
    for member, sentence in (
        (copy, "are the same bundle"),
        (damaged, "model.safetensors has changed since the bundle was written"),
        (tmp_path / "nowhere", "nowhere is not a bundle: no such folder"),
    ):
        ended = job("ensemble", *words(digits, digits_bundle, member))
        assert ended.code == 2
        assert sentence in ended.err
    assert job("pack", f"source=imagefolder:{photos}", "out=photos_packed").code == 0
    ended = job("ensemble", *words(tmp_path / "photos_packed", digits_bundle, reversed_bundle))
    assert ended.code == 2
    assert "have different classes" in ended.err
    assert "only in the dataset: disc, stripes" in ended.err
