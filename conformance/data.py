"""Photographs as inputs: deterministic crops for calibration and, apart from them, for testing.

The photographs lie inside two packages of the environment (scikit-learn and scikit-image), which are read as folders.
"""

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

PHOTOGRAPHS = [
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/rocket.jpg"),
    ("skimage", "data/astronaut.png"),
    ("skimage", "data/motorcycle_left.png"),
]

# One random stream for each purpose, so that no set depends on how large another is.
CALIBRATION, HELD_OUT, STATISTICS = 1, 2, 3


@cache
def photographs():
    """The photographs as Pillow images in RGB."""
    images = []
    for package, path in PHOTOGRAPHS:
        # Finding a package does not import it.
        folder = Path(importlib.util.find_spec(package).submodule_search_locations[0])
        images.append(Image.open(folder / path).convert("RGB"))
    return images


def crops(count, size, purpose, sides=(0.4, 1.0)):
    """uint8 array count,size,size,3: random squares of the photographs in turn, half of them mirrored.

    `sides` are the shortest and longest sides of squares, as shares of the photograph's shorter side.
    """
    random = np.random.default_rng(purpose)
    images = photographs()
    result = np.empty((count, size, size, 3), np.uint8)
    for i in range(count):
        image = images[i % len(images)]
        side = int(random.uniform(*sides) * min(image.size))
        left = int(random.integers(0, image.width - side + 1))
        top = int(random.integers(0, image.height - side + 1))
        square = image.resize((size, size), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
        result[i] = np.asarray(square)[:, :: -1 if random.random() < 0.5 else 1]
    return result
