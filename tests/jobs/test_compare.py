"""Several bundles on the same images, slices, and when to abstain: what is said is what was counted."""

import json
from pathlib import Path

import pytest

from lib.data.dataset import open_dataset
from lib.metrics import Outcomes
from tests.browser import Browser, needs_browser
from tests.jobs.conftest import Run


def words(digits: Path, *bundles: Path) -> list[str]:
    listed = ", ".join(map(str, bundles))
    return [f"bundle=[{listed}]", f"data.root={digits}", "run.num_workers=0", "out=out"]


@pytest.fixture
def compared(job: Run, digits: Path, digits_bundle: Path, large_bundle: Path, tmp_path: Path) -> Path:
    """Results of two bundles, with slices and a wanted precision."""
    samples = open_dataset(str(digits)).samples("test")
    keys = samples.keys(range(len(samples)))
    samples.close()
    lines = [f"{key},{'left' if number % 2 else 'right'}" for number, key in enumerate(keys)]
    (tmp_path / "hands.csv").write_text("\n".join(["key,hand", *lines]) + "\n")
    more = [f"slices.file={tmp_path / 'hands.csv'}", "slices.columns=[hand, width]", "abstain.precision=0.98"]
    ended = job("evaluate", *words(digits, digits_bundle, large_bundle), *more, "gate={}")
    assert ended.code == 0, ended.err
    assert f": {large_bundle}" in ended.out
    return tmp_path / "out"


def test_numbers_are_those_of_the_outcomes(
    compared: Path, large_bundle: Path, digits: Path, job: Run
) -> None:
    result = json.loads((compared / "result.json").read_text())
    outcomes = Outcomes.load(compared / "outcomes.npz")
    (other,) = result["compared"]
    alone = job("evaluate", *words(digits, large_bundle)[:3], "out=alone")
    assert alone.code == 0, alone.err
    theirs = Outcomes.load(compared.parent / "alone/outcomes.npz")
    assert other["metrics"]["test"]["accuracy"] == theirs.correct.mean()
    gap = other["difference"]
    assert gap["difference"] == pytest.approx(theirs.correct.mean() - outcomes.correct.mean())
    assert gap["better"] == (theirs.correct & ~outcomes.correct).sum()
    assert gap["low"] < gap["difference"] < gap["high"]
    assert gap["p_adjusted"] == gap["p_value"]

    hand, width = result["slices"]["test"]
    assert {each["value"]: each["num_samples"] for each in hand["slices"]} == {"left": 89, "right": 90}
    left = next(each for each in hand["slices"] if each["value"] == "left")
    assert left["accuracy"] == outcomes.correct[1::2].mean()
    assert [each["value"] for each in width["slices"]] == ["8"]

    abstain = result["abstain"]["test"]
    held = outcomes.confidence[1::2] >= abstain["threshold"]
    assert abstain["answered_fraction"] == held.mean()
    assert abstain["measured_precision"] == outcomes.correct[1::2][held].mean()
    assert outcomes.correct[::2][outcomes.confidence[::2] >= abstain["threshold"]].mean() >= 0.98


@needs_browser
@pytest.mark.integration
def test_the_page_says_in_a_browser_what_result_json_says(compared: Path, tmp_path: Path) -> None:
    result = json.loads((compared / "result.json").read_text())
    metrics, outcomes = result["metrics"]["test"], Outcomes.load(compared / "outcomes.npz")
    with Browser() as browser:
        for width, scheme in ((1200, "light"), (1200, "dark"), (390, "light"), (390, "dark")):
            browser.resize(width, 900, scheme)
            browser.open((compared / "report/index.html").as_uri())
            assert browser.run("document.documentElement.scrollWidth") <= width
            browser.screenshot(tmp_path / f"{width}-{scheme}.png")
        text = browser.run("document.body.innerText")
        assert f"{100 * metrics['accuracy']:.1f}%" in text
        assert f"error over 15 bins is {metrics['ece']:.3f}" in text
        assert f"Brier score {result['brier']['test']:.3f}" in text
        judged = "better" if result["compared"][0]["difference"]["p_adjusted"] < 0.05 else "within noise"
        for said in ("Comparison", judged, "By hand", "By width", "Grad-CAM", "98.0% right answers"):
            assert said in text, said
        recalls = browser.run(
            "[...[...document.querySelectorAll('h2')].find(h => h.innerText == 'Classes').parentElement"
            ".querySelectorAll('tbody tr')].map(r => [r.cells[0].innerText, r.cells[3].dataset.value])"
        )
        expected = {row["label"]: row["recall"] for row in result["per_class"]["test"]}
        assert {name: float(value) for name, value in recalls} == pytest.approx(expected, abs=1e-4)
        # A click on a head sorts, a second one turns it round.
        browser.run("[...document.querySelectorAll('th button')].find(b => b.innerText == 'Recall').click()")
        column = (
            "[...[...document.querySelectorAll('th[aria-sort] button')].find(b => b.innerText == 'Recall')"
            ".closest('table').tBodies[0].rows].map(r => +r.cells[3].dataset.value)"
        )
        values = browser.run(column)
        assert values == sorted(values, reverse=True)
        pictures = browser.run("[...document.images].map(i => i.naturalWidth)")
        assert len(pictures) >= min(24, int((~outcomes.correct).sum()))
        assert all(pictures)
        assert browser.complaints == []
        assert all(url.startswith(("file:", "data:")) for url in browser.requests)
