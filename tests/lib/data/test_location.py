import pytest

from lib.data.location import expand, is_local, join, local_path, public


@pytest.mark.parametrize(
    ("root", "path", "expected"),
    [
        ("/data/set", "train/0.tar", "/data/set/train/0.tar"),
        ("/data/set", "/else/0.tar", "/else/0.tar"),
        ("/data/set", "s3://b/0.tar", "s3://b/0.tar"),
        ("s3://b/set", "train/a b#1.tar", "s3://b/set/train/a%20b%231.tar"),
        ("s3://b/set?region=x", "dataset.json", "s3://b/set/dataset.json?region=x"),
        ("http://host/set/", "train/0.tar", "http://host/set/train/0.tar"),
        ("http://host/set", "/data/0.tar", "/data/0.tar"),
    ],
)
def test_join(root: str, path: str, expected: str) -> None:
    assert join(root, path) == expected


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("https://me:secret@host:80/a/b.tar?token=abc", "https://host:80/a/b.tar"),
        ("s3://KEY:SE/CRET@bucket/a", "s3://bucket/a"),
        ("s3://KEY:SE%2FCRET@bucket/a?region=x", "s3://bucket/a"),
        ("gs://anonymous@bucket", "gs://bucket"),
        ("http://host/me@there", "http://host/me@there"),
        ("/data/a?b@c", "/data/a?b@c"),
    ],
)
def test_public_leaves_out_what_is_secret(location: str, expected: str) -> None:
    assert public(location) == expected


def test_local_locations() -> None:
    assert is_local("/data/x")
    assert is_local("file:///data/a%20b")
    assert not is_local("s3://bucket/x")
    assert local_path("file:///data/a%20b") == "/data/a b"
    assert local_path("/data/a%20b") == "/data/a%20b"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.tar", ["a.tar"]),
        ("a-{008..011}.tar", ["a-008.tar", "a-009.tar", "a-010.tar", "a-011.tar"]),
        ("{a,b}/{0..1}", ["a/0", "a/1", "b/0", "b/1"]),
        ("{3..2}", []),
        ("{a}", ["{a}"]),
    ],
)
def test_expand(pattern: str, expected: list[str]) -> None:
    assert expand(pattern) == expected
