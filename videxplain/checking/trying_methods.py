"""A row about which methods work."""

from __future__ import annotations

from dataclasses import replace

import torch

from videxplain.attribution.methods import METHODS, Method, PixelMethod
from videxplain.attribution.query import Query
from videxplain.checking.subject import Subject
from videxplain.checking.table import Row, Verdict
from videxplain.errors import VidexplainError

_LEAST = {"samples": 4, "passes": 4, "steps": 1, "refine_top": 0}


def methods(subject: Subject) -> Row:
    """Which methods work, and why others are refused; each is tried with the least effort, on four supervoxels."""
    clip = subject.clip
    height = torch.arange(clip.shape[3])[:, None] * 2 // clip.shape[3]
    width = torch.arange(clip.shape[4]) * 2 // clip.shape[4]
    labels = (2 * height + width).expand(1, *clip.shape[2:]).to(torch.int32).contiguous().to(clip.device)
    question = replace(subject.question, target=subject.target)
    shared: dict[object, Query] = {}
    works: list[str] = []
    refused: dict[str, list[str]] = {}
    broken: dict[str, list[str]] = {}
    for name in METHODS:
        try:
            method = _with_least_effort(METHODS[name])
            key = method.needs if isinstance(method, PixelMethod) else name
            if key not in shared:
                shared[key] = Query(subject.model, clip, labels, 4, question, methods=[method])
            scores = method.score(shared[key])
            if not bool(torch.isfinite(scores).all()):
                broken.setdefault("its scores are NaN or infinite", []).append(name)
            elif method.asks and not bool(scores.any()):
                refused.setdefault("all scores are zero", []).append(name)
            else:
                works.append(name)
        except (VidexplainError, ImportError) as error:
            refused.setdefault(_reason(error), []).append(name)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a method does with such a network
            broken.setdefault(f"{type(error).__name__}: {_reason(error)}", []).append(name)
    seen = f"{len(works)} work: {', '.join(works)}" if works else "none works"
    told = [f"{', '.join(names)} ({why})" for why, names in (*broken.items(), *refused.items())]
    if not told:
        return Row("methods", "ok", seen)
    worst: Verdict = "failed" if not works else "warning" if broken else "note"
    lead = "do not"
    return Row("methods", worst, f"{seen}; {lead}: {'; '.join(told)}")


def _with_least_effort(kind: type[Method]) -> Method:
    options = {name: value for name, value in _LEAST.items() if name in kind.options()}
    return kind(**options)


def _reason(error: Exception) -> str:
    """What is wrong, without what to do."""
    text = " ".join(str(error).split()).split("; ")[0].rstrip(".")
    return text if len(text) <= 160 else f"{text[:157]}..."
