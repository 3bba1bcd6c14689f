"""report.html in headless Chromium, from a run with every kind of frame, and its size and time."""

from __future__ import annotations

import io
import json
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.special import expit

from maibench.evaluation.figures import plot_all
from maibench.evaluation.page.page import write_page
from maibench.evaluation.statistics import metrics as scores
from maibench.evaluation.statistics.aggregates import over_generators, seen_and_unseen
from maibench.evaluation.statistics.bootstrap import SourceBootstrap
from maibench.evaluation.statistics.calibration import calibrate
from maibench.evaluation.statistics.coverage import risk_coverage, unsure_rows
from maibench.evaluation.statistics.distributions import confusion, histograms
from maibench.evaluation.statistics.evaluated import as_arrays, choose
from maibench.evaluation.statistics.frames import Summary, empty, frame
from maibench.evaluation.statistics.ranks import ranks_over_generators
from maibench.evaluation.statistics.robustness import robustness, transfer
from maibench.evaluation.statistics.thresholds import operating_points

CHROMIUM = Path("/usr/bin/chromium")
DETECTORS = ("bailu", "mai_cnn", "moondream")
GENERATORS = (
    "cogview2", "dalle2", "dalle3", "deepfloyd-if", "flux.1-dev", "flux.1-schnell", "flux.2", "hidream", "imagen3",
    "kandinsky", "ldm-text2im", "midjourney-v5", "midjourney-v7", "pixart-sigma", "sana", "sd1.4", "sd1.5", "sd2.1",
    "sd3.5", "sdxl",
)  # fmt: skip
PERTURBATIONS = ("none", "jpeg:95", "jpeg:75", "jpeg:50", "resize:0.5", "attack:pgd:2@bailu")
SCRIPT, IMAGE = "<script>alert(1)</script>", "</script><img src=x onerror=alert(1)>"


# --- a run


