import gzip
import io
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.config.packing import CsvSection
from lib.data.sources import Source, open_source
from lib.errors import UserError

Picture = Callable[..., bytes]
Folder = Callable[..., Path]


def _open(words: str, **columns: object) -> Source:
    return open_source(words, CsvSection.model_validate(columns))


def _listed(source: Source) -> list[tuple[str, str, str | None]]:
    return [(item.key, source.classes[item.label], item.split) for item in source.items]


@pytest.mark.parametrize("words", ["", "imagenet", "folder:x", "csvfile:x"])
def test_an_unknown_kind(words: str) -> None:
    with pytest.raises(UserError, match="is not a source") as caught:
        _open(words)
    assert "imagefolder:DIR, csv:FILE, digits" in caught.value.hint


# imagefolder


def test_a_folder_of_classes(folder: Folder) -> None:
    root = folder(
        {
            "2/b.jpg": b"2b",
            "10/a.PNG": b"10a",
            "10/deeper/c.webp": b"10c",
            "Ärger & Co/ä b.tif": b"x",
            "2/notes.txt": b"-",
            "loose.jpg": b"-",
        }
    )
    source = _open(f"imagefolder:{root}")
    assert source.classes == ["10", "2", "Ärger & Co"]
    assert _listed(source) == [
        ("10/a", "10", None),
        ("10/deeper/c", "10", None),
        ("2/b", "2", None),
        ("Ärger & Co/ä b", "Ärger & Co", None),
    ]
    assert [item.size_bytes for item in source.items] == [3, 3, 2, 1]
    assert source.read(1) == (b"10c", "webp")
    assert pickle.loads(pickle.dumps(source)).read(3) == (b"x", "tif")


def test_hidden_files_and_folders_are_not_pictures(folder: Folder) -> None:
    root = folder(
        {
            "cat/a.jpg": b"1",
            "dog/b.jpg": b"1",
            "cat/._a.jpg": b"-",
            "cat/.ipynb_checkpoints/a-checkpoint.jpg": b"-",
            ".thumbnails/c.jpg": b"-",
        }
    )
    assert _listed(_open(f"imagefolder:{root}")) == [("cat/a", "cat", None), ("dog/b", "dog", None)]


def test_a_hidden_folder_above_does_not_matter(folder: Folder) -> None:
    root = folder({"cat/a.jpg": b"1", "dog/b.jpg": b"1"}, ".cache/photos")
    assert len(_open(f"imagefolder:{root}").items) == 2


def test_links_are_followed_and_dead_ones_are_listed(folder: Folder) -> None:
    root = folder({"cat/a.jpg": b"1", "dog/b.jpg": b"22"})
    (root / "cat/link.jpg").symlink_to(root / "dog/b.jpg")
    (root / "dog/dead.jpg").symlink_to(root / "gone.jpg")
    (root / "emu").symlink_to(root / "dog")
    source = _open(f"imagefolder:{root}")
    assert [key for key, _, _ in _listed(source)] == [
        "cat/a",
        "cat/link",
        "dog/b",
        "dog/dead",
        "emu/b",
        "emu/dead",
    ]
    assert source.read(1)[0] == b"22"
    with pytest.raises(FileNotFoundError):
        source.read(3)


def test_file_names_that_are_no_text(folder: Folder) -> None:
    root = folder({"cat/a.jpg": b"1", "dog/b.jpg": b"1"})
    Path(os.fsdecode(os.fsencode(root) + b"/cat/\xe9.jpg")).write_bytes(b"latin")
    assert _open(f"imagefolder:{root}").read(1) == (b"latin", "jpg")
    (root / "dog").rename(os.fsdecode(os.fsencode(root) + b"/\xe9mu"))
    with pytest.raises(UserError, match=r"the name of class '.udce9mu' is not UTF-8"):
        _open(f"imagefolder:{root}")


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Train", "validation", "TEST"), ("train", "valid", "test")]
)
def test_a_folder_of_splits(folder: Folder, names: tuple[str, str, str]) -> None:
    train, val, test = names
    root = folder(
        {
            f"{train}/cat/a.jpg": b"1",
            f"{train}/dog/a.jpg": b"1",
            f"{val}/cat/a.jpg": b"1",
            f"{test}/dog/a.jpg": b"1",
            ".DS_Store": b"-",
        }
    )
    assert sorted(_listed(_open(f"imagefolder:{root}"))) == sorted(
        [
            (f"{train}/cat/a", "cat", "train"),
            (f"{train}/dog/a", "dog", "train"),
            (f"{val}/cat/a", "cat", "val"),
            (f"{test}/dog/a", "dog", "test"),
        ]
    )


