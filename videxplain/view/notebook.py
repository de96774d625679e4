"""The page in a notebook: the same module, as a widget."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videxplain.errors import VidexplainError
from videxplain.view.opening import PathLike, Shown, scene_of
from videxplain.view.page import embedded_data, one_module, static

if TYPE_CHECKING:
    from videxplain.explanations.evidence import Evidence
    from videxplain.explanations.when import WhenCurve
    from videxplain.models import Classifier
    from videxplain.view.asking import Asker

_RENDER = """
export default {
  async render({ model, el }) {
    const source = embedded(model.get("data"));
    if (model.get("asks")) {
      const waiting = new Map();
      let last = 0;
      model.on("msg:custom", ({ id, answer, error }) => {
        const { resolve, reject } = waiting.get(id) ?? {};
        waiting.delete(id);
        if (error) reject?.(new Error(error));
        else resolve?.(answer);
      });
      const ask = (kind) => (question) => new Promise((resolve, reject) => {
        last += 1;
        waiting.set(last, { resolve, reject });
        model.send({ id: last, kind, question });
      });
      source.ask = { hide: ask("hide"), explain: ask("explain") };
    }
    await mount(el, source, { address: false });
  },
};
"""


def widget(
    what: Shown,
    model: Classifier | None = None,
    *,
    evidence: PathLike | Evidence | None = None,
    when: PathLike | WhenCurve | None = None,
) -> Any:
    """The page as a widget for notebooks (Jupyter, VS Code, Colab), which need the package anywidget.

    Parameters
    ----------
    what
        As for `export_page`.
    model
        The network that was explained, to ask again; without it the page only shows.
    evidence, when
        As for `export_page`.

    Returns
    -------
    anywidget.AnyWidget
        It shows itself as the last value of a cell.

    Raises
    ------
    VidexplainError
        If anywidget is missing, or `what` cannot be shown.
    """
    try:
        import anywidget
        import traitlets
    except ImportError as error:
        raise VidexplainError(
            "the widget needs anywidget; install it with pip install 'videxplain[notebook]', or write the page as a "
            "file with export_page()."
        ) from error
    from videxplain.view.asking import Asker

    scene = scene_of(what, evidence=evidence, when=when)
    asker = None if model is None else Asker(model, scene)
    with tempfile.TemporaryDirectory() as folder:
        data = embedded_data(scene, Path(folder))
    data["summary"]["asking"] = (
        {"reason": "Give widget() the network to ask again."} if asker is None else asker.choices()
    )

    class Page(anywidget.AnyWidget):
        _esm = one_module() + _RENDER
        _css = static("style.css")
        data = traitlets.Dict().tag(sync=True)
        asks = traitlets.Bool().tag(sync=True)

    page = Page(data=data, asks=asker is not None)

    def answer(_: Any, content: dict[str, Any], buffers: Any) -> None:
        page.send({"id": content.get("id"), **_answer(asker, content)})

    page.on_msg(answer)
    return page


def _answer(asker: Asker | None, content: Any) -> dict[str, Any]:
    """What the network says to a question of the page, or why it says nothing."""
    try:
        if asker is None or not isinstance(content, dict):
            raise VidexplainError("this page has no network to ask; give widget(..., model=...)")
        return {"answer": asker.answer(str(content.get("kind")), content.get("question"))}
    except VidexplainError as error:
        return {"error": str(error)}
