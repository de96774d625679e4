"""Where a run's results are kept: a Parquet file per item, there as a whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from videxplain.errors import VidexplainError
from videxplain.files import whole_file
from videxplain.reading import read_json

_RUN = "run.json"
_PER_FOLDER = 1000
_TEXT = ("name", "method", "layer", "skipped")
_WHOLE = ("item", "segments", "supervoxels")


def _pyarrow() -> Any:
    missing = [name for name in ("pyarrow", "matplotlib") if find_spec(name) is None]
    if missing:  # the plots' library too: better now than after hours of work
        raise VidexplainError(
            f"evaluate needs {' and '.join(missing)}; install with pip install 'videxplain[evaluate]'."
        )
    import pyarrow
    import pyarrow.parquet

    return pyarrow


class Store:
    """A folder with one run in it.

    Parameters
    ----------
    folder : made if it is not there.
    identity : what makes results comparable; a folder that holds a run of another identity is refused.
    columns : names of the numbers in a row.

    Raises
    ------
    VidexplainError : the folder holds another run, or cannot be written.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], columns: Sequence[str]) -> None:
        self.folder = folder
        self.columns = tuple(columns)
        _pyarrow()
        wanted = json.loads(json.dumps(identity))
        path = folder / _RUN
        if path.exists():
            try:
                found = read_json(path)
            except (OSError, ValueError) as error:
                raise VidexplainError(
                    f"{path} cannot be read ({error}); give another folder with --out."
                ) from error
            differs = [key for key in wanted if found.get(key) != wanted[key]]
            if differs:
                raise VidexplainError(
                    f"{folder} holds a run with another {' and '.join(differs)}; give another folder with "
                    "--out, or remove it."
                )
            return
        # a run that was killed at its very first step may have left a scratch file
        if folder.exists() and (
            not folder.is_dir() or any(not p.name.startswith(f".{path.stem}-") for p in folder.iterdir())
        ):
            raise VidexplainError(f"{folder} is not empty and holds no run; give another folder with --out.")
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as scratch:
            scratch.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")

    def _path(self, index: int) -> Path:
        return self.folder / "shards" / f"{index // _PER_FOLDER:05d}" / f"{index:08d}.parquet"

    def has(self, index: int) -> bool:
        return self._path(index).exists()

    def write(self, index: int, rows: Sequence[dict[str, Any]]) -> None:
        """Keep an item's rows."""
        arrow = _pyarrow()
        fields = [(name, arrow.string()) for name in _TEXT] + [(name, arrow.int64()) for name in _WHOLE]
        fields += [(name, arrow.float64()) for name in self.columns]
        table = arrow.Table.from_pylist([{"item": index, **row} for row in rows], schema=arrow.schema(fields))
        path = self._path(index)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as scratch:
            arrow.parquet.write_table(table, scratch)

    def rows(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Rows of those of `indices` that are there, in that order."""
        arrow = _pyarrow()
        found: list[dict[str, Any]] = []
        for index in indices:
            if self.has(index):
                try:
                    found += arrow.parquet.read_table(self._path(index), memory_map=False).to_pylist()
                except (OSError, ValueError) as error:
                    raise VidexplainError(
                        f"{self._path(index)} is damaged ({error}); remove it, and run the same command again."
                    ) from error
        return found
