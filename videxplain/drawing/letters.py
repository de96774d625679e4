"""Letters: their sizes, and text that fits its room."""

from __future__ import annotations

from functools import lru_cache

from PIL import ImageDraw, ImageFont

LEAST = 9
"""Size of letters below which nobody can read them."""


@lru_cache(maxsize=16)
def font(points: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(points)


def points_for(size: tuple[int, int]) -> int:
    """Size of letters for a picture (height, width)."""
    return max(LEAST, round(min(size) / 22))


def width_of(words: str, points: int) -> int:
    return round(font(points).getlength(words))


def fitted(words: str, points: int, room: int) -> tuple[str, int]:
    """The words and a size of letters that fit in so many pixels: smaller letters first, then fewer."""
    while len(words) > 4 and width_of(words, points) > room:
        if points > LEAST:
            points -= 1
        else:
            words = f"{words[:-2].rstrip('…')}…"
    return words, points


def write(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    words: str,
    points: int,
    *,
    fill: tuple[int, int, int],
    bold: bool = False,
) -> None:
    """Words from `at` to the right, which is the middle of their height."""
    for shift in range(1 + bold * max(1, points // 16)):  # the font that Pillow brings along has one weight
        draw.text((at[0] + shift, at[1]), words, fill=fill, font=font(points), anchor="lm")


def even(length: int) -> int:
    """The next even number: colour has half the resolution where frames are drawn on as planes."""
    return length + length % 2
