from __future__ import annotations

import numpy as np
import pytest

import videxplain as vx

pytest.importorskip("anywidget")


def test_a_widget_holds_the_page_and_answers(explained_clip, network, monkeypatch):
    page = vx.widget(explained_clip, network)
    assert page.data["summary"]["asking"]["methods"] == list(vx.METHODS)
    assert 'from "./' not in page._esm and "export default" in page._esm
    sent = []
    monkeypatch.setattr(type(page), "send", lambda self, content: sent.append(content))
    regions = explained_clip[0].top_ids(2).tolist()
    question = {"window": 0, "layer": 0, "regions": regions, "keep": False, "fill": "mean"}
    page._handle_custom_msg({"id": 4, "kind": "hide", "question": question}, [])
    page._handle_custom_msg({"id": 5, "kind": "explain", "question": {}}, [])
    assert sent[0]["id"] == 4
    before = dict(sent[0]["answer"]["before"])
    assert np.isclose(before[explained_clip[0].target_name], explained_clip[0].probability)
    assert sent[1] == {"id": 5, "error": "window and layer have to be whole numbers"}


def test_a_widget_without_a_network(explained_clip):
    page = vx.widget(explained_clip[0])
    assert not page.asks and "reason" in page.data["summary"]["asking"]
    with pytest.raises(vx.VidexplainError, match="a page is made of"):
        vx.widget(3)
