from __future__ import annotations

import json
import threading
import time
from copy import deepcopy
from http.client import HTTPConnection

import numpy as np
import pytest
import torch

import videxplain as vx
from videxplain.view.asking import Asker
from videxplain.view.clip_scene import ClipScene
from videxplain.view.opening import open_scene
from videxplain.view.server import MOST_WAITING, application, listening

uvicorn = pytest.importorskip("uvicorn")
TOKEN = "secret"


class Running:
    """A server in a thread."""

    def __init__(self, scene, asker=None, video=None):
        self._context = listening(0)
        opened = self._context.__enter__()
        self.port = opened.getsockname()[1]
        app = application(scene, TOKEN, self.port, asker, "no network", video)
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [opened]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def ask(self, path, body=None, token=TOKEN, **headers):
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        query = f"?token={token}" if token is not None else ""
        content = None if body is None else body if isinstance(body, bytes) else json.dumps(body)
        connection.request("GET" if body is None else "POST", f"{path}{query}", content, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())

    def stop(self):
        self._server.should_exit = True
        self._thread.join(10)
        self._context.__exit__(None, None, None)


@pytest.fixture(scope="module")
def clip_server(explained_clip, network):
    scene = ClipScene(explained_clip)
    running = Running(scene, Asker(network, scene))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def video_server(explained_video):
    running = Running(open_scene([explained_video[0]], explained_video[1]), video=explained_video[1])
    yield running
    running.stop()


def test_only_its_own_page_with_the_token_is_answered(clip_server):
    assert clip_server.ask("/")[0] == 200
    for token in (None, "", "wrong"):
        for path in ("/", "/data", "/window/0", "/labels/0/0", "/frame/0", "/video", "/nothing"):
            assert clip_server.ask(path, token=token)[0] == 403
        assert clip_server.ask("/hide", {}, token=token)[0] == 403
    assert clip_server.ask("/data", Host="evil.example")[0] == 403
    assert clip_server.ask("/static/page.js", Host="evil.example")[0] == 403
    assert clip_server.ask("/data", Origin="http://evil.example")[0] == 403
    assert clip_server.ask("/data", Origin=f"http://127.0.0.1:{clip_server.port}")[0] == 200
    assert clip_server.ask("/hide", {}, Origin="null")[0] == 403


def test_only_the_pages_own_files_are_given(clip_server):
    assert b"mount" in clip_server.ask("/static/page.js", token=None)[1]
    for name in ("../page.py", "..%2fpage.py", "%2e%2e/server.py", "nothing.js", "/etc/passwd", "page.js%00"):
        assert clip_server.ask(f"/static/{name}")[0] in (403, 404), name


def test_headers_keep_others_out(clip_server):
    for path in ("/", "/data", "/static/page.js"):
        headers = clip_server.ask(path)[2]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


def test_what_there_is_not_is_said(clip_server):
    for path in (
        "/window/1",
        "/labels/0/9",
        "/labels/7/0",
        "/frame/16",
        "/video",
        "/shares/0/0",
        "/window/x",
    ):
        assert clip_server.ask(path)[0] == 404, path


def test_data_are_the_explanations(clip_server, explained_clip):
    assert json.loads(clip_server.ask("/data")[1])["size"] == [180, 240]
    layers = json.loads(clip_server.ask("/window/0")[1])["layers"]
    assert [layer["scores"] for layer in layers] == [one.scores.tolist() for one in explained_clip]


@pytest.mark.parametrize("keep", [False, True])
def test_hiding_answers_as_the_network_does(clip_server, explained_clip, network, keep):
    """Against the network on a clip that is masked by hand, in grey."""
    explanation = explained_clip[0]
    regions = explanation.top_ids(4).tolist()
    question = {"window": 0, "layer": 0, "regions": regions, "keep": keep, "fill": "grey"}
    status, content, _ = clip_server.ask("/hide", question)
    assert status == 200
    clip = vx.Clip.from_array(explanation.frames)
    x = network.prepare([clip])
    hidden = np.isin(explanation.labels, regions) != keep
    grey = (0.5 - torch.as_tensor(network.mean)) / torch.as_tensor(network.std)
    masked = torch.where(torch.from_numpy(hidden), grey.view(1, 3, 1, 1, 1).to(x.dtype), x)
    with torch.no_grad():
        expected = torch.softmax(deepcopy(network.net).eval()(masked).double(), dim=1)[0]
    told = dict(json.loads(content)["after"])
    for name, probability in told.items():
        assert probability == pytest.approx(float(expected[network.class_names.index(name)]), abs=1e-5)
    before = dict(json.loads(content)["before"])
    assert before[explanation.target_name] == pytest.approx(explanation.probability, abs=1e-5)


