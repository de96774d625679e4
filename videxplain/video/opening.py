"""The one way in which files are opened: the very file that was named, and only as a container of media."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av

from videxplain.errors import VidexplainError
from videxplain.video.clock import Timeline

# FFmpeg's names of formats that hold media themselves. Others name further files or addresses (playlists, scripts,
# descriptions of sessions), are devices, or draw what is no video (text, vector graphics).
_FORMATS = (
    # containers
    "3dostr asf asf_o avi dhav dv flv gxf iamf ipmovie ivf ivr kux live_flv lmlm4 lxf matroska moflex mov mpeg mpegts"
    " mpegtsraw mpegvideo mpjpeg mtv mxf nsv nut nuv ogg pmp pva r3d rm rpl ser ty vividas vivo wtv xmv"
    # pictures without a container, in motion
    " apng apv av1 avs avs2 avs3 cavsvideo dirac dnxhd evc flic gif h261 h263 h264 hevc ipu jpegxl_anim m4v mjpeg"
    " mjpeg_2000 obu smjpeg vc1 vc1test vvc yuv4mpegpipe"
    # of games
    " 4xm amv anm argo_avf bethsoftvid bfi bink c93 cdxl cine dsicin dxa ea film_cpk filmstrip gdv hnm idcin iff ifv"
    " iv8 jv mm mv mvi paf rl2 roq sga siff smk smush thp tiertexseq tmv txd vmd wc3movie wsvqa yop"
    # single images
    " bmp_pipe dds_pipe dpx_pipe exr_pipe gem_pipe hdr_pipe j2k_pipe jpeg_pipe jpegls_pipe jpegxl_pipe pam_pipe"
    " pbm_pipe pcx_pipe pfm_pipe pgm_pipe pgmyuv_pipe phm_pipe png_pipe ppm_pipe psd_pipe qoi_pipe sgi_pipe"
    " sunrast_pipe tiff_pipe vbn_pipe webp_anim webp_pipe xbm_pipe xpm_pipe xwd_pipe"
    # sound, so that a file of it is told to have no picture
    " aac ac3 aiff amr ape au caf dts eac3 flac mp3 mpc opus tta w64 wav wv"
)
READING = {"protocol_whitelist": "file", "format_whitelist": ",".join(_FORMATS.split())}
"""Options for whatever reads a file with FFmpeg, as a library or as a program."""

# up to 18 PyAV refuses files with metadata that are not UTF-8, if it is not asked; from 19 on it cannot be asked
_METADATA: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
_ENDS = 1 << 16


def check_input(path: str | os.PathLike[str]) -> None:
    """Refuse, before any work, what cannot be read as a file again and again.

    Raises
    ------
    VidexplainError
        If there is no such file, it is empty, may not be read, or is a pipe or a device. Folders pass.
    """
    name = os.fsdecode(path)
    if not os.path.exists(name):
        raise VidexplainError(f"there is no file {name!r}; check the path.")
    status = os.stat(name)
    if stat.S_ISDIR(status.st_mode):
        return
    if not stat.S_ISREG(status.st_mode):
        raise VidexplainError(
            f"{name!r} is a pipe or a device, and a video is read more than once; save it as a file first."
        )
    if not status.st_size:
        raise VidexplainError(f"{name!r} is empty.")
    if not os.access(name, os.R_OK):
        raise VidexplainError(f"{name!r} may not be read; check its permissions.")


def url(path: str | os.PathLike[str]) -> str:
    """The name by which FFmpeg opens this very file, to read or to write; plain ones may look like addresses."""
    absolute = os.path.abspath(os.fsdecode(path))
    if absolute.startswith(
        ("/dev/", "/proc/")
    ):  # what /dev/stdin leads to is another file in another process
        absolute = os.path.realpath(absolute)
    return f"file:{absolute}"


@contextlib.contextmanager
def program_url(path: str | os.PathLike[str]) -> Iterator[str]:
    """The same for the ffmpeg program; ffmpeg-python takes no names with bytes that are no UTF-8, so that is a link."""
    name = url(path)
    if name.isascii():
        yield name
        return
    with tempfile.TemporaryDirectory() as folder:
        suffix = Path(name).suffix
        link = os.path.join(folder, f"file{suffix if suffix.isascii() else ''}")
        os.symlink(name[len("file:") :], link)
        yield f"file:{link}"


def open_container(path: str | os.PathLike[str]) -> Any:
    """PyAV's container of a file that is to be read."""
    return av.open(url(path), options=READING, **_METADATA)


class Source:
    """A file that others may cut, replace or delete while it is being explained.

    It may grow, as recordings do. What it began and ended with when it was opened tells whether it is still the same.

    Attributes
    ----------
    path : str
    timeline : Timeline
        Its clock, as far as the picture has been read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fsdecode(path)
        status = os.stat(self.path)
        self._size = status.st_size
        self._ends = self._read_ends()
        self._seen = _stamp(status)
        self.timeline = Timeline()

    @classmethod
    def of(cls, path: str | os.PathLike[str] | Source | None) -> Source | None:
        """Itself, or the source at a path; None for none."""
        return path if path is None or isinstance(path, Source) else cls(path)

    def __fspath__(self) -> str:
        return self.path

    def change(self) -> str | None:
        """What became of the file, to follow its name in a sentence; None if all of it is still there."""
        try:
            status = os.stat(self.path)
            if _stamp(status) == self._seen:
                return None
            if status.st_size < self._size:
                return "was cut short or replaced"
            if self._read_ends() != self._ends:
                return "was replaced or rewritten"
        except OSError:
            return "was deleted or cannot be read any more"
        self._seen = _stamp(status)
        return None

    def rewritten(self) -> bool:
        """Whether what an open handle reads is no longer what it was: not so if only the name is another file's."""
        try:
            same_file = os.stat(self.path).st_ino == self._seen[1]
        except OSError:
            return False
        return same_file and self.change() is not None

    def _read_ends(self) -> bytes:
        with open(self.path, "rb") as file:
            digest = hashlib.sha256(file.read(min(self._size, _ENDS)))
            file.seek(max(0, self._size - _ENDS))
            digest.update(file.read(min(self._size, _ENDS)))
        return digest.digest()


def _stamp(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
