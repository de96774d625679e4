"""Docstrings of public names: numpydoc's rules, and examples that run."""

from __future__ import annotations

import doctest
import importlib
import inspect

import pytest

import videxplain as vx

validate = pytest.importorskip("numpydoc.validate").validate

LEFT_OUT = {
    "SA01",  # no See Also: the reference groups names that belong together
    "EX01",  # examples are where they help
    "ES01",  # a summary can be enough
    "PR04",  # types are annotations
    "SS05",  # summaries may say what something does
}
"""Rules of numpydoc that are not followed, with the reason."""
OF_FIELDS = {"PR01", "PR02"}
"""Parameters of dataclasses are their fields, told under Attributes or as options."""
DOCTESTED = (
    "videxplain.clip",
    "videxplain.geometry",
    "videxplain.explanations.explain",
    "videxplain.models.classifier",
)


def public() -> list[str]:
    """Public functions, classes, and what these have of their own."""
    names = []
    for name in vx.__all__:
        thing = getattr(vx, name)
        if inspect.isfunction(thing):
            names.append(f"videxplain.{name}")
        if not inspect.isclass(thing):
            continue
        names.append(f"videxplain.{name}")
        for part, value in vars(thing).items():
            inherited = any(part in vars(base) for base in thing.__mro__[1:])  # told there
            made = isinstance(value, classmethod | staticmethod | property) or inspect.isfunction(value)
            if made and not part.startswith("_") and not inherited:
                names.append(f"videxplain.{name}.{part}")
    return names


@pytest.mark.parametrize("name", public())
def test_docstring(name):
    thing = getattr(vx, name.split(".")[1])
    left_out = LEFT_OUT | (OF_FIELDS if inspect.isclass(thing) and name.count(".") == 1 else set())
    document = validate(name)
    lines = (document["docstring"] or "").strip().splitlines()
    if len(lines) == 1 or name.count(".") > 1:  # methods may say in a sentence what they take and return
        left_out = left_out | {"PR01", "RT01"}
    errors = [(code, words) for code, words in document["errors"] if code not in left_out]
    assert not errors


@pytest.mark.parametrize("name", DOCTESTED)
def test_examples_run(name):
    failed, tried = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert tried and not failed
