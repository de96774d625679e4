"""The paper's own figures, to stand beside ours: "Gradient Weighted Superpixels for Interpretability in CNNs"."""

from __future__ import annotations

NETWORKS = ("VGG16", "ResNet50", "C3D")

# (worst first, best first) per network, in percent
TABLE_1: dict[str, tuple[tuple[float, float], ...]] = {
    "random": ((34.48, 34.50), (40.45, 40.47), (25.49, 25.66)),
    "lime-50": ((60.78, 13.07), (68.83, 15.77), (42.44, 12.14)),
    "lime-75": ((64.02, 11.16), (71.69, 13.54), (45.25, 10.30)),
    "lime-100": ((66.15, 9.87), (73.59, 12.35), (47.93, 9.12)),
    "lime-500": ((74.79, 7.20), (79.84, 9.20), (59.97, 5.92)),
    "lime-1000": ((76.16, 6.94), (80.85, 8.81), (63.20, 5.54)),
    "vanilla": ((61.50, 14.21), (66.18, 19.36), (45.91, 14.95)),
    "guided": ((66.60, 11.40), (72.01, 14.85), (49.96, 11.92)),
    "input-x-gradient": ((59.38, 16.53), (64.14, 21.57), (43.90, 16.29)),
    "grad-cam": ((65.83, 12.24), (71.84, 14.75), (48.49, 14.69)),
    "guided-grad-cam": ((66.31, 13.09), (74.35, 14.19), (51.19, 12.53)),
    "grad-cam++": ((64.89, 12.25), (69.91, 15.39), (47.95, 14.75)),
    "act-grad-cam": ((67.28, 11.31), (70.54, 15.09), (47.85, 15.50)),
    "guided-act-grad-cam": ((67.30, 11.68), (73.51, 14.33), (50.99, 13.07)),
    "relu-activation": ((63.70, 12.64), (66.26, 17.70), (42.32, 20.86)),
}

# (k = 1, k = 5) per network, in percent
TABLE_2: dict[str, tuple[tuple[float, float], ...]] = {
    "lime-50": ((43.71, 69.98), (49.27, 76.44), (23.93, 47.63)),
    "lime-75": ((51.07, 77.18), (57.34, 83.61), (30.40, 55.92)),
    "lime-100": ((56.27, 81.53), (62.59, 87.97), (35.79, 61.53)),
    "lime-500": ((76.82, 95.23), (80.88, 97.62), (61.85, 87.33)),
    "vanilla": ((32.27, 65.30), (27.96, 60.34), (24.04, 52.47)),
    "guided": ((44.95, 78.58), (44.48, 78.09), (33.24, 64.05)),
    "input-x-gradient": ((26.17, 57.09), (23.16, 53.42), (18.75, 45.35)),
    "grad-cam": ((41.29, 78.36), (36.75, 74.62), (22.88, 52.42)),
    "guided-grad-cam": ((40.36, 77.12), (48.71, 82.93), (31.97, 63.55)),
    "grad-cam++": ((39.43, 75.27), (34.37, 71.16), (20.47, 45.37)),
    "act-grad-cam": ((43.55, 80.09), (34.84, 72.22), (22.31, 51.41)),
    "guided-act-grad-cam": ((43.32, 78.99), (47.35, 81.35), (31.33, 63.06)),
    "relu-activation": ((37.15, 72.09), (27.90, 61.62), (5.53, 17.94)),
}

# Seconds per clip on C3D as section 4.3 gives them, segmentation left out.
SECONDS: dict[str, float] = {"guided": 0.13, "lime-50": 1.0, "lime-75": 1.5}

TABLES = {"removal": (TABLE_1, ("worst", "best")), "agreement": (TABLE_2, ("top1", "top5"))}


def published(experiment: str, method: str, network: str) -> dict[str, float]:
    """The paper's figures for a method, by measure, as fractions; empty where it has none."""
    if experiment == "timing" and network == "C3D" and method in SECONDS:
        return {"scoring": SECONDS[method]}
    table, names = TABLES.get(experiment, ({}, ()))
    if method not in table:
        return {}
    values = table[method][NETWORKS.index(network)]
    return {name: value / 100 for name, value in zip(names, values, strict=True)}


def network_of(model_name: str, is_image_model: bool) -> str:
    """Which of the paper's networks is to stand beside a model: its namesake, else C3D for video."""
    for network in NETWORKS:
        if network.lower() in model_name.lower():
            return network
    return "ResNet50" if is_image_model else "C3D"
