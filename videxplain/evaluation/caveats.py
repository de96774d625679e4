"""What the sanity check (docs/studies/experiments.md) says against methods, for those who read their pictures."""

from __future__ import annotations

CAVEATS = {
    "guided": (
        "note: guided backpropagation hardly changes when the network's last layer is made random, so it shows what "
        "the network looks at more than why this class and no other; compare with grad-cam"
    ),
    "relu-activation": "note: relu-activation is the same for every class, whichever is asked about",
    "eigen-cam": "note: eigen-cam is the same for every class, whichever is asked about",
}
"""By method: a sentence to print beside its explanations."""