def test_another_method_and_class_over_the_same_regions(clip_server, explained_clip, network):
    question = {"window": 0, "layer": 0, "method": "grad-cam", "target": 3}
    layer = json.loads(clip_server.ask("/explain", question)[1])
    clip = vx.Clip.from_array(explained_clip[0].frames)
    expected = vx.explain(network, clip, "grad-cam", 3, labels=explained_clip[0].labels)
    assert layer["target_name"] == network.class_names[3]
    np.testing.assert_allclose(layer["scores"], expected.scores, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("path", "question", "words"),
    [
        ("/hide", b"{", "not JSON"),
        ("/hide", [], "with its values by name"),
        ("/other", {}, "'hide' or 'explain'"),
        ("/hide", {"window": True, "layer": 0, "regions": [0]}, "whole numbers"),
        ("/hide", {"window": 0, "layer": 0, "regions": ["a"]}, "whole numbers"),
        ("/hide", {"window": 0, "layer": 0, "regions": [10**9], "fill": "grey"}, "one or more of 0 to"),
        ("/hide", {"window": 0, "layer": 0, "regions": [], "fill": "grey"}, "one or more of 0 to"),
        ("/hide", {"window": -1, "layer": 0, "regions": [0], "fill": "grey"}, "no window -1"),
        ("/hide", {"window": 0, "layer": 9, "regions": [0], "fill": "grey"}, "no explanation 9"),
        ("/hide", {"window": 0, "layer": 0, "regions": [0], "fill": "purple"}, "purple"),
        ("/explain", {"window": 0, "layer": 0, "method": "magic", "target": 0}, "magic"),
        ("/explain", {"window": 0, "layer": 0, "method": "guided", "target": 99}, "99"),
        ("/hide", b"[" * (2 << 20), "too long"),
    ],
)
def test_questions_that_cannot_be_answered(clip_server, path, question, words):
    status, content, _ = clip_server.ask(path, question)
    assert 400 <= status < 500 and words in content.decode()


def test_only_so_many_questions_wait(explained_clip):
    class Slow:
        def choices(self):
            return {}

        def answer(self, kind, question):
            time.sleep(1)
            return {}

    running = Running(ClipScene(explained_clip), Slow())
    statuses = []
    threads = [
        threading.Thread(target=lambda: statuses.append(running.ask("/hide", {})[0]))
        for _ in range(MOST_WAITING + 3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    running.stop()
    assert statuses.count(429) >= 1 and statuses.count(200) >= MOST_WAITING


def test_a_page_without_a_network_says_so(video_server):
    assert video_server.ask("/hide", {"window": 0})[:2] == (409, b"no network")
    assert json.loads(video_server.ask("/data")[1])["asking"] == {"reason": "no network"}


def test_a_video_is_given_in_parts(video_server, explained_video):
    status, content, _ = video_server.ask("/video", Range="bytes=100-199")
    assert status == 206 and content == explained_video[1].read_bytes()[100:200]


def test_shares_follow_a_number(video_server, explained_video):
    saved = vx.open_explanations(explained_video[0])
    number = saved[0].supervoxels[0]["number"]
    shares = json.loads(video_server.ask(f"/shares/{number}/0")[1])
    expected = [
        next((row["share"] for row in window.supervoxels if row["number"] == number), None)
        for window in saved
    ]
    assert shares == expected and shares[0] is not None
    assert video_server.ask(f"/shares/{number}/1")[0] == 404


def test_other_weights_are_refused(explained_clip):
    other = vx.load_model("c3d-motion", weights="random")
    scene = ClipScene(explained_clip)
    with pytest.raises(vx.VidexplainError, match="other weights"):
        Asker(other, scene, scene.provenance()["model_sha256"])


def test_a_port_in_use_is_said():
    with listening(0) as opened:
        opened.listen()
        with pytest.raises(vx.VidexplainError, match="cannot be used"), listening(opened.getsockname()[1]):
            pass
