// The regions of a window as a table that can be sorted.

import { make, number, percent, seconds } from "./elements.js";

const FEW = 12;
const COLUMNS = [
  ["rank", "rank"], ["name", "region"], ["share", "share"], ["score", "score"], ["time", "seen"], ["size", "size"],
];

export class RegionTable {
  /** `on.lock(id)`, `on.choose(id, yes)`; `thumbnail(layer, id)` gives a canvas. */
  constructor(on, thumbnail) {
    this.on = on;
    this.thumbnail = thumbnail;
    this.sorted = ["rank", 1];
    this.few = true;
    this.body = make("tbody");
    this.heads = COLUMNS.map(([key, words]) => make(
      "th", { scope: "col", "data-key": key },
      make("button", { type: "button", onclick: () => this.sortBy(key) }, words),
    ));
    this.more = make("button", { type: "button", onclick: () => { this.few = !this.few; this.fill(); } });
    this.element = make(
      "div", { class: "regions" },
      make(
        "table", {},
        make("caption", {}, "Regions"),
        make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "choose"), make("th", { scope: "col" }, "look"),
          ...this.heads)),
        this.body,
      ),
      this.more,
    );
  }

  sortBy(key) {
    const [before, way] = this.sorted;
    this.sorted = [key, key === before ? -way : 1];
    this.fill();
  }

  show(layer, times, end, look) {
    Object.assign(this, { layer, times, end, look });
    this.fill();
  }

  value(key, id) {
    const { layer } = this;
    return {
      rank: () => layer.rank[id],
      name: () => layer.names[id] || layer.numbers[id],
      share: () => -layer.share(id),
      score: () => -layer.scores[id],
      time: () => layer.regions.first[id],
      size: () => -layer.regions.voxels[id],
    }[key]();
  }

  fill() {
    const { layer, look } = this;
    if (!layer) return;
    const [key, way] = this.sorted;
    this.heads.forEach((head) => head.setAttribute(
      "aria-sort", head.dataset.key === key ? (way > 0 ? "ascending" : "descending") : "none"));
    const ids = [...layer.order].sort((a, b) => {
      const [x, y] = [this.value(key, a), this.value(key, b)];
      return way * (x < y ? -1 : x > y ? 1 : 0) || a - b;
    });
    const shown = this.few ? ids.slice(0, FEW) : ids;
    this.more.textContent = this.few ? `Show all ${ids.length} regions` : "Show fewer";
    this.more.hidden = ids.length <= FEW;
    const voxels = layer.regions.voxels.reduce((a, b) => a + b, 0);
    this.body.replaceChildren(...shown.map((id) => {
      const error = layer.errors?.[id];
      const name = layer.name(id);
      const box = make("input", {
        type: "checkbox", "aria-label": `choose ${name}`, onchange: (event) => this.on.choose(id, event.target.checked),
      });
      box.checked = look.chosen.has(id);
      const { first, last } = layer.regions;
      return make(
        "tr", { class: look.locked === id ? "locked" : null, "data-id": id },
        make("td", {}, box),
        make("td", {}, this.thumbnail(layer, id)),
        make("td", {}, String(layer.rank[id])),
        make("th", { scope: "row" }, make(
          "button", { type: "button", "aria-pressed": String(look.locked === id), onclick: () => this.on.lock(id) }, name)),
        make("td", {}, percent(layer.share(id))),
        make("td", {}, number(layer.scores[id]) + (error === undefined || error === null ? "" : ` ± ${number(error)}`)),
        make("td", {}, this.times.length > 1
          ? `${seconds(this.times[first[id]])} to ${seconds(this.times[last[id] + 1] ?? this.end)}` : "whole"),
        make("td", {}, percent(layer.regions.voxels[id] / voxels)),
      );
    }));
  }

  /** Marks what is locked and chosen without making the rows again. */
  mark() {
    for (const row of this.body.rows) {
      const id = Number(row.dataset.id);
      row.classList.toggle("locked", this.look.locked === id);
      row.querySelector("th button").setAttribute("aria-pressed", String(this.look.locked === id));
      row.querySelector("input").checked = this.look.chosen.has(id);
    }
  }
}
