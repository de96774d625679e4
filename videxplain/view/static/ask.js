// Asking the network again: what it says without some regions, or with these alone; another class, another method.

import { choice, make, percent } from "./elements.js";

export class Asking {
  /** `question()` gives what is chosen now; `onlayer(answer)` takes a new explanation. */
  constructor(source, summary, question, onlayer) {
    this.source = source;
    this.question = question;
    this.onlayer = onlayer;
    const asking = summary.asking;
    this.answer = make("div", { class: "answer", "aria-live": "polite", role: "status" });
    this.element = make("section", { class: "ask" }, make("h2", {}, "Ask again"));
    if (!source.ask || !asking?.fills) {
      this.element.append(make("p", {}, asking?.reason
        ?? "This page has no network behind it. Open the saved folder with “videxplain view” to ask again."));
      return;
    }
    this.fill = choice("filled by", asking.fills.map((fill) => [fill, fill]), () => {}, asking.fill);
    const button = (words, keys, work) => make("button", { type: "button", "aria-keyshortcuts": keys, onclick: work }, words);
    this.element.append(
      make("p", {}, "Choose regions in the picture (Shift and click) or in the table, then hide them or keep only them."),
      make("div", { class: "row" },
        button("Hide the chosen (h)", "h", () => this.hide(false)),
        button("Keep only the chosen (k)", "k", () => this.hide(true)),
        this.fill.element),
      this.answer,
    );
    this.method = choice("by", asking.methods.map((name) => [name, name]), () => {}, summary.method);
    this.target = choice("for", asking.classes.map((name, index) => [String(index), name]), () => {},
      String(summary.windows[0].target));
    this.element.append(make("div", { class: "row" },
      make("span", {}, "Explain this window again"), this.method.element, this.target.element,
      button("Explain (e)", "e", () => this.explain())));
  }

  async hide(keep) {
    const { window, layer, chosen, value } = this.question();
    if (!this.fill) return;
    if (!chosen.length) {
      this.say("Choose one region or more first.");
      return;
    }
    await this.work(async () => {
      const { before, after } = await this.source.ask.hide(
        { window, layer, regions: chosen, keep, fill: this.fill.select.value });
      const what = `${keep ? "Only" : "Without"} ${chosen.length} region${chosen.length > 1 ? "s" : ""} (${this.fill.select.value}):`;
      const rows = after.map(([name, now]) => {
        const old = before.find(([other]) => other === name)?.[1] ?? 0;
        return make("tr", {},
          make("th", { scope: "row" }, name),
          make("td", {}, value(old)), make("td", {}, value(now)),
          make("td", {}, make("meter", { min: 0, max: 1, value: now, "aria-label": `${name} now` })));
      });
      this.answer.replaceChildren(make("table", { class: "changes" },
        make("caption", {}, what),
        make("thead", {}, make("tr", {}, ...["class", "before", "now", ""].map((words) => make("th", { scope: "col" }, words)))),
        make("tbody", {}, ...rows)));
    });
  }

  async explain() {
    if (!this.fill) return;
    const { window, layer } = this.question();
    await this.work(async () => {
      const answer = await this.source.ask.explain(
        { window, layer, method: this.method.select.value, target: Number(this.target.select.value) });
      this.say(`${answer.title}: ${percent(answer.probability)}.`);
      await this.onlayer(answer);
    });
  }

  async work(run) {
    this.element.setAttribute("aria-busy", "true");
    try {
      await run();
    } catch (error) {
      this.say(error.message);
    } finally {
      this.element.removeAttribute("aria-busy");
    }
  }

  say(words) {
    this.answer.replaceChildren(make("p", {}, words));
  }
}
