"""Methods that score supervoxels by hiding them: LIME, KernelSHAP, RISE, occlusion; and the baseline, which hides none.

Scores (B, K) float32 are signed: positive means that showing the supervoxel raises the target's score.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np
import torch
from tqdm import tqdm

from videxplain.errors import VidexplainError
from videxplain.passes.fills import make_fill
from videxplain.passes.masked_clip import MaskedClip

if TYPE_CHECKING:
    from videxplain.attribution.methods import KernelShap, Lime, Masking, Occlusion, Random, Rise
    from videxplain.attribution.query import Query

LIME_PACKAGE_BATCH = 10
"""Clips per forward pass by default, the package's own."""


def random_scores(query: Query, method: Random) -> torch.Tensor:
    """Uniform scores in [0, 1), the baseline that every method has to beat."""
    generator = torch.Generator().manual_seed(method.seed)
    return torch.rand(len(query.labels), query.num_segments, generator=generator).to(query.labels.device)


def lime(query: Query, method: Lime) -> torch.Tensor:
    """LIME (Ribeiro et al. 2016) with the masks made on the device and the clips sent in batches.

    The same estimator as `lime.lime_image` with its defaults: uniform binary masks, the first one all ones; cosine
    distance to it; an exponential kernel; ridge regression with an intercept. Of the log-odds it needs fewer samples
    (docs/studies/anytime.md): they are more nearly a sum over supervoxels than the probability, which saturates.
    """
    score = query.score_of(method)
    rows = []
    for b, clip in enumerate(masked_clips(query, method)):
        generator = torch.Generator().manual_seed(method.seed)
        masks = torch.randint(0, 2, (method.samples, clip.segments_here), generator=generator)
        masks[0] = 1
        z = _padded(masks, query.num_segments).to(query.x)
        values = clip.values(z, score=score, progress="LIME" if method.progress else None)
        coefficients, errors = lime_regression(
            masks, values.cpu(), kernel_width=method.kernel_width, ridge=method.ridge
        )
        rows.append(_padded(coefficients[None], query.num_segments)[0])
        query.standard_errors[method, b] = _padded(errors[None], query.num_segments)[0]
    return torch.stack(rows).float().to(query.x.device)


def lime_coefficients(
    masks: torch.Tensor, values: torch.Tensor, *, kernel_width: float = 0.25, ridge: float = 1.0
) -> torch.Tensor:
    """Weights of LIME's local linear model: masks (m, K) of 0 and 1, values (m,) -> (K,) float64."""
    return lime_regression(masks, values, kernel_width=kernel_width, ridge=ridge)[0]


