"""Summaries with every frame filled, from random numbers, and the figures as they are saved."""

from __future__ import annotations

from itertools import combinations, product

import matplotlib
import numpy as np
import pandas as pd
import pytest

from maibench.evaluation.figures import FIGURES
from maibench.evaluation.figures.drawing import style
from maibench.evaluation.statistics.frames import COLUMNS, Summary, frame

SWEEPS = {"jpeg": (100, 95, 75, 50), "webp": (80,), "resize": (0.5, 2), "blur": (1, 2), "noise": (5,)}
CLEAN = {"jpeg": 100, "webp": 100, "resize": 1, "blur": 0, "noise": 0}
TURNS = {"flip": (1, 0), "rot90": (1, 2)}
DETECTORS, GENERATORS = ("bailu", "mai_cnn"), ("sd15", "sdxl")
CHAINS = ("resize:0.5+jpeg:75", "longest:1080+sharpen:30+jpeg:71")


def bounds(name, value, half=0.03):
    return {name: value, f"{name}_lo": value - half, f"{name}_hi": min(1.0, value + half)}


def curve(rng, skill, points):
    """FPR and TPR of two normals that lie `skill` apart."""
    cuts = np.linspace(-5, 5 + skill, points)[::-1]
    fpr, tpr = ((1 / (1 + np.exp(1.7 * (cuts - mean)))) for mean in (0, skill))
    return np.concatenate([[0], fpr, [1]]), np.concatenate([[0], tpr, [1]])


@pytest.fixture(scope="session")
def summary():
    """A function: summary(detectors, generators, ...) -> Summary."""
    return make_summary


def make_summary(detectors=DETECTORS, generators=GENERATORS, perturbations=("none",), seen=None, points=60):
    """A Summary whose frames all have rows; seen: {(detector, generator): bool}, points: of each ROC curve."""
    rng = np.random.default_rng(0)
    rows = {name: [] for name in COLUMNS}
    for perturbation, (place, detector) in product(perturbations, enumerate(detectors)):
        key = {"detector": detector, "perturbation": perturbation}
        skill = 3 / (1 + 0.4 * place)
        one_detector(rows, key, place, skill, rng)
        for i, generator in enumerate(("all", *generators)):
            fpr, tpr = curve(rng, skill * rng.uniform(0.5, 1.2), points)
            for x, y in zip(fpr, tpr, strict=True):
                rows["roc"].append(key | {"generator": generator, "fpr": x, "tpr": y, "threshold": 0.5})
            if i > 0:
                auc = float(np.trapezoid(tpr, fpr))
                state = (seen or {}).get((detector, generator))
                counts = {
                    "n_real": 400,
                    "n_synthetic": 100,
                    "seen": state,
                    "accuracy": auc - 0.05,
                    "balanced_accuracy": auc - 0.06,
                }
                rows["per_generator"].append(key | {"generator": generator} | counts | bounds("auc", auc))
    pairs(rows, detectors, perturbations, rng)
    disturbed(rows, detectors, rng)
    for place, detector in enumerate(detectors):
        key = {"blocks": "generators", "metric": "auc", "detector": detector, "mean_rank": 1.0 + place}
        test = {"n_blocks": len(generators), "critical_difference": 1.8, "friedman": 9.0, "p_friedman": 0.011}
        rows["ranks"].append(key | test)
    days = pd.date_range("2022-08-01", "2025-06-01", periods=len(generators))
    released = {name: f"{day:%Y-%m}" for name, day in zip(generators, days, strict=True)}
    return Summary(**{name: frame(name, found) for name, found in rows.items()}, released=released)


