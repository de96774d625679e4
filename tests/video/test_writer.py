from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import ffmpeg_oracle as oracle
import numpy as np
import pytest

from videxplain.errors import VidexplainError
from videxplain.settings import Encoding
from videxplain.video import TrackFormat, VideoWriter, open_video
from videxplain.video.encoder import FramePool, SegmentEncoder
from videxplain.video.frames import planes
from videxplain.video.writer import join_segments

X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")


def track(width: int, height: int, **options) -> TrackFormat:
    """25 frames a second; options of the encoding."""
    return TrackFormat(width, height, Fraction(1, 25), Fraction(25), Encoding(**options))


def copy(source: Path, output: Path) -> VideoWriter:
    video = open_video(source)
    with VideoWriter(output, TrackFormat.like(video, Encoding(preset="ultrafast")), source=source) as writer:
        for frame in video.frames():
            writer.write(frame.image, frame.time, frame.duration)
    return writer


def frames(count: int, height: int = 32, width: int = 48) -> list[np.ndarray]:
    ramp = np.linspace(0, 180, width)[None, :, None] + np.zeros((height, 1, 3))
    return [(ramp + np.array([n % 60, 0, 60 - n % 60])).astype(np.uint8) for n in range(count)]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_times_and_streams_equal_the_source(tmp_path: Path, bigbuckbunny: Path, suffix: str) -> None:
    short = tmp_path / "short.mp4"
    oracle.run(
        "-i", bigbuckbunny, "-t", "1", "-vf", "scale=160:-2", "-metadata", "title=A rabbit", *X264, short
    )
    out = tmp_path / f"out{suffix}"
    assert copy(short, out).notes == []
    tolerance = Fraction(1, 1000) if suffix == ".mkv" else 0  # Matroska counts milliseconds
    for (a, _), (b, _) in zip(oracle.decoded(short), oracle.decoded(out), strict=True):
        assert abs(a - b) <= tolerance
    if suffix != ".mkv":  # sound: packet by packet the same
        assert oracle.decoded(short, "a:0") == oracle.decoded(out, "a:0")
    with av.open(str(out)) as container:
        assert container.metadata["title"] == "A rabbit"
        assert len(container.streams.audio) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted({"short.mp4", out.name})


def test_variable_frame_rate_is_kept(tmp_path: Path) -> None:
    source = oracle.make(
        tmp_path / "a.mkv", "-vf", "select='not(mod(n*n,7))+eq(n,3)'", "-fps_mode", "vfr", *X264, seconds=4
    )
    copy(source, tmp_path / "b.mp4")
    assert [t for t, _ in oracle.decoded(source)] == [t for t, _ in oracle.decoded(tmp_path / "b.mp4")]


def test_everything_beside_the_picture_is_carried_over(tmp_path: Path) -> None:
    (tmp_path / "s.srt").write_text("1\n00:00:00,100 --> 00:00:00,900\nHello\n")
    (tmp_path / "c.txt").write_text(
        ";FFMETADATA1\ntitle=Chapters\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=500\ntitle=One\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=500\nEND=1000\ntitle=Two\n"
    )
    source = tmp_path / "in.mkv"
    oracle.run(
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=64x48:rate=25:duration=1",
        "-f",
        "lavfi",
        "-i",
        "sine=duration=1",
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=880:duration=2",
        "-i",
        tmp_path / "s.srt",
        "-i",
        tmp_path / "c.txt",
        "-map",
        0,
        "-map",
        1,
        "-map",
        2,
        "-map",
        3,
        "-map_metadata",
        4,
        "-c:a:0",
        "aac",
        "-c:a:1",
        "libopus",
        "-metadata:s:a:1",
        "language=fra",
        "-c:s",
        "srt",
        *X264,
        source,
    )
    for name in ("out.mp4", "out.mkv"):
        copy(source, tmp_path / name)
        with av.open(str(tmp_path / name)) as container:
            assert [s.codec_context.name for s in container.streams.audio] == ["aac", "opus"]
            assert container.streams.audio[1].metadata["language"] == "fra"
            assert len(container.streams.subtitles) == 1
            assert container.metadata["title"] == "Chapters"
            assert [c["metadata"]["title"] for c in container.chapters()] == ["One", "Two"]


