"""Makes demo.jpg and styles.jpg: frames of what `videxplain demo` writes, and one clip in three styles.

python docs/pictures.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import videxplain as vx
from videxplain.annotate import annotate
from videxplain.demo import FRAMES_PER_MOTION, N_SEGMENTS, write_moving_objects

FOLDER = Path(__file__).parent
MOTIONS = 8
MOMENT = 20  # of a motion's 32 frames


def explained(folder: Path, seed: int = 6, **options: object) -> list[np.ndarray]:
    """One frame of each motion of a generated video, explained."""
    source, output = folder / "in.mp4", folder / "out.mp4"
    write_moving_objects(source, motions=MOTIONS, seed=seed)
    model = vx.load_model("c3d-motion")
    annotate(model, source, output, n_segments=N_SEGMENTS, stride=2, crf=8, **options)
    with vx.open_video(output) as video:
        return [frame.image for n, frame in enumerate(video.frames()) if n % FRAMES_PER_MOTION == MOMENT]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        frames = explained(Path(name))
        demo = np.concatenate([np.concatenate(frames[row : row + 4], axis=1) for row in range(0, MOTIONS, 4)])
        Image.fromarray(demo).save(FOLDER / "demo.jpg", quality=88)
        styles = [explained(Path(name), style=style)[0] for style in ("heat", "outline", "spotlight")]
    Image.fromarray(np.concatenate(styles, axis=1)).save(FOLDER / "styles.jpg", quality=88)


if __name__ == "__main__":
    main()
