"""The one face that every network shows to the rest of the package."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from videxplain.errors import VidexplainError, unknown_name
from videxplain.models.grids import TokenGrid, find_cam_layer, first_tensor, to_grid
from videxplain.models.input_form import CLIP_LENGTH, LAYOUTS, InputForm, find_input_form, in_one_line
from videxplain.models.trial import Findings, may_be_no_logits, try_out

if TYPE_CHECKING:
    from videxplain.clip import Clip, Geometry

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PRECISIONS = ("float32", "bfloat16")
Target = int | str | None


def _hash(tensor: torch.Tensor) -> bytes:
    data = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
    return hashlib.sha256(data.numpy()).digest()  # type: ignore[arg-type]


def _mark(tensor: torch.Tensor) -> tuple[Any, ...]:
    """What changes when a tensor is replaced or overwritten, through `.data` too."""
    version = None if tensor.is_inference() else tensor._version
    return tensor.data_ptr(), version, tensor.detach().flatten()[:1].tolist()


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Inside, every module is in evaluation mode; afterwards each is as it was, also after an exception."""
    training = [module for module in net.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


class Classifier:
    """Adapter around any `nn.Module` that classifies clips or images.

    Parameters
    ----------
    net : the network. It is used in evaluation mode and left in the mode it was in.
    labels : class names; "class 0", "class 1", ... when None.
    layout : order of axes that the network takes: "BCTHW", "BTCHW", or "BCHW" for image models. What is None of
        this and the next two is found by trying usual ones, clips first where there are 3-D convolutions.
    clip_length : frames per clip, 1 for image models.
    size : network input (height, width), pixels.
    mean, std : per channel, of RGB values in [0, 1].
    framing : how a frame becomes the network input: "crop" (scale, centre crop), "resize" or "letterbox".
    short_side : with "crop", length of the frame's short side before cropping; None just covers the input.
    cam_layer : dotted name of the layer for class activation maps; found on its own when None.
    token_grid : (t, h, w) or `TokenGrid`, for layers that put out tokens; found on its own when None.
    precision : "float32", or "bfloat16" for autocast to it: faster on GPUs and on CPUs with AVX-512-BF16 or AMX,
        and less exact (docs/performance.md). Weights stay as they are.
    name : shown in listings and results.
    device : moves the network there; None leaves it where it is.

    Raises
    ------
    VidexplainError : a setting that cannot be.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        labels: Sequence[str] | None = None,
        clip_length: int | None = None,
        size: tuple[int, int] | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        framing: str = "crop",
        short_side: int | None = None,
        layout: str | None = None,
        cam_layer: str | None = None,
        token_grid: TokenGrid | tuple[int, int, int] | None = None,
        precision: str = "float32",
        name: str | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        if not isinstance(net, nn.Module):
            raise VidexplainError(f"a network has to be a torch.nn.Module, not {type(net).__name__}.")
        if layout is not None and layout not in LAYOUTS:
            raise unknown_name("layout", layout, LAYOUTS)
        if framing not in ("crop", "resize", "letterbox"):
            raise unknown_name("framing", framing, ("crop", "resize", "letterbox"))
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise VidexplainError("mean and std need three values each, and std positive ones.")
        if (clip_length is not None and clip_length < 1) or (
            size is not None and (len(size) != 2 or min(size) < 1)
        ):
            raise VidexplainError(f"a network input of {clip_length} frames of {size} cannot be.")
        self.net = net
        self.name = name or type(net).__name__
        if _device_of(net).type == "meta":
            raise VidexplainError(
                f"{self.name} has no weights yet (it is on the meta device); load them first."
            )
        form = self._form(layout, clip_length, size)
        self.layout, self.clip_length = form.layout, form.clip_length
        self.size = (int(form.size[0]), int(form.size[1]))
        self.mean = tuple(float(value) for value in mean)
        self.std = tuple(float(value) for value in std)
        self.framing = framing
        self.short_side = short_side
        self.device = _device_of(net)
        self._cam_layer: str | None = None  # as asked for
        self._found_cam_layer: str | None = None
        self._token_grid = TokenGrid.of(token_grid)
        self._labels: list[str] | None = None  # as given, or as made up
        self.has_class_names = False
        self._num_classes: int | None = None
        self._findings: dict[Any, Findings] = {}
        self._wants_contiguous = False
        self._fingerprint: tuple[Any, str] | None = None
        self.origin: dict[str, Any] = {}
        self.adapted(labels=labels, cam_layer=cam_layer, precision=precision, device=device)

    def _form(self, layout: str | None, clip_length: int | None, size: tuple[int, int] | None) -> InputForm:
        """As asked for, the rest as it is found."""
        if layout is not None and size is not None:
            return InputForm(layout, clip_length or (1 if layout == "BCHW" else CLIP_LENGTH), size)
        with evaluating(self.net), torch.no_grad():
            return find_input_form(
                self.net, lambda x: _logits_of(self.net(x), 1, self.name), layout, clip_length, size
            )

    def adapted(
        self,
        *,
        labels: Sequence[str] | None = None,
        cam_layer: str | None = None,
        precision: str | None = None,
        device: torch.device | str | None = None,
    ) -> Classifier:
        """Itself, with what is not None changed."""
        if labels is not None:
            self._labels = [str(label) for label in labels]
            self.has_class_names = True
        if cam_layer is not None:
            modules = [name for name, _ in self.net.named_modules() if name]
            if cam_layer not in modules:
                raise unknown_name(f"layer of {self.name}", cam_layer, modules)
            self._cam_layer = cam_layer
        if precision is not None:
            if precision not in PRECISIONS:
                raise unknown_name("precision", precision, PRECISIONS)
            self.precision = precision
        if device is not None:
            try:
                self.device = torch.device(device)
                self.net.to(self.device)
            except (RuntimeError, AssertionError) as error:
                raise VidexplainError(f"device {str(device)!r} cannot be used: {error}") from error
        return self

    def __repr__(self) -> str:
        height, width = self.size
        return f"Classifier({self.name}, {self.clip_length}x{height}x{width}, {self.layout}, {self.device})"

    def fingerprint(self) -> str:
        """Hash of the weights and of all else that decides what the network answers; the same in every process.

        Weights are read again only when one of them was replaced or overwritten since.
        """
        settings = (self.name, self.size, self.mean, self.std, self.framing, self.short_side, self.precision)
        state = sorted(self.net.state_dict().items())
        seen = repr((*settings, self._cam_layer)), [_mark(tensor) for _, tensor in state]
        if self._fingerprint is None or self._fingerprint[0] != seen:
            self._fingerprint = seen, self._hash(repr((*settings, self._cam_layer)), state)
        return self._fingerprint[1]

    @staticmethod
    def _hash(settings: str, state: list[tuple[str, torch.Tensor]]) -> str:
        digest = hashlib.sha256(settings.encode())
        with ThreadPoolExecutor(2) as pool:  # hashing leaves Python's lock
            for (name, _), own in zip(state, pool.map(_hash, (t for _, t in state)), strict=True):
                digest.update(name.encode() + own)
        return digest.hexdigest()

    # What the network is

    @property
    def is_image_model(self) -> bool:
        return self.layout == "BCHW"

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the parameters, to which inputs are cast."""
        return next((p.dtype for p in self.net.parameters() if p.is_floating_point()), torch.float32)

    @property
    def num_classes(self) -> int:
        if self._num_classes is None:
            self._num_classes = self.predict(self.blank()).shape[1]
        return self._num_classes

    @property
    def labels(self) -> list[str]:
        if self._labels is None:
            self._labels = [f"class {index}" for index in range(self.num_classes)]
        return self._labels

    @property
    def cam_layer(self) -> str:
        """Dotted name of the layer whose output makes class activation maps."""
        if self._cam_layer is not None:
            return self._cam_layer
        if self._found_cam_layer is None:
            found = find_cam_layer(self)
            self._found_cam_layer = found.name
            self._token_grid = self._token_grid or found.tokens
        return self._found_cam_layer

    @property
    def token_grid(self) -> TokenGrid | None:
        """The grid behind a layer of tokens; None for layers that put out a grid already."""
        return self._token_grid

    # From frames to the network

    def blank(self, batch: int = 1) -> torch.Tensor:
        """A clip of the right shape with the mean colour, float32 (batch, 3, T, h, w)."""
        return torch.zeros(batch, 3, self.clip_length, *self.size, device=self.device)

    def geometry(self, source: tuple[int, int]) -> Geometry:
        """How a source frame of (height, width) becomes the network input."""
        from videxplain.clip import Geometry

        return Geometry.fit(source, self.size, mode=self.framing, short_side=self.short_side)  # type: ignore[arg-type]

    def prepare(self, clips: Clip | np.ndarray | Sequence[Clip | np.ndarray]) -> torch.Tensor:
        """Frames as the network wants them.

        Parameters
        ----------
        clips : a clip or a sequence of clips: `Clip`, or uint8 RGB (T, H, W, 3) or (H, W, 3). A clip for a
            video model that is too short is prolonged by its last frame. A `Clip` with a geometry is at the
            network's size already and is not cropped or scaled again.

        Returns
        -------
        float32 (B, 3, T, h, w), normalised, on the device.

        Raises
        ------
        VidexplainError : wrong dtype or shape, a clip longer than the network takes, unequal lengths.
        """
        single = isinstance(clips, np.ndarray) or hasattr(clips, "frames")
        items: list[Any] = [clips] if single else list(clips)  # type: ignore[arg-type]
        if not items:
            raise VidexplainError("there is no clip to prepare.")
        frames = [
            self._fit(getattr(item, "frames", item), getattr(item, "geometry", None) is not None)
            for item in items
        ]
        lengths = {len(part) for part in frames}
        if len(lengths) > 1:
            raise VidexplainError(
                f"clips in one batch have to be of one length, not {sorted(lengths)} frames."
            )
        batch = torch.from_numpy(np.stack(frames)).to(self.device).permute(0, 4, 1, 2, 3)
        return self.from_rgb(batch.to(torch.float32) / 255)

    def _fit(self, frames: np.ndarray, fitted: bool) -> np.ndarray:
        """uint8 (T, H, W, 3) of any size to the network's size and length."""
        if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8:
            kind = getattr(frames, "dtype", type(frames).__name__)
            raise VidexplainError(f"frames have to be uint8 RGB in a numpy array, not {kind}.")
        if frames.ndim == 3:
            frames = frames[None]
        if frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
            raise VidexplainError(f"frames have to be (T, H, W, 3), not {tuple(frames.shape)}.")
        if not self.is_image_model:
            missing = self.clip_length - len(frames)
            if missing < 0:
                raise VidexplainError(
                    f"a clip of {len(frames)} frames is too long for {self.name}, which takes "
                    f"{self.clip_length}; cut it with open_video(...).clips(length={self.clip_length})."
                )
            if missing:
                frames = np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
        height, width = frames.shape[1:3]
        if not fitted:
            return self.geometry((height, width)).apply(frames)
        if (height, width) != tuple(self.size):
            raise VidexplainError(
                f"a clip with a geometry has to be at the size of {self.name}, {self.size[1]}x{self.size[0]}, "
                f"not {width}x{height}."
            )
        return frames

    def _scale(self, values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
        return torch.tensor(values, dtype=like.dtype, device=like.device).view(3, 1, 1, 1)

    def from_rgb(self, rgb: torch.Tensor) -> torch.Tensor:
        """RGB in [0, 1], (..., 3, T, h, w), to normalised network input."""
        return (rgb - self._scale(self.mean, rgb)) / self._scale(self.std, rgb)

    def to_rgb(self, x: torch.Tensor) -> torch.Tensor:
        """Inverse of `from_rgb`, clipped to [0, 1]."""
        return (x * self._scale(self.std, x) + self._scale(self.mean, x)).clamp(0, 1)

    # Through the network

    def findings(self, x: torch.Tensor) -> Findings:
        """What the network's use on clips of the shape of x (B, C, T, h, w) has shown; the first use tries it out."""
        channels, frames, *size = x.shape[1:]
        shape = (
            channels,
            1 if self.is_image_model else frames,
            *size,
        )  # frames go through an image model on their own
        key = (shape, x.dtype, str(x.device), self.precision)
        if key not in self._findings:
            self._findings[key] = try_out(self, x)
        return self._findings[key]

    @property
    def takes_clips_one_by_one(self) -> bool:
        """Whether the network was found to answer clips of a batch differently than on their own."""
        return any(not found.is_independent for found in self._findings.values())

    def frame_logits(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, N, num_classes) of a normalised batch (B, 3, T, h, w); differentiable.

        N is T for image models, which see every frame on its own, and 1 for video models.
        """
        if x.ndim != 5 or x.shape[1] != 3 or not x.is_floating_point():
            raise VidexplainError(
                f"network input has to be floating (B, 3, T, h, w), not {x.dtype} {tuple(x.shape)}; "
                "Classifier.prepare makes it."
            )
        if _device_of(self.net).type == "meta":
            raise VidexplainError(
                f"{self.name} has no weights yet (it is on the meta device); load them first."
            )
        batch, _, frames = x.shape[:3]
        inputs = x.to(self.dtype)
        if inputs is x:
            inputs = x.clone()  # some networks overwrite their input
        if self.layout == "BTCHW":
            inputs = inputs.transpose(1, 2)
        elif self.layout == "BCHW":
            # a lone frame is taken out as it lies: flatten would hide from the convolutions that channels come last
            inputs = inputs.squeeze(2) if frames == 1 else inputs.transpose(1, 2).flatten(0, 1)
        if self._wants_contiguous:
            inputs = inputs.contiguous()
        # an autocast of the caller's own stays in force where none is asked for
        lower = self.precision == "bfloat16"
        cast = torch.autocast(x.device.type, torch.bfloat16) if lower else nullcontext()
        with evaluating(self.net), cast:
            try:
                if self.takes_clips_one_by_one:
                    logits = torch.cat([_logits_of(self.net(row), 1, self.name) for row in inputs.split(1)])
                else:
                    logits = _logits_of(self.net(inputs), len(inputs), self.name)
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as error:
                if "view size is not compatible" in str(error) and not self._wants_contiguous:
                    self._wants_contiguous = (
                        True  # the network uses view, which channels that lie last do not allow
                    )
                    return self.frame_logits(x)
                kind = "images" if self.is_image_model else "clips"
                wanted = (3, *(() if self.is_image_model else (self.clip_length,)), *self.size)
                raise VidexplainError(
                    f"{self.name} takes {kind} of {wanted}, as it was set up, and could not use "
                    f"{tuple(inputs.shape[1:])} in layout {self.layout[1:]}: {in_one_line(error)}; give layout, size "
                    "and clip_length as the network wants them."
                ) from error
        self._check_classes(logits.shape[1])
        return logits.float().view(batch, -1, logits.shape[1])

    def _check_classes(self, outputs: int) -> None:
        """Raises where so many outputs of the network cannot be classes."""
        if self._labels is not None and len(self._labels) != outputs:
            raise VidexplainError(
                f"{self.name} has {outputs} outputs but {len(self._labels)} class names were given."
            )
        if outputs == 1:
            raise VidexplainError(
                f"{self.name} has one output, of which a softmax is always 1; wrap it in a module that returns two "
                "logits, such as torch.cat([-x, x], dim=1) / 2 for one that is meant for a sigmoid."
            )

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, num_classes) of a normalised batch (B, 3, T, h, w); differentiable.

        An image model's are the mean over the frames.
        """
        return self.frame_logits(x).mean(1)

    @torch.no_grad()
    def predict(self, x: torch.Tensor) -> torch.Tensor:
        """Probabilities (B, num_classes); an image model's are the mean over the frames."""
        logits = self.frame_logits(x)
        if may_be_no_logits(self, logits):
            self.findings(x)
        return logits.softmax(-1).mean(1)

    # Classes

    def resolve_target(
        self, target: Target | Sequence[Target] | torch.Tensor, probabilities: torch.Tensor
    ) -> torch.Tensor:
        """Class indices, int64 (B,).

        Parameters
        ----------
        target : index, class name, "#k" for the k-th most probable class (from 1), None for the most
            probable; or a sequence of those, one per sample.
        probabilities : (B, num_classes).

        Raises
        ------
        VidexplainError : no such class, or not one target per sample.
        """
        batch = probabilities.shape[0]
        if isinstance(target, torch.Tensor | np.ndarray):
            target = target.tolist()
        if isinstance(target, list | tuple):
            if len(target) != batch:
                raise VidexplainError(f"{len(target)} target classes were given for {batch} clips.")
            wanted: list[Any] = list(target)
        else:
            wanted = [target] * batch
        found = [self._class_index(one, row) for one, row in zip(wanted, probabilities, strict=True)]
        return torch.tensor(found, dtype=torch.long, device=probabilities.device)

    def check_target(self, target: Any) -> None:
        """Raises, before any clip is there, where `target` can be no class."""
        self._class_index(target, torch.zeros(self.num_classes))

    def _class_index(self, target: Any, probabilities: torch.Tensor) -> int:
        count = len(probabilities)
        if target is None:
            return int(probabilities.argmax())
        if isinstance(target, str):
            if target in self.labels:
                return self.labels.index(target)
            if target.startswith("#") and target[1:].isdigit():
                rank = int(target[1:])
                if not 1 <= rank <= count:
                    raise VidexplainError(f"target {target!r} is out of range; there are {count} classes.")
                return int(probabilities.argsort(descending=True, stable=True)[rank - 1])
            folded = [label.casefold() for label in self.labels]
            if target.casefold() in folded:
                return folded.index(target.casefold())
            if not target.lstrip("-").isdigit():
                raise unknown_name("class", target, self.labels)
            target = int(target)
        if isinstance(target, bool) or not isinstance(target, int | np.integer):
            raise VidexplainError(f"a class is an index, a name or '#k', not {target!r}.")
        if not 0 <= target < count:
            raise VidexplainError(
                f"class {target} is out of range; {self.name} has classes 0 to {count - 1}."
            )
        return int(target)

    # Class activation maps

    def cam_grid(self, activation: Any, frames: int = 1) -> torch.Tensor:
        """The raw output of the CAM layer as (B, C, t, h, w).

        Takes 2-D and 3-D feature maps, channels-last maps, and tokens, whose class token is dropped. An image
        model's feature maps come out as (B, C, 1, h, w); with `frames` = T, rows are regrouped to
        (B / T, C, T, h, w).

        Raises
        ------
        VidexplainError : the layer's output is no grid.
        """
        name = self.cam_layer
        grid = to_grid(first_tensor(activation), self._token_grid, image=self.is_image_model, name=name)
        if frames > 1 and self.is_image_model:
            grid = grid.squeeze(2).unflatten(0, (-1, frames)).transpose(1, 2)
        return grid


def _device_of(net: nn.Module) -> torch.device:
    return next((parameter.device for parameter in net.parameters()), torch.device("cpu"))


def _logits_of(output: Any, rows: int, name: str) -> torch.Tensor:
    """The (rows, num_classes) tensor in whatever a network returns; two that might be it are never guessed between."""
    found = _named_logits(output)
    if found is None:
        candidates = {where: x for where, x in _tensors_in(output) if _is_logits(x, rows)}
        if len(candidates) > 1:
            listed = ", ".join(f"{where} {tuple(x.shape)}" for where, x in candidates.items())
            raise VidexplainError(
                f"{name} returns {_kind(output)}, in which several tensors may be the logits: {listed}; wrap it in a "
                "module that returns the logits only."
            )
        found = next(iter(candidates.values()), None)
    elif not _is_logits(found, rows):
        found = None
    if found is None:
        others = {len(x) for _, x in _tensors_in(output) if x.ndim and _is_logits(x, len(x))}
        if len(others) == 1:
            raise VidexplainError(
                f"{name} answered {rows} inputs with {others.pop()} rows; check its layout."
            )
        raise VidexplainError(
            f"{name} returns {_kind(output)}, in which no logits ({rows}, classes) are found; wrap it in a module that "
            "returns them."
        )
    return found.flatten(1)


def _kind(output: Any) -> str:
    """What a network returned, in words."""
    if isinstance(output, torch.Tensor):
        return f"{output.dtype} {tuple(output.shape)}"
    if isinstance(output, Mapping):
        return f"a {type(output).__name__} with {', '.join(map(repr, output))}"
    return f"a {type(output).__name__}"


def _named_logits(output: Any) -> Any:
    """What an output calls its logits, or None."""
    return output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)


def _tensors_in(output: Any, where: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of tuples, lists, dicts and dataclasses, each with where it is."""
    if isinstance(output, torch.Tensor):
        yield where, output
    elif isinstance(output, Mapping):
        for key, value in output.items():
            yield from _tensors_in(value, f"{where}[{key!r}]")
    elif isinstance(output, list | tuple):
        for index, value in enumerate(output):
            yield from _tensors_in(value, f"{where}[{index}]")
    elif dataclasses.is_dataclass(output):
        for part in dataclasses.fields(output):
            yield from _tensors_in(getattr(output, part.name), f"{where}.{part.name}")


def _is_logits(x: Any, rows: int) -> bool:
    """Whether a tensor can be (rows, classes), with nothing but axes of length 1 behind them."""
    return (
        isinstance(x, torch.Tensor)
        and x.is_floating_point()
        and x.ndim >= 2
        and len(x) == rows
        and x[0].numel() == x.shape[1]
    )
