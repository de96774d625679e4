// The page: a frame with its explanation, time below it, regions and questions beside it.

import { Asking } from "./ask.js";
import { embedded, Layer, served, Windows } from "./data.js";
import { check, choice, make, number, percent, seconds, slider } from "./elements.js";
import { ClipFilm, VideoFilm } from "./film.js";
import { Lanes } from "./lanes.js";
import { Marks } from "./marks.js";
import { Painter } from "./painter.js";
import { RegionTable } from "./table.js";

export { embedded, served };

const KEYS = [
  ["Space", "play or pause"], ["← →", "one frame back or on"], ["p n", "the peak before, the next peak"],
  ["↑ ↓", "lock the region of the next rank"], ["c", "choose the locked region, or not"],
  ["Escape", "let go of the regions"], ["h k", "hide the chosen regions, keep only them"], ["e", "explain again"],
];

/** Makes the page in `root`; `source` is what `embedded` or `served` gives. */
export async function mount(root, source, { address = true } = {}) {
  root.classList.add("videxplain");
  root.replaceChildren(make("p", { role: "status" }, "Reading …"));
  try {
    const page = new Page(root, source, await source.summary(), address);
    await page.start();
    return page;
  } catch (error) {
    root.replaceChildren(make("p", { role: "alert" }, error.message));
    throw error;
  }
}

class Page {
  constructor(root, source, summary, address) {
    Object.assign(this, { root, source, summary, address });
    this.windows = new Windows(source);
    this.film = summary.kind === "clip" ? new ClipFilm(source, summary) : new VideoFilm(source, summary);
    this.look = {
      style: "heat", topK: 5, opacity: 1, split: 0, signed: Boolean(summary.signed), by: "window",
      largest: null, chosen: new Set(), locked: null, ranks: true, trails: true,
    };
    this.window = -1; // the one that is drawn
    this.layerIndex = 0;
    this.lockedNumber = null;
    this.extra = new Map(); // window -> layers that were asked for
    this.build();
  }

