"""Methods that score supervoxels by hiding them: LIME, KernelSHAP, RISE, occlusion.

All take (model, x (B, C, T, H, W), labels (B, T, H, W), num_segments, target (B,)) and give signed scores (B, K)
float32: positive means that showing the supervoxel raises the target's probability. What LIME and KernelSHAP regress
is the probability (`link` "identity") or its log-odds ("logit").
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import torch
from tqdm import tqdm

from videxplain.errors import unknown_name
from videxplain.passes.masked_clip import MaskedClip

if TYPE_CHECKING:
    from videxplain.models import Classifier

LINKS = {"identity": "probability", "logit": "log-odds"}


def lime_batched(
    model: Classifier,
    x: torch.Tensor,
    labels: torch.Tensor,
    num_segments: int,
    target: torch.Tensor,
    *,
    samples: int = 1000,
    seed: int = 0,
    fill: str = "mean",
    link: str = "identity",
    kernel_width: float = 0.25,
    ridge: float = 1.0,
    batch_size: int | None = None,
    progress: bool = False,
) -> torch.Tensor:
    """LIME (Ribeiro et al. 2016) with the masks made on the device and the clips sent in batches.

    The same estimator as `lime.lime_image` with its defaults: uniform binary masks, the first one all ones; cosine
    distance to it; an exponential kernel; ridge regression with an intercept. With the "logit" link it needs fewer
    samples (docs/anytime.md): log-odds are more nearly a sum over supervoxels than the probability, which saturates.
    """
    output = _output(link)
    rows = []
    for clip in _clips(model, x, labels, num_segments, target, fill=fill, batch_size=batch_size, seed=seed):
        generator = torch.Generator().manual_seed(seed)
        masks = torch.randint(0, 2, (samples, clip.segments_here), generator=generator)
        masks[0] = 1
        z = _padded(masks, num_segments).to(x)
        values = clip.score(z, output=output, progress="LIME" if progress else None)
        coefficients = lime_coefficients(masks, values.cpu(), kernel_width=kernel_width, ridge=ridge)
        rows.append(_padded(coefficients[None], num_segments)[0])
    return torch.stack(rows).float().to(x.device)


def lime_coefficients(
    masks: torch.Tensor, values: torch.Tensor, *, kernel_width: float = 0.25, ridge: float = 1.0
) -> torch.Tensor:
    """Weights of LIME's local linear model: masks (m, K) of 0 and 1, values (m,) -> (K,) float64."""
    z, y = masks.double(), values.double()
    # cosine distance to the all-ones row
    similarity = z.sum(dim=1) / (z.norm(dim=1) * z.shape[1] ** 0.5).clamp(min=1e-300)
    distance = 1 - similarity
    weights = torch.exp(-(distance**2) / kernel_width**2).sqrt()
    total = weights.sum()
    z = z - (weights @ z) / total
    y = y - (weights @ y) / total
    weighted = z * weights[:, None]
    return torch.linalg.solve(z.T @ weighted + ridge * torch.eye(z.shape[1], dtype=z.dtype), weighted.T @ y)


def lime_package(
    model: Classifier,
    x: torch.Tensor,
    labels: torch.Tensor,
    num_segments: int,
    target: torch.Tensor,
    *,
    samples: int = 1000,
    seed: int = 0,
    batch_size: int = 10,
    progress: bool = False,
) -> torch.Tensor:
    """LIME by the `lime` package itself, the paper's baseline (its image explainer takes volumes as well)."""
    from lime.lime_image import LimeImageExplainer

    rows = torch.zeros(len(x), num_segments)
    for b, clip in enumerate(x.cpu().double().numpy()):
        volume = np.moveaxis(clip, 0, -1)

        def probabilities(volumes: np.ndarray) -> np.ndarray:
            batch = torch.from_numpy(np.moveaxis(np.asarray(volumes), -1, 1)).to(x)
            return model.predict(batch).double().cpu().numpy()

        own = labels[b].cpu().numpy()
        # its progress bar has no switch
        with mock.patch("lime.lime_image.tqdm", partial(tqdm, disable=not progress, leave=False)):
            explanation = LimeImageExplainer(random_state=seed).explain_instance(
                volume,
                probabilities,
                labels=(int(target[b]),),
                top_labels=None,
                hide_color=None,
                num_samples=samples,
                batch_size=batch_size,
                segmentation_fn=lambda _volume, own=own: own,
                random_seed=seed,
            )
        for region, weight in explanation.local_exp[int(target[b])]:
            rows[b, region] = float(weight)
    return rows.to(x.device)


