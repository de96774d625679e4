"""Clips with a known truth: one object moves, everything else stands still.

The class is the way in which the object moves, so it cannot be read off any single frame, and the object's
mask in every frame is what an explanation should point at. Textures come from photographs inside
scikit-image's wheel and from procedural noise; nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from videxplain.errors import VidexplainError, unknown_name
from videxplain.synthetic.textures import TexturedObject, patch

CLASSES = ("left", "right", "up", "down", "clockwise", "counter-clockwise", "grow", "shrink")


def opposite(label: int) -> int:
    """Class of a clip played backwards."""
    return label ^ 1  # `CLASSES` lists each motion next to its reversal


@dataclass(frozen=True)
class Difficulty:
    """How hard the clips are; ranges are (low, high), drawn uniformly.

    Attributes
    ----------
    distractors : largest number of static objects beside the moving one.
    shift : displacement over the clip, as a fraction of the frame's side.
    turn : rotation over the clip, degrees.
    zoom : ratio of the largest to the smallest size of an object that grows or shrinks.
    noise : standard deviation of the camera's noise, grey levels.
    """

    distractors: int = 2
    shift: tuple[float, float] = (0.2, 0.5)
    turn: tuple[float, float] = (70.0, 200.0)
    zoom: tuple[float, float] = (1.45, 2.1)
    noise: tuple[float, float] = (0.0, 8.0)


# Slow turns are the easy ones: small kernels see them from frame to frame, and shapes do not repeat.
EASY = Difficulty(0, (0.35, 0.5), (50.0, 110.0), (1.8, 2.2), (0.0, 2.0))
MEDIUM = Difficulty(2, (0.3, 0.5), (60.0, 160.0), (1.65, 2.2), (0.0, 5.0))
STANDARD = Difficulty()
PAIR = Difficulty(0, (0.2, 0.35), noise=(0.0, 2.0))  # with room for a second object


@dataclass(frozen=True, eq=False)
class GeneratedClip:
    """A clip, its class and the truth.

    Attributes
    ----------
    frames : uint8 (T, H, W, 3), RGB.
    label : index into `CLASSES`.
    mask : bool (T, H, W), true on the moving object.
    moves : bool (T,), true where a frame differs from the one before or after it by the object's motion.
    """

    frames: np.ndarray
    label: int
    mask: np.ndarray
    moves: np.ndarray


@dataclass(frozen=True, eq=False)
class GeneratedPair:
    """A clip of two objects that move in different ways, and the truth.

    Attributes
    ----------
    frames : uint8 (T, H, W, 3), RGB.
    labels : of each object, index into `CLASSES`.
    masks : bool (2, T, H, W), true on each object.
    stopped : uint8 (2, T, H, W, 3), the same clip where one of the two objects stands still.
    """

    frames: np.ndarray
    labels: tuple[int, int]
    masks: np.ndarray
    stopped: np.ndarray


def _class_index(motion: str | int) -> int:
    if isinstance(motion, int) and 0 <= motion < len(CLASSES):
        return motion
    if motion not in CLASSES:
        raise unknown_name("motion", motion, CLASSES)
    return CLASSES.index(str(motion))


_DIRECTIONS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}


def _path(
    rng: np.random.Generator, motion: str, time: np.ndarray, side: tuple[int, int], difficulty: Difficulty
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres (T, 2), sizes (T,), angles (T,) of an object that stays inside the frame; `time` runs from 0 to 1."""
    shorter, frames = min(side), len(time)
    size = np.full(frames, shorter * rng.uniform(0.13, 0.21))
    angle = np.full(frames, rng.uniform(0, 2 * np.pi))
    if motion in ("grow", "shrink"):
        ratio = rng.uniform(*difficulty.zoom)
        middle = shorter * rng.uniform(0.15, 0.19)
        growth = ratio ** (time - 0.5)
        size = middle * (growth if motion == "grow" else growth[::-1])
    elif motion in ("clockwise", "counter-clockwise"):
        turn = np.deg2rad(rng.uniform(*difficulty.turn))
        angle = angle + (turn if motion == "clockwise" else -turn) * time
    shift = np.zeros(2)
    if motion in _DIRECTIONS:
        slant = np.deg2rad(rng.uniform(-10, 10))
        dy, dx = _DIRECTIONS[motion]
        cos, sin = np.cos(slant), np.sin(slant)
        direction = np.array([dy * cos + dx * sin, dx * cos - dy * sin])
        shift = shorter * rng.uniform(*difficulty.shift) * direction
    margin = 1.0 * float(size.max())
    low = margin - np.minimum(shift, 0)
    high = np.array(side) - 1 - margin - np.maximum(shift, 0)
    start = rng.uniform(np.minimum(low, high), np.maximum(low, high))
    return start + time[:, None] * shift, size, angle