  build() {
    const { summary } = this;
    this.title = make("h1", {}, summary.windows[0].headline);
    this.about = make("p", { class: "about" });
    this.canvas = make("canvas", { class: "picture", role: "img", "aria-label": "the explained frame" });
    this.marksCanvas = make("canvas", { class: "marks", "aria-hidden": "true" });
    this.tip = make("div", { class: "tip", role: "tooltip", hidden: true });
    this.playing = make("button", { type: "button", "aria-keyshortcuts": "Space", onclick: () => this.toggle() }, "Play");
    this.clock = make("span", { class: "clock" });
    const still = summary.frames === 1;
    const step = (words, label, count) => make(
      "button", { type: "button", "aria-label": label, disabled: still, onclick: () => this.film.stepBy(count) }, words);
    this.playing.disabled = still;
    const transport = make("div", { class: "row" },
      step("◀", "one frame back", -1), this.playing, step("▶", "one frame on", 1),
      make("button", { type: "button", disabled: still, onclick: () => this.jump(1) }, "Next peak"), this.clock);
    this.splitter = slider("original | explained", {
      min: 0, max: 1, step: 0.01, value: 0, say: (value) => percent(value, 0),
    }, (split) => this.set({ split }));
    this.styleChoice = choice("style", ["heat", "outline", "spotlight"].map((name) => [name, name]),
      (style) => this.set({ style }));
    this.topK = slider("regions drawn", { min: 1, max: 50, step: 1, value: 5, say: String }, (topK) => this.set({ topK }));
    const opacity = slider("opacity", { min: 0, max: 1, step: 0.05, value: 1, say: (value) => percent(value, 0) },
      (value) => this.set({ opacity: value }));
    const signed = choice("scores", [["size", "for the class"], ["sign", "for and against"]],
      (value) => this.set({ signed: value === "sign" }));
    signed.select.value = this.look.signed ? "sign" : "size";
    const by = choice("colours scaled by", [["window", "window"], ["video", "everything seen"]],
      (value) => this.set({ by: value }));
    this.ranks = check("ranks", this.look.ranks, (ranks) => this.set({ ranks }));
    this.trails = check("trails", this.look.trails, (trails) => this.set({ trails }));
    this.layerChoice = choice("explanation", [], (value) => {
      this.layerIndex = Number(value);
      this.redraw(true);
      if (this.look.locked !== null) this.lock(this.look.locked); // its shares are another layer's
    });
    this.lanesCanvas = make("canvas", {
      class: "lanes", tabindex: 0, role: "slider", "aria-label": "time", "aria-valuemin": 0,
      onclick: (event) => this.goTo(this.lanes.target(event.offsetX, event.offsetY)),
    });
    this.lanes = new Lanes(this.lanesCanvas, summary);
    this.table = new RegionTable(
      { lock: (id) => this.lock(id), choose: (id, yes) => this.choose(id, yes) }, (layer, id) => this.thumbnail(layer, id));
    this.asking = new Asking(this.source, summary, () => ({
      window: this.window, layer: Math.min(this.layerIndex, this.summary.layers.length - 1),
      chosen: [...this.look.chosen],
      value: (p) => (summary.task === "regression" ? number(p) : percent(p)),
    }), (answer) => this.addLayer(answer));
    this.classes = make("ol", { class: "classes" });
    this.caveats = make("ul", { class: "caveats" });
    const frame = make("div", { class: "frame" }, this.canvas, this.marksCanvas, this.tip);
    frame.style.setProperty("--wide", `calc(72vh * ${summary.size[1] / summary.size[0]})`);
    this.moments = make("details", { class: "moments" });
    this.problem = make("p", { role: "alert", class: "problem", hidden: true });
    if (still) for (const element of [transport, this.lanesCanvas]) element.hidden = true;
    this.root.replaceChildren(
      make("header", {}, this.title, this.about),
      make("main", {},
        make("div", { class: "stage" }, frame, this.problem, transport, this.lanesCanvas, this.splitter.element,
          make("div", { class: "row" }, this.layerChoice.element, this.styleChoice.element, this.topK.element,
            opacity.element, signed.element, by.element, this.ranks.element, still ? null : this.trails.element)),
        make("div", { class: "side" },
          make("section", {}, make("h2", {}, "What the network said"), this.classes, this.caveats),
          this.evidence(), this.asking.element, this.table.element, this.moments,
          make("details", {}, make("summary", {}, "Keys"),
            make("dl", { class: "keys" }, ...KEYS.flatMap(([key, words]) => [make("dt", {}, key), make("dd", {}, words)]))))));
    this.listen();
  }

  /** The sets of regions that keep or destroy the class, each with a button that chooses them. */
  evidence() {
    const { evidence } = this.summary;
    if (!evidence) return null;
    const part = ({ regions, words }, label) => make("p", {}, `${words}. `, regions.length
      ? make("button", { type: "button", onclick: () => this.chooseAll(regions) }, label) : null);
    return make("section", { class: "evidence" }, make("h2", {}, `Evidence for ${evidence.target_name}`),
      part(evidence.keeps, "Choose what keeps it"), part(evidence.destroys, "Choose what destroys it"));
  }

  /** Moments of the layer, or stretches that were measured, as a list of buttons. */
  listMoments() {
    const stretches = this.summary.when?.stretches.map((one) => [one, percent(one.share)]);
    const moments = this.lanes.moments?.map((one) => [one, one.class]) ?? stretches ?? [];
    this.moments.hidden = !moments.length;
    this.moments.replaceChildren(make("summary", {}, `Moments (${moments.length})`),
      make("ol", {}, ...moments.map(([{ begin, end }, words]) => make("li", {},
        make("button", { type: "button", onclick: () => this.goTo(begin) }, `${seconds(begin)} to ${seconds(end)}`),
        ` ${words}`))));
  }

