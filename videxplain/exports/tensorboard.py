"""TensorBoard: what the network said over time, and an explained picture of each window."""

from __future__ import annotations

from pathlib import Path

from videxplain.exports.explained import Explained
from videxplain.exports.formats import exports_to
from videxplain.render import Painter, picture_of


@exports_to("tensorboard", package="tensorboard", takes_top_k=True)
def write(explained: Explained, path: Path, top_k: int) -> None:
    """A step is a window's first frame; its wall time is the time in the video."""
    from torch.utils.tensorboard import SummaryWriter

    kind = "value" if explained.is_value else "probability"
    writer = SummaryWriter(str(path))  # type: ignore[no-untyped-call]
    try:
        for window in explained.windows(pictures=True):
            explanation, step = window.explanation, window.shown[0].number
            said = dict(explanation.predictions) | {explanation.target_name: explanation.probability}
            for name, value in said.items():
                writer.add_scalar(f"{kind}/{name}", value, step, window.begin)  # type: ignore[no-untyped-call]
            middle = window.shown[len(window.shown) // 2].index
            count = top_k or len(explanation.scores)
            picture = Painter(explanation, picture_of(True, top_k=count))(window.picture(middle), middle)
            writer.add_image("explained", picture, step, window.begin, "HWC")  # type: ignore[no-untyped-call]
    finally:
        writer.close()  # type: ignore[no-untyped-call]