def lime_regression(
    masks: torch.Tensor, values: torch.Tensor, *, kernel_width: float = 0.25, ridge: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of LIME's local linear model, and their standard errors: (K,) float64 each.

    Errors are those that hold whatever the residuals' variance depends on (White 1980), times m / (m - K - 1) for what
    the fit takes of them; infinite where there are no more masks than weights.
    """
    z, y = masks.double(), values.double()
    # cosine distance to the all-ones row
    similarity = z.sum(dim=1) / (z.norm(dim=1) * z.shape[1] ** 0.5).clamp(min=1e-300)
    distance = 1 - similarity
    weights = torch.exp(-(distance**2) / kernel_width**2).sqrt()
    total = weights.sum()
    z = z - (weights @ z) / total
    y = y - (weights @ y) / total
    weighted = z * weights[:, None]
    normal = z.T @ weighted + ridge * torch.eye(z.shape[1], dtype=z.dtype)
    coefficients = torch.linalg.solve(normal, weighted.T @ y)
    left = len(z) - z.shape[1] - 1
    if left <= 0:
        return coefficients, torch.full_like(coefficients, torch.inf)
    # each mask's share in the weights, times its residual
    share = torch.linalg.solve(normal, weighted.T) * (y - z @ coefficients)
    return coefficients, (share.square().sum(dim=1) * len(z) / left).sqrt()


def lime_package(query: Query, method: Lime) -> torch.Tensor:
    """LIME by the `lime` package itself, the paper's baseline (its image explainer takes volumes as well)."""
    from lime.lime_image import LimeImageExplainer

    model, x = query.model, query.x
    if query.question.against is not None or model.answers.task == "regression":
        raise VidexplainError(
            "the lime package explains probabilities of classes only; leave out batched=False (--no-batched)"
        )
    if x.shape[1] != 3:
        raise VidexplainError(
            f"the lime package takes clips of three channels, and {model.name!r} takes {x.shape[1]}; leave "
            "batched=False (--no-batched) out, for the same by our own code"
        )
    rows = torch.zeros(len(x), query.num_segments)
    for b, clip in enumerate(x.cpu().double().numpy()):
        volume = np.moveaxis(clip, 0, -1)
        target, labels = int(query.target[b]), query.labels[b].cpu().numpy()

        def probabilities(volumes: np.ndarray) -> np.ndarray:
            batch = torch.from_numpy(np.moveaxis(np.asarray(volumes), -1, 1)).to(x)
            return model.predict(batch).double().cpu().numpy()

        # its progress bar has no switch
        with mock.patch("lime.lime_image.tqdm", partial(tqdm, disable=not method.progress, leave=False)):
            explanation = LimeImageExplainer(random_state=method.seed).explain_instance(
                volume,
                probabilities,
                labels=(target,),
                top_labels=None,
                hide_color=None,
                num_samples=method.samples,
                batch_size=method.batch_size or LIME_PACKAGE_BATCH,
                segmentation_fn=lambda _volume, labels=labels: labels,
                random_seed=method.seed,
            )
        for region, weight in explanation.local_exp[target]:
            rows[b, region] = float(weight)
    return rows.to(x.device)


def kernel_shap(query: Query, method: KernelShap) -> torch.Tensor:
    """KernelSHAP (Lundberg and Lee 2017) over supervoxels; scores sum to f(x) - f(fill).

    Coalition sizes are drawn from the Shapley kernel and every coalition comes with its complement (Covert and Lee
    2021), so that the regression is unweighted; the sum constraint is eliminated, not penalised.
    """
    score, num_segments = query.score_of(method), query.num_segments
    rows = []
    for clip in masked_clips(query, method):
        k = clip.segments_here
        ends = _padded(torch.stack([torch.zeros(k), torch.ones(k)]), num_segments).to(query.x)
        empty, whole = clip.values(ends, score=score).tolist()
        if k == 1:
            rows.append(_padded(torch.tensor([[whole - empty]]), num_segments)[0])
            continue
        masks = _coalitions(k, max(method.samples - 2, 2), torch.Generator().manual_seed(method.seed))
        z = _padded(masks, num_segments).to(query.x)
        values = clip.values(z, score=score, progress="KernelSHAP" if method.progress else None)
        rows.append(_padded(shapley_regression(masks, values.cpu(), empty, whole)[None], num_segments)[0])
    return torch.stack(rows).float().to(query.x.device)


def shapley_regression(masks: torch.Tensor, values: torch.Tensor, empty: float, whole: float) -> torch.Tensor:
    """Least squares for phi with sum(phi) = whole - empty: masks (m, K), values (m,) -> (K,) float64.

    Where there are fewer coalitions than regions the solution of least norm around the even split is taken.
    """
    z, y = masks.double(), values.double() - empty
    k = z.shape[1]
    even = (whole - empty) / k
    centred = z - z.mean(
        dim=1, keepdim=True
    )  # the constraint leaves only deviations from the even split to be found
    deviation = torch.linalg.lstsq(centred, (y - even * z.sum(dim=1))[:, None], driver="gelsd").solution[:, 0]
    return even + deviation - deviation.mean()


def _coalitions(k: int, count: int, generator: torch.Generator) -> torch.Tensor:
    """`count` coalitions of k players, sizes from the Shapley kernel, in complementary pairs: (count, k) of 0 and 1."""
    sizes = torch.arange(1, k)
    weights = 1.0 / (sizes * (k - sizes)).double()
    drawn = sizes[torch.multinomial(weights, (count + 1) // 2, replacement=True, generator=generator)]
    ranks = torch.rand(len(drawn), k, generator=generator).argsort(dim=1).argsort(dim=1)
    chosen = (ranks < drawn[:, None]).float()
    return torch.stack([chosen, 1 - chosen], dim=1).flatten(0, 1)[:count]


def rise(query: Query, method: Rise) -> torch.Tensor:
    """RISE (Petsiuk et al. 2018) with supervoxels for its random cells: mean probability over masks that show a region.

    Minus the mean over all masks, so that a region without influence scores 0; the ranking is RISE's.
    """
    rows = []
    for clip in masked_clips(query, method):
        generator = torch.Generator().manual_seed(method.seed)
        drawn = torch.rand(method.samples, clip.segments_here, generator=generator)
        masks = (drawn < method.shown).to(query.x)
        values = clip.values(
            _padded(masks, query.num_segments),
            score=query.score_of(method),
            progress="RISE" if method.progress else None,
        )
        shown_count = masks.sum(dim=0)
        mean_shown = (masks.T.to(values) @ values) / shown_count.clamp(min=1)
        scores = torch.where(shown_count > 0, mean_shown - values.mean(), 0.0)
        rows.append(_padded(scores[None], query.num_segments)[0])
    return torch.stack(rows).float()


def occlusion(query: Query, method: Occlusion) -> torch.Tensor:
    """Fall of the target's probability when one supervoxel is hidden (Zeiler and Fergus 2014, for patches)."""
    score = query.score_of(method)
    rows = []
    for clip in masked_clips(query, method):
        whole, recording = clip.record(torch.ones(1, query.num_segments).to(query.x), score=score)
        here = range(clip.segments_here)
        masks = (1 - torch.eye(query.num_segments)[here, None]).to(query.x)
        values = clip.rescore_each(
            recording,
            [0],
            masks,
            [[hidden] for hidden in here],
            score=score,
            progress="occlusion" if method.progress else None,
        )[:, 0]
        rows.append(_padded((whole - values)[None], query.num_segments)[0])
    return torch.stack(rows).float()


def masked_clips(query: Query, method: Masking) -> Iterator[MaskedClip]:
    """Each clip of the query, with what hides its supervoxels."""
    for b, (x, labels, aim) in enumerate(zip(query.x, query.labels, query.aims(), strict=True)):
        fill = query.fill(b) if method.fill == "auto" else method.fill
        query.record(method, b, fill=fill)
        clip = MaskedClip(
            query.model,
            x,
            labels,
            query.num_segments,
            aim,
            fill=make_fill(query.model, x, *query.finest, fill, method.seed) if query.finest else fill,
            batch_size=method.batch_size,
            seed=method.seed,
        )
        is_named = method.fill != "auto"
        if is_named:
            clip.watch()
        yield clip
        if is_named:
            query.check_fill(b, clip, fill)


def _padded(rows: torch.Tensor, num_segments: int) -> torch.Tensor:
    """Columns of zeros up to `num_segments`, for the samples of a batch that have fewer supervoxels than others."""
    return torch.nn.functional.pad(rows, (0, num_segments - rows.shape[1]))
