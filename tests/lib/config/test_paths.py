from pathlib import Path

import pytest

from lib.config.paths import data_location, input_path, is_uri, output_path
from lib.errors import UserError


def test_a_laptop_writes_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MANTA_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert output_path("runs/x") == tmp_path / "runs/x"
    assert output_path("/data/x") == Path("/data/x")


def test_a_submitted_job_does_not_write_into_rays_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MANTA_HOME", raising=False)
    copy = tmp_path / "working_dir_files/_ray_pkg_1"
    copy.mkdir(parents=True)
    (copy / "here.txt").touch()
    monkeypatch.chdir(copy)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert output_path("runs/x") == tmp_path / "home/manta/runs/x"
    assert input_path("here.txt") == copy / "here.txt"
    assert input_path("runs/x") == tmp_path / "home/manta/runs/x"


def test_the_home_of_outputs_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANTA_HOME", str(tmp_path))
    assert output_path("runs/x") == tmp_path / "runs/x"


def test_what_is_a_uri() -> None:
    assert all(map(is_uri, ("s3://b/x", "https://host", "file:///x", "hf+x://a")))
    assert not any(map(is_uri, ("/data/x", "runs/x", "c://x", "a b://x", "://x", "imagefolder:x")))


def test_a_dataset_may_lie_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MANTA_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert data_location("runs/x") == str(tmp_path / "runs/x")
    assert data_location("file:///data/a%20b") == "/data/a b"
    assert data_location("s3://bucket/set/") == "s3://bucket/set"
    assert data_location("s3://b/set?region=eu-west-1") == "s3://b/set?region=eu-west-1"
    assert data_location("gs://anonymous@bucket/set") == "gs://anonymous@bucket/set"
    assert data_location("http://host:80/me@there") == "http://host:80/me@there"


@pytest.mark.parametrize(
    "text", ["http://me:secret@host/x", "s3://key:se/cret@bucket/x", "https://host/x?signature=secret"]
)
def test_secrets_are_not_kept_with_a_run(text: str) -> None:
    with pytest.raises(UserError, match=r"password|query") as caught:
        data_location(text)
    assert "cret" not in str(caught.value)


def test_outputs_are_local() -> None:
    for path in (output_path, input_path):
        with pytest.raises(UserError, match="s3:// cannot be used here") as caught:
            path("s3://key:secret@bucket/x")
        assert "secret" not in str(caught.value)
        assert "aws s3 cp --recursive" in caught.value.hint
