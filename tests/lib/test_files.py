from pathlib import Path

import pytest

from lib.errors import RunError, UserError
from lib.files import make_folder, make_partial, write_bytes, write_text


def test_a_file_is_replaced_at_once(tmp_path: Path) -> None:
    write_text(tmp_path / "x.json", "old")
    write_text(tmp_path / "x.json", "new ç")
    assert (tmp_path / "x.json").read_text(encoding="utf-8") == "new ç"
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_bytes_are_written_as_they_are(tmp_path: Path) -> None:
    write_bytes(tmp_path / "x.png", b"\r\n\xff")
    assert (tmp_path / "x.png").read_bytes() == b"\r\n\xff"


def test_a_refused_write_keeps_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "x.json", "old")
    (tmp_path / ".x.json.partial").mkdir()
    with pytest.raises(RunError, match="cannot write"):
        write_text(tmp_path / "x.json", "new")
    assert (tmp_path / "x.json").read_text() == "old"


def test_a_place_that_cannot_be_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot create the folder"):
        make_folder(tmp_path / "file/below")
    with pytest.raises(UserError, match="cannot write in"):
        make_partial(tmp_path / "file/below")


def test_a_partial_folder_is_hidden_beside_its_target(tmp_path: Path) -> None:
    folder = make_partial(tmp_path / "bundle")
    assert folder.parent == tmp_path
    assert folder.name.startswith(".bundle.partial-")
    assert folder.stat().st_mode & 0o777 == 0o755
