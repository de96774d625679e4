"""Turns Caffe2-derived pickles of weights into safetensors, without running what they contain.

    python -m videxplain.models.convert c3d.pkl c3d.safetensors

Such files are pickles of nested dicts of numpy arrays. Unpickling runs whatever functions a file names, so
only the few that rebuild plain numeric arrays are known here; a file that names any other is refused unread.
"""

from __future__ import annotations

import argparse
import collections
import os
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videxplain.errors import VidexplainError
from videxplain.terminal import complain, say

_NUMERIC = "biuf"
_MOST_DICTS = 500  # one within the other


def _dtype(code: Any, *_: Any) -> np.dtype:
    found = np.dtype(code)
    if found.kind not in _NUMERIC or found.names is not None:
        raise pickle.UnpicklingError(f"arrays of {found} are not weights")
    return found


def _encode(text: Any, encoding: str = "latin1") -> bytes:
    """What Python 3 pickles of Python 2 arrays call on their data."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"encoding {encoding!r} is not expected in weights")
    return text.encode("latin1")


class _Array:
    """What pickles call `numpy.ndarray`; only `_reconstruct` makes one, and an empty one, of it."""

    def __new__(cls, *_: Any) -> Any:
        raise pickle.UnpicklingError("it makes arrays in a way that no pickle of arrays does")


def _reconstruct(kind: Any, shape: Any, _code: Any) -> np.ndarray:
    if kind is not _Array or shape != (0,):
        _Array()
    return np.zeros(0, np.int8)


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _KNOWN[_module, "_reconstruct"] = _reconstruct
    _KNOWN[_module, "scalar"] = np.float32(0).__reduce__()[0]


class _TensorUnpickler(pickle._Unpickler):  # the one in C takes whatever memory a file asks for
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no weight") from None

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to objects outside the file")


def read_pickle(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Numeric arrays, by name, in a pickle of nested dicts.

    Names are those of the innermost dict ("blobs" and other wrappers leave no trace).

    Raises
    ------
    VidexplainError : no such file, not a pickle, no arrays, or one that would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise VidexplainError(f"there is no weights file {str(path)!r}.")
    try:
        with path.open("rb") as file:
            content = _TensorUnpickler(file, encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise VidexplainError(f"{str(path)!r} is refused: {error}.") from error
    except Exception as error:  # a damaged pickle can raise anything
        raise VidexplainError(f"{str(path)!r} is not a readable pickle: {error}") from error
    found: dict[str, torch.Tensor] = {}
    _collect(content, found, set())
    if not found:
        raise VidexplainError(f"{str(path)!r} holds no arrays.")
    return found


def _collect(content: Any, found: dict[str, torch.Tensor], seen: set[int]) -> None:
    if not isinstance(content, Mapping) or id(content) in seen or len(seen) > _MOST_DICTS:
        return
    seen.add(id(content))
    for name, value in content.items():
        if isinstance(value, np.ndarray) and value.dtype.kind in _NUMERIC:
            # Solvers keep their momentum beside the weights.
            if not str(name).endswith("_momentum"):
                found[str(name)] = torch.from_numpy(np.array(value, dtype=np.float32))
        else:
            _collect(value, found, seen)


def convert(source: Path, target: Path, *, bgr: bool = False) -> str:
    """Write C3D weights from a Caffe2-derived pickle as safetensors; returns the report."""
    from safetensors.torch import save_file

    from videxplain.models.c3d_weights import map_c3d

    mapped = map_c3d(read_pickle(source))
    if not mapped.state:
        raise VidexplainError(f"{str(source)!r} holds nothing that belongs to C3D ({mapped.report()}).")
    state = {name: tensor.contiguous() for name, tensor in mapped.state.items()}
    for name in [n for n in state if n.startswith("classifier.") and n.endswith(".weight")]:
        if state[name].ndim != 2:
            state[name] = state[name].flatten(1)
    first = state.get("features.conv1.weight")
    if bgr and first is not None:
        state["features.conv1.weight"] = first.flip(1).contiguous()
    part = target.with_name(target.name + ".part")
    try:
        save_file(state, part)
        os.replace(part, target)
    except OSError as error:
        raise VidexplainError(f"cannot write {str(target)!r}: {error}") from error
    return mapped.report()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument(
        "--bgr", action="store_true", help="the network was trained on BGR frames; make it RGB"
    )
    options = parser.parse_args()
    try:
        say(convert(options.source, options.target, bgr=options.bgr))
    except VidexplainError as error:
        complain(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
