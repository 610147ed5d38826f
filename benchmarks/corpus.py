"""A photo-like corpus for benchmarks: JPEGs near 500 x 375, varied from scikit-learn's two photographs.

root = write_corpus(folder / "photos", images=3500, seed=0)      # root/class/0000.jpg
root = write_parts(folder / "photos", images=1600, seed=0)       # the same, but the class can be learnt
"""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance
from sklearn.datasets import load_sample_images

CLASSES = 10
_QUALITY = 90


def write_corpus(root: Path, *, images: int, seed: int) -> Path:
    """Write `images` JPEGs into class folders below `root`; the bytes depend on the seed alone."""
    return _write(root, images, seed, parts=1)


def write_parts(root: Path, *, images: int, seed: int) -> Path:
    """Write JPEGs of which the class tells the photograph and the part of it that they show."""
    return _write(root, images, seed, parts=CLASSES // 2)


def _write(root: Path, images: int, seed: int, parts: int) -> Path:
    photos = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    for label in range(CLASSES):
        (root / f"class_{label}").mkdir(parents=True)

    def write(number: int) -> None:
        rng = np.random.default_rng([seed, number])
        label = number % CLASSES
        path = root / f"class_{label}" / f"{number:05d}.jpg"
        photo = photos[number % len(photos)]
        if parts > 1:
            photo = _part(photo, label // len(photos), parts)
        path.write_bytes(_varied(photo, rng))

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, range(images)))
    return root


def _part(photo: Image.Image, number: int, parts: int) -> Image.Image:
    """Cut out an upright part, two fifths as wide as the photograph; neighbours overlap."""
    width = round(0.4 * photo.width)
    left = round(number / (parts - 1) * (photo.width - width))
    return photo.crop((left, 0, left + width, photo.height))


def _varied(photo: Image.Image, rng: np.random.Generator) -> bytes:
    """Cut a part, scale it to about 500 x 375, change its light and add the grain of a sensor."""
    width, height = int(rng.integers(480, 521)), int(rng.integers(355, 396))
    part = float(rng.uniform(0.75, 1.0)) * min(photo.width / width, photo.height / height)
    left = rng.uniform(0, photo.width - part * width)
    top = rng.uniform(0, photo.height - part * height)
    box = (left, top, left + part * width, top + part * height)
    image = photo.resize((width, height), Image.Resampling.BICUBIC, box)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Color, ImageEnhance.Contrast):
        image = enhance(image).enhance(float(rng.uniform(0.8, 1.2)))
    grain = rng.normal(0, rng.uniform(4.5, 8), (height, width, 1))
    pixels = (np.asarray(image) + grain).clip(0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()