def test_pixels_survive(tmp_path: Path) -> None:
    """Near-lossless coding gives the colours back, for every matrix and range."""
    images = frames(6)
    for matrix, full in [(2, 0), (1, 1), (6, 1), (1, 2), (9, 1)]:
        out = tmp_path / f"{matrix}{full}.mp4"
        color = (("colorspace", matrix), ("color_range", full))
        with VideoWriter(out, replace(track(48, 32, crf=1), color=color)) as writer:
            for n, image in enumerate(images):
                writer.write(image, Fraction(n, 25))
        back = np.stack([frame.image for frame in open_video(out).frames()]).astype(int)
        assert np.abs(back - np.stack(images)).mean() < 2.5
        assert np.abs(oracle.pixels(out, 32, 48).astype(int) - np.stack(images)).mean() < 2.5
        assert open_video(out).color["colorspace"] == matrix


def test_odd_sizes_are_padded_to_even_ones(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "odd.mp4", track(33, 17)) as writer:
        writer.write(np.full((17, 33, 3), 120, np.uint8), Fraction(0))
    video = open_video(tmp_path / "odd.mp4")
    assert (video.width, video.height) == (34, 18)
    assert np.abs(next(video.frames()).image.astype(int) - 120).max() <= 3


def test_sample_aspect_ratio_and_upright(tmp_path: Path) -> None:
    flat = oracle.make(tmp_path / "flat.mp4", *X264, "-vf", "setsar=4/3")
    oracle.run("-display_rotation", 90, "-i", flat, "-c", "copy", tmp_path / "turned.mp4")
    copy(tmp_path / "turned.mp4", tmp_path / "out.mp4")
    video = open_video(tmp_path / "out.mp4")
    assert (video.width, video.height, video.sample_aspect_ratio) == (48, 64, Fraction(3, 4))
    assert video.orientation == (0, False)


@pytest.mark.parametrize(
    "codec, suffix", [("libx265", ".mp4"), ("libvpx-vp9", ".webm"), ("libsvtav1", ".mp4"), ("mpeg4", ".mp4")]
)
def test_other_codecs(tmp_path: Path, codec: str, suffix: str) -> None:
    out = tmp_path / f"a{suffix}"
    with VideoWriter(out, track(64, 64, codec=codec)) as writer:
        for n, image in enumerate(frames(5, 64, 64)):
            writer.write(image, Fraction(n, 25))
    assert [t for t, _ in oracle.decoded(out)] == [Fraction(n, 25) for n in range(5)]


