"""The one face that every network shows to the rest of the package."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from videxplain.clip import Clip, Geometry
from videxplain.errors import VidexplainError, unknown_name
from videxplain.models.answers import AnswerForm, answer_of, class_index
from videxplain.models.arrangement import Arguments, arrangement_digest, check_arrangement
from videxplain.models.cam_layers import CamLayer
from videxplain.models.fingerprint import Fingerprint
from videxplain.models.frames import fitted_clips, pictures, scaled
from videxplain.models.grids import find_cam_layers
from videxplain.models.hugging_face_config import as_configured, task_of
from videxplain.models.input_form import CLIP_LENGTH, InputForm, find_input_form, in_one_line
from videxplain.models.named_layers import look_up, split_name
from videxplain.models.trial import Findings, may_be_no_logits, try_out
from videxplain.settings import (
    Layout,
    NetworkSettings,
    Precision,
    Question,
    Target,
    TokenGrid,
    as_settings,
    short_form,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from videxplain.options import NetworkOptions


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Inside, every module is in evaluation mode; afterwards each is as it was, also after an exception."""
    # what torch.jit.freeze gives has no mode
    training = [module for module in net.modules() if getattr(module, "training", False)]
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
    net
        The network. It is used in evaluation mode and left in the mode it was in.
    settings, options
        How it is used: `NetworkSettings`, or its fields as keywords, such as `class_names` and `clip_length`. What is
        left out is found by looking at the network.
    device
        Moves the network there; None leaves it where it is.

    Attributes
    ----------
    settings : NetworkSettings
        As asked for.
    form : InputForm
        Layout, clip length and size of its input, as asked for or as found.
    origin : dict
        What `load_model` made it from.

    Raises
    ------
    VidexplainError
        For a setting that cannot be, and a network that has no weights yet.

    Examples
    --------
    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv3d(3, 4, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2))
    >>> Classifier(net, class_names=["still", "moving"], clip_length=8, size=(32, 32))
    Classifier(Sequential, 8x32x32, BCTHW, cpu)
    """

    def __init__(
        self,
        net: nn.Module,
        settings: NetworkSettings | None = None,
        *,
        device: torch.device | str | None = None,
        **options: Unpack[NetworkOptions],
    ) -> None:
        if not isinstance(net, nn.Module):
            raise VidexplainError(f"a network has to be a torch.nn.Module, not {type(net).__name__}.")
        [asked] = short_form(options, as_settings(settings, NetworkSettings, "settings"))
        self.net, asked = as_configured(net, asked, options)
        self.settings: NetworkSettings = replace(asked, name=asked.name or type(net).__name__)
        self.device = _device_of(net)
        self.origin: dict[str, Any] = {}
        self._class_names: list[str] | None = None  # as given, or as made up
        self._cam_layers: list[CamLayer] = []
        self._num_classes: int | None = None
        self._findings: dict[Any, Findings] = {}
        self._wants_contiguous = False
        self._frame: int | None = None  # the one whose answer is asked for
        self.answers = self._stated_answers()
        self.answers_are_known = self.settings.task is not None and self.settings.outputs is not None
        self._fingerprint = Fingerprint()
        self.form = self._find_form()
        self._gradient_fault: str | None = None
        if self.form.arrange is not None:
            self._gradient_fault = check_arrangement(self.form.arrange, (1, *self.form.row), self._like())
        self.configure(cam_layer=self.settings.cam_layer, device=device)

    def _find_form(self) -> InputForm:
        """As asked for, the rest as it is found."""
        self._require_weights()
        asked = self.settings
        if asked.layout is not None and asked.size is not None:
            length = asked.clip_length or (1 if asked.layout == "BCHW" else CLIP_LENGTH)
            return InputForm(asked.layout, length, asked.size, asked.channels, asked.arrange)
        with evaluating(self.net), torch.no_grad():
            return find_input_form(
                self.net,
                lambda form, rows: self._answer(
                    # a network may use view, which a permuted input does not allow
                    form.arguments(rows).each(torch.Tensor.contiguous),
                    1,
                    form.clip_length,
                ),
                asked,
            )

    def _like(self) -> torch.Tensor:
        """A tensor of the type and on the device that the network takes."""
        return torch.zeros((), dtype=self.dtype, device=self.device)

    def _refuse_gradient(self, _: torch.Tensor) -> None:
        """For a gradient that has come back to a clip."""
        self.check_gradients()

    def check_gradients(self) -> None:
        """Raises where `arrange` keeps gradients from a clip or a part of it."""
        if self._gradient_fault is not None:
            raise VidexplainError(
                f"no gradient of {self.name!r} can be trusted: {self._gradient_fault}; let arrange use torch's own "
                "operations only, or use a method without gradients (occlusion, lime)"
            )

    def _stated_answers(self) -> AnswerForm:
        """How answers are to be read as far as it is said, by the settings or by the network's own configuration."""
        asked = self.settings
        task = asked.task or task_of(getattr(self.net, "config", None)) or "single-label"
        return AnswerForm(task, asked.outputs or "logits", bool(asked.per_frame))

    def asking(self, question: Question, x: torch.Tensor) -> Classifier:
        """This network with the answer that a question is about: of one frame, or what an objective makes of it.

        Raises
        ------
        VidexplainError
            If it has no answer for that frame.
        """
        if question.frame is None and question.objective is None:
            return self
        asked = copy.copy(self)
        asked._findings = {}
        if question.objective is not None:
            name = getattr(question.objective, "__name__", "objective").strip("<>")
            asked.settings = replace(
                self.settings, select=question.objective, task="regression", class_names=[name]
            )
            asked.answers, asked.answers_are_known = AnswerForm("regression"), True
            asked._class_names, asked._num_classes = [name], 1
        if question.frame is not None:
            if not self.answers.per_frame and question.objective is None:
                self.findings(x)
                asked.answers = self.answers
            if not asked.answers.per_frame:
                raise VidexplainError(
                    f"frame means nothing to {self.name!r}, which has one answer for a clip; leave it out"
                )
            asked._frame, asked.answers_are_known = question.frame, True
        return asked

    def _require_weights(self) -> None:
        if _device_of(self.net).type == "meta":
            raise VidexplainError(
                f"{self.name} has no weights yet (it is on the meta device); load them first."
            )

    def configure(
        self,
        *,
        class_names: Sequence[str] | None = None,
        cam_layer: str | Sequence[str] | None = None,
        cam_layout: str | Sequence[str] | None = None,
        precision: Precision | None = None,
        name: str | None = None,
        device: torch.device | str | None = None,
    ) -> Classifier:
        """Changes what is not None; returns itself."""
        options = {"class_names": class_names, "cam_layer": cam_layer, "precision": precision, "name": name}
        before = self.settings
        if cam_layer is not None and cam_layer != before.cam_layer:
            before = replace(before, cam_layer=None, cam_layout=None)  # which told that layer's
        [settings] = short_form(options | {"cam_layout": cam_layout}, before)
        if cam_layer is not None or cam_layout is not None:
            modules = [module for module, _ in self.net.named_modules() if module]
            for layer in [cam_layer] if isinstance(cam_layer, str) else cam_layer or ():
                if split_name(layer)[0] not in modules:
                    raise unknown_name(f"layer of {self.name}", layer, modules)
            self._cam_layers = []
        self.settings = settings
        if settings.class_names is not None:
            self._class_names = list(settings.class_names)
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
        asked = self.settings
        framing = asked.framing, asked.short_side
        told = (asked.cam_layer, asked.cam_layout) if asked.cam_layout else (asked.cam_layer,)
        settings = (self.name, self.size, self.mean, self.std, *framing, self.precision, *told)
        read = [
            asked.task,
            asked.outputs,
            asked.per_frame,
            getattr(asked.select, "__qualname__", asked.select),
        ]
        answered = repr((*settings, *read) if any(read) else settings)
        scale = "" if asked.value_range is None else repr(asked.value_range)
        return self._fingerprint.of(self.net, answered + scale + self._arrangement)

    @cached_property
    def _arrangement(self) -> str:
        """What `arrange` does, for the fingerprint."""
        if self.form.arrange is None:
            return ""
        return arrangement_digest(self.form.arrange, (1, *self.form.row), self._like())

    # As it was set up

    @property
    def name(self) -> str:
        """For listings and results."""
        return self.settings.name or ""

    @property
    def precision(self) -> Precision:
        """Whether its layers run under autocast to bfloat16."""
        return self.settings.precision

    @property
    def layout(self) -> Layout:
        """Order of axes that the network takes."""
        return self.form.layout

    @property
    def clip_length(self) -> int:
        """Frames per clip, 1 for image models."""
        return self.form.clip_length

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network's input."""
        return self.form.size

    @property
    def channels(self) -> int:
        """Of a frame."""
        return self.settings.channels

    @property
    def mean(self) -> Sequence[float]:
        """Of each channel, of values in [0, 1]."""
        return self.settings.normalisation()[0]

    @property
    def std(self) -> Sequence[float]:
        """Likewise."""
        return self.settings.normalisation()[1]

    # What the network is

    @property
    def is_image_model(self) -> bool:
        """Whether it takes one frame at a time."""
        return self.layout == "BCHW"

    @property
    def has_attention(self) -> bool:
        """Whether it has attention, or layer normalisation, which comes with it."""
        kinds = nn.LayerNorm, nn.RMSNorm, nn.MultiheadAttention
        return any(isinstance(module, kinds) for module in self.net.modules())

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the parameters, to which inputs are cast."""
        return next((p.dtype for p in self.net.parameters() if p.is_floating_point()), torch.float32)

    @property
    def num_classes(self) -> int:
        """How many outputs it has, found by one pass the first time."""
        if self._num_classes is None:
            self._num_classes = self.predict(self.blank()).shape[1]
        return self._num_classes

    @property
    def class_names(self) -> list[str]:
        """As they were given, or "class 0", "class 1", ..."""
        if self._class_names is None:
            self._class_names = [f"class {index}" for index in range(self.num_classes)]
        return self._class_names

    @property
    def has_class_names(self) -> bool:
        """Whether they were given."""
        return self.settings.class_names is not None

    @property
    def cam_layers(self) -> list[CamLayer]:
        """The layers whose outputs make class activation maps, and how they lay out their grids."""
        if not self._cam_layers:
            self._cam_layers = look_up(self) if self.settings.cam_layer else find_cam_layers(self)
        return self._cam_layers

    def look_at_uses(self) -> None:
        """Looks how the uses of a layer belong together that was not known to be used several times."""
        self._cam_layers = look_up(self, by_kind=False)

    @property
    def cam_layer(self) -> str:
        """Dotted name of the layer whose output makes class activation maps; of several, joined by " + "."""
        asked = self.settings.cam_layer
        if asked is None:
            return " + ".join(layer.name for layer in self.cam_layers)
        return asked if isinstance(asked, str) else " + ".join(asked)

    @property
    def token_grid(self) -> TokenGrid | None:
        """The grid behind a layer of tokens; None for layers that put out a grid already."""
        if self.settings.token_grid is not None:
            return TokenGrid.of(self.settings.token_grid)
        return self._cam_layers[0].token_grid if self._cam_layers else None

    # From frames to the network

    def blank(self, batch: int = 1) -> torch.Tensor:
        """A clip of the right shape with the mean colour, float32 (batch, C, T, h, w)."""
        return torch.zeros(batch, self.channels, self.clip_length, *self.size, device=self.device)

    def geometry(self, source: tuple[int, int]) -> Geometry:
        """How a source frame of (height, width) becomes the network input."""
        return Geometry.fit(source, self.size, self.settings.framing, self.settings.short_side)

    def prepare(self, clips: Clip | np.ndarray | Sequence[Clip | np.ndarray]) -> torch.Tensor:
        """Frames as the network wants them.

        Parameters
        ----------
        clips
            A clip or a sequence of clips: `Clip`, or frames (T, H, W, C), or an image (H, W, C); of one channel also
            (T, H, W). Values are uint8, uint16 or floating point, on the scale of `NetworkSettings.value_range`. A
            clip for a video model that is too short is prolonged by its last frame. A `Clip` with a geometry is at the
            network's size already and is not cropped or scaled again.

        Returns
        -------
        torch.Tensor
            Of float32 (B, C, T, h, w), normalised, on the device.

        Raises
        ------
        VidexplainError
            For a wrong dtype, shape or scale, a clip longer than the network takes, and unequal lengths.
        """
        batch = scaled(fitted_clips(self, clips), self.settings.value_range, self.device)
        return self.from_rgb(batch.permute(0, 4, 1, 2, 3))

    @property
    def wants_all_bits(self) -> bool:
        """Whether images are best read with all the bits that they have, not as 8-bit colours."""
        asked = self.settings.value_range
        return self.channels == 1 or (asked is not None and max(asked) > 255)

    def pictures(self, frames: np.ndarray) -> np.ndarray:
        """What is cut and drawn of frames (T, H, W, C): uint8 (T, H, W, 3); see `NetworkSettings.picture`."""
        return pictures(self, frames)

    def _scale(self, values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
        return torch.tensor(values, dtype=like.dtype, device=like.device).view(-1, 1, 1, 1)

    def from_rgb(self, rgb: torch.Tensor) -> torch.Tensor:
        """Values scaled to [0, 1], RGB or others, (..., C, T, h, w), to normalised network input."""
        return (rgb - self._scale(self.mean, rgb)) / self._scale(self.std, rgb)

    def to_rgb(self, x: torch.Tensor) -> torch.Tensor:
        """Inverse of `from_rgb`, clipped to [0, 1]."""
        return (x * self._scale(self.std, x) + self._scale(self.mean, x)).clamp(0, 1)

    # Through the network

    def findings(self, x: torch.Tensor) -> Findings:
        """What the network's use on clips of the shape of x (B, C, T, h, w) has shown; the first use tries it out."""
        channels, frames, *size = x.shape[1:]
        # frames go through an image model on their own
        shape = (channels, 1 if self.is_image_model else frames, *size)
        key = (shape, x.dtype, str(x.device), self.precision)
        if key not in self._findings:
            self._findings[key] = try_out(self, x)
        return self._findings[key]

    @property
    def takes_clips_one_by_one(self) -> bool:
        """Whether the network was found to answer clips of a batch differently than on their own."""
        return any(not found.is_independent for found in self._findings.values())

    def frame_logits(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, N, num_classes) of a normalised batch (B, C, T, h, w); differentiable.

        N is T for image models, which see every frame on its own, and for networks that answer for each frame; else 1.
        Of a regression they are its values, of networks that give probabilities the logits that belong to these.
        """
        if x.ndim != 5 or x.shape[1] != self.channels or not x.is_floating_point():
            raise VidexplainError(
                f"network input has to be floating (B, {self.channels}, T, h, w), not {x.dtype} {tuple(x.shape)}; "
                "Classifier.prepare makes it."
            )
        logits = self.answers.logits(self.raw_answers(x))
        if self._frame is None:
            return logits
        if self._frame >= logits.shape[1]:
            raise VidexplainError(
                f"{self.name} has answers for {logits.shape[1]} frames, 0 to {logits.shape[1] - 1}, and none for "
                f"{self._frame}"
            )
        return logits[:, self._frame : self._frame + 1]

    def raw_answers(self, x: torch.Tensor) -> torch.Tensor:
        """What the network answers to a normalised batch (B, C, T, h, w), as it is: (B, N, outputs) float32."""
        self._require_weights()
        inputs = x.to(self.dtype)
        if inputs is x:
            inputs = x.clone()  # some networks overwrite their input
        if self._gradient_fault is not None and inputs.requires_grad:
            inputs.register_hook(self._refuse_gradient)
        rows = self.form.rows(inputs)
        parts = rows.split(1) if self.takes_clips_one_by_one else [rows]
        frames = 1 if self.is_image_model else x.shape[2]
        # an autocast of the caller's own stays in force where none is asked for
        lower = self.precision == "bfloat16"
        cast = torch.autocast(x.device.type, torch.bfloat16) if lower else nullcontext()
        with evaluating(self.net), cast:
            try:
                found = [self._answer(self.form.arguments(part), len(part), frames) for part in parts]
                answers = torch.cat(found) if len(found) > 1 else found[0]
            except (VidexplainError, torch.OutOfMemoryError):
                raise
            except Exception as error:  # of whatever kind a network raises
                if "view size is not compatible" in str(error) and not self._wants_contiguous:
                    # the network uses view, which channels that lie last do not allow
                    self._wants_contiguous = True
                    return self.raw_answers(x)
                kind = "images" if self.is_image_model else "clips"
                order = f"in layout {self.layout[1:]}" if self.form.arrange is None else "as arrange makes it"
                remedy = "layout, size and clip_length"
                if self.channels != 3 or self.form.arrange is not None:
                    remedy = "arrange, channels, size and clip_length"
                raise VidexplainError(
                    f"{self.name} takes {kind} of {self.form.row}, as it was set up, and could not use "
                    f"{self._shown(rows)} {order}: {in_one_line(error)}; give {remedy} as the network wants them."
                ) from error
        if self.answers.per_frame and answers.ndim == 2:  # of one class
            answers = answers[..., None]
        self._check_classes(answers.shape[-1], answers.ndim)
        return answers.float().view(len(x), -1, answers.shape[-1])

    def _answer(self, arguments: Arguments, rows: int, frames: int) -> torch.Tensor:
        """What the network answers, (rows, outputs) or (rows, frames, outputs), where it is called with these."""
        if self._wants_contiguous:
            arguments = arguments.each(torch.Tensor.contiguous)
        output = self.net(*arguments.args, **arguments.kwargs)
        return answer_of(output, rows, frames, self.settings.select, self.name)

    def _shown(self, rows: torch.Tensor) -> str:
        """The shapes of what rows are given to the network as, for sentences."""
        if self.form.arrange is None:
            return str(tuple(self.form.arguments(rows[:1]).args[0].shape[1:]))
        return str(tuple(rows.shape[1:]))

    def _check_classes(self, outputs: int, axes: int) -> None:
        """Raises where so many outputs of the network cannot be classes."""
        is_pair = outputs == 1 and len(self._class_names or ()) == 2 and self.answers.task != "regression"
        if is_pair != self.answers.is_pair:
            self.answers = replace(self.answers, task="single-label", is_pair=is_pair)
        by_frame = axes == 2 and outputs == self.clip_length and not self.answers_are_known
        if (
            self._class_names is not None
            and len(self._class_names) != outputs
            and not is_pair
            and not by_frame
        ):
            raise VidexplainError(
                f"{self.name} has {outputs} outputs but {len(self._class_names)} class names were given."
            )
        if outputs == 1 and self.settings.task == "single-label" and not is_pair:
            raise VidexplainError(
                f"{self.name} has one output, of which a softmax is always 1; say task='multi-label' for one that is "
                "meant for a sigmoid, task='regression' for a value."
            )

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, num_classes) of a normalised batch (B, C, T, h, w); differentiable.

        The mean over frames where these have answers.
        """
        return self.frame_logits(x).mean(1)

    @torch.no_grad()
    def predict(self, x: torch.Tensor) -> torch.Tensor:
        """Probabilities (B, num_classes), of a regression values; the mean over frames where these have answers."""
        logits = self.frame_logits(x)
        if not self.answers_are_known and may_be_no_logits(self, logits):
            self.findings(x)
            logits = self.frame_logits(x)
        return self.answers.probabilities(logits).mean(1)

    # Classes

    def resolve_target(self, target: Target | torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
        """Class indices, int64 (B,).

        Parameters
        ----------
        target
            Index, class name, "#k" for the k-th most probable class (from 1), None for the most probable; or a sequence
            of those, one per sample.
        probabilities
            Of shape (B, num_classes).

        Raises
        ------
        VidexplainError
            If there is no such class, or not one target per sample.
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
        found = [class_index(self, one, row) for one, row in zip(wanted, probabilities, strict=True)]
        return torch.tensor(found, dtype=torch.long, device=probabilities.device)

    def check_target(self, target: Target) -> None:
        """Raises, before any clip is there, where `target` can be no class."""
        class_index(self, target, torch.zeros(self.num_classes))

    # Class activation maps

    def cam_grid(self, activation: Any, frames: int = 1, batch: int | None = None) -> torch.Tensor:
        """The raw output of the CAM layer, the first of several, as (B, C, t, h, w).

        Takes 2-D and 3-D feature maps, channels-last maps, and tokens, whose class token is dropped. An image
        model's feature maps come out as (B, C, 1, h, w); with `frames` = T, rows are regrouped to
        (B / T, C, T, h, w). `batch` is B where frames are folded into the batch, one clip by default.

        Raises
        ------
        VidexplainError
            If the layer's output is no grid.
        """
        layer = self.cam_layers[0]
        picked = layer.pick(activation, self.is_image_model)
        if batch is None:
            batch = layer.batch_of(picked.shape)
        grid = layer.to_grid(picked, batch, self.is_image_model)
        if frames > 1 and self.is_image_model:
            grid = grid.squeeze(2).unflatten(0, (-1, frames)).transpose(1, 2)
        return grid


def _device_of(net: nn.Module) -> torch.device:
    return next((parameter.device for parameter in net.parameters()), torch.device("cpu"))