  listen() {
    this.canvas.addEventListener("pointermove", (event) => this.hover(event));
    this.canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    this.canvas.addEventListener("click", async (event) => {
      const id = await this.idUnder(event);
      if (id === null) return;
      if (event.shiftKey) this.choose(id, !this.look.chosen.has(id));
      else this.lock(id === this.look.locked ? null : id);
    });
    const target = this.address ? document : this.root;
    target.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.lanes.draw(this.film.time)).observe(this.lanesCanvas);
    if (this.address) window.addEventListener("hashchange", () => { if (location.hash !== this.written) this.readAddress(); });
  }

  async start() {
    this.painter = new Painter(this.canvas, this.summary);
    const finer = Math.max(1, Math.min(4, Math.round(960 / this.canvas.width))); // letters are to be sharp
    Object.assign(this.marksCanvas, { width: finer * this.canvas.width, height: finer * this.canvas.height });
    this.marks = new Marks(this.marksCanvas, this.summary);
    if (this.film.video) this.canvas.after(this.film.video); // browsers are slow to tell of frames elsewhere
    this.film.onframe = (time, picture) => this.frame(time, picture);
    await this.film.load();
    if (this.address) await this.readAddress();
    this.started = true;
    this.writeAddress(this.film.time);
  }

  /** Which window is drawn at a time, and which of its frames. */
  place(time) {
    const { windows } = this.summary;
    let low = 0;
    let high = windows.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (windows[middle].begin <= time + 1e-4) low = middle;
      else high = middle - 1;
    }
    const { times, end } = windows[low];
    if (time >= end + 1e-4 && low < windows.length - 1) return { window: low, t: null };
    let t = times.findIndex((other) => other > time + 1e-4);
    t = t < 0 ? times.length - 1 : Math.max(0, t - 1);
    return { window: low, t };
  }

  /** Draws what is shown at a time. A video's picture is drawn at once, so that it is the one of this moment. */
  async frame(time, picture) {
    this.picture = picture;
    const { window, t } = this.place(time);
    this.t = t;
    const turn = (this.turn = (this.turn ?? 0) + 1);
    if (window !== this.window || !this.layer) {
      let layers;
      try {
        layers = [...await this.windows.layers(window), ...(this.extra.get(window) ?? [])];
        this.complain(null);
      } catch (error) {
        this.complain(error.message);
        return;
      }
      if (turn !== this.turn) return;
      this.enter(window, layers);
    }
    const map = t === null ? null : await this.layer.map(t);
    if (turn !== this.turn) return;
    this.map = map;
    this.paint();
    const { lanesCanvas } = this;
    this.clock.textContent = `${seconds(time)} of ${seconds(this.film.end)}`;
    this.playing.textContent = this.film.paused ? "Play" : "Pause";
    lanesCanvas.setAttribute("aria-valuemax", this.film.end.toFixed(2));
    lanesCanvas.setAttribute("aria-valuenow", time.toFixed(2));
    lanesCanvas.setAttribute("aria-valuetext", `${seconds(time)}, ${this.summary.windows[window].headline}`);
    this.lanes.draw(time);
    this.writeAddress(time);
    this.root.dataset.time = time.toFixed(4); // for whoever waits for a moment
  }

  /** A window is seen for the first time, or again. */
  enter(window, layers) {
    const changed = window !== this.window;
    this.window = window;
    this.layers = layers;
    this.layer = layers[Math.min(this.layerIndex, layers.length - 1)];
    if (changed) this.look.chosen.clear();
    this.look.locked = this.lockedNumber === null ? null : this.layer.numbers.indexOf(this.lockedNumber);
    if (this.look.locked < 0) this.look.locked = null;
    this.describe();
    const next = window + 1; // soon wanted
    if (!this.film.paused && next < this.summary.windows.length) this.windows.layers(next).catch(() => {});
    const { layer, lanes } = this;
    const place = layers.indexOf(layer);
    const key = place < this.summary.layers.length ? place : layer.title; // what was asked for is told by its title
    if (key !== lanes.layer || changed) {
      lanes.layer = key;
      this.listMoments();
      lanes.draw(this.film.time, true);
    }
    if (lanes.curves.has(window)) return;
    layer.when().then((curve) => {
      lanes.add(key, window, curve);
      lanes.draw(this.film.time, true);
    }, () => {}); // told where the map is drawn
  }

  describe() {
    const { summary, layer } = this;
    const told = summary.windows[this.window];
    this.title.textContent = layer.headline;
    this.about.textContent = [
      summary.source_name, `${summary.model} explained by ${layer.method}`, `${layer.scores.length} regions`,
    ].join(" · ");
    this.classes.replaceChildren(...told.predictions.map(([name, p]) => make("li", {},
      make("span", {}, name), summary.task === "regression" ? null : make("meter", { min: 0, max: 1, value: p, "aria-label": name }),
      make("span", {}, summary.task === "regression" ? number(p) : percent(p)))));
    const unsure = summary.task !== "regression" && told.probability < 0.5
      ? [`The network is not sure: it gives ${told.target_name} ${percent(told.probability)}.`] : [];
    this.caveats.replaceChildren(...[...unsure, ...summary.notes, layer.caveat].filter(Boolean)
      .map((note) => make("li", {}, note)));
    this.layerChoice.select.replaceChildren(...this.layers.map((one, i) => make("option", { value: i }, one.title)));
    this.layerChoice.select.value = String(this.layers.indexOf(layer));
    this.topK.input.max = Math.max(2, Math.min(200, layer.scores.length));
    this.showTable();
    this.highlight();
  }

  /** Tells the painter which regions are drawn, and finds out where their marks go. */
  async highlight() {
    const { layer, look, painter } = this;
    painter.regions(layer, this.scaled());
    const shown = [...painter.shown];
    const key = `${layer.title} ${this.window} ${look.signed} ${shown}`;
    if (key === this.marked || !(look.ranks || look.trails)) return;
    this.marked = key;
    this.marks.marked = null; // not the last one's
    const maps = await layer.maps().catch(() => null); // told where the map is drawn
    if (!maps || key !== this.marked) return;
    const each = layer.labels_shape[1] * layer.labels_shape[2];
    const frames = Array.from({ length: layer.labels_shape[0] },
      (_, t) => painter.withoutCrumbs(maps.subarray(t * each, (t + 1) * each)));
    this.marks.regions(layer, shown, frames, look.signed);
    this.marks.draw(this.t, look);
  }

  showTable() {
    const told = this.summary.windows[this.window];
    this.table.show(this.layer, told.times, told.end, this.look);
  }

  /** The look with the score that has the brightest colour. */
  scaled() {
    const top = this.layer.scores[(this.look.signed ? this.layer.bySize : this.layer.order)[0]];
    this.brightest = Math.max(this.brightest ?? 0, Math.abs(top));
    return { ...this.look, largest: this.look.by === "video" ? this.brightest : null };
  }

  paint() {
    this.painter.draw(this.picture, this.map, this.look);
    this.marks.draw(this.map ? this.t : null, this.look);
    this.marksCanvas.style.opacity = this.look.opacity;
    if (!this.painter.overFrame && this.picture instanceof HTMLVideoElement && this.picture.className !== "under") {
      this.canvas.before(this.picture); // under the drawing, as the browser lets it only be shown
      this.picture.className = "under";
    }
  }

  set(change) {
    Object.assign(this.look, change);
    this.redraw();
  }

  redraw(entered = false) {
    if (!this.layer) return;
    if (entered) {
      this.enter(this.window, this.layers);
      this.film.paused ? this.frame(this.film.time, this.picture) : null;
      return;
    }
    this.highlight();
    this.paint();
    this.writeAddress(this.film.time);
  }

  async lock(id) {
    this.look.locked = id;
    this.lockedNumber = id === null ? null : this.layer.numbers[id];
    this.table.mark();
    this.redraw();
    this.lanes.shares = null;
    if (id !== null && this.summary.kind === "video") {
      const wanted = this.lockedNumber;
      const shares = await this.source.shares(wanted, Math.min(this.layerIndex, this.summary.layers.length - 1))
        .catch(() => null);
      if (wanted === this.lockedNumber) this.lanes.shares = shares;
    }
    this.lanes.draw(this.film.time, true);
  }

  choose(id, yes) {
    if (yes) this.look.chosen.add(id);
    else this.look.chosen.delete(id);
    this.table.mark();
    this.redraw();
  }

  chooseAll(ids) {
    this.look.chosen.clear();
    ids.forEach((id) => this.look.chosen.add(id));
    this.table.mark();
    this.redraw();
  }

  async idUnder(event) {
    if (!this.map) return null;
    const box = this.canvas.getBoundingClientRect();
    return this.painter.idAt(this.map, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  }

  async hover(event) {
    const id = await this.idUnder(event);
    const box = this.canvas.parentElement.getBoundingClientRect();
    this.tip.hidden = false;
    if (id === null) {
      this.tip.textContent = this.map ? "The network did not see this part." : "Nothing was explained here.";
    } else {
      const { layer } = this;
      const { times, end } = this.summary.windows[this.window];
      const { first, last, voxels } = layer.regions;
      const error = layer.errors?.[id];
      this.tip.replaceChildren(...[
        `${layer.name(id)}, rank ${layer.rank[id]} of ${layer.scores.length}`,
        `share ${percent(layer.share(id))}`,
        `score ${number(layer.scores[id])}${error === undefined || error === null ? "" : ` ± ${number(error)}`}`,
        times.length > 1 ? `seen ${seconds(times[first[id]])} to ${seconds(times[last[id] + 1] ?? end)}` : null,
        `size ${percent(voxels[id] / voxels.reduce((a, b) => a + b, 0))}`,
      ].filter(Boolean).map((line) => make("div", {}, line)));
      this.tip.dataset.id = id;
    }
    const left = event.clientX - box.left;
    this.tip.style.left = `${Math.min(left + 12, box.width - this.tip.offsetWidth - 4)}px`;
    this.tip.style.top = `${event.clientY - box.top + 16}px`;
  }

  async addLayer(values) {
    const maps = this.layers[Math.min(this.layerIndex, this.layers.length - 1)].maps();
    const layer = new Layer(values, null);
    layer.mapped = maps; // the same regions
    const extra = [...(this.extra.get(this.window) ?? []), layer];
    this.extra.set(this.window, extra);
    this.layers = [...this.layers, layer];
    this.layerIndex = this.layers.length - 1;
    this.redraw(true);
  }

  thumbnail(layer, id) {
    const canvas = make("canvas", { width: 40, height: 40, class: "look", "aria-hidden": "true" });
    const { first, last, y, x } = layer.regions;
    const [, height, width] = layer.labels_shape;
    const t = Math.round((first[id] + last[id]) / 2);
    const picture = this.film instanceof ClipFilm ? this.film.image(t) : Promise.resolve(null);
    Promise.all([layer.map(t), picture]).then(([map, image]) => {
      const side = Math.round(Math.min(height, width) / 2.5);
      const left = Math.max(0, Math.min(width - side, Math.round(x[id] - side / 2)));
      const top = Math.max(0, Math.min(height - side, Math.round(y[id] - side / 2)));
      const draw = canvas.getContext("2d");
      if (image) {
        const { summary } = this;
        const [sx, ox] = summary.x;
        const [sy, oy] = summary.y;
        draw.drawImage(image, (left - ox) / sx, (top - oy) / sy, side / sx, side / sy, 0, 0, 40, 40);
      }
      const over = draw.getImageData(0, 0, 40, 40);
      for (let i = 0; i < 1600; i++) {
        const column = left + Math.floor(((i % 40) * side) / 40);
        const row = top + Math.floor((Math.floor(i / 40) * side) / 40);
        const inside = map[row * width + column] === id;
        if (!image) over.data.set(inside ? [253, 231, 37, 255] : [60, 60, 60, 255], 4 * i);
        else if (!inside) for (let c = 0; c < 3; c++) over.data[4 * i + c] *= 0.35;
      }
      draw.putImageData(over, 0, 0);
    }).catch(() => {});
    return canvas;
  }

  toggle() {
    this.film.paused ? this.film.play() : this.film.pause();
    this.playing.textContent = this.film.paused ? "Play" : "Pause";
  }

  goTo(time) {
    this.film.pause();
    this.windows.layers(this.place(time).window).catch(() => {}); // while the video seeks
    return this.film.seek(time);
  }

  jump(way) {
    const now = this.film.time;
    const peaks = this.lanes.peaks();
    const next = way > 0 ? peaks.find((time) => time > now + 1e-3) : peaks.findLast((time) => time < now - 1e-3);
    if (next !== undefined) this.goTo(next);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const tag = event.target.tagName;
    if (tag === "SELECT" || (tag === "INPUT" && event.target.type !== "checkbox")) return;
    if (tag === "BUTTON" && (event.key === " " || event.key === "Enter")) return;
    if (tag === "SUMMARY" || (tag === "INPUT" && event.key === " ")) return;
    const rank = (way) => {
      const { layer, look } = this;
      const now = look.locked === null ? (way > 0 ? 0 : 2) : layer.rank[look.locked];
      this.lock(layer.order[Math.max(0, Math.min(layer.order.length - 1, now - 1 + way))]);
    };
    const work = {
      " ": () => this.toggle(),
      ArrowLeft: () => this.film.stepBy(-1), ArrowRight: () => this.film.stepBy(1),
      n: () => this.jump(1), p: () => this.jump(-1),
      ArrowDown: () => rank(1), ArrowUp: () => rank(-1),
      c: () => { if (this.look.locked !== null) this.choose(this.look.locked, !this.look.chosen.has(this.look.locked)); },
      Escape: () => { this.look.chosen.clear(); this.lock(null); },
      h: () => this.asking.hide(false), k: () => this.asking.hide(true), e: () => this.asking.explain(),
    }[event.key];
    if (!work || !this.layer) return;
    event.preventDefault();
    work();
  }

  complain(words) {
    this.problem.hidden = !words;
    this.problem.textContent = words ?? "";
  }

  /** A link holds the moment and what is looked at. */
  writeAddress(time) {
    if (!this.address || !this.started || !this.film.paused) return;
    const { look } = this;
    const parts = new URLSearchParams({ t: time.toFixed(3), style: look.style, k: look.topK, layer: this.layerIndex });
    if (this.lockedNumber !== null) parts.set("region", this.lockedNumber);
    for (const name of ["ranks", "trails"]) if (!look[name]) parts.set(name, "0");
    if (look.chosen.size) parts.set("chosen", [...look.chosen].join(","));
    this.written = `#${parts}`;
    if (location.hash !== this.written) history.replaceState(null, "", this.written);
  }

  async readAddress() {
    const parts = new URLSearchParams(location.hash.slice(1));
    const whole = (name) => (/^\d+$/.test(parts.get(name) ?? "") ? Number(parts.get(name)) : null);
    if (["heat", "outline", "spotlight"].includes(parts.get("style"))) this.look.style = parts.get("style");
    this.styleChoice.select.value = this.look.style;
    for (const name of ["ranks", "trails"]) {
      this.look[name] = parts.get(name) !== "0";
      this[name].box.checked = this.look[name];
    }
    if (whole("k")) this.look.topK = whole("k");
    this.topK.set(this.look.topK);
    if (whole("layer") !== null) this.layerIndex = whole("layer");
    const region = whole("region");
    const chosen = (parts.get("chosen") ?? "").split(",").filter((part) => /^\d+$/.test(part)).map(Number);
    const time = Number(parts.get("t"));
    if (parts.has("t") && Number.isFinite(time)) {
      const shown = new Promise((resolve) => {
        const draw = this.film.onframe;
        this.film.onframe = async (...args) => { await draw(...args); this.film.onframe = draw; resolve(); };
      });
      this.goTo(time);
      await shown;
    }
    if (!this.layer) return;
    chosen.filter((id) => id < this.layer.scores.length).forEach((id) => this.look.chosen.add(id));
    const id = region === null ? -1 : this.layer.numbers.indexOf(region);
    if (id >= 0) await this.lock(id);
    this.redraw(true);
  }
}
