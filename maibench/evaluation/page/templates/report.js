"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);

  const html = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };
  const svg = (name, attributes = {}, ...children) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };

  // --- tables: a click on a header sorts, the third one restores

  const keyOf = (row, column) => {
    const cell = row.cells[column];
    if (cell.dataset.sort !== undefined) return Number(cell.dataset.sort);
    return cell.classList.contains("name") ? cell.textContent.trim() : null;
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number"
    ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));

  const makeSortable = (table) => {
    const headers = [...table.tHead.rows[0].cells];
    const body = table.tBodies[0];
    const original = [...body.rows];
    headers.forEach((header, column) => {
      const isName = original.every((row) => typeof keyOf(row, column) !== "number");
      const first = isName ? "ascending" : "descending";
      const second = isName ? "descending" : "ascending";
      const button = html("button", { type: "button", title: header.textContent }, ...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => {
        const now = header.getAttribute("aria-sort");
        const next = now === null ? first : now === first ? second : null;
        for (const other of headers) other.removeAttribute("aria-sort");
        let rows = original;
        if (next) {
          header.setAttribute("aria-sort", next);
          const sign = next === "ascending" ? 1 : -1;
          // what is empty is last in both directions
          rows = original.map((row) => [keyOf(row, column), row])
            .sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b)))
            .map(([, row]) => row);
        }
        body.append(...rows);
      });
    });
  };
  const countRows = byId("counts") ? [...byId("counts").tBodies[0].rows] : [];
  document.querySelectorAll("table.sortable").forEach(makeSortable);

  // --- ROC curves and thresholds

  const explore = () => {
    const { detectors, generators, cuts, counts } = data;
    const plot = byId("roc-plot"), tip = byId("roc-tip"), slider = byId("roc-cut");
    const hidden = new Set();
    const state = { generator: 0, log: false, cut: cuts.length ? cuts.indexOf(nearest(cuts, 0.5)) : null };
    let places = [];   // of every curve that is drawn: its points in pixels
    let focus = null;  // [place in `places`, point]

    function nearest(values, wanted) {
      return values.reduce((best, value) => (Math.abs(value - wanted) < Math.abs(best - wanted) ? value : best));
    }
    const colour = (detector) => (detector.colour === "#000000" ? "var(--ink)" : detector.colour);
    const stroke = (detector) => ({ style: `stroke: ${colour(detector)}`, "stroke-dasharray": detector.dash, "stroke-width": 1.8 });
    const text = (value) => (value === null ? "–" : value.toFixed(3));
    const fine = (value) => (value > 0 && value < 0.01 ? value.toPrecision(2) : value.toFixed(3));

    // where score > cut lies on a curve: exact over all generators, between two points of the curve of one
    const at = (place, curve) => {
      const cut = cuts[state.cut], count = counts[place];
      if (state.generator === 0 && generators[0].name === "all") {
        return count && count.n_real && count.n_synthetic
          ? [count.fp[state.cut] / count.n_real, count.tp[state.cut] / count.n_synthetic] : null;
      }
      const bound = (i) => Math.min(curve.cut[i] ?? 1, 1);
      let i = 0;
      while (i + 1 < curve.cut.length && bound(i + 1) > cut) i += 1;
      const j = Math.min(i + 1, curve.cut.length - 1);
      const share = bound(i) > bound(j) ? Math.min(1, Math.max(0, (bound(i) - cut) / (bound(i) - bound(j)))) : 0;
      return [curve.fpr[i] + share * (curve.fpr[j] - curve.fpr[i]), curve.tpr[i] + share * (curve.tpr[j] - curve.tpr[i])];
    };

    const draw = () => {
      const shown = generators[state.generator];
      const width = Math.max(plot.clientWidth, 240), height = Math.min(width, 500);
      const [left, right, top, bottom] = [46, 14, 10, 42];
      const decades = Math.min(4, Math.max(1, Math.ceil(Math.log10(Math.max(shown.n_real, 10)))));
      const lowest = 10 ** -decades;
      const share = (x) => (state.log ? 1 + Math.log10(Math.max(x, lowest)) / decades : x);
      const x = (value) => left + share(value) * (width - left - right);
      const y = (value) => height - bottom - value * (height - top - bottom);
      const path = (points) => points.map(([a, b], i) => `${i ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
      // a straight line is none on a log axis
      const between = (points) => points.flatMap(([a, b], i) => {
        if (!state.log || i === 0 || x(a) - x(points[i - 1][0]) < 6) return [[a, b]];
        const [from, low] = points[i - 1];
        const start = Math.max(from, lowest);
        const n = Math.ceil((x(a) - x(start)) / 4);
        return Array.from({ length: n }, (_, k) => start * (a / start) ** ((k + 1) / n))
          .map((value) => [value, low + (b - low) * (value - from) / (a - from)]);
      });

      const picture = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
      const ticks = [0, 0.25, 0.5, 0.75, 1];
      const across = state.log ? Array.from({ length: decades + 1 }, (_, k) => 10 ** (k - decades)) : ticks;
      for (const tick of across) {
        picture.append(svg("line", { class: "rule", x1: x(tick), x2: x(tick), y1: y(0), y2: y(1) }));
        const label = state.log && tick === lowest ? `≤ ${Number(tick.toPrecision(1))}` : Number(tick.toPrecision(2));
        picture.append(svg("text", { x: x(tick), y: height - bottom + 17, "text-anchor": "middle" }, String(label)));
      }
      for (const tick of ticks) {
        picture.append(svg("line", { class: "rule", x1: left, x2: width - right, y1: y(tick), y2: y(tick) }));
        picture.append(svg("text", { x: left - 8, y: y(tick) + 4, "text-anchor": "end" }, String(tick)));
      }
      picture.append(svg("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, "false positive rate"));
      picture.append(svg("text", { transform: `translate(12 ${(top + height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, "true positive rate"));
      picture.append(svg("path", { class: "chance", d: path(between([[0, 0], [1, 1]])) }));

      places = [];
      const rings = [];
      shown.curves.forEach((curve, place) => {
        if (!curve || hidden.has(place)) return;
        const points = curve.fpr.map((value, i) => [value, curve.tpr[i]]);
        picture.append(svg("path", { class: "curve", d: path(between(points)), ...stroke(detectors[place]) }));
        places.push({ place, curve, pixels: points.map(([a, b]) => [x(a), y(b)]) });
        const mark = state.cut === null ? null : at(place, curve);
        if (mark) {
          rings.push(svg("circle", { class: "ring", cx: x(mark[0]), cy: y(mark[1]), r: 5.5, style: `stroke: ${colour(detectors[place])}`,
            "data-detector": place, "data-fpr": mark[0], "data-tpr": mark[1] }));
        }
      });
      picture.append(...rings);
      plot.querySelector("svg")?.remove();
      plot.prepend(picture);
      point(focus && focus[0] < places.length && focus[1] < places[focus[0]].pixels.length ? focus : null);
    };

    const point = (found) => {
      focus = found;
      plot.querySelector(".dot")?.remove();
      tip.hidden = !found;
      if (!found) return;
      const { place, curve, pixels } = places[found[0]];
      const i = found[1], [left, top] = pixels[i], detector = detectors[place];
      plot.querySelector("svg").append(svg("circle", { class: "dot", cx: left, cy: top, r: 4.5, style: `fill: ${colour(detector)}` }));
      const cut = curve.cut[i] === null ? "none is called synthetic" : `threshold P ≥ ${curve.cut[i].toFixed(4)}`;
      tip.replaceChildren(html("b", {}, detector.name), cut, html("br"), `TPR ${text(curve.tpr[i])} · FPR ${fine(curve.fpr[i])}`);
      const room = plot.clientWidth - tip.offsetWidth;
      tip.style.left = `${Math.max(0, Math.min(room, left + (left > plot.clientWidth / 2 ? -tip.offsetWidth - 12 : 12)))}px`;
      tip.style.top = `${Math.max(0, top - tip.offsetHeight - 10 < 0 ? top + 14 : top - tip.offsetHeight - 10)}px`;
    };

    const hover = (event) => {
      const box = plot.getBoundingClientRect();
      const [left, top] = [event.clientX - box.left, event.clientY - box.top];
      let best = Infinity, found = null;
      places.forEach(({ pixels }, c) => pixels.forEach(([a, b], i) => {
        const distance = (a - left) ** 2 + (b - top) ** 2;
        if (distance < best) [best, found] = [distance, [c, i]];
      }));
      point(found);
    };

    const step = (event) => {
      const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      if (event.key === "Escape") point(null);
      if (!move || !places.length) return;
      event.preventDefault();
      let [c, i] = focus ?? [0, -1];
      c = (c + move[0] + places.length) % places.length;
      i = Math.min(places[c].pixels.length - 1, Math.max(0, i + move[1]));
      point([c, i]);
    };

    const keys = () => {
      byId("roc-keys").replaceChildren(...detectors.map((detector, place) => {
        const shown = generators[state.generator];
        const line = svg("svg", { width: 26, height: 8, "aria-hidden": "true" },
          svg("line", { x1: 0, x2: 26, y1: 4, y2: 4, ...stroke(detector) }));
        const auc = shown.curves[place] ? `AUC ${text(shown.auc[place])}` : "no curve";
        const button = html("button", { type: "button" }, line, html("span", {}, detector.name), html("span", { className: "auc" }, auc));
        button.setAttribute("aria-pressed", String(!hidden.has(place)));
        button.addEventListener("click", () => {
          hidden.has(place) ? hidden.delete(place) : hidden.add(place);
          button.setAttribute("aria-pressed", String(!hidden.has(place)));
          focus = null;
          draw();
        });
        return button;
      }));
    };

    const count = () => {
      const cut = cuts[state.cut];
      byId("roc-cut-text").value = cut.toFixed(3);
      slider.setAttribute("aria-valuetext", `P above ${cut.toFixed(3)}`);
      counts.forEach((found, place) => {
        if (!found) return;
        const [tp, fp] = [found.tp[state.cut], found.fp[state.cut]];
        const [tn, fn] = [found.n_real - fp, found.n_synthetic - tp];
        const rate = (part, whole) => (whole ? part / whole : null);
        const rates = [rate(tp + tn, found.n_real + found.n_synthetic), rate(tp, found.n_synthetic), rate(tn, found.n_real)];
        [tp, fp, tn, fn, ...rates].forEach((value, i) => {
          const cell = countRows[place].cells[i + 1];
          cell.textContent = i < 4 ? value.toLocaleString("en") : text(value);
          if (value !== null) cell.dataset.sort = value;
        });
      });
    };

    if (slider) {
      Object.assign(slider, { max: cuts.length - 1, value: state.cut, disabled: false });
      slider.addEventListener("input", () => {
        state.cut = Number(slider.value);
        count();
        if (plot) draw();
      });
      count();
    }
    if (!plot) return;
    const choice = byId("roc-generator"), log = byId("roc-log");
    choice.append(...generators.map(({ name }, i) => html("option", { value: i }, name)));
    choice.disabled = log.disabled = false;
    choice.addEventListener("change", () => {
      state.generator = Number(choice.value);
      focus = null;
      keys();
      draw();
    });
    log.addEventListener("change", () => {
      state.log = log.checked;
      focus = null;
      draw();
    });
    plot.addEventListener("pointermove", hover);
    plot.addEventListener("pointerdown", hover);
    plot.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && point(null));
    plot.addEventListener("blur", () => point(null));
    plot.addEventListener("keydown", step);
    keys();
    new ResizeObserver(draw).observe(plot);
    draw();
  };
  if (data.detectors) explore();

  // --- gallery: a picture is in the file once, its evidence is shown while pointed at or until clicked again

  for (const shot of document.querySelectorAll(".shot")) {
    const view = shot.querySelector(".view"), caption = shot.querySelector(".caption");
    const maps = [...shot.querySelectorAll(".map")], buttons = [...shot.querySelectorAll("[data-map]")];
    for (const copy of shot.querySelectorAll("img[data-same]")) {
      const first = document.querySelector(`.shot[data-shot="${shot.dataset.shot}"]`);
      copy.src = [...first.querySelectorAll("img")].find((image) => image.dataset.of === copy.dataset.of).src;
    }
    if (!maps.length) continue;
    let pinned = null;
    const show = (name) => {
      for (const map of maps) map.classList.toggle("shown", map.dataset.of === name);
      for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.map === pinned));
      caption.hidden = name === null;
      const moved = maps.find((map) => map.dataset.of === name)?.dataset.moved;
      caption.textContent = name === null ? "" : `evidence: ${name}${moved ? `, ${moved}` : ""}`;
    };
    const toggle = (name) => {
      pinned = pinned === name ? null : name;
      show(pinned);
    };
    const preview = (element, name) => {
      element.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && show(name()));
      element.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && show(pinned));
    };
    for (const button of buttons) {
      button.addEventListener("click", () => toggle(button.dataset.map));
      preview(button, () => button.dataset.map);
    }
    view.classList.add("has-map");
    view.addEventListener("click", () => toggle(pinned ?? maps[0].dataset.of));
    preview(view, () => pinned ?? maps[0].dataset.of);
  }

  // --- print: nothing stays folded

  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const details of folded) details.open = true;
  });
  addEventListener("afterprint", () => folded.forEach((details) => { details.open = false; }));
})();
