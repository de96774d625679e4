"""Times of frames as they should be, whatever the file says, and a report of what was wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

# a pause longer than this, or longer than the file claims to be, is a broken timestamp and not a pause
_LONGEST_PAUSE = Fraction(3600)
_SOON = Fraction(10)
# clocks that are finer than any file can be written with are broken, if frames follow each other that closely
_SHORTEST = Fraction(2, 1_000_000)


@dataclass
class DecodeReport:
    """What went wrong while decoding; grows only up to a fixed length.

    Attributes
    ----------
    damaged : int
        Packets that could not be decoded.
    damaged_times : list of (float, float)
        Spans in seconds, of the output, in which that happened (at most 100).
    retimed : int
        Frames whose timestamp was missing, repeated or out of order, and was replaced.
    resized : int
        Frames whose size differed from the first frame's, and which were scaled to it.
    broken_off : str or None
        Why reading ended before the file did.
    """

    damaged: int = 0
    damaged_times: list[tuple[float, float]] = field(default_factory=list)
    retimed: int = 0
    resized: int = 0
    broken_off: str | None = None

    def __bool__(self) -> bool:
        return bool(self.damaged or self.retimed or self.resized or self.broken_off)

    def sentences(self) -> list[str]:
        """The report for people, one sentence per kind of fault."""
        lines = []
        if self.damaged:
            spans = ", ".join(
                f"{a:.2f}-{b:.2f} s" if b > a else f"{a:.2f} s" for a, b in self.damaged_times[:8]
            )
            more = " and more" if len(self.damaged_times) > 8 else ""
            lines.append(f"{self.damaged} packets could not be decoded (near {spans}{more}).")
        if self.retimed:
            lines.append(f"{self.retimed} frames had no usable timestamp and were given one.")
        if self.resized:
            lines.append(f"{self.resized} frames changed size and were scaled to that of the first frame.")
        if self.broken_off:
            lines.append(f"reading ended early: {self.broken_off}.")
        return lines

    def add_damage(self, time: Fraction) -> None:
        self.damaged += 1
        at = float(time)
        if self.damaged_times and at - self.damaged_times[-1][1] < 1.0:
            self.damaged_times[-1] = (self.damaged_times[-1][0], max(at, self.damaged_times[-1][1]))
        elif len(self.damaged_times) < 100:
            self.damaged_times.append((at, at))


class Clock:
    """Gives every frame a time: its own timestamp where that is sound, and later than the one before.

    Times count from `origin`, to the nearest tick, in seconds.
    """

    def __init__(
        self,
        time_base: Fraction,
        nominal: Fraction,
        duration: Fraction | None,
        report: DecodeReport,
        origin: Fraction = Fraction(0),
    ):
        self.time_base = time_base
        self.origin = round(origin / time_base)
        self.nominal = max(nominal, time_base)
        self.step = max(time_base, _SHORTEST)
        self.limit = max(duration or Fraction(0), _LONGEST_PAUSE)
        self.report = report
        self.last: Fraction | None = None
        self.shift = Fraction(0)

    @property
    def now(self) -> Fraction:
        """Time of the last frame."""
        return self.last or Fraction(0)

    def stamp(self, pts: int | None, dts: int | None) -> Fraction:
        stamp = pts if pts is not None else dts
        if stamp is not None:
            stamp -= self.origin
        last = self.last
        if last is None:
            time = Fraction(0) if stamp is None else stamp * self.time_base
        elif stamp is None:
            time = last + self._whole(self.nominal)
            self.report.retimed += pts is None and dts is None
        else:
            time = stamp * self.time_base
            if not last < time < last + _SOON:  # else: back to the file's own clock after a bad stamp
                time += self.shift
            else:
                self.shift = Fraction(0)
            if time - last > self.limit or last - time > 1:
                # the clock was set anew, or a bit of it flipped: go on from here
                self.shift += last + self._whole(self.nominal) - time
                time = last + self._whole(self.nominal)
                self.report.retimed += 1
            elif time < last + self.step:
                time = last + self.step
                self.report.retimed += 1
        self.last = time
        return time

    def _whole(self, duration: Fraction) -> Fraction:
        return max(1, round(duration / self.time_base)) * self.time_base
