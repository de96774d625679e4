"""Video in and out: a streaming reader with exact times, and a writer that keeps what is not picture."""

from videxplain.video.arrays import read_clip
from videxplain.video.clock import DecodeReport
from videxplain.video.encoder import TrackFormat
from videxplain.video.ffmpeg import ffmpeg_executable
from videxplain.video.frames import Frame
from videxplain.video.reader import Video, check_source, open_video
from videxplain.video.writer import VideoWriter, check_output

__all__ = [
    "DecodeReport",
    "Frame",
    "TrackFormat",
    "Video",
    "VideoWriter",
    "check_output",
    "check_source",
    "ffmpeg_executable",
    "open_video",
    "read_clip",
]