def test_segments_join_without_a_seam(tmp_path: Path) -> None:
    """Three encoders with B-frames and uneven times; the joined track decodes to each one's own pictures."""
    format = replace(track(48, 32, preset="fast"), time_base=Fraction(1, 1000)).checked()
    times = [Fraction(n * 40 + (n % 3) * 9 + (n // 10) * 300, 1000) for n in range(37)]
    paths, alone = [], []
    for part, chunk in enumerate((range(0, 15), range(15, 16), range(16, 37))):
        paths.append(str(tmp_path / f"{part}.mp4"))
        encoder = SegmentEncoder(paths[-1], format)
        images = frames(37)
        for n in chunk:
            encoder.write(images[n], times[n])
        encoder.close()
        alone += [h for _, h in oracle.decoded(paths[-1])]
    assert join_segments(paths, str(tmp_path / "all.mp4"), format, times[-1] + Fraction(1, 2)) == 37
    assert oracle.decoded(tmp_path / "all.mp4") == list(zip(times, alone, strict=True))
    with av.open(str(tmp_path / "all.mp4")) as container:
        stamps = [p.dts for p in container.demux(video=0) if p.dts is not None]
        assert stamps == sorted(set(stamps))
        stream = container.streams.video[0]
        assert abs(stream.duration * stream.time_base - times[-1] - Fraction(1, 2)) < Fraction(1, 10)


def test_nothing_is_left_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stop"), VideoWriter(tmp_path / "a.mp4", track(48, 32)) as writer:
        writer.write(frames(1)[0], Fraction(0))
        raise RuntimeError("stop")
    with pytest.raises(VidexplainError, match="no frame"), VideoWriter(tmp_path / "a.mp4", track(48, 32)):
        pass
    with (
        pytest.raises(ValueError, match="increase"),
        VideoWriter(tmp_path / "a.mp4", track(48, 32)) as writer,
    ):
        writer.write(frames(1)[0], Fraction(1))
        writer.write(frames(1)[0], Fraction(1))
    assert list(tmp_path.iterdir()) == []


def test_an_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "a.mp4"
    out.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), VideoWriter(out, track(48, 32)) as writer:
        writer.write(frames(1)[0], Fraction(0))
        raise KeyboardInterrupt
    assert out.read_bytes() == b"old"


def test_bad_outputs_are_told(tmp_path: Path) -> None:
    source = oracle.make(tmp_path / "in.mp4", *X264)
    for path, words in {
        tmp_path: "is a folder",
        tmp_path / "a.xyz": "let it end in",
        tmp_path / "no" / "a.mp4": "no folder",
        source: "is the input itself",
    }.items():
        with pytest.raises(VidexplainError, match=words):
            VideoWriter(path, track(64, 48), source=source)
    with pytest.raises(VidexplainError, match="no video encoder 'h26x'"):
        VideoWriter(tmp_path / "a.mp4", track(64, 48, codec="h26x"))
    with pytest.raises(VidexplainError, match="does not encode video"):
        VideoWriter(tmp_path / "a.mp4", track(64, 48, codec="aac"))


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "libvpx-vp9", "libsvtav1"])
def test_pictures_that_are_used_again_are_encoded_as_they_were(tmp_path: Path, codec: str) -> None:
    """Also where an encoder looks ahead, and keeps frames that it was given."""
    format = track(64, 48, codec=codec, preset="ultrafast" if codec == "libx264" else None)
    rng = np.random.default_rng(0)
    samples = [rng.integers(16, 235, (48, 64), dtype=np.uint8) for _ in range(40)]
    for name, most in (("anew", 0), ("again", 3)):
        pool = FramePool(format, most)
        encoder = SegmentEncoder(str(tmp_path / name), format)
        seen = set()
        for n, sample in enumerate(samples):
            picture = pool.blank()
            seen.add(id(picture))
            for plane, values in zip(
                planes(picture), (sample, sample[::2, ::2], sample[1::2, ::2]), strict=True
            ):
                plane[:] = values
            encoder.write(picture, Fraction(n, 25))
            pool.give_back(picture)
        assert most == 0 or len(seen) == 1
        encoder.close()
    assert oracle.decoded(tmp_path / "again") == oracle.decoded(tmp_path / "anew")


def test_a_picture_that_somebody_still_holds_is_not_drawn_over() -> None:
    """A filter that hands on what it gets stands for an encoder that keeps frames for a while."""
    pool = FramePool(track(64, 48), 3)
    graph = av.filter.Graph()
    source = graph.add_buffer(width=64, height=48, format="yuv420p", time_base=Fraction(1, 25))
    source.link_to(graph.add("buffersink"))
    graph.configure()
    picture = pool.blank()
    planes(picture)[0][:] = 50
    picture.pts = 0
    graph.push(picture)
    pool.give_back(picture)
    again = pool.blank()
    planes(again)[0][:] = 200
    assert (planes(graph.pull())[0] == 50).all()


def test_other_pictures_are_told_to_be_left_out(tmp_path: Path) -> None:
    source, out = tmp_path / "two.mp4", tmp_path / "out.mp4"
    picture = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=0.2")
    oracle.run(*picture, *picture, "-map", 0, "-map", 1, *X264, source)
    (note,) = copy(source, out).notes
    assert "other video streams (1" in note
    with av.open(str(out)) as container:
        assert len(container.streams.video) == 1


@pytest.mark.parametrize(
    "codec, suffix, words",
    [
        ("libx264", ".webm", "webm cannot hold"),
        ("libvpx-vp9", ".mov", "mov cannot hold"),
        ("mjpeg", ".mp4", "'mjpeg' does not"),
        ("gif", ".mkv", "'gif' does not take"),
        ("prores_ks", ".mov", "'prores_ks' does not take"),
        ("png", ".mov", "'png' does not take"),
        ("wmv2", ".mkv", "'wmv2' makes does not go into MP4"),
        ("libvpx", ".webm", "'libvpx' makes does not go into MP4"),
        ("h264_v4l2m2m", ".mp4", "'h264_v4l2m2m'"),
    ],
)
def test_what_cannot_be_encoded_is_refused_before_the_work(
    tmp_path: Path, codec: str, suffix: str, words: str
) -> None:
    with pytest.raises(VidexplainError, match=words):
        VideoWriter(tmp_path / f"a{suffix}", track(64, 48, codec=codec))
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_needs_a_device_is_named(tmp_path: Path) -> None:
    for codec in ("h264_nvenc", "hevc_nvenc"):
        try:
            VideoWriter(tmp_path / "a.mp4", track(256, 256, codec=codec)).abort()
        except VidexplainError as error:
            assert codec in str(error) and str(tmp_path) not in str(error)