def kernel_shap(
    model: Classifier,
    x: torch.Tensor,
    labels: torch.Tensor,
    num_segments: int,
    target: torch.Tensor,
    *,
    samples: int = 1000,
    seed: int = 0,
    fill: str = "mean",
    link: str = "identity",
    batch_size: int | None = None,
    progress: bool = False,
) -> torch.Tensor:
    """KernelSHAP (Lundberg and Lee 2017) over supervoxels; scores sum to f(x) - f(fill).

    Coalition sizes are drawn from the Shapley kernel and every coalition comes with its complement (Covert and Lee
    2021), so that the regression is unweighted; the sum constraint is eliminated, not penalised.
    """
    output = _output(link)
    rows = []
    for clip in _clips(model, x, labels, num_segments, target, fill=fill, batch_size=batch_size, seed=seed):
        k = clip.segments_here
        ends = _padded(torch.stack([torch.zeros(k), torch.ones(k)]), num_segments).to(x)
        empty, whole = clip.score(ends, output=output).tolist()
        if k == 1:
            rows.append(_padded(torch.tensor([[whole - empty]]), num_segments)[0])
            continue
        masks = _coalitions(k, max(samples - 2, 2), torch.Generator().manual_seed(seed))
        z = _padded(masks, num_segments).to(x)
        values = clip.score(z, output=output, progress="KernelSHAP" if progress else None)
        rows.append(_padded(shapley_regression(masks, values.cpu(), empty, whole)[None], num_segments)[0])
    return torch.stack(rows).float().to(x.device)


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


def rise(
    model: Classifier,
    x: torch.Tensor,
    labels: torch.Tensor,
    num_segments: int,
    target: torch.Tensor,
    *,
    samples: int = 1000,
    seed: int = 0,
    fill: str = "mean",
    shown: float = 0.5,
    batch_size: int | None = None,
    progress: bool = False,
) -> torch.Tensor:
    """RISE (Petsiuk et al. 2018) with supervoxels for its random cells: mean probability over masks that show a region.

    Minus the mean over all masks, so that a region without influence scores 0; the ranking is RISE's.
    """
    rows = []
    for clip in _clips(model, x, labels, num_segments, target, fill=fill, batch_size=batch_size, seed=seed):
        generator = torch.Generator().manual_seed(seed)
        masks = (torch.rand(samples, clip.segments_here, generator=generator) < shown).to(x)
        values = clip.probability(_padded(masks, num_segments), progress="RISE" if progress else None)
        shown_count = masks.sum(dim=0)
        mean_shown = (masks.T.to(values) @ values) / shown_count.clamp(min=1)
        scores = torch.where(shown_count > 0, mean_shown - values.mean(), 0.0)
        rows.append(_padded(scores[None], num_segments)[0])
    return torch.stack(rows).float()


def occlusion(
    model: Classifier,
    x: torch.Tensor,
    labels: torch.Tensor,
    num_segments: int,
    target: torch.Tensor,
    *,
    fill: str = "mean",
    batch_size: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> torch.Tensor:
    """Fall of the target's probability when one supervoxel is hidden (Zeiler and Fergus 2014, for patches)."""
    rows = []
    for clip in _clips(model, x, labels, num_segments, target, fill=fill, batch_size=batch_size, seed=seed):
        whole, recording = clip.record(torch.ones(1, num_segments).to(x), output="probability")
        here = range(clip.segments_here)
        masks = (1 - torch.eye(num_segments)[here, None]).to(x)
        values = clip.rescore_each(
            recording,
            [0],
            masks,
            [[hidden] for hidden in here],
            output="probability",
            progress="occlusion" if progress else None,
        )[:, 0]
        rows.append(_padded((whole - values)[None], num_segments)[0])
    return torch.stack(rows).float()


def _output(link: str) -> str:
    if link not in LINKS:
        raise unknown_name("link", link, LINKS)
    return LINKS[link]


def _clips(
    model: Classifier,
    x: torch.Tensor,
    labels: torch.Tensor,
    num_segments: int,
    target: torch.Tensor,
    **options: Any,
) -> Iterator[MaskedClip]:
    """One `MaskedClip` per sample of the batch."""
    for sample, own, class_ in zip(x, labels, target.tolist(), strict=True):
        yield MaskedClip(model, sample, own, num_segments, class_, **options)


def _padded(rows: torch.Tensor, num_segments: int) -> torch.Tensor:
    """Columns of zeros up to `num_segments`, for the samples of a batch that have fewer supervoxels than others."""
    return torch.nn.functional.pad(rows, (0, num_segments - rows.shape[1]))