def make_predictions(detectors=DETECTORS, generators=GENERATORS, n=1200, perturbations=PERTURBATIONS):
    """Scores of detectors that get worse from one to the next, and with perturbations; a third is validation."""
    random = np.random.default_rng(5)
    labels = np.arange(n) % 3 > 0
    # the generator and the split have to take turns at different paces
    names = np.where(labels, np.asarray(generators or ("real",))[np.arange(n) // 3 % max(1, len(generators))], "real")
    base = pd.DataFrame(
        {
            "path": [f"images/{name}/{i:05d}.jpg" for i, name in enumerate(names)],
            "label": labels.astype(int),
            "generator": names,
            "source": "",
            "split": np.where(random.random(n) < 1 / 3, "validation", "test"),
        }
    )
    ease = {name: random.normal(0, 0.8) for name in generators}
    parts = []
    for place, detector in enumerate(detectors):
        difficulty = random.normal(0, 1, n)
        for step, perturbation in enumerate(perturbations):
            skill = 2.4 - 0.7 * place - (0.22 + 0.1 * place) * step
            middle = np.where(labels, skill + np.array([ease.get(name, 0) for name in names]), -skill)
            logit = middle + 1.5 * difficulty + random.normal(0, 0.6, n)
            status = np.where((np.abs(logit) < 0.2) & (detector == "moondream"), "unsure", "ok")
            parts.append(base.assign(perturbation=perturbation, detector=detector, logit=logit, status=status))
    return pd.concat(parts, ignore_index=True)


def make_summary(predictions, trained_on=("sd1.5", "sdxl", "sd1.4")):
    """A summary of predictions: comparisons and intervals are made up, the rest is computed."""
    evaluated = as_arrays(choose(predictions), dict.fromkeys(DETECTORS[:2], trained_on))
    rows, per_generator, curves = [], [], []
    for key in evaluated.logits:
        labels, logits = evaluated.scored(key)
        place = evaluated.detectors.index(key[0])
        named = dict(zip(("detector", "perturbation"), key, strict=True))
        found = named | counts(labels) | scores.point_metrics(labels, logits)
        for metric in ("accuracy", "auc"):
            found |= {f"{metric}_lo": found[metric] - 0.03, f"{metric}_hi": min(1.0, found[metric] + 0.03)}
        about = {"n": len(labels), "n_failed": 0, "interval": "made up", "parameters": 400_000 * 5**place}
        rows.append(found | about | {"images_per_second": 900 / 3**place})
        for generator, mask in [("all", None), *evaluated.compared.items()]:
            labels, logits = evaluated.scored(key, mask)
            curves.append(scores.roc_points(labels, logits).assign(**named, generator=generator))
            if generator != "all":
                seen = evaluated.seen.get(key[0])
                found = {k: v for k, v in scores.point_metrics(labels, logits).items() if k in empty("per_generator")}
                known = {"generator": generator, "seen": None if seen is None else generator in seen}
                per_generator.append(named | known | counts(labels) | found)
    per_generator = frame("per_generator", per_generator)
    calibration, reliability = calibrate(evaluated)
    suites = {"codec": [name for name in evaluated.perturbations if name.startswith("jpeg")]}
    bootstrap = SourceBootstrap(evaluated.images["source"].to_numpy(), 20, 0)
    disturbed, relative = robustness(evaluated, bootstrap, suites)
    ranks = ranks_over_generators(per_generator, evaluated.shown)
    return Summary(
        frame("metrics", rows),
        per_generator,
        pd.concat(curves, ignore_index=True),
        ["majority class: 66.7 % of the images are synthetic"],
        comparisons=compared(rows),
        aggregates=seen_and_unseen(evaluated, empty("intervals")),
        spread=over_generators(per_generator),
        ranks=ranks[0] if isinstance(ranks, tuple) else ranks,
        thresholds=operating_points(evaluated),
        calibration=calibration,
        reliability=reliability,
        coverage=risk_coverage(evaluated),
        histograms=histograms(evaluated),
        confusion=confusion(evaluated),
        unsure=unsure_rows(evaluated),
        robustness=disturbed,
        robustness_scores=relative,
        transfer=transfer(evaluated),
        released={name: f"20{22 + i % 4}-{1 + i % 12:02d}" for i, name in enumerate(evaluated.generators)},
    )


def counts(labels):
    return {"n_real": int(np.sum(labels == 0)), "n_synthetic": int(np.sum(labels == 1))}


def compared(rows):
    clean = [row for row in rows if row["perturbation"] == rows[0]["perturbation"]]
    made = []
    for a, b in combinations(clean, 2):
        row = {"detector_a": a["detector"], "detector_b": b["detector"], "perturbation": a["perturbation"], "n": a["n"]}
        for metric in ("accuracy", "auc"):
            delta = a[metric] - b[metric]
            row |= {f"delta_{metric}": delta, f"delta_{metric}_lo": delta - 0.03, f"delta_{metric}_hi": delta + 0.03}
            row |= {f"p_{metric}": 0.2 / (1 + 900 * abs(delta)), f"p_{metric}_holm": 0.6 / (1 + 900 * abs(delta))}
        made.append(row | {"p_holm": row["p_auc_holm"], "p_mcnemar": 0.03, "p_delong": 0.0004, "n_sources": a["n"]})
    return frame("comparisons", made)


def make_gallery(folder, predictions, each=4, evidence=("bailu", "mai_cnn")):
    """gallery.json and its pictures: each detector's most confident mistakes, and the largest disagreements."""
    clean = predictions[(predictions["perturbation"] == "none") & (predictions["split"] == "test")]
    table = clean.pivot(index="path", columns="detector", values="logit")
    facts = clean.drop_duplicates("path").set_index("path")
    why: dict[str, list[dict]] = {}
    for name in dict.fromkeys(clean["detector"]):
        for label in (0, 1):
            wrong = table[name][(facts["label"].loc[table.index] == label) & ((table[name] > 0) != label)]
            for path in wrong.abs().sort_values(ascending=False).index[:each]:
                text = f"{name} is {expit(abs(table[name][path])):.3f} sure, and wrong"
                why.setdefault(path, []).append({"kind": "mistake", "detector": name, "text": text})
    spread = expit(table).max(axis=1) - expit(table).min(axis=1)
    for path in spread.sort_values(ascending=False).index[: 2 * each]:
        found = {"kind": "disagreement", "detector": None, "text": f"{spread[path]:.3f} between highest and lowest"}
        why.setdefault(path, []).append(found)
    (folder / "gallery").mkdir(parents=True, exist_ok=True)
    items = []
    for place, (path, reasons) in enumerate(why.items()):
        thumbnail = draw(folder, f"gallery/{place:04x}.jpg", place)
        maps = {name: draw(folder, f"gallery/{place:04x}-{i}.jpg", place, i + 1) for i, name in enumerate(evidence)}
        row = facts.loc[path]
        logits = table.loc[path]
        items.append(
            {
                "path": path,
                "label": int(row["label"]),
                "generator": row["generator"],
                "why": reasons,
                "thumbnail": thumbnail,
                "error": "",
                "scores": {name: None if pd.isna(logits[name]) else float(expit(logits[name])) for name in table},
                "evidence": maps,
                "strongest": dict.fromkeys(maps, 1.25),
                "no_evidence": {},
            }
        )
    content = {"items": items, "method": "occlusion: made up for this test", "caution": "no proof"}
    (folder / "gallery" / "gallery.json").write_text(json.dumps(content), encoding="utf-8")


def draw(folder, name, seed, tint=0):
    """A picture like a photograph's thumbnail: waves, some noise; `tint` lays a coloured spot over it."""
    random = np.random.default_rng(seed)
    height, width = (256, 192) if seed % 3 else (170, 256)
    y, x = np.mgrid[:height, :width] / 40
    waves = sum(
        np.sin(x * a + y * b + c)[..., None] * random.normal(1, 0.6, 3) for a, b, c in random.normal(0, 1, (5, 3))
    )
    pixels = 128 + 22 * waves + random.normal(0, 4, (height, width, 3))
    if tint:
        spot = np.exp(-((x - 2 * tint) ** 2 + (y - 3) ** 2))[..., None]
        pixels = pixels * (1 - 0.7 * spot) + np.array([230, 120, 0]) * 0.7 * spot
    data = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(data, "JPEG", quality=85)
    (folder / name).write_bytes(data.getvalue())
    return name


def make_run(labels=DETECTORS):
    card = {
        "licence": "Apache-2.0",
        "reference": "https://example.org/card",
        "trained_on": ["sd1.5", "sdxl", "sd1.4"],
        "input_policy": "native resolution, nothing is resized; larger images in tiles whose logits are averaged",
        "reported": {"accuracy": 0.9588, "on": "the card's own 800 images"},
    }
    return {
        "command": ["compare.py", "--models", ",".join(labels), "--perturb", "jpeg:95,jpeg:75,jpeg:50,resize:0.5"],
        "data": {"source": "hf:owner/photos", "name": "photos", "split": "test", "fingerprint": "cb4d083e8b83d4a0"},
        "versions": {"python": "3.11.7", "torch": "2.14.1"},
        "machine": {"system": "Linux x86_64", "cores": 2},
        "config": {"resamples": 1000},
        "git_commit": "c0ffee",
        "seconds": 12.3,
        "detectors": [
            {"label": label, "spec": label, "parameters": 385885, "card": card | {"name": label}} for label in labels
        ],
    }


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if not CHROMIUM.exists():
        pytest.skip(f"needs Chromium as {CHROMIUM}")
    with api.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Predictions of three detectors on six generators, and the folder with figures, gallery and page."""
    folder = tmp_path_factory.mktemp("run")
    predictions = make_predictions(generators=GENERATORS[-6:], n=600)
    summary = make_summary(predictions)
    plot_all(summary, folder)
    make_gallery(folder, predictions)
    write_page(summary, make_run(), folder)
    return predictions, folder


@pytest.fixture
def opened(browser):
    """opened(folder, **options of the context) -> the page of a folder; at the end, nothing may have gone wrong."""
    contexts, faults, asked, allowed = [], [], [], set()

    def open_page(folder, **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        contexts.append(context)
        page = context.new_page()
        url = (folder / "report.html").as_uri()
        page.on("console", lambda message: faults.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        page.set_default_timeout(10_000)
        page.goto(url)
        allowed.add(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []
    assert {url for url in asked if not url.startswith("data:")} == allowed


def column(page, table, place):
    return page.locator(f"{table} tbody tr > :nth-child({place})").all_inner_texts()


def set_slider(page, step):
    page.locator("#roc-cut").fill(str(step))


# --- what it does


def test_everything_is_there_without_errors_or_requests(run, opened):
    page = opened(run[1])
    headings = page.locator("h2").all_inner_texts()
    assert len(headings) > 10
    for link in page.locator("nav a").all():
        assert page.locator(link.get_attribute("href")).count() == 1
    assert page.locator("figure .picture svg").count() >= 12
    assert page.locator(".thumbnail").evaluate_all("all => all.every((image) => image.naturalWidth > 0)")


@pytest.mark.parametrize("press", ["click", "Enter", "Space"])
def test_the_main_table_is_sorted_by_click_and_by_key(run, opened, press):
    page = opened(run[1])
    place = page.locator("#results th").all_inner_texts().index("AUC") + 1
    header = page.locator(f"#results th:nth-child({place})")
    original = column(page, "#results", place)

    def act():
        button = header.locator("button")
        button.click() if press == "click" else button.press(press)
        return header.get_attribute("aria-sort"), [float(text.split()[0]) for text in column(page, "#results", place)]

    values = [float(text.split()[0]) for text in original]
    assert act() == ("descending", sorted(values, reverse=True))
    assert act() == ("ascending", sorted(values))
    assert act() == (None, values)


def test_empty_cells_are_last_in_both_directions(run, opened):
    page = opened(run[1])
    place = page.locator("#results th").all_inner_texts().index("AUC seen") + 1
    for _ in range(2):
        page.locator(f"#results th:nth-child({place}) button").click()
        texts = column(page, "#results", place)
        assert texts[-1] == "–" and texts[0] != "–"


def test_names_are_sorted_as_names(run, opened):
    page = opened(run[1])
    page.locator("#results th:nth-child(2) button").click()
    names = column(page, "#results", 2)
    assert names == sorted(names)
    assert page.locator("#results th[aria-sort]").count() == 1


@pytest.mark.parametrize("step", [0, 37, 100, 163, 200])
def test_the_slider_gives_the_counts_of_numpy(run, opened, step):
    predictions, folder = run
    page = opened(folder)
    set_slider(page, step)
    assert page.locator("#roc-cut-text").inner_text() == f"{step / 200:.3f}"
    clean = predictions[(predictions["perturbation"] == "none") & (predictions["split"] == "test")]
    for row, detector in zip(page.locator("#counts tbody tr").all(), DETECTORS, strict=True):
        mine = clean[clean["detector"] == detector]
        called, truth = expit(mine["logit"].to_numpy()) > step / 200, mine["label"].to_numpy() == 1
        tp, fp, tn, fn = (int(np.sum(x)) for x in (called & truth, called & ~truth, ~called & ~truth, ~called & truth))
        rates = [(tp + tn) / len(mine), tp / (tp + fn), tn / (tn + fp)]
        expected = [detector, *(str(n) for n in (tp, fp, tn, fn)), *(f"{value:.3f}" for value in rates)]
        assert row.locator("th, td").all_inner_texts() == expected
        ring = page.locator(f".ring[data-detector='{DETECTORS.index(detector)}']")
        assert float(ring.get_attribute("data-fpr")) == pytest.approx(fp / (fp + tn))
        assert float(ring.get_attribute("data-tpr")) == pytest.approx(tp / (tp + fn))


def test_the_counts_stay_with_their_detector_when_sorted(run, opened):
    page = opened(run[1])
    page.locator("#counts th:nth-child(1) button").click()
    page.locator("#counts th:nth-child(1) button").click()
    assert column(page, "#counts", 1) == list(reversed(DETECTORS))
    before = dict(zip(column(page, "#counts", 1), column(page, "#counts", 2), strict=True))
    set_slider(page, 0)
    after = dict(zip(column(page, "#counts", 1), column(page, "#counts", 2), strict=True))
    assert all(int(after[name]) > int(before[name]) for name in DETECTORS)


def test_the_slider_moves_by_key_and_before_it_all_stands_at_one_half(run, opened):
    page = opened(run[1])
    assert page.locator("#roc-cut-text").inner_text() == "0.500"
    page.locator("#roc-cut").press("ArrowRight")
    assert page.locator("#roc-cut-text").inner_text() == "0.505"


def test_pointing_at_a_curve_tells_threshold_and_rates(run, opened):
    page = opened(run[1])
    plot = page.locator("#roc-plot")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    tip = page.locator("#roc-tip")
    assert not tip.is_visible()
    page.mouse.move(box["x"] + 100, box["y"] + 60)
    text = tip.inner_text()
    assert any(name in text for name in DETECTORS)
    assert "threshold P ≥ 0." in text and "TPR 0." in text and "FPR 0." in text
    page.mouse.move(5, 5)
    assert not tip.is_visible()


def test_arrow_keys_walk_along_the_curves(run, opened):
    page = opened(run[1])
    tip = page.locator("#roc-tip")
    page.locator("#roc-plot").press("ArrowRight")
    assert tip.inner_text().splitlines()[0] == "bailu" and "none is called synthetic" in tip.inner_text()
    page.locator("#roc-plot").press("ArrowRight")
    assert "threshold" in tip.inner_text()
    page.locator("#roc-plot").press("ArrowDown")
    assert tip.inner_text().splitlines()[0] == "mai_cnn"
    page.locator("#roc-plot").press("Escape")
    assert not tip.is_visible()


def test_curves_are_chosen_by_detector_generator_and_axis(run, opened):
    page = opened(run[1])
    shape = "#roc-plot .curve >> nth=0"
    assert page.locator("#roc-plot .curve").count() == 3
    assert page.locator("#roc-generator option").all_inner_texts() == ["all", *sorted(GENERATORS[-6:])]
    linear = page.locator(shape).get_attribute("d")
    page.check("#roc-log")
    log = page.locator(shape).get_attribute("d")
    page.select_option("#roc-generator", label="sdxl")
    one = page.locator(shape).get_attribute("d")
    assert len({linear, log, one}) == 3
    assert "≤ 0." in page.locator("#roc-plot svg").first.text_content()
    assert not page.locator("#roc-plot .curve").evaluate_all("all => all.some(c => /NaN|Infinity/.test(c.outerHTML))")
    key = page.locator("#roc-keys button").nth(1)
    key.click()
    assert key.get_attribute("aria-pressed") == "false"
    assert page.locator("#roc-plot .curve").count() == 2
    assert page.locator("#roc-plot .ring").count() == 2


def test_rings_of_one_generator_lie_on_its_curve(run, opened):
    predictions, folder = run
    page = opened(folder)
    page.select_option("#roc-generator", label="sdxl")
    set_slider(page, 130)
    clean = predictions[(predictions["perturbation"] == "none") & (predictions["split"] == "test")]
    mine = clean[(clean["detector"] == "bailu") & clean["generator"].isin(["sdxl", "real"])]
    called = expit(mine["logit"].to_numpy()) > 0.65
    rates = [called[mine["label"].to_numpy() == label].mean() for label in (0, 1)]
    ring = page.locator(".ring[data-detector='0']")
    found = [float(ring.get_attribute(f"data-{name}")) for name in ("fpr", "tpr")]
    assert found == pytest.approx(rates, abs=0.08)


def test_evidence_is_shown_by_hover_and_stays_after_a_click(run, opened):
    page = opened(run[1])
    shot = page.locator(".shot").first
    shot.scroll_into_view_if_needed()
    shown, caption = shot.locator(".map.shown"), shot.locator(".caption")
    assert shot.locator(".thumbnail").is_visible() and shown.count() == 0
    shot.locator(".view").hover()
    assert shown.get_attribute("data-of") == "bailu" and caption.inner_text() == "evidence: bailu, logit ± 1.2"
    page.mouse.move(1, 1)
    assert shown.count() == 0
    button = shot.locator("button", has_text="mai_cnn")
    button.click()
    page.mouse.move(1, 1)
    assert shown.get_attribute("data-of") == "mai_cnn" and button.get_attribute("aria-pressed") == "true"
    button.press("Enter")
    assert shown.count() == 0 and not caption.is_visible()


def test_evidence_is_shown_by_a_tap(run, opened):
    page = opened(run[1], viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    shot = page.locator(".shot").first
    shot.locator(".view").tap()
    assert shot.locator(".map.shown").count() == 1
    shot.locator(".view").tap()
    assert shot.locator(".map.shown").count() == 0


def test_an_image_of_two_groups_is_shown_in_both(run, opened):
    page = opened(run[1])
    copies = page.locator("img[data-same]")
    assert copies.count() > 0
    assert copies.evaluate_all("all => all.every((image) => image.src.startsWith('data:') && image.naturalWidth > 0)")


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (768, "dark"), (1280, "light")])
def test_the_page_never_scrolls_sideways(run, opened, width, scheme):
    page = opened(run[1], viewport={"width": width, "height": 844}, color_scheme=scheme)
    page.locator("details").evaluate_all("all => all.forEach((details) => { details.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("[...document.querySelectorAll('#roc-plot > svg')].every((s) => s.clientWidth <= innerWidth)")
    cells = (
        "[...document.querySelectorAll('th span, td span, th button')].filter((e) => e.scrollWidth > e.clientWidth + 1)"
    )
    assert page.evaluate(f"{cells}.map((e) => e.textContent)") == [], "nothing in a table is cut off"


def test_the_page_says_its_numbers_without_scripts(run, opened):
    page = opened(run[1], java_script_enabled=False)
    assert page.locator("#counts tbody tr").count() == 3
    assert page.locator("noscript p, .plot .note").first.is_visible()


def test_print_unfolds_everything(run, opened):
    page = opened(run[1])
    page.emulate_media(media="print")
    folded = page.locator("details:not([open])")
    assert folded.count() > 0
    assert all(box.locator("> :not(summary)").first.is_visible() for box in folded.all())
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() > 0


# --- what others may have put into it


def test_hostile_names_do_nothing(tmp_path, opened):
    names = (SCRIPT, IMAGE)
    predictions = make_predictions(names, names, 240, ("none", *names))
    predictions["path"] = SCRIPT + IMAGE + predictions["path"]
    summary = make_summary(predictions, trained_on=names)
    summary.notes.extend(names)
    plot_all(summary, tmp_path)
    make_gallery(tmp_path, predictions, evidence=names)
    write_page(summary, make_run(names), tmp_path)
    page = opened(tmp_path)
    for name, key in zip(names, ("ArrowRight", "ArrowDown"), strict=True):
        page.select_option("#roc-generator", label=name)
        page.locator("#roc-plot").press("ArrowRight")
        page.locator("#roc-plot").press(key)
        assert page.locator("#roc-tip b").inner_text() == name
    for button in page.locator("#results th button, #counts th button").all():
        button.click()
    for button in page.locator(".shot button").all()[:4]:
        button.click()
    set_slider(page, 40)
    page.wait_for_timeout(100)
    assert page.locator("script").count() == 2
    assert page.locator("img:not([src^='data:'])").count() == 0
    assert SCRIPT + IMAGE in page.locator(".path").first.inner_text()


# --- how little there may be, and how much


def test_one_detector_without_generators_or_validation(tmp_path, opened):
    predictions = make_predictions(DETECTORS[:1], (), 60, ("none",)).assign(split="test")
    write_page(make_summary(predictions), {}, tmp_path)
    page = opened(tmp_path)
    assert page.locator("h2").first.inner_text() == "Results"
    assert page.locator("#results tbody tr").count() == 1


def test_counts_without_a_curve(tmp_path, opened):
    predictions = make_predictions(DETECTORS[:2], GENERATORS[:1], 60, ("none",)).assign(split="test")
    write_page(make_summary(predictions[predictions["label"] == 1]), {}, tmp_path)
    page = opened(tmp_path)
    assert page.locator("#roc-plot").count() == 0
    set_slider(page, 0)
    assert column(page, "#counts", 8) == ["–", "–"], "no real image, no TNR"


@pytest.mark.slow
def test_size_and_time_of_a_large_page(tmp_path):
    predictions = make_predictions(n=4000)
    summary = make_summary(predictions)
    plot_all(summary, tmp_path)
    make_gallery(tmp_path, predictions, each=5)
    pictures = sum(file.stat().st_size for file in (tmp_path / "gallery").glob("*.jpg"))
    started = time.process_time()
    file = write_page(summary, make_run(), tmp_path)
    seconds = time.process_time() - started
    size = file.stat().st_size - pictures * 4 / 3
    assert size < 1.2e6 and seconds < 1.5, f"{size:,.0f} bytes beside the gallery, {seconds:.2f} s"
