"""Times of frames as they should be, whatever the file says, and a report of what was wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

# a pause longer than this, or longer than the file claims to be, is a broken timestamp and not a pause
LONGEST_PAUSE = Fraction(3600)
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
    jumps : list of float
        Where, in seconds of the output, the file's clock jumped and was set right (at most 100).
    resized : int
        Frames whose size differed from the first frame's, and which were fitted into it.
    interlaced : int
        Frames that hold two fields, of different times.
    matrices : set of str
        Names of colour matrices that could not be converted, in place of which the nearest was taken.
    left_out : list of str
        What comes with the pictures and is not carried over.
    broken_off : str or None
        Why reading ended before the file did.
    """

    damaged: int = 0
    damaged_times: list[tuple[float, float]] = field(default_factory=list)
    retimed: int = 0
    jumps: list[float] = field(default_factory=list)
    resized: int = 0
    interlaced: int = 0
    matrices: set[str] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)
    broken_off: str | None = None

    def __bool__(self) -> bool:
        return bool(self.sentences())

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
        if self.jumps:
            places = ", ".join(f"{time:.2f} s" for time in self.jumps[:8])
            more = " and more" if len(self.jumps) > 8 else ""
            lines.append(
                f"the file's clock jumped (at {places}{more}); picture and sound go on without the gap."
            )
        if self.resized:
            lines.append(f"{self.resized} frames changed size and were fitted into that of the first frame.")
        if self.interlaced:
            lines.append(
                f"{self.interlaced} frames are interlaced: "
                "both fields of each were explained, and written, as one picture; deinterlace makes them whole."
            )
        if self.matrices:
            lines.append(
                f"the colours are stored by a matrix that FFmpeg cannot convert ({', '.join(sorted(self.matrices))}); "
                "the nearest was taken, so they may look wrong."
            )
        if self.left_out:
            lines.append(f"what came with the pictures was left out: {', '.join(self.left_out)}.")
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


@dataclass
class Timeline:
    """One clock for all of a file, whose own may jump: where recordings were joined, or a broadcast began anew.

    The clock between two jumps is an epoch; to the times of each belongs a shift. The picture finds the jumps as ffmpeg
    does and goes on where it was. Sound follows: when its own time jumps it enters the epoch that
    brings it back to where it was.

    Attributes
    ----------
    back, ahead : Fraction
        Seconds by which a packet has to be earlier or later than expected for that to be a jump.
    stamps : "dts" or "pts"
        Which time stamps tell how far it was. FFmpeg's guess at decoding times that a container lacks is wrong there.
    shifts : list of Fraction
        Seconds to add to the times of each epoch.
    """

    back: Fraction = Fraction(1)
    ahead: Fraction = LONGEST_PAUSE
    stamps: str = "pts"
    shifts: list[Fraction] = field(default_factory=lambda: [Fraction(0)])

    def follow(self) -> Follower:
        """For the packets of one stream that finds its place among the epochs there are."""
        return Follower(self)

    def lead(self, nominal: Fraction, report: DecodeReport, origin: Fraction) -> Follower:
        """For the packets of the picture, from the first on; jumps go to the report, as seconds from `origin`."""
        del self.shifts[1:]
        return _Leader(self, nominal, report, origin)


class Follower:
    """Brings the times of a stream's packets, in the order of the file, to the one clock."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._epoch = 0
        self._next: dict[
            str, Fraction
        ] = {}  # when the following packet is expected, by each kind of time stamp

    def __call__(self, packet: Any) -> None:
        """Shifts a packet's times, in place."""
        base = Fraction(packet.time_base.numerator, packet.time_base.denominator)
        stamps = {"dts": packet.dts, "pts": packet.pts}
        times = {kind: stamp * base for kind, stamp in stamps.items() if stamp is not None}
        expected = {kind: self._next[kind] - time for kind, time in times.items() if kind in self._next}
        if expected and all(self._is_jump(shift) for shift in expected.values()):
            self._jump(expected.get(self._timeline.stamps, next(iter(expected.values()))))
        shift = self._timeline.shifts[self._epoch]
        ticks = round(shift / base) if shift else 0
        for kind, time in times.items():
            if ticks:
                setattr(packet, kind, stamps[kind] + ticks)
            end = time + shift + self._duration(packet, base)
            if kind == "dts" or end > self._next.get(kind, end - 1):
                self._next[kind] = end

    def _is_jump(self, shift: Fraction) -> bool:
        late = self._timeline.shifts[self._epoch] - shift
        return late < -self._timeline.back or late > self._timeline.ahead

    def _jump(self, shift: Fraction) -> None:
        """To the epoch whose shift is nearest to the one that leaves no gap."""
        shifts = self._timeline.shifts
        self._epoch = min(range(len(shifts)), key=lambda n: abs(shifts[n] - shift))

    def _duration(self, packet: Any, base: Fraction) -> Fraction:
        return (packet.duration or 0) * base


class _Leader(Follower):
    """The picture's packets, which begin a new epoch where none of the old ones fits."""

    def __init__(self, timeline: Timeline, nominal: Fraction, report: DecodeReport, origin: Fraction) -> None:
        super().__init__(timeline)
        self._nominal = nominal
        self._report = report
        self._origin = origin

    def _jump(self, shift: Fraction) -> None:
        shifts = self._timeline.shifts
        near = [n for n, known in enumerate(shifts) if -self._timeline.back <= known - shift <= _SOON]
        if near:  # back on a clock that was left for a while
            self._epoch = near[-1]
            return
        shifts.append(shift)
        self._epoch = len(shifts) - 1
        if len(self._report.jumps) < 100:
            self._report.jumps.append(float(max(self._next.values()) - self._origin))

    def _duration(self, packet: Any, base: Fraction) -> Fraction:
        return super()._duration(packet, base) or self._nominal


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
        self.limit = max(duration or Fraction(0), LONGEST_PAUSE)
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
