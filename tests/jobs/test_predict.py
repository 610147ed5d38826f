"""Batch prediction: folders, datasets, Parquet; equal to an evaluation; goes on; bad images apart."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lib.data.dataset import open_dataset
from lib.metrics import Outcomes
from tests.jobs.conftest import Ended, Run

SMALL = ["batch_size=16", "part_images=48"]


def predict(job: Run, bundle: Path, source: Path, *more: str, out: str = "out") -> Ended:
    words = [f"bundle={bundle}", f"input={source}", f"out={out}", "run.num_workers=0", *SMALL]
    return job("predict", *words, *more)


def evaluated(job: Run, bundle: Path, digits: Path, tmp_path: Path) -> Outcomes:
    words = [f"bundle={bundle}", f"data.root={digits}", "run.num_workers=0", "batch_size=16", "out=evaluated"]
    assert job("evaluate", *words).code == 0
    return Outcomes.load(tmp_path / "evaluated/outcomes.npz")


def write_pictures(digits: Path, folder: Path) -> list[str]:
    """Write the pictures of the test split as files; return their names in order."""
    samples = open_dataset(str(digits)).samples("test")
    names = [f"{number % 3}/{key}.png" for number, key in enumerate(samples.keys(range(len(samples))))]
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(samples.read(number))
    samples.close()
    return names


@pytest.mark.parametrize("model", ["bundle", "ensemble"])
def test_a_dataset_is_answered_as_an_evaluation_answers_it(
    job: Run, digits: Path, digits_bundle: Path, ensemble_path: Path, tmp_path: Path, model: str
) -> None:
    path = digits_bundle if model == "bundle" else ensemble_path
    ended = predict(job, path, digits, "abstain_below=0.9")
    assert ended.code == 0, ended.err
    table = pq.read_table(tmp_path / "out/predictions.parquet")
    expected = evaluated(job, path, digits, tmp_path)
    samples = open_dataset(str(digits)).samples("test")
    assert table["key"].to_pylist() == samples.keys(expected.ids)
    assert np.array_equal(table["index"].to_numpy(), expected.predicted)
    # The same batches, and so the same bits.
    assert np.array_equal(table["probability"].to_numpy(), expected.top_probability[:, 0])
    classes = [str(number) for number in range(10)]
    assert table["label"].to_pylist() == [classes[index] for index in expected.predicted]
    result = json.loads((tmp_path / "out/result.json").read_text())
    assert (result["num_images"], result["answered"], result["bad_samples"]) == (179, 179, 0)
    doubtful = expected.top_probability[:, 0] < 0.9
    assert 0 < doubtful.sum() < len(doubtful)
    assert np.array_equal(table["abstained"].to_pylist(), doubtful)
    assert result["abstained"] == doubtful.sum()
    used = table["members_used"].to_numpy()
    if model == "ensemble":
        found = json.loads((tmp_path / "evaluated/result.json").read_text())["members_used"]
        assert [(used == each).mean() for each in (1, 2)] == pytest.approx(found)
        assert result["members_used"] == pytest.approx(found)
    else:
        assert (used == 1).all()
    assert {each.name for each in (tmp_path / "out").iterdir()} == {
        "job.json", "predictions.parquet", "result.json",
    }  # fmt: skip


def test_folders_and_parquet_are_answered_like_the_dataset_they_come_from(
    job: Run, digits: Path, digits_bundle: Path, tmp_path: Path
) -> None:
    names = write_pictures(digits, tmp_path / "files")
    expected = evaluated(job, digits_bundle, digits, tmp_path)
    (tmp_path / "files/.hidden.png").write_bytes(b"")
    (tmp_path / "files/notes.txt").write_text("no picture")
    assert predict(job, digits_bundle, tmp_path / "files").code == 0
    table = pq.read_table(tmp_path / "out/predictions.parquet")
    assert table["key"].to_pylist() == sorted(names)
    found = dict(zip(table["key"].to_pylist(), table["index"].to_pylist(), strict=True))
    assert [found[name] for name in names] == expected.predicted.tolist()

    data = [(tmp_path / "files" / name).read_bytes() for name in names]
    tables = tmp_path / "tables"
    tables.mkdir()
    # Two files, several row groups, bytes once plain and once in a struct, as Hugging Face keeps them.
    plain = pa.table({"image": pa.array(data[:100], pa.binary()), "name": names[:100]})
    pq.write_table(plain, tables / "a.parquet", row_group_size=30)
    struct = [{"bytes": each, "path": None} for each in data[100:]]
    nested = pa.table({"image": pa.array(struct), "name": names[100:]})
    pq.write_table(nested, tables / "b.parquet", row_group_size=50)
    assert predict(job, digits_bundle, tables, "read.key_column=name", out="named").code == 0
    named = pq.read_table(tmp_path / "named/predictions.parquet")
    assert named["key"].to_pylist() == names
    assert named["index"].to_pylist() == expected.predicted.tolist()
    assert predict(job, digits_bundle, tables / "a.parquet", out="rows").code == 0
    rows = pq.read_table(tmp_path / "rows/predictions.parquet")
    assert rows["key"].to_pylist() == [f"a.parquet:{row}" for row in range(100)]


def test_bad_pictures_are_left_out_and_listed_or_end_the_job(
    job: Run, digits: Path, digits_bundle: Path, tmp_path: Path
) -> None:
    names = write_pictures(digits, tmp_path / "files")
    (tmp_path / "files" / names[5]).write_bytes(b"not a picture")
    ended = predict(job, digits_bundle, tmp_path / "files")
    assert ended.code == 0, ended.err
    assert "1 bad images" in ended.out
    table = pq.read_table(tmp_path / "out/predictions.parquet")
    assert table["key"].to_pylist() == sorted(set(names) - {names[5]})
    (line,) = (tmp_path / "out/quarantine.jsonl").read_text().splitlines()
    assert json.loads(line)["key"] == names[5]
    for name in names[6:20]:
        (tmp_path / "files" / name).write_bytes(b"")
    ended = predict(job, digits_bundle, tmp_path / "files", out="other")
    assert ended.code == 1
    assert "cannot be used" in ended.err
    assert not (tmp_path / "other/predictions.parquet").exists()


def test_a_stopped_job_goes_on_and_repeats_no_part(
    job: Run, digits: Path, digits_bundle: Path, tmp_path: Path
) -> None:
    assert predict(job, digits_bundle, digits, out="whole").code == 0
    names = write_pictures(digits, tmp_path / "files")
    first = sorted(names)[0]
    # It ends in its last part: too many pictures are bad there.
    for name in sorted(names)[-8:]:
        (tmp_path / "files" / name).rename(tmp_path / "files" / f"{name}.kept")
        (tmp_path / "files" / name).write_bytes(b"")
    ended = predict(job, digits_bundle, tmp_path / "files")
    assert ended.code == 1
    parts = sorted((tmp_path / "out/parts").glob("*.parquet"))
    assert [part.name for part in parts] == [f"part-00000{number}.parquet" for number in range(3)]
    before = {part: part.stat().st_mtime_ns for part in parts}
    for name in sorted(names)[-8:]:
        (tmp_path / "files" / f"{name}.kept").rename(tmp_path / "files" / name)
    # If the first part were answered again, this picture would be missed.
    (tmp_path / "files" / first).write_bytes(b"")
    other = predict(job, digits_bundle, tmp_path / "files", "engine=auto")
    assert other.code == 2
    assert "holds another job: engine was torch, is auto" in other.err
    assert {part: part.stat().st_mtime_ns for part in parts} == before
    ended = predict(job, digits_bundle, tmp_path / "files")
    assert ended.code == 0, ended.err
    assert "going on: 3 of 4 parts are written" in ended.out
    found, whole = (pq.read_table(tmp_path / each / "predictions.parquet") for each in ("out", "whole"))
    assert len(found) == 179
    answers = {Path(key).stem: label for key, label in zip(*map(list, _columns(found)), strict=True)}
    assert answers == dict(zip(*map(list, _columns(whole)), strict=True))
    again = predict(job, digits_bundle, tmp_path / "files")
    assert again.code == 2
    assert "is finished" in again.err


def _columns(table: pa.Table) -> tuple[list[str], list[str]]:
    return table["key"].to_pylist(), table["label"].to_pylist()


@pytest.mark.integration
def test_workers_on_ray_answer_as_one_process_does(
    job: Run, digits: Path, digits_bundle: Path, tmp_path: Path, ray_session: None
) -> None:
    assert predict(job, digits_bundle, digits, out="alone").code == 0
    ended = predict(job, digits_bundle, digits, "run.num_workers=2")
    assert ended.code == 0, ended.err
    alone, shared = (pq.read_table(tmp_path / each / "predictions.parquet") for each in ("alone", "out"))
    assert shared.drop_columns("probability") == alone.drop_columns("probability")
    assert shared["probability"].to_numpy() == pytest.approx(alone["probability"].to_numpy(), abs=1e-5)
    names = write_pictures(digits, tmp_path / "files")
    for name in names[:20]:
        (tmp_path / "files" / name).write_bytes(b"")
    ended = predict(job, digits_bundle, tmp_path / "files", "run.num_workers=1", out="bad")
    assert ended.code == 1
    assert "cannot be used" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["input=nowhere"], "does not exist"),
        (["input=empty"], "has no pictures"),
        (["read.split=tests"], "it has: train, val, test"),
        (["out=empty/.."], "exists"),
        (["bundle=nowhere"], "nowhere is not a bundle"),
        (["input=table.parquet"], "has no column 'image'"),
        (["input=table.parquet", "read.image_column=key"], "is string, not the bytes of pictures"),
    ],
)
def test_what_cannot_be_answered_is_a_sentence(
    job: Run, digits: Path, digits_bundle: Path, tmp_path: Path, change: list[str], sentence: str
) -> None:
    (tmp_path / "empty").mkdir()
    pq.write_table(pa.table({"key": ["a"]}), tmp_path / "table.parquet")
    ended = predict(job, digits_bundle, digits, *change)
    assert ended.code == 2, ended.out
    assert sentence in ended.err
    shutil.rmtree(tmp_path / "empty")
