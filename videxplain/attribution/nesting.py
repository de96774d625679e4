"""What levels of supervoxels can be asked for beside other settings. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from videxplain.attribution.methods import AdditiveMasking, Lime, Method, effort_option
from videxplain.errors import VidexplainError
from videxplain.settings import Nesting

LAST_SHARE = 2
"""What the last level takes of passes or samples, where each level before takes 1: most regions are scored there."""


def check_nesting(
    nesting: Nesting, methods: Sequence[Method], *, n_segments: bool = False, regions: bool = False
) -> None:
    """Raises where levels mean nothing to what else is asked for.

    Parameters
    ----------
    n_segments, regions
        Whether these are given as well.
    """
    if regions:
        raise VidexplainError("levels mean nothing to regions, which are not cut; leave one out")
    if n_segments:
        raise VidexplainError("n_segments means nothing beside levels, whose last tells it; leave one out")
    if nesting.coarse_to_fine:
        for method in methods:
            _check_coarse_to_fine(method, len(nesting.levels or ()))


def _check_coarse_to_fine(method: Method, levels: int) -> None:
    """Raises where a method cannot score so many levels one after the other."""
    if not isinstance(method, AdditiveMasking) or (isinstance(method, Lime) and not method.batched):
        raise VidexplainError(
            f"coarse_to_fine means nothing to method {method.title()!r}; name region-gradient, lime or kernel-shap, "
            "which hide regions and whose scores add up"
        )
    if getattr(method, "until", None) is not None:
        raise VidexplainError(
            "until means nothing to coarse_to_fine, whose levels have their passes; leave one out"
        )
    name = effort_option(method)
    if getattr(method, name) < levels:
        raise VidexplainError(
            f"coarse_to_fine needs {name} for each of {levels} levels, not {name}={getattr(method, name)}"
        )


def efforts(total: int, levels: int) -> list[int]:
    """Passes or samples of each level, at least 1 each."""
    first = max(1, total // (levels - 1 + LAST_SHARE))
    return [first] * (levels - 1) + [total - first * (levels - 1)]
