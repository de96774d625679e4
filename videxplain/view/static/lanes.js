// The time axis: classes, how sure the network was, when in each window and what was measured of that, and the share of
// one region.

const HEIGHTS = { classes: 22, probability: 40, when: 40, moments: 22, measured: 44, region: 34 };
const GAP = 6;

export class Lanes {
  constructor(canvas, summary) {
    this.canvas = canvas;
    this.summary = summary;
    this.layer = 0; // whose curve is drawn
    this.seen = new Map(); // of each layer: window -> its when-curve, where the data do not tell all of them
    this.shares = null; // of the locked region, by window
    this.first = summary.windows[0].begin;
    this.last = summary.windows.at(-1).end || this.first + 1;
  }

  get names() {
    const { summary } = this;
    const some = { when: summary.frames > 1, moments: this.moments, measured: summary.when, region: summary.kind === "video" };
    return ["classes", "probability", ...Object.keys(some).filter((name) => some[name])];
  }

  /** The peaks that were saved with the layer, or null. */
  get moments() {
    return this.summary.moments?.[this.layer] ?? null;
  }

  /** Window -> when-curve, of the layer that is shown. */
  get curves() {
    const { windows } = this.summary;
    if (!windows[0].when?.[this.layer]) return this.seen.get(this.layer) ?? new Map();
    this.told ??= new Map();
    if (!this.told.has(this.layer)) {
      this.told.set(this.layer, new Map(windows.map(({ when }, i) => [i, when[this.layer]]).filter(([, curve]) => curve)));
    }
    return this.told.get(this.layer);
  }

  /** A window's curve, computed from its layer. */
  add(layer, index, curve) {
    if (!this.seen.has(layer)) this.seen.set(layer, new Map());
    this.seen.get(layer).set(index, curve);
  }

  x(time) {
    const long = Math.max(this.last - this.first, 1e-9);
    return ((time - this.first) / long) * this.width;
  }

  time(x) {
    return this.first + (x / Math.max(1, this.canvas.clientWidth)) * (this.last - this.first);
  }

  /** The lanes with a line at this moment. What does not move is drawn anew when `changed`, or of another width. */
  draw(now, changed = false) {
    const ratio = window.devicePixelRatio || 1;
    const width = this.canvas.clientWidth;
    if (!width) return; // hidden, as for a single image
    if (changed || width !== this.width || ratio !== this.ratio) {
      Object.assign(this, { width, ratio });
      this.drawLanes(width, ratio);
    }
    const draw = this.canvas.getContext("2d");
    draw.clearRect(0, 0, this.canvas.width, this.canvas.height); // between lanes there is nothing to draw over
    draw.drawImage(this.lanes, 0, 0);
    const x = Math.min(width - 1, Math.max(1, this.x(now)));
    draw.fillStyle = getComputedStyle(this.canvas).getPropertyValue("--accent");
    draw.fillRect((x - 1) * ratio, 0, 2 * ratio, this.canvas.height);
  }

  drawLanes(width, ratio) {
    const height = this.names.reduce((sum, name) => sum + HEIGHTS[name] + GAP, 0);
    this.canvas.style.height = `${height}px`;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.lanes ??= document.createElement("canvas");
    this.lanes.width = this.canvas.width;
    this.lanes.height = this.canvas.height;
    const draw = this.lanes.getContext("2d");
    const style = getComputedStyle(this.canvas);
    const ink = style.getPropertyValue("--ink");
    const pale = style.getPropertyValue("--pale");
    draw.scale(ratio, ratio);
    draw.font = "12px system-ui, sans-serif";
    let top = 0;
    const lanes = {};
    for (const name of this.names) {
      lanes[name] = [top, HEIGHTS[name]];
      draw.fillStyle = pale;
      draw.fillRect(0, top, width, HEIGHTS[name]);
      top += HEIGHTS[name] + GAP;
    }
    const { windows, task } = this.summary;
    // neighbours of one class are one block, so that its name has room
    for (let i = 0; i < windows.length;) {
      let j = i;
      while (j + 1 < windows.length && windows[j + 1].target === windows[i].target) j++;
      this.block(draw, lanes.classes, windows[i].begin, windows[j].end, windows[i].target, windows[i].target_name);
      i = j + 1;
    }
    if (lanes.moments) {
      const targets = new Map(windows.map((one) => [one.target_name, one.target]));
      for (const one of this.moments) {
        this.block(draw, lanes.moments, one.begin, one.end, targets.get(one.class) ?? 0, one.class);
      }
    }
    const [py, ph] = lanes.probability;
    const values = windows.map((one) => one.probability);
    const [low, high] = task === "regression" ? [Math.min(...values), Math.max(...values)] : [0, 1];
    draw.fillStyle = style.getPropertyValue("--line");
    for (const one of windows) {
      const tall = Math.max(1, ((one.probability - low) / (high - low || 1)) * ph);
      draw.fillRect(this.x(one.begin), py + ph - tall, Math.max(1, this.x(one.end) - this.x(one.begin) - 1), tall);
    }
    if (lanes.when) this.drawWhen(draw, lanes.when, style.getPropertyValue("--mark"));
    if (lanes.measured) this.drawMeasured(draw, lanes.measured, style.getPropertyValue("--mark"), ink);
    if (lanes.region && this.shares) {
      const [y, h] = lanes.region;
      const most = Math.max(...this.shares.map((share) => share ?? 0), 1e-9);
      draw.fillStyle = style.getPropertyValue("--accent");
      windows.forEach((one, i) => {
        if (this.shares[i] === null) return;
        const tall = Math.max(1, (this.shares[i] / most) * h);
        draw.fillRect(this.x(one.begin), y + h - tall, Math.max(1, this.x(one.end) - this.x(one.begin) - 1), tall);
      });
    }
    draw.fillStyle = ink;
    const words = { moments: "moments", probability: task === "regression" ? "value" : "probability", when: "when", measured: "when, measured", region: "locked region" };
    draw.font = "11px system-ui, sans-serif";
    for (const [name, [y]] of Object.entries(lanes)) {
      if (!words[name]) continue;
      const wide = draw.measureText(words[name]).width;
      draw.fillStyle = style.getPropertyValue("--paper");
      const left = name === "moments" ? width - wide - 8 : 2; // whose names are on the left
      draw.fillRect(left, y + 2, wide + 6, 14);
      draw.fillStyle = ink;
      draw.fillText(words[name], left + 3, y + 13);
    }
  }