def test_settings_of_an_encoder_are_used_or_refused(tmp_path: Path) -> None:
    for options, words in {
        ("libx264", "preset", "nonsense"): "'libx264' does not work here with these settings",
        ("mpeg4", "crf", 5.0): "crf works here for",
        ("mpeg4", "preset", "fast"): "preset works here for",
    }.items():
        codec, name, value = options
        with pytest.raises(VidexplainError, match=words):
            VideoWriter(tmp_path / "a.mp4", track(64, 48, codec=codec, **{name: value}))


def test_webm_is_vp9_where_nothing_else_is_asked(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.webm", track(64, 48)) as writer:
        for n, image in enumerate(frames(3, 48, 64)):
            writer.write(image, Fraction(n, 25))
    with av.open(str(tmp_path / "a.webm")) as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == "vp9"


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libvpx-vp9", "libsvtav1", "mpeg4"])
def test_a_lone_picture(tmp_path: Path, codec: str) -> None:
    for n in range(4):
        with VideoWriter(tmp_path / f"{n}.mkv", track(64, 48, codec=codec)) as writer:
            writer.write(frames(1, 48, 64)[0], Fraction(0))
        assert len(oracle.decoded(tmp_path / f"{n}.mkv")) == 1


def test_a_clock_too_fine_for_the_codec(tmp_path: Path) -> None:
    times = [Fraction(3600 * n, 90_000) for n in range(4)]
    fine = replace(track(64, 48, codec="mpeg4"), time_base=Fraction(1, 90_000))
    with VideoWriter(tmp_path / "a.mp4", fine) as writer:
        for time, image in zip(times, frames(4, 48, 64), strict=True):
            writer.write(image, time)
    assert [time for time, _ in oracle.decoded(tmp_path / "a.mp4")] == times


RGB = {
    "rgb.mp4": ("-c:v", "libx264rgb", "-crf", 1),
    "rgb.mkv": ("-c:v", "ffv1", "-pix_fmt", "gbrp"),
    "rgb.mov": ("-c:v", "png"),
    "rgb.avi": ("-c:v", "rawvideo", "-pix_fmt", "bgr24"),
}


@pytest.mark.parametrize("size", ["64x48", "1280x720"])
@pytest.mark.parametrize("codec", ["libx264", "libsvtav1", "libvpx-vp9"])
@pytest.mark.parametrize("name", RGB)
def test_rgb_sources_become_tagged_yuv(tmp_path: Path, name: str, codec: str, size: str) -> None:
    """By the matrix that players take at that height, and mean colours as the program has them of the source."""
    source, out = tmp_path / name, tmp_path / "out.mkv"
    color = f"color=c=0x3080D0:size={size}:rate=25:duration=0.12,format=rgb24"
    oracle.run("-f", "lavfi", "-i", color, *RGB[name], source)
    video = open_video(source)
    with VideoWriter(out, TrackFormat.like(video, Encoding(codec=codec))) as writer:
        for frame in video.frames():
            writer.write(frame.image, frame.time, frame.duration)
    with av.open(str(out)) as container:
        context = next(container.decode(video=0))
        assert (context.colorspace, context.color_range) == ({"64x48": 6, "1280x720": 1}[size], 1)
    means = [oracle.pixels(p, video.height, video.width).mean(axis=(0, 1, 2)) for p in (source, out)]
    assert np.abs(means[0] - means[1]).max() < 3
    assert np.abs(means[0] - [0x30, 0x80, 0xD0]).max() < 3


def test_a_long_tag_is_cut(tmp_path: Path) -> None:
    for name in ("title", "language", "handler_name"):
        with VideoWriter(tmp_path / "a.mp4", track(64, 48)) as writer:
            writer.track = replace(writer.track, tags=((name, "x" * 200_000),))
            writer.write(frames(1, 48, 64)[0], Fraction(0))
        assert any(f"the picture's {name} was cut" in note for note in writer.notes)
        assert len(oracle.decoded(tmp_path / "a.mp4")) == 1
