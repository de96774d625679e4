"""Named things that the command line can list: scoring methods, segmentations, networks, data sets, experiments."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from videxplain.errors import VidexplainError, VidexplainWarning, unknown_name

Item = TypeVar("Item")


class Registry(Generic[Item]):
    """Ordered mapping from a name to an item; a wrong name is answered with the nearest right ones.

    Parameters
    ----------
    kind
        What the items are, for sentences.
    plugins
        The group of entry points by which installed packages add items of their own, such as "videxplain.methods".
        They are loaded when a name is asked for that is not here, or all are listed.
    """

    def __init__(self, kind: str, plugins: str | None = None) -> None:
        self.kind = kind
        self._items: dict[str, Item] = {}
        self._plugins = plugins
        self._broken: dict[str, str] = {}

    def register(self, name: str) -> Callable[[Item], Item]:
        """Decorator that files an item under `name` and returns it unchanged."""

        def add(item: Item) -> Item:
            if name in self._items:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._items[name] = item
            return item

        return add

    def _load_plugins(self) -> None:
        """What installed packages add, once; one that fails is left out with a warning."""
        group, self._plugins = self._plugins, None
        for entry in entry_points(group=group) if group else ():
            there = self._items.get(entry.name)
            try:
                item = entry.load()
            except Exception as error:  # of whatever a package does when it is imported
                self._broken[entry.name] = f"{type(error).__name__}: {error}"
                where = entry.dist.name if entry.dist else entry.value
                warnings.warn(
                    f"the {self.kind} {entry.name!r} of {where} could not be loaded ({self._broken[entry.name]}) and "
                    "is left out",
                    VidexplainWarning,
                    stacklevel=2,
                )
                continue
            if there is not None:
                warnings.warn(
                    f"the {self.kind} {entry.name!r} of {entry.value} has a name that is taken, and is left out",
                    VidexplainWarning,
                    stacklevel=2,
                )
            elif entry.name not in self._items:  # unless its module has registered it
                self.register(entry.name)(item)

    def __getitem__(self, name: str) -> Item:
        if name not in self:
            if name in self._broken:
                raise VidexplainError(
                    f"the {self.kind} {name!r} could not be loaded ({self._broken[name]}); repair its package"
                )
            raise unknown_name(self.kind, name, self._items)
        return self._items[name]

    def registered(self) -> list[str]:
        """The names that are here so far, without what installed packages would add."""
        return list(self._items)

    def __contains__(self, name: object) -> bool:
        if name not in self._items:
            self._load_plugins()
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        self._load_plugins()
        return iter(self._items)

    def __len__(self) -> int:
        return len(list(iter(self)))
