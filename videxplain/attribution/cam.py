"""Class activation maps: a weighting of the last grid's channels, (B, C, t, h, w) -> (B, t, h, w).

Every function takes the activation A and the gradient G of the class score at it, and follows its paper's formula with
the mean or sum over (h, w) replaced by one over (t, h, w).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

_GRID = (2, 3, 4)


def added(maps: Sequence[torch.Tensor], size: Sequence[int]) -> torch.Tensor:
    """The sum of maps (B, t, h, w) at the input's (T, H, W), to which they are brought by trilinear interpolation.

    It stays at the maps' own length on axes on which they agree: a sum's interpolation is that of its parts, along
    each axis by itself.
    """
    common = [
        lengths.pop() if len(lengths) == 1 else whole
        for lengths, whole in zip(map(set, zip(*(m.shape[1:] for m in maps), strict=True)), size, strict=True)
    ]
    brought = [
        m if list(m.shape[1:]) == common else F.interpolate(m[:, None], common, mode="trilinear")[:, 0]
        for m in maps
    ]
    return brought[0] if len(brought) == 1 else torch.stack(brought).sum(dim=0)


def by_time_step(
    of: Callable[..., torch.Tensor], activation: torch.Tensor, gradient: torch.Tensor
) -> torch.Tensor:
    """The map in which each time step has weights of its own, as if it were an image.

    It is what an answer for one frame needs: its gradient is at the time steps that this answer depends on, and its
    mean over all of a clip would light up every frame that has the same channels.
    """
    steps = [part.transpose(1, 2).flatten(0, 1).unsqueeze(2) for part in (activation, gradient)]
    return of(*steps).squeeze(1).unflatten(0, (activation.shape[0], activation.shape[2]))


def _weighted(weights: torch.Tensor, activation: torch.Tensor) -> torch.Tensor:
    """relu(sum_c w_c A_c) for weights (B, C, 1, 1, 1) or of the activation's shape."""
    return (weights * activation).sum(dim=1).relu()


def relu_activation(activation: torch.Tensor) -> torch.Tensor:
    """sum_c relu(A_c): the rectified activation, which knows nothing of the class (section 3 of the paper)."""
    return activation.relu().sum(dim=1)


def grad_cam(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """w_c = mean of G_c (Selvaraju et al. 2017, equations 1 and 2)."""
    return _weighted(gradient.mean(dim=_GRID, keepdim=True), activation)


def act_grad_cam(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """w_c = mean of A_c * G_c (Act-Grad-CAM, section 3 of the paper)."""
    return _weighted((activation * gradient).mean(dim=_GRID, keepdim=True), activation)


def grad_cam_plus_plus(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """w_c = sum of alpha_c * relu(G_c), alpha = G^2 / (2 G^2 + sum(A_c) G^3) (Chattopadhay et al. 2018, equation 19).

    The published closed form takes the score as the exponential of the logit, so that its second and third
    derivatives are powers of G. The 1e-6 in the denominator is pytorch-grad-cam's, kept so that both give the same map.
    """
    squared = gradient.square()
    denominator = 2 * squared + activation.sum(dim=_GRID, keepdim=True) * squared * gradient
    alpha = torch.where(gradient != 0, squared / (denominator + 1e-6), torch.zeros_like(gradient))
    return _weighted((alpha * gradient.relu()).sum(dim=_GRID, keepdim=True), activation)


def layer_cam(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Weights relu(G) of their own for every place of the grid (Jiang et al. 2021, equations 5 and 6)."""
    return _weighted(gradient.relu(), activation)


def xgrad_cam(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """w_c = sum of G_c * A_c / sum(A_c), the choice that satisfies sensitivity best (Fu et al. 2020, equation 8)."""
    share = activation / (activation.sum(dim=_GRID, keepdim=True) + 1e-7)
    return _weighted((gradient * share).sum(dim=_GRID, keepdim=True), activation)


def eigen_cam(activation: torch.Tensor) -> torch.Tensor:
    """First principal component of the activation over the grid (Muhammad and Yeasin 2020), rectified.

    A component has no sign of its own; the one along which the mean activation grows is taken.
    """
    rows = activation.flatten(2).transpose(1, 2)  # (B, places, C)
    rows = rows - rows.mean(dim=1, keepdim=True)
    direction = torch.linalg.svd(rows, full_matrices=False).Vh[:, 0]
    direction = direction * torch.where(direction.sum(dim=1, keepdim=True) < 0, -1.0, 1.0)
    return (rows @ direction[:, :, None])[..., 0].unflatten(1, activation.shape[2:]).relu()