def _time(frames: int, interval: tuple[int, int] | None = None) -> np.ndarray:
    """How much of its motion an object has behind it in each frame, 0 to 1, (T,)."""
    first, last = interval or (0, frames - 1)
    if not 0 <= first < last < frames and frames > 1:
        raise VidexplainError(
            f"an object cannot move from frame {first} to frame {last} of a clip of {frames}; name two frames of it, "
            "the earlier one first."
        )
    if frames == 1:
        return np.zeros(1)
    return (
        np.clip((np.arange(frames) - first) / (last - first), 0, 1) if interval else np.linspace(0, 1, frames)
    )


def _finish(rng: np.random.Generator, canvas: np.ndarray, noise: tuple[float, float]) -> np.ndarray:
    """Camera noise and rounding: float32 frames to uint8."""
    sigma = np.float32(rng.uniform(*noise))
    if sigma > 0:
        # One long draw, read from a random place for each frame: as good as fresh noise, and faster.
        frames, count = canvas.shape[0], canvas[0].size
        pool = sigma * rng.standard_normal(count * 5 // 2, dtype=np.float32)
        for frame, start in zip(canvas, rng.integers(pool.size - count, size=frames), strict=True):
            frame += pool[start : start + count].reshape(frame.shape)
    return np.clip(canvas + 0.5, 0, 255).astype(np.uint8)


def _scene(rng: np.random.Generator, height: int, width: int, distractors: int) -> np.ndarray:
    """Background with static objects, float32 (H, W, 3)."""
    scene = patch(rng, height, width, 1.5)[None].copy()
    for _ in range(int(rng.integers(distractors + 1))):
        size = np.full(1, min(height, width) * rng.uniform(0.13, 0.21))
        centre = rng.uniform((0, 0), (height, width), (1, 2))
        TexturedObject.draw(rng).paint(scene, centre, size, rng.uniform(0, 2 * np.pi, 1))
    return scene[0]


def generate(
    seed: int,
    *,
    motion: str | int | None = None,
    frames: int = 16,
    size: int | tuple[int, int] = 112,
    difficulty: Difficulty = STANDARD,
    interval: tuple[int, int] | None = None,
) -> GeneratedClip:
    """One clip; the same arguments always give the same clip.

    Parameters
    ----------
    seed : which clip.
    motion : class name or index; drawn from the seed when None.
    frames, size : length, and side or (height, width) in pixels.
    difficulty : `EASY`, `MEDIUM`, `STANDARD` or your own.
    interval : the frames in which the motion begins and ends; before and after it the object stands still. All of the
        clip when None.

    Raises
    ------
    VidexplainError : unknown motion, a clip without frames or pixels, and an interval that is not in the clip.
    """
    side = _side(size, frames)
    rng = np.random.default_rng(seed)
    drawn = int(rng.integers(len(CLASSES)))
    label = drawn if motion is None else _class_index(motion)
    scene = _scene(rng, *side, difficulty.distractors)
    canvas = np.repeat(scene[None], frames, axis=0)
    time = _time(frames, interval)
    mask = TexturedObject.draw(rng).paint(canvas, *_path(rng, CLASSES[label], time, side, difficulty))
    return GeneratedClip(_finish(rng, canvas, difficulty.noise), label, mask, _moves(time))


def _moves(time: np.ndarray) -> np.ndarray:
    """Frames (T,) that differ from a neighbour by motion."""
    steps = np.diff(time) != 0
    return np.append(steps, False) | np.append(False, steps)


def generate_pair(
    seed: int,
    *,
    motions: tuple[str | int, str | int] | None = None,
    frames: int = 16,
    size: int | tuple[int, int] = 112,
    difficulty: Difficulty = PAIR,
) -> GeneratedPair:
    """One clip of two objects, each of which speaks for a class; the same arguments always give the same clip.

    Parameters
    ----------
    motions : class names or indices; two different ones are drawn from the seed when None.
    seed, frames, size, difficulty : as for `generate`.

    Raises
    ------
    VidexplainError : unknown or equal motions, a clip without frames or pixels, and one with no room for both.
    """
    side = _side(size, frames)
    rng = np.random.default_rng(seed)
    drawn = rng.choice(len(CLASSES), 2, replace=False).tolist()
    first, second = drawn if motions is None else map(_class_index, motions)
    if first == second:
        raise VidexplainError(f"two objects that both move {CLASSES[first]!r} speak for one class; name two.")
    scene = _scene(rng, *side, difficulty.distractors)
    things = TexturedObject.draw(rng), TexturedObject.draw(rng)
    for _ in range(_MOST_TRIES):
        paths = [_path(rng, CLASSES[label], _time(frames), side, difficulty) for label in (first, second)]
        if _stay_apart(*paths):
            break
    else:
        raise VidexplainError(
            f"no room for two objects in {side[0]}x{side[1]} was found; take other motions."
        )
    noise = rng.integers(2**32)  # the same for all three clips
    clips, masks = [], []
    for stops in (None, 0, 1):
        canvas = np.repeat(scene[None], frames, axis=0)
        for index, (thing, path) in enumerate(zip(things, paths, strict=True)):
            still = [np.repeat(part[:1], frames, axis=0) for part in path]
            mask = thing.paint(canvas, *(still if index == stops else path))
            if stops is None:
                masks.append(mask)
        clips.append(_finish(np.random.default_rng(noise), canvas, difficulty.noise))
    return GeneratedPair(clips[0], (first, second), np.stack(masks), np.stack(clips[1:]))


_MOST_TRIES = 5000
_REACH = 1.3  # of an outline, in sizes


def _stay_apart(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> bool:
    """Whether two objects never meet, also where one of them stands still."""
    stopped = [tuple(np.repeat(part[:1], len(part), axis=0) for part in path) for path in (one, other)]
    for first, second in ((one, other), (stopped[0], other), (one, stopped[1])):
        distance = np.linalg.norm(first[0] - second[0], axis=1)
        if not (distance > _REACH * (first[1] + second[1])).all():
            return False
    return True


def _side(size: int | tuple[int, int], frames: int) -> tuple[int, int]:
    side = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    if frames < 1 or min(side) < 16:
        raise VidexplainError(
            f"cannot generate {frames} frames of {side[0]}x{side[1]}; ask for 1 frame and 16 pixels at least."
        )
    return side


def generate_video(
    seed: int,
    *,
    motions: int = 9,
    frames: int = 32,
    size: int | tuple[int, int] = 256,
    difficulty: Difficulty = STANDARD,
) -> Iterator[GeneratedClip]:
    """One long shot in which the object changes its motion again and again.

    Parameters
    ----------
    seed : which video.
    motions : how many motions follow one another; no two neighbours are alike, and the classes take turns.
    frames : length of each motion. With twice the network's clip length, and every second frame explained,
        the speed is that of `generate`.
    size : side or (height, width) in pixels.
    difficulty : as for `generate`.

    Yields
    ------
    GeneratedClip : one per motion, seamless from one to the next; memory does not grow with their number.
    """
    side = _side(size, frames)
    rng = np.random.default_rng(seed)
    scene = _scene(rng, *side, difficulty.distractors)
    thing = TexturedObject.draw(rng)
    shorter = min(side)
    centre, size_now, angle = np.array(side) / 2 - 0.5, shorter * 0.16, rng.uniform(0, 2 * np.pi)
    used = dict.fromkeys(CLASSES, 0)
    previous = ""
    time = (np.arange(frames) + 1) / frames
    for _ in range(motions):
        ratio, turn = rng.uniform(*difficulty.zoom), np.deg2rad(rng.uniform(*difficulty.turn))
        shift = shorter * rng.uniform(*difficulty.shift)
        room = {
            "left": centre[1] - size_now,
            "right": side[1] - 1 - size_now - centre[1],
            "up": centre[0] - size_now,
            "down": side[0] - 1 - size_now - centre[0],
        }
        possible = [name for name, free in room.items() if free >= 0.25 * shorter]
        possible += ["clockwise", "counter-clockwise"]
        possible += ["grow"] if size_now * ratio <= 0.25 * shorter else []
        possible += ["shrink"] if size_now / ratio >= 0.1 * shorter else []
        possible = [name for name in possible if name != previous]
        motion = min(rng.permutation(possible).tolist(), key=lambda name: used[name])
        centres, sizes, angles = (
            np.tile(centre, (frames, 1)),
            np.full(frames, size_now),
            np.full(frames, angle),
        )
        if motion in room:
            centres = centre + time[:, None] * min(shift, room[motion]) * np.array(_DIRECTIONS[motion])
        elif motion in ("grow", "shrink"):
            sizes = size_now * ratio ** (time if motion == "grow" else -time)
        else:
            angles = angle + (turn if motion == "clockwise" else -turn) * time
        canvas = np.repeat(scene[None], frames, axis=0)
        mask = thing.paint(canvas, centres, sizes, angles)
        moves = np.ones(frames, dtype=bool)
        yield GeneratedClip(_finish(rng, canvas, difficulty.noise), CLASSES.index(motion), mask, moves)
        centre, size_now, angle, previous = centres[-1], float(sizes[-1]), float(angles[-1]), motion
        used[motion] += 1
