"""A hash of a network's weights, made anew only when one of them has changed."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import nn


class Fingerprint:
    """Of one network: remembers the last hash, and what it was made of."""

    def __init__(self) -> None:
        self._last: tuple[Any, str] | None = None

    def of(self, net: nn.Module, settings: str) -> str:
        """Hash of the weights and of `settings`; the same in every process."""
        state = [(name, _plain(value)) for name, value in sorted(net.state_dict().items())]
        seen = settings, [_mark(value) for _, value in state]
        if self._last is None or self._last[0] != seen:
            digest = hashlib.sha256(settings.encode())
            with ThreadPoolExecutor(2) as pool:  # hashing leaves Python's lock
                hashes = pool.map(_hash, (value for _, value in state))
                for (name, _), weights in zip(state, hashes, strict=True):
                    digest.update(name.encode() + weights)
            self._last = seen, digest.hexdigest()
        return self._last[1]


def _plain(value: Any) -> torch.Tensor | bytes:
    """A tensor as it is; the hash of what else is in a state, such as the packed weights of quantised layers."""
    if isinstance(value, torch.Tensor):
        return _hash(value.dequantize()) if value.is_quantized else value
    if isinstance(value, tuple | list):
        parts = [_plain(part) for part in value]
        return hashlib.sha256(b"".join(map(_hash, parts))).digest()
    return hashlib.sha256(repr(value).encode()).digest()


def _hash(tensor: torch.Tensor | bytes) -> bytes:
    if isinstance(tensor, bytes):
        return tensor
    data = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
    return hashlib.sha256(data.numpy()).digest()  # type: ignore[arg-type]


def _mark(tensor: torch.Tensor | bytes) -> Any:
    """What changes when a tensor is replaced or overwritten, through `.data` too."""
    if isinstance(tensor, bytes):
        return tensor
    version = None if tensor.is_inference() else tensor._version
    return tensor.data_ptr(), version, tensor.detach().flatten()[:1].tolist()