def test_a_class_may_be_called_train(folder: Folder) -> None:
    root = folder({"train/a.jpg": b"1", "bus/a.jpg": b"1"})
    assert _open(f"imagefolder:{root}").classes == ["bus", "train"]


def test_folders_that_cannot_be_packed(folder: Folder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        _open(f"imagefolder:{tmp_path / 'missing'}")
    with pytest.raises(UserError, match="no such folder"):
        _open("imagefolder:")
    with pytest.raises(UserError, match="no class folders"):
        _open(f"imagefolder:{folder({'a.jpg': b'1'}, 'flat')}")
    with pytest.raises(UserError, match="has no images"):
        _open(f"imagefolder:{folder({'cat/a.txt': b'1'}, 'texts')}")
    with pytest.raises(UserError, match="no images of class emu"):
        _open(f"imagefolder:{folder({'cat/a.jpg': b'1', 'dog/a.jpg': b'1', 'emu/a.txt': b'1'}, 'three')}")
    with pytest.raises(UserError, match="has one class, 'cat'"):
        _open(f"imagefolder:{folder({'cat/a.jpg': b'1'}, 'one')}")


# csv


def _csv(folder: Folder, text: str, encoding: str = "utf-8") -> str:
    files = {"a.jpg": b"1", "b.x/b.jpg": b"22", "labels.csv": text.encode(encoding)}
    return f"csv:{folder(files) / 'labels.csv'}"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_csv(folder: Folder, encoding: str) -> None:
    source = _open(_csv(folder, "image,label\r\na.jpg,10\r\n./b.x/b.jpg,2\r\n\r\na.jpg,ö\r\n", encoding))
    assert source.classes == ["10", "2", "ö"]
    assert _listed(source) == [("a", "10", None), ("b.x/b", "2", None), ("a", "ö", None)]
    assert source.read(1) == (b"22", "jpg")


def test_columns_and_splits_of_a_csv(folder: Folder) -> None:
    words = _csv(
        folder, 'id, path, species, part\n1, a.jpg, "b, small", Train\n2, b.x/b.jpg, c, validation\n'
    )
    columns = {"image_column": "path", "label_column": "species", "split_column": "part"}
    assert _listed(_open(words, **columns)) == [("a", "b, small", "train"), ("b.x/b", "c", "val")]
    with pytest.raises(UserError, match="no column 'image'") as caught:
        _open(words)
    assert caught.value.hint == "its columns are id, path, species, part; choose with csv.image_column=NAME"


def test_blanks_and_separators_of_other_programs(folder: Folder) -> None:
    source = _open(_csv(folder, "image,label\na.jpg,cat \nb.x\\b.jpg, cat\na.jpg,dog\n"))
    assert _listed(source) == [("a", "cat", None), ("b.x/b", "cat", None), ("a", "dog", None)]


def test_absolute_paths_in_a_csv(folder: Folder) -> None:
    root = folder({"a.jpg": b"1", "b.jpg": b"1"})
    (root / "labels.csv").write_text(f"image,label\n{root}/a.jpg,x\n../photos/b.jpg,y\n")
    source = _open(f"csv:{root / 'labels.csv'}")
    assert source.items[0].key == f"{root}/a".lstrip("/")
    assert source.items[1].key == "../photos/b"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no column 'image'"),
        ("image,label\n", "has no images"),
        ("image,label\na.jpg,x\nb.x/b.jpg,\n", "line 3 has no label in column 'label'"),
        ("image,label\na.jpg,x\nb.x/b.jpg\n", "line 3 has no label in column 'label'"),
        ("image,label\na.jpg,x\nc.jpg,y\n", "1 images do not exist"),
        ("image,label\na.jpg,x\n,y\n", "1 images do not exist"),
        ("image,label\na.jpg,x\n", "has one class, 'x'"),
    ],
)
def test_a_csv_that_cannot_be_packed(folder: Folder, text: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        _open(_csv(folder, text))


def test_a_csv_with_an_unknown_split(folder: Folder) -> None:
    words = _csv(folder, "image,label,split\na.jpg,x,train\nb.x/b.jpg,y,dev\n")
    with pytest.raises(UserError, match=r"b\.x/b\.jpg has the split 'dev'"):
        _open(words, split_column="split")


def test_a_csv_in_another_encoding_or_missing(folder: Folder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="can't decode") as caught:
        _open(_csv(folder, "image,label\na.jpg,ö\n", "latin-1"))
    assert "UTF-8" in caught.value.hint
    with pytest.raises(UserError, match="no such file"):
        _open(f"csv:{tmp_path / 'missing.csv'}")


# digits and torchvision


def test_digits() -> None:
    source = _open("digits")
    assert len(source.items) == 1797
    assert source.classes == [str(n) for n in range(10)]
    data, extension = source.read(0)
    image = Image.open(io.BytesIO(data))
    assert (extension, image.mode, image.size) == ("png", "L", (8, 8))
    # The darkest and the brightest of its grey levels.
    assert (np.asarray(image).min(), np.asarray(image).max()) == (0, 239)
    with pytest.raises(UserError, match="takes no place"):
        _open("digits:there")


def _idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def fashion(folder: Folder) -> Path:
    """A FashionMNIST of 20 and 10 pictures, in the files that torchvision reads."""
    images = np.random.default_rng(0).integers(0, 256, (30, 28, 28))
    labels = np.arange(30) % 10
    files = {}
    for name, part in (("train", slice(0, 20)), ("t10k", slice(20, 30))):
        files[f"FashionMNIST/raw/{name}-images-idx3-ubyte.gz"] = _idx(images[part])
        files[f"FashionMNIST/raw/{name}-labels-idx1-ubyte.gz"] = _idx(labels[part])
    root = folder(files, "torchvision")
    for path in root.rglob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    return root


def test_a_set_of_torchvision(fashion: Path) -> None:
    source = _open(f"torchvision:FashionMNIST:{fashion}")
    assert len(source.items) == 30
    assert [item.split for item in source.items] == ["train"] * 20 + ["test"] * 10
    assert source.classes[0] == "T-shirt/top"
    assert [item.label for item in source.items[:12]] == [*range(10), 0, 1]
    images = np.random.default_rng(0).integers(0, 256, (30, 28, 28))
    for number in (0, 19, 20, 29):
        data, extension = pickle.loads(pickle.dumps(source)).read(number)
        assert extension == "png"
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), images[number])


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("torchvision:NoSuchSet:x", "torchvision has no dataset 'NoSuchSet'"),
        ("torchvision:__doc__:x", "torchvision has no dataset"),
        ("torchvision:os.path:x", "torchvision has no dataset"),
        ("torchvision:", "torchvision has no dataset ''"),
        ("torchvision:FashionMNIST", "no folder given"),
        ("torchvision:EMNIST:x", "has no train and test part"),
        ("torchvision:ImageFolder:x", "has no train and test part"),
        ("torchvision:ImageNet:x", "has no train and test part"),
    ],
)
def test_sets_of_torchvision_that_cannot_be_packed(words: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        _open(words)


def test_a_set_that_is_not_downloaded(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Dataset not found") as caught:
        _open(f"torchvision:CIFAR10:{tmp_path}")
    assert f"CIFAR10('{tmp_path}', download=True, train=True)" in caught.value.hint