def one_detector(rows, key, place, skill, rng):
    """What is of one detector alone: metrics, histograms, reliability, coverage."""
    speed, parameters = 1000 / 4**place, int(2e5 * 7**place)
    cost = {"images_per_second": speed, "parameters": parameters, "n_real": 4000, "n_synthetic": 4000, "n": 8000}
    rows["metrics"].append(key | cost | bounds("auc", 0.95 - 0.04 * place) | bounds("accuracy", 0.9 - 0.04 * place))
    logits = {label: rng.normal((label * 2 - 1) * skill, 2, 2000) for label in (0, 1)}
    for label, values in logits.items():
        counts, edges = np.histogram(1 / (1 + np.exp(-values)), bins=40, range=(0, 1))
        for lo, hi, n in zip(edges[:-1], edges[1:], counts, strict=True):
            name = {"label": label, "generator": "sd15" if label else "real"}
            rows["histograms"].append(key | name | {"lo": lo, "hi": hi, "n": n})
    for method, bend in {"raw": 1.8, "temperature": 1.1, "platt": 1.0}.items():
        rows["calibration"].append(key | {"method": method, "slope": 1.0, "intercept": 0.0, "ece": 0.1 * bend - 0.08})
        for i in range(15):
            mean = (i + 0.5) / 15
            share = 1 / (1 + ((1 - mean) / mean) ** (1 / bend))
            n = int(2000 * abs(mean - 0.5)) + 10
            bin_ = {"bin": i, "lo": i / 15, "hi": (i + 1) / 15, "n": n, "mean_score": mean, "share_synthetic": share}
            rows["reliability"].append(key | {"method": method} | bin_)
    for share in np.linspace(0.005, 1, 200):
        accuracy = 1 - 0.04 * (place + 1) * share**2
        rows["coverage"].append(key | {"coverage": share, "n": int(8000 * share), "accuracy": accuracy})


def pairs(rows, detectors, perturbations, rng):
    for perturbation, (a, b) in product(perturbations, combinations(detectors, 2)):
        key = {"detector_a": a, "detector_b": b, "perturbation": perturbation}
        for metric in ("accuracy", "auc"):
            difference = rng.uniform(-0.05, 0.15)
            key |= bounds(f"delta_{metric}", difference) | {f"p_{metric}_holm": 0.5 if difference < 0.03 else 0.001}
        rows["comparisons"].append(key)


def disturbed(rows, detectors, rng):
    """Curves, chains, and white-box attacks on every detector but the last."""
    for place, detector in enumerate(detectors):
        clean = 0.95 - 0.04 * place
        for suite, (family, severities) in product(("codec", "all"), SWEEPS.items()):
            point(rows, detector, suite, family, "none", CLEAN[family], clean)
            for severity in severities:
                changed = 0.02 + abs(severity - CLEAN[family]) / max(CLEAN[family], *severities)
                value = clean - (0.1 + 0.02 * place) * changed
                point(rows, detector, suite, family, f"{family}:{severity:g}", severity, value)
        for family, severities in TURNS.items():
            point(rows, detector, "geometry", family, "none", 0.0 if family == "rot90" else np.nan, clean)
            for i, severity in enumerate(severities):
                name = f"{family}:{severity}"
                point(rows, detector, "geometry", family, name, float(severity), clean - 0.01 - 0.02 * i)
        for i, name in enumerate(("none", *CHAINS)):
            point(rows, detector, "social", "chain", name, float(i), clean - 0.08 * i)
        for attacked in detectors[:-1]:
            for method, strengths in {"pgd": (0, 1, 2), "fgsm": (0, 4)}.items():
                for eps in strengths:
                    name = f"attack:{method}:{eps}@{attacked}" if eps else "none"
                    value = clean - eps * (0.3 if attacked == detector else 0.05) / len(strengths)
                    point(rows, detector, "attack", f"attack:{method}@{attacked}", name, float(eps), value)
        for eps, made_on in product((1, 2), ("none", *detectors[:-1])):
            value = clean - eps * (0.3 if made_on == detector else 0.05 * rng.uniform() * (made_on != "none"))
            row = {"perturbation": f"attack:pgd:{eps}", "made_on": made_on, "detector": detector, "n": 500}
            rows["transfer"].append(row | {"accuracy": value, "auc": value})


def point(rows, detector, suite, family, name, severity, value):
    key = {"detector": detector, "suite": suite, "family": family, "perturbation": name, "severity": severity}
    rows["robustness"].append(key | bounds("accuracy", value - 0.03, 0.02) | bounds("auc", value, 0.015))


@pytest.fixture
def draw():
    """draw(summary, *names) -> {name: figure}, laid out but not written: those of these names, or all."""

    def made(summary, *names):
        with style():
            figures = {picture.name: picture.draw(summary) for picture in FIGURES if picture.name in names or not names}
            figures = {name: figure for name, figure in figures.items() if figure is not None}
            for figure in figures.values():
                figure.set_dpi(200)
                figure.draw_without_rendering()
        return figures

    return made


@pytest.fixture
def texts():
    """texts(artist) -> every text that is drawn on it."""
    return lambda artist: [text.get_text() for text in artist.findobj(matplotlib.text.Text) if text.get_text()]


@pytest.fixture(autouse=True)
def _strict(warnings_are_errors: None) -> None:
    """Drawing warns of nothing."""
