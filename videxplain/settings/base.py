"""Settings: frozen values that check themselves, made once and passed on whole. Imports no torch.

A function that takes settings also takes their fields as keywords, the short form: `explain(model, clip, "lime",
samples=500)` is `explain(model, clip, Lime(samples=500))`. Command-line flags, their help and what is recorded of a run
are made from the same fields.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

from videxplain.errors import VidexplainError, unknown_name

AnySettings = TypeVar("AnySettings", bound="Settings")


def option(
    default: Any,
    help: str = "",
    *,
    least: float | None = None,
    above: float | None = None,
    flag: str | None = None,
    short: bool = True,
    recorded: bool = True,
) -> Any:
    """A field of settings.

    Parameters
    ----------
    default
        Its value where nothing is said.
    help
        A few words for `--help`, without the default.
    least, above
        The smallest value that can be, or what it has to be above.
    flag
        The command line's name for it, without dashes, where that is another; "" where it has none.
    short
        Whether functions that take the settings take it by its name as well.
    recorded
        Whether results depend on it, so that it is kept with them.
    """
    about = {"help": help, "least": least, "above": above, "flag": flag, "short": short, "recorded": recorded}
    return dataclasses.field(default=default, metadata=about)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of all settings.

    Raises
    ------
    VidexplainError
        If a value is of the wrong kind, out of range or not among the choices.
    """

    kind: ClassVar[str] = "settings"
    """What they are settings of, for sentences."""

    def __post_init__(self) -> None:
        hints = hints_of(type(self))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not is_of(value, hints[field.name]):
                raise _wrong(field.name, value, hints[field.name])
            least, above = field.metadata.get("least"), field.metadata.get("above")
            if value is None:
                continue
            if least is not None and value < least:
                raise VidexplainError(f"{field.name} must be at least {least:g}, not {value}")
            if above is not None and not above < value < math.inf:
                wanted = "positive" if above == 0 else f"above {above:g}"
                raise VidexplainError(f"{field.name} must be {wanted}, not {value}")

    @classmethod
    def options(cls) -> list[str]:
        """The names of the fields that the short form has."""
        return [field.name for field in dataclasses.fields(cls) if field.metadata.get("short", True)]

    def recorded(self) -> dict[str, Any]:
        """What another run needs to come to the same result, by name."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.metadata.get("recorded", True)
        }


_hints: dict[type, dict[str, Any]] = {}


def hints_of(cls: type[Settings]) -> dict[str, Any]:
    """The types of a class's fields, read once: that takes longer than all else when settings are made."""
    if cls not in _hints:
        _hints[cls] = typing.get_type_hints(cls)
    return _hints[cls]


def short_form(options: Mapping[str, Any], *settings: Settings) -> list[Any]:
    """The settings with what was given by the fields' names; each option goes to all that have a field of its name.

    Parameters
    ----------
    options
        By name; those that are None were not given.
    settings
        What they change; sentences name those that are of the first one's kind.

    Raises
    ------
    VidexplainError
        For an option that none of them has, and a value that it cannot have.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if not any(name in part.options() for part in settings):
            known = list(dict.fromkeys(option for part in settings for option in part.options()))
            asked = [part.kind for part in settings if part.kind.split()[0] == settings[0].kind.split()[0]]
            kinds = " or ".join(dict.fromkeys(asked))
            raise VidexplainError(
                f"option {name!r} means nothing to {kinds}; its options are {', '.join(known)}"
            )
    return [
        dataclasses.replace(part, **own)
        if (own := {name: value for name, value in given.items() if name in part.options()})
        else part
        for part in settings
    ]


def from_text(name: str, text: str, *classes: type[Settings]) -> Any:
    """A field's value from what was written on a command line; refuses what is none of its kind.

    Parameters
    ----------
    name
        The field's; the first class that has it tells the kind. A text stays one where none does, to be refused later.
    """
    for cls in classes:
        if name in cls.options():
            hint = hints_of(cls)[name]
            kinds = typing.get_args(hint) or (hint,)
            for kind in kinds:
                try:
                    if kind is bool:
                        return _WORDS[text.lower()]
                    if kind in (int, float):
                        return kind(text)
                    if typing.get_args(kind) == (int, ...):
                        return tuple(map(int, text.split(",")))
                except (KeyError, ValueError):
                    if str not in kinds:
                        raise _wrong(name, text, hint) from None
            return text
    return text


_WORDS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


def as_settings(value: AnySettings | None, wanted: type[AnySettings], name: str) -> AnySettings:
    """What was given for the argument `name`, or the defaults; refuses anything else."""
    if value is None:
        return wanted()
    if not isinstance(value, wanted):
        raise VidexplainError(f"{name} has to be a {wanted.__name__}(...), not {value!r}")
    return value


def whole_name(kind: type[Settings]) -> str:
    """The keyword of whole settings: `video_source` of `VideoSource`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()


def take_settings(options: dict[str, Any], *kinds: type[Settings]) -> list[Any]:
    """Settings of each of these kinds, from options for all of them; what is none of theirs is left in `options`.

    A kind takes its fields, and a whole object under its `whole_name`, such as `windows=Windows(stride=2)`; fields
    that are given beside it change it.

    Raises
    ------
    VidexplainError
        For an object of another kind, and a value that cannot be.
    """
    taken = []
    for kind in kinds:
        name = whole_name(kind)
        whole = as_settings(options.pop(name, None), kind, name)
        fields = {field: options.pop(field) for field in kind.options() if field in options}
        taken += short_form(fields, whole)
    return taken


def is_of(value: Any, hint: Any) -> bool:
    """Whether a value is of the kind that an annotation of settings names."""
    if hint is Any:
        return True
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return isinstance(value, str) and value in parts
    if origin is types.UnionType or origin is typing.Union:
        return any(is_of(value, part) for part in parts)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and value == value
    if hint is int:
        return hasattr(value, "__index__") and not isinstance(value, bool)
    if origin is tuple:
        kinds = parts[:1] * len(value) if parts[-1:] == (...,) and isinstance(value, tuple | list) else parts
        return isinstance(value, tuple | list) and len(value) == len(kinds) and all(map(is_of, value, kinds))
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return (
            not isinstance(value, str | bytes) and hasattr(value, "__len__") and hasattr(value, "__getitem__")
        )
    return isinstance(value, origin or hint)


_KINDS = {
    tuple[int, ...]: "whole numbers",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    type(None): "None",
    str: "a name",
}


def _wrong(name: str, value: Any, hint: Any) -> VidexplainError:
    parts = typing.get_args(hint) or (hint,)
    if typing.get_origin(hint) is not Literal:
        literal = [part for part in parts if typing.get_origin(part) is Literal]
        hint = literal[0] if literal else hint
    if typing.get_origin(hint) is Literal:
        return unknown_name(name, value, typing.get_args(hint))
    wanted = " or ".join(_KINDS.get(part, getattr(part, "__name__", str(part))) for part in parts)
    return VidexplainError(f"{name} has to be {wanted}, not {value!r}")
