"""What is to be done to a video, whether an earlier run's work can go on, and what is said when a run breaks off."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videxplain import __version__
from videxplain.annotate import moments
from videxplain.annotate.blend import Blender
from videxplain.annotate.classes import Classes, Stretch
from videxplain.annotate.moments import Moments
from videxplain.annotate.pipeline import Pipeline, StageTime
from videxplain.annotate.saved import FORMAT_VERSION
from videxplain.annotate.saver import Saver
from videxplain.annotate.supervoxels import Supervoxels
from videxplain.clip import Geometry
from videxplain.errors import VidexplainError, out_of_memory
from videxplain.explanations.explain import Request
from videxplain.explanations.inputs import OF_REGIONS, refuse_cutting
from videxplain.files import file_state, sha256_of
from videxplain.regions import BACKGROUND, Regions
from videxplain.render import Footer, Timeline, footer_for, footer_width
from videxplain.segmentation import check_segmentation, used_options
from videxplain.settings import Encoding, Picture, Question, Segmentation, VideoSource, Windows
from videxplain.video import TrackFormat
from videxplain.video.images import find_images
from videxplain.video.segments import ResumableWriter, State
from videxplain.video.writer import with_codec

if TYPE_CHECKING:
    from videxplain.attribution.methods import Method
    from videxplain.models import Classifier
    from videxplain.video import Video

IMAGE_MODEL_WINDOW = 16
"""Frames that an image model explains together, so that its supervoxels last longer than a frame."""


@dataclass
class Summary:
    """What came of a video.

    Attributes
    ----------
    frames, windows
        How many were written, and explained.
    resumed
        How many of the frames an earlier run had written.
    held
        How many times the last frame of a short video was repeated to fill the network's clip.
    classes
        The classes that were explained, in order, each with the stretch of time that it is of.
    moments
        The peaks of the curve of what each frame counts for, if one was asked for (`Picture.when`), in order; the
        probability is the curve's height.
    notes
        What could not be decoded or carried over, in sentences.
    times
        Where each stage's time went.
    """

    frames: int = 0
    windows: int = 0
    resumed: int = 0
    held: int = 0
    classes: list[Stretch] = field(default_factory=list)
    moments: list[Stretch] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    times: list[StageTime] = field(default_factory=list)


@dataclass(frozen=True)
class Job:
    """All that decides what becomes of a video.

    Attributes
    ----------
    model, video
        The classifier, and what it explains.
    output, save
        Where the explained video goes, and the folder of the data behind it where they are wanted.
    request
        What is to be explained of each window, over supervoxels that come with it.
    segmentation
        How these are cut: by a name other than "auto", and no finer than the frames.
    regions
        Objects instead of supervoxels, where there are some.
    windows, picture, encoding, video_source
        As asked for.
    """

    model: Classifier
    video: Video
    output: str
    save: str | os.PathLike[str] | None
    request: Request
    segmentation: Segmentation
    windows: Windows
    picture: Picture
    encoding: Encoding
    video_source: VideoSource
    regions: Regions | None = None

    @property
    def cut(self) -> dict[str, Any]:
        """How windows are cut, as it is recorded."""
        return used_options(self.segmentation) if self.regions is None else OF_REGIONS

    @property
    def span(self) -> int:
        """Frames of the video from the beginning of a window to its end."""
        length = IMAGE_MODEL_WINDOW if self.model.is_image_model else self.model.clip_length
        return length * self.windows.stride

    @property
    def hop(self) -> int:
        """Frames of the video from the beginning of a window to that of the next."""
        return self.windows.hop or self.span

    @property
    def geometry(self) -> Geometry:
        """How frames are brought to the network's size."""
        return self.model.geometry((self.video.height, self.video.width))

    @cached_property
    def track(self) -> TrackFormat:
        """Of the explained video."""
        like_input = TrackFormat.like(self.video, with_codec(self.encoding, self.output))
        wider = 2 if self.picture.style == "side-by-side" else 1
        below = self.footer(self.timeline()).height if self.picture.footer == "under" else 0
        return replace(like_input, width=like_input.width * wider, height=like_input.height + below)

    def timeline(self) -> Timeline | None:
        """An empty one, where the video tells how long it is and there is anything to be drawn on it."""
        bars = self.picture.timeline and self.model.answers.task != "regression"  # which are probabilities
        if not (bars or self.picture.when) or not self.video.expected_frames or self.picture.footer == "none":
            return None
        size = (self.video.height, self.video.width)
        width = footer_width(size, self.picture)
        names = self.model.class_names
        return Timeline(size, width=width, bars=bars, curve=self.picture.when, class_names=names)

    def footer(self, timeline: Timeline | None) -> Footer:
        """What makes the footers of the pictures."""
        return footer_for((self.video.height, self.video.width), self.picture, timeline)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What has to be the same for a run to go on behind what an earlier one did."""
        return {
            "videxplain": __version__,
            "input": identity(self.video.path),
            "stream": [self.video.stream_index, self.video_source.deinterlace],
            "model": [self.model.name, self.model.fingerprint()],
            "windows": [self.span, asdict(self.windows)],
            "picture": asdict(self.picture),
            "settings": self.request.recorded(),
            "segmentation": self.cut,
            "regions": None if self.regions is None else self.regions.fingerprint(),
            "encoding": asdict(self.track),
            "save": None if self.save is None else [os.path.abspath(self.save), FORMAT_VERSION],
        }

    def manifest(self, summary: Summary) -> dict[str, Any]:
        """What is kept beside the data of the windows."""
        return {
            "input": os.path.basename(self.video.path),
            "input_sha256": sha256_of(files_of(self.video.path)),
            "model": self.model.name,
            "frames": summary.frames,
            **({"moments": moments.as_list(summary.moments)} if self.picture.when else {}),
            "run": {  # what another run has to be given to explain the same windows alike
                **asdict(self.video_source),
                **asdict(self.windows),
                "hop": self.hop,
                **self.request.recorded(),
                **self.cut,
            },
            **({} if self.regions is None else {"regions": [*self.regions.names, BACKGROUND]}),
        }


class History:
    """What a window depends on of those before it, for a run to go on with where another one was."""

    def __init__(self, job: Job) -> None:
        self._size = job.geometry.refined(job.segmentation.scale).network
        self.unseen: set[str] = set()  # regions that some window has and the network does not see
        self.supervoxels = Supervoxels(job.segmentation, device=job.model.device)
        self.blender = Blender(job.windows.stride)
        self.timeline = job.timeline()
        self.classes = Classes(job.model.num_classes)
        self.moments = Moments(job.model.num_classes)

    def drawn(self) -> State:
        """The part of what was drawn so far; supervoxels are ahead of it, and have a state of their own."""
        return {
            **({} if self.timeline is None else self.timeline.state()),
            "classes": self.classes.state(),
            "moments": self.moments.state(),
            **self.blender.state(),
        }

    def fits(self, state: State) -> bool:
        """Whether another run of the job can have left this state."""
        return (
            Supervoxels.fits(state, self._size)
            and Blender.fits(state, self._size)
            and (self.timeline is None or self.timeline.fits(state))
            and self.classes.fits(state.get("classes"))
            and self.moments.fits(state.get("moments"))
        )

    def restore(self, state: State) -> None:
        """Goes on where another one was."""
        self.supervoxels.restore(state)
        self.blender.restore(state)
        if self.timeline is not None:
            self.timeline.restore(state)
        self.classes.restore(state.get("classes"))
        self.moments.restore(state.get("moments"))


def requested(
    method: str | Method,
    target: int | str | Question | None,
    segmentation: str | Segmentation | None,
    options: dict[str, Any],
) -> tuple[Request, Segmentation, Regions | None]:
    """What is to be explained of each window, how windows are cut, and objects instead.

    Raises
    ------
    VidexplainError
        For an option that nobody has, and a value that cannot be.
    """
    request = Request.of([method], target, segmentation, False, options)
    cut = request.segmentation
    if request.nesting.levels is not None:
        raise VidexplainError("levels are for explain(); windows of a video are cut at one level, n_segments")
    if request.regions is not None:
        if len(request.regions) != 1:
            raise VidexplainError("a video has one set of regions; annotate() takes no list of several")
        refuse_cutting(cut, request.stated, "regions")
    regions = request.regions[0] if request.regions else None
    if cut.name == "auto":
        cut = replace(cut, name="slic")
    check_segmentation(cut, request.stated)
    if cut.source != "image":
        raise VidexplainError(f"source {cut.source!r} is for explain(); videos are cut by their pictures")
    if request.question.objective is not None:
        raise VidexplainError(
            "objective is for explain(); for a video give it to the network: Classifier(net, select=..., "
            "task='regression')"
        )
    return replace(request, segmentation=Segmentation(), stated=(), regions=None), cut, regions


def broken_off(
    error: BaseException,
    job: Job,
    writer: ResumableWriter,
    saver: Saver | None,
    pipeline: Pipeline,
    frames: int,
) -> BaseException:
    """The same error, which also says what there is of the video and how to go on."""
    error = out_of_memory(error) or error
    reason = str(error) or type(error).__name__
    partial = None
    writing = "encode" in pipeline.hanging  # then the folders stay that thread's until the process ends
    if not writing:
        partial = writer.break_off() if frames else None
        writer.close()
    # the same command goes on if it finds all that it needs, and its input is still the same
    goes_on = (
        writer.remembered()
        and (saver is None or saver.covers(writer.ends))
        and identity(job.video.path) == job.identity["input"]
    )
    if saver is not None and not writing:
        saver.close()
    if not frames:
        return error
    kept = writer.frames if goes_on else 0
    advice = f"the first {frames} frames are in {partial!r}" if partial else ""
    if kept:
        advice += f"{'; ' if advice else ''}the same command goes on behind frame {kept}"
    if isinstance(error, KeyboardInterrupt):
        return KeyboardInterrupt(f"interrupted; {advice}." if advice else "interrupted.")
    if not isinstance(error, Exception):
        return error
    if not isinstance(error, VidexplainError):
        reason = f"failed at frame {frames}: {type(error).__name__}: {reason}"
    return VidexplainError(f"{reason.rstrip('.')}; {advice}." if advice else reason)


def identity(path: str) -> list[Any]:
    """What tells one input from another: where it is, and the state of each of its files."""
    return [os.path.abspath(path), *map(file_state, files_of(path))]


def files_of(path: str) -> list[Path]:
    """The images that are a video, or the one file."""
    try:
        return find_images(path) or [Path(path)]
    except (OSError, VidexplainError):  # no images any more
        return [Path(path)]
