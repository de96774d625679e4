"""Several methods, or several classes, over the same supervoxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from videxplain.attribution.methods import Method
from videxplain.errors import VidexplainError
from videxplain.explanations.comparison import Comparison
from videxplain.explanations.explain import Request
from videxplain.explanations.inputs import ClipLike
from videxplain.settings import Segmentation

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from videxplain.models import Classifier
    from videxplain.options import ClipOptions


def compare(
    model: Classifier,
    clip: ClipLike,
    methods: Sequence[str | Method] = ("guided",),
    targets: Sequence[int | str | None] = (None,),
    *,
    segmentation: str | Segmentation | None = None,
    labels: np.ndarray | None = None,
    keep_maps: bool = False,
    **options: Unpack[ClipOptions],
) -> Comparison:
    """Explains a clip by several methods, for several classes, over the same supervoxels.

    Methods of voxels share one forward pass for each class.

    Parameters
    ----------
    model, clip
        As for `explain`; supervoxels that are cut from a gradient are cut from that of the first class.
    methods
        Names, or methods with their options.
    targets
        Classes by index, name or rank ("#2"); None is the prediction.
    segmentation, labels, keep_maps
        As for `explain`; supervoxels that are cut from a gradient are cut from that of the first class.
    **options
        As for `explain`; of several methods one is not asked about another's.

    Returns
    -------
    Comparison
        A dict of the explanations by method and class: `compare(...)["guided", "javelin throw"]`. Methods of one name
        are told apart by their options, as in "lime(samples=500)". `agreements()` tells how far each pair agrees.

    Raises
    ------
    VidexplainError
        As `explain`; and where nothing is to be compared, or the same thing is twice.
    """
    for name, several in (("methods", methods), ("targets", targets)):
        if isinstance(several, str | int) or not several:
            raise VidexplainError(f"{name} has to be a list of one or more; explain() takes one.")
    if "target" in options:
        raise VidexplainError("target has to be one class; compare() takes several, targets=[...].")
    request = Request.of(methods, targets[0], segmentation, keep_maps, dict(options))
    results = Comparison()
    given = None if labels is None else [labels]
    inputs = request.inputs(model, [clip], given)
    for target in targets:
        asked = replace(request, question=replace(request.question, target=target))
        for title, explained in zip(_titles(asked.methods), asked.explained(model, inputs), strict=True):
            key = title, explained[0].target_name
            if key in results:
                raise VidexplainError(f"{key[0]!r} for {key[1]!r} is asked for twice.")
            results[key] = explained[0]
    return results


def _titles(methods: Sequence[Method]) -> list[str]:
    """Their names, with options where a name is there more than once."""
    names = [method.name for method in methods]
    return [
        name if names.count(name) == 1 else method.title()
        for name, method in zip(names, methods, strict=True)
    ]