  /** A stretch of time in the colour of its class, with its name. */
  block(draw, [y, h], begin, end, target, name) {
    const { classes } = this.summary.drawing;
    const colour = classes[target % classes.length];
    const [left, right] = [this.x(begin), this.x(end)];
    draw.fillStyle = `rgb(${colour.join(",")})`;
    draw.fillRect(left, y, Math.max(1, right - left - 1), h);
    if (right - left <= 16) return;
    draw.save();
    draw.beginPath();
    draw.rect(left, y, right - left - 2, h);
    draw.clip();
    draw.fillStyle = dark(colour) ? "#fff" : "#000";
    draw.fillText(name, left + 4, y + h - 7);
    draw.restore();
  }

  /** Bars a frame: a window's largest is as high as its class is probable. Negative sums stand below the middle. */
  drawWhen(draw, lane, mark) {
    const { windows, task } = this.summary;
    const bars = [];
    for (const [index, curve] of this.curves) {
      const { times, end, probability } = windows[index];
      const most = Math.max(...curve.map(Math.abs)) || 1;
      const height = task === "regression" ? 1 : probability;
      curve.forEach((value, t) => bars.push([times[t], times[t + 1] ?? end, (height * value) / most]));
    }
    drawBars(draw, lane, mark, bars.map(([begin, end, value]) => [this.x(begin), this.x(end), value]),
      this.summary.kind === "video" ? 1 : 0);
  }

  /** What parts of the clip were measured to count for, each with its standard error. */
  drawMeasured(draw, lane, mark, ink) {
    const { edges, scores, errors } = this.summary.when;
    const bars = scores.map((score, i) => [this.x(edges[i]), this.x(edges[i + 1]), score]);
    const height = drawBars(draw, lane, mark, bars, 0, errors);
    draw.fillStyle = ink;
    errors?.forEach((error, i) => {
      if (error === null) return;
      const middle = (bars[i][0] + bars[i][1]) / 2;
      const top = height(scores[i] + error);
      draw.fillRect(middle - 0.5, top, 1, height(scores[i] - error) - top);
    });
  }

  /** Moments worth a look: those that were saved or measured; else where the class changes, and windows' highest frames. */
  peaks() {
    const { windows, when } = this.summary;
    const measured = [...(this.moments ?? []), ...(when?.stretches ?? [])].map((one) => one.begin);
    const ascending = (times) => [...new Set(times)].sort((a, b) => a - b);
    if (measured.length) return ascending(measured);
    const changes = windows.filter((one, i) => i && one.target !== windows[i - 1].target).map((one) => one.begin);
    const highest = [...this.curves].map(([index, curve]) => windows[index].times[curve.indexOf(Math.max(...curve))]);
    return ascending([...changes, ...highest.filter((time) => time !== undefined)]);
  }

  /** Where a click leads: to the begin of a moment that is clicked, else to the time there. */
  target(x, y) {
    const time = this.time(x);
    let top = 0;
    for (const name of this.names) {
      const inside = y >= top && y < top + HEIGHTS[name];
      const moment = inside && name === "moments" && this.moments.find((one) => time >= one.begin && time < one.end);
      if (moment) return moment.begin;
      top += HEIGHTS[name] + GAP;
    }
    return time;
  }
}

/** Bars [left, right, value] from a common zero, the highest at least `most`; gives the height of a value. */
function drawBars(draw, [y, h], colour, bars, most, errors = null) {
  const reach = (sign) => bars.map(([, , value], i) => value + sign * (errors?.[i] ?? 0));
  let [low, high] = [0, most];
  for (const value of reach(-1)) low = Math.min(low, value); // spread arguments have a limit, and bars have none
  for (const value of reach(1)) high = Math.max(high, value);
  const height = (value) => y + h - ((value - low) / (high - low || 1)) * h;
  draw.fillStyle = colour;
  for (const [left, right, value] of bars) {
    const [top, bottom] = [Math.min(height(0), height(value)), Math.max(height(0), height(value))];
    draw.fillRect(left, top, Math.max(1, right - left - 0.5), Math.max(1, bottom - top));
  }
  return height;
}

function dark([red, green, blue]) {
  return 0.299 * red + 0.587 * green + 0.114 * blue < 130;
}
