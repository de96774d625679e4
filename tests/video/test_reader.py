from __future__ import annotations

import hashlib
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import ffmpeg_oracle as oracle
import numpy as np
import pytest
from PIL import Image

from videxplain.errors import VidexplainError
from videxplain.video import DecodeReport, open_video
from videxplain.video.clock import Clock

X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")


@pytest.fixture(params=["bikes", pytest.param("bigbuckbunny", marks=pytest.mark.slow)])
def real(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def test_real_clips_are_read_as_ffmpeg_reads_them(real: Path) -> None:
    video = open_video(real)
    times = []
    for frame, expected in zip(video.frames(), oracle.pixels(real, video.height, video.width), strict=True):
        assert hashlib.md5(frame.image).digest() == hashlib.md5(expected).digest()
        times.append(frame.time)
    assert times == [time for time, _ in oracle.decoded(real)]
    assert video.frame_count == len(times) and not video.report


def test_decoders_do_not_talk_to_python(real: Path) -> None:
    """A thread of a decoder that wants Python's lock for a message never gets it from whoever closes the decoder."""
    av.logging.set_level(av.logging.ERROR)
    open_video(real)
    assert av.logging.get_level() is None


def test_variable_frame_rate_keeps_every_timestamp(tmp_path: Path) -> None:
    path = oracle.make(
        tmp_path / "vfr.mkv", "-vf", "select='not(mod(n*n,7))+eq(n,3)'", "-fps_mode", "vfr", *X264, seconds=3
    )
    expected = [time for time, _ in oracle.decoded(path)]
    assert [frame.time for frame in open_video(path).frames()] == expected
    assert len({b - a for a, b in pairwise(expected)}) > 2


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_rotation_is_applied(tmp_path: Path, turn: int) -> None:
    flat = oracle.make(tmp_path / "flat.mp4", *X264)
    turned = tmp_path / "turned.mp4"
    oracle.run("-display_rotation", turn, "-i", flat, "-c", "copy", turned)
    video = open_video(turned)
    assert (video.width, video.height) == ((48, 64) if turn % 180 else (64, 48))
    images = np.stack([frame.image for frame in video.frames()])
    assert (images == oracle.pixels(turned, video.height, video.width)).all()


@pytest.mark.parametrize("flip", ["-display_hflip", "-display_vflip"])
@pytest.mark.parametrize("turn", [0, 90])
def test_mirroring_is_applied(tmp_path: Path, flip: str, turn: int) -> None:
    flat = oracle.make(tmp_path / "flat.mp4", *X264)
    turned = tmp_path / "turned.mp4"
    oracle.run("-display_rotation", turn, flip, "-i", flat, "-c", "copy", turned)
    video = open_video(turned)
    images = np.stack([frame.image for frame in video.frames()])
    assert (images == oracle.pixels(turned, video.height, video.width)).all()


@pytest.mark.parametrize(
    "options",
    [
        ("-pix_fmt", "yuv420p10le", "-c:v", "libx265", "-x265-params", "log-level=none"),
        ("-c:v", "libx264", "-vf", "scale=out_range=full", "-pix_fmt", "yuv420p", "-color_range", "pc"),
        (
            "-c:v",
            "libx264",
            "-vf",
            "scale=out_color_matrix=bt709",
            "-colorspace",
            "bt709",
            "-pix_fmt",
            "yuv444p",
        ),
        ("-c:v", "ffv1", "-pix_fmt", "yuv422p"),
        ("-c:v", "mpeg4", "-q:v", "2"),
        ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"),
    ],
)
def test_formats_show_the_same_colours(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Smooth colour fields: no rule for chroma edges matters, a wrong range or matrix shows at once."""
    y, x, t = np.mgrid[0:48, 0:64, 0:5]
    truth = (
        np.stack([40 + 3 * x, 20 + 4 * y, 60 + x + y + 10 * t], axis=-1)
        .transpose(2, 0, 1, 3)
        .astype(np.uint8)
    )
    path = tmp_path / "f.mkv"
    (tmp_path / "f.rgb").write_bytes(truth.tobytes())
    oracle.run("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "64x48", "-i", tmp_path / "f.rgb", *options, path)
    got = np.stack([frame.image for frame in open_video(path).frames()]).astype(int)
    assert len(got) == len(truth)
    assert np.abs(got - truth.astype(int)).mean() < 3


def test_stream_choice(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    oracle.run(
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=32x32:rate=10:duration=1",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=64x48:rate=25:duration=1",
        "-map",
        0,
        "-map",
        1,
        *X264,
        path,
    )
    assert (open_video(path, 0).width, open_video(path, 1).width) == (32, 64)
    assert len(list(open_video(path, 0).frames())) == 10
    with pytest.raises(VidexplainError, match="2 video stream"):
        open_video(path, 2)


def test_gif(tmp_path: Path) -> None:
    images = [Image.fromarray(np.full((10, 12, 3), c, np.uint8)) for c in (0, 90, 250)]
    images[0].save(
        tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=[50, 200, 100], loop=0
    )
    frames = list(open_video(tmp_path / "a.gif").frames())
    assert [frame.time for frame in frames] == [0, Fraction(1, 20), Fraction(1, 4)]
    assert [int(frame.image.mean().round()) for frame in frames] == [0, 90, 250]


def test_images_in_a_folder_and_by_pattern(tmp_path: Path) -> None:
    for number in (1, 2, 10, 9):
        Image.fromarray(np.full((6, 8, 3), number, np.uint8)).save(tmp_path / f"shot{number}.png")
    (tmp_path / "notes.txt").write_text("no image")
    for path in (tmp_path, tmp_path / "shot%d.png"):
        video = open_video(path, rate=10)
        frames = list(video.frames())
        assert [int(frame.image[0, 0, 0]) for frame in frames] == [1, 2, 9, 10]
        assert [frame.time for frame in frames] == [Fraction(n, 10) for n in range(4)]
        assert (video.width, video.height, video.frame_count, video.duration) == (8, 6, 4, Fraction(2, 5))
    Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(tmp_path / "shot11.png")
    assert list(open_video(tmp_path).frames())[-1].image.shape == (6, 8, 3)
    with pytest.raises(VidexplainError, match="fits the pattern"):
        open_video(tmp_path / "none%03d.png")


@pytest.mark.parametrize(
    "length, stride, hop",
    [(16, 1, None), (4, 2, None), (4, 3, 5), (8, 1, 3), (2, 1, 7), (3, 4, 30), (25, 1, None), (30, 2, 1)],
)
def test_clips_are_the_frames_they_say(tmp_path: Path, length: int, stride: int, hop: int | None) -> None:
    video = open_video(oracle.make(tmp_path / "a.mp4", *X264))
    frames = list(video.frames())
    total, step = len(frames), hop or length * stride
    clips = list(video.clips(length, stride, hop))
    reached = 0
    for number, clip in enumerate(clips):
        assert (clip.start, clip.stride, len(clip)) == (number * step, stride, length)
        assert reached < total  # no clip that adds nothing
        wanted = [clip.start + i * stride for i in range(length)]
        real = [i for i in wanted if i < total]
        assert clip.held == length - len(real)
        real += [real[-1]] * clip.held
        assert clip.times == tuple(frames[i].time for i in real)
        assert (clip.frames == np.stack([frames[i].image for i in real])).all()
        reached = clip.start + (length - 1) * stride + 1
    assert reached >= total or clips[-1].start + step >= total


def test_first_frame_of_a_stream_that_starts_late(tmp_path: Path) -> None:
    path = tmp_path / "late.ts"
    oracle.make(path, *X264, "-output_ts_offset", 5)
    with av.open(str(path)) as container:
        start = Fraction(container.start_time, av.time_base)
    times = [frame.time for frame in open_video(path).frames()]
    own = [time for time, _ in oracle.decoded(path)]
    assert own[0] > 5 and times == [time - start for time in own], "as players count"


@pytest.mark.parametrize("suffix", [".avi", ".asf"])
def test_frames_of_a_container_without_presentation_times(tmp_path: Path, suffix: str) -> None:
    path = oracle.make(tmp_path / f"a{suffix}", *X264, "-bf", 2)
    times = [frame.time for frame in open_video(path).frames()]
    assert times == [time for time, _ in oracle.decoded(path)] and len(times) == 25


def test_truncated_file_gives_what_can_be_decoded(tmp_path: Path) -> None:
    whole = oracle.make(tmp_path / "a.mkv", *X264, "-g", 5, seconds=2)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    got = [frame.time for frame in open_video(cut).frames()]
    assert got == [time for time, _ in oracle.decoded(cut)]
    assert 10 < len(got) < 50


def test_timestamps_out_of_order_become_increasing(tmp_path: Path) -> None:
    whole = oracle.make(tmp_path / "a.mp4", *X264, "-bf", 0)
    odd = tmp_path / "odd.nut"
    with av.open(str(whole)) as source, av.open(str(odd), "w") as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(source.streams.video[0])):
            if packet.pts is not None:
                packet.pts, packet.dts = packet.dts + (-2048 if number == 10 else 0), packet.dts - 5120
                packet.stream = copy
                target.mux(packet)
    video = open_video(odd)
    times = [frame.time for frame in video.frames()]
    assert len(times) == 25 and all(b > a for a, b in pairwise(times))
    assert video.report.retimed >= 1 and "timestamp" in video.report.sentences()[0]


def test_a_clock_that_jumps_is_set_right() -> None:
    report = DecodeReport()
    clock = Clock(Fraction(1, 1000), Fraction(1, 25), Fraction(10), report)
    stamps = [0, 40, 80, 10**12, 160, 200, None, 240, -500_000, -499_960, -499_000]
    times = [clock.stamp(stamp, None) for stamp in stamps]
    assert [int(t * 1000) for t in times] == [0, 40, 80, 120, 160, 200, 240, 241, 281, 321, 1281]
    assert report.retimed == 4


def test_bad_paths_are_told(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("this is not a video" * 50)
    (tmp_path / "folder").mkdir()
    sound = tmp_path / "sound.wav"
    oracle.run("-f", "lavfi", "-i", "sine=duration=0.1", sound)
    for name, words in {
        "none.mp4": "no file",
        "empty.mp4": "is empty",
        "text.mp4": "not a video",
        "folder": "no images",
        "sound.wav": "no video stream",
    }.items():
        with pytest.raises(VidexplainError, match=words):
            open_video(tmp_path / name)


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    """Frames that were handed on and dropped are freed: at most one clip and the decoder's own are alive."""
    import weakref

    path = oracle.make(tmp_path / "a.mp4", *X264, seconds=4)
    seen: list[weakref.ref[np.ndarray]] = []
    most = 0
    for clip in open_video(path).clips(4, 1):
        seen.append(weakref.ref(clip.frames))
        del clip
        most = max(most, sum(ref() is not None for ref in seen))
    assert len(seen) == 25 and most <= 1


def test_exif_in_frames_does_not_stop_the_reading(tmp_path: Path) -> None:
    """FFmpeg hands on side data that PyAV has no name for; turned as the program turns it."""
    for orientation in (1, 6, 5, 3):
        for number in range(3):
            exif = Image.Exif()
            exif[0x0112], exif[0x010F] = orientation, "Maker"
            picture = Image.fromarray(np.full((48, 64, 3), (40, 90 + 40 * number, 200), np.uint8))
            picture.paste((250, 20, 20), (0, 0, 30, 20))
            picture.save(tmp_path / f"{number}.jpg", exif=exif, quality=95)
        path = tmp_path / f"{orientation}.avi"
        oracle.run("-framerate", 10, "-i", tmp_path / "%d.jpg", "-c", "copy", path)
        video = open_video(path)
        images = np.stack([frame.image for frame in video.frames()])
        assert (images == oracle.pixels(path, video.height, video.width)).all()
        assert (video.width > video.height) == (orientation in (1, 3))


def joined(tmp_path: Path, first: str, second: str, *filters: str) -> Path:
    """A transport stream whose picture changes from one size to another."""
    parts = []
    for number, (size, extra) in enumerate(zip((first, second), filters or ("null", "null"), strict=True)):
        path = oracle.make(tmp_path / f"{number}.ts", "-vf", extra, *X264, size=size)
        parts.append(path.read_bytes())
    (tmp_path / "joined.ts").write_bytes(b"".join(parts))
    return tmp_path / "joined.ts"


@pytest.mark.parametrize("first, second", [("80x60", "60x80"), ("60x80", "80x60"), ("80x60", "160x90")])
def test_a_changed_size_is_letterboxed(tmp_path: Path, first: str, second: str) -> None:
    video = open_video(joined(tmp_path, first, second))
    images = np.stack([frame.image for frame in video.frames()]).astype(int)
    width, height = map(int, first.split("x"))
    assert images.shape == (50, height, width, 3) and video.report.resized == 25
    fitted = f"scale={width}:{height}:force_original_aspect_ratio=decrease:flags=bilinear"
    boxed = ("-vf", f"{fitted},pad={width}:{height}:-1:-1:black,format=rgb24")
    raw = oracle.run("-i", tmp_path / "1.ts", *boxed, "-f", "rawvideo", "-")
    expected = np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3).astype(int)
    assert np.abs(images[25:] - expected).mean() < 8
    assert (images[25:].max(axis=(0, 3)) < 8).any(), "there are bars"
    assert "fitted" in " ".join(video.report.sentences())


def test_a_changed_size_of_the_same_shape_fills_the_picture(tmp_path: Path) -> None:
    """Broadcasts change from wide pixels to square ones, and what is shown keeps its shape."""
    video = open_video(joined(tmp_path, "72x54", "96x54", "setsar=4/3", "setsar=1"))
    last = list(video.frames())[-1].image
    assert video.sample_aspect_ratio == Fraction(4, 3)
    assert not (last.max(axis=2) < 8).all(axis=0).any() and not (last.max(axis=2) < 8).all(axis=1).any()


def test_images_of_other_sizes_are_letterboxed(tmp_path: Path) -> None:
    for number, size in enumerate([(40, 60, 3), (60, 40, 3), (20, 30, 3)]):
        Image.fromarray(np.full(size, 200, np.uint8)).save(tmp_path / f"{number}.png")
    first, second, third = (frame.image for frame in open_video(tmp_path).frames())
    assert first.min() == third.min() == 200
    assert (second[:, :16] == 0).all() and (second[:, -16:] == 0).all() and second[20, 30].min() == 200


def test_images_beside_hidden_files_and_with_other_numbers(tmp_path: Path) -> None:
    for number in (100, 101, 102):
        Image.fromarray(np.full((6, 8, 3), number, np.uint8)).save(tmp_path / f"f{number:04d}.png")
    (tmp_path / "._f0100.png").write_bytes(b"\0\5\x16\7 no image")
    for path in (tmp_path, tmp_path / "f%04d.png"):
        images = [frame.image for frame in open_video(path).frames()]
        assert [int(image[0, 0, 0]) for image in images] == [100, 101, 102]


@pytest.mark.parametrize("suffix", ["webp", "png", "gif"])
def test_moving_images(tmp_path: Path, suffix: str) -> None:
    images = [Image.fromarray(np.full((10, 12, 3), c, np.uint8)) for c in (0, 90, 250)]
    options = {"webp": {"lossless": True}, "png": {}, "gif": {}}[suffix]
    path = tmp_path / f"a.{suffix}"
    images[0].save(path, save_all=True, append_images=images[1:], duration=[50, 200, 100], **options)
    video = open_video(path)
    frames = list(video.frames())
    assert [frame.time for frame in frames] == [0, Fraction(1, 20), Fraction(1, 4)]
    assert [int(frame.image.mean().round()) for frame in frames] == [0, 90, 250]


@pytest.mark.parametrize(
    "matrix, told", [("YCgCo", "YCgCo"), ("ICtCp", "ICtCp"), ("bt2020c", "constant"), ("GBR", "")]
)
def test_matrices_that_cannot_be_converted_are_told(tmp_path: Path, matrix: str, told: str) -> None:
    """The samples are those of an untagged file, whose colours the nearest matrix gives."""
    path = oracle.make(tmp_path / "a.mp4", *X264, "-x264-params", f"colormatrix={matrix}")
    plain = oracle.make(tmp_path / "b.mp4", *X264)
    video = open_video(path)
    images = np.stack([frame.image for frame in video.frames()]).astype(int)
    assert np.abs(images - oracle.pixels(plain, 48, 64)).mean() < (0.01 if matrix in ("YCgCo", "GBR") else 12)
    notes = " ".join(video.report.sentences())
    assert (told in notes) if told else not notes
    assert video.color["colorspace"] in (6, 9)


def test_interlaced_frames_are_told(tmp_path: Path) -> None:
    fields = ("-flags", "+ildct+ilme", "-vf", "tinterlace=interleave_top,fieldorder=tff")
    video = open_video(oracle.make(tmp_path / "a.mp4", *X264, *fields, rate=50))
    assert len(list(video.frames())) == video.report.interlaced == 25
    assert "interlaced" in " ".join(video.report.sentences())


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_deinterlaced_frames_are_those_of_the_program(tmp_path: Path, suffix: str) -> None:
    fields = ("-flags", "+ildct+ilme", "-vf", "tinterlace=interleave_top,fieldorder=tff")
    path = oracle.make(tmp_path / f"a{suffix}", *X264, *fields, rate=50)
    plain, video = open_video(path), open_video(path, deinterlace=True)
    frames = list(video.frames())
    assert not video.report and len(frames) == 25
    assert [(f.time, f.duration) for f in frames] == [(f.time, f.duration) for f in plain.frames()]
    bwdif = ("-vf", "bwdif=mode=send_frame:deint=interlaced,scale=flags=bilinear,format=rgb24")
    raw = oracle.run("-i", path, "-fps_mode", "passthrough", *bwdif, "-f", "rawvideo", "-")
    expected = np.frombuffer(raw, np.uint8).reshape(25, 48, 64, 3).astype(int)
    differences = np.abs(np.stack([frame.image for frame in frames]) - expected)
    assert differences[1:].max() <= 1 and differences[0].mean() < 3  # FFmpeg 8 and 9 begin in different ways
    assert np.abs(np.stack([frame.image for frame in plain.frames()]) - expected).mean() > 4


def test_frames_that_are_not_interlaced_stay_as_they_are(tmp_path: Path) -> None:
    path = joined(tmp_path, "80x60", "60x80")
    plain, video = open_video(path), open_video(path, deinterlace=True)
    for one, other in zip(plain.frames(), video.frames(), strict=True):
        assert one.time == other.time and (one.image == other.image).all()
