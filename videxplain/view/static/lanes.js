// The time axis: classes, how sure the network was, when in each window, and the share of one region.

const HEIGHTS = { classes: 22, probability: 40, when: 40, region: 34 };
const GAP = 6;

export class Lanes {
  constructor(canvas, summary) {
    this.canvas = canvas;
    this.summary = summary;
    this.curves = new Map(); // window -> its when-curve
    this.shares = null; // of the locked region, by window
    this.first = summary.windows[0].begin;
    this.last = summary.windows.at(-1).end || this.first + 1;
  }

  get names() {
    const video = this.summary.kind === "video";
    return ["classes", "probability", ...(this.summary.frames > 1 ? ["when"] : []), ...(video ? ["region"] : [])];
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
    const { windows, drawing, task } = this.summary;
    const rgb = (target) => `rgb(${drawing.classes[target % drawing.classes.length].join(",")})`;
    // neighbours of one class are one block, so that its name has room
    for (let i = 0; i < windows.length;) {
      let j = i;
      while (j + 1 < windows.length && windows[j + 1].target === windows[i].target) j++;
      const [left, right] = [this.x(windows[i].begin), this.x(windows[j].end)];
      const [y, h] = lanes.classes;
      draw.fillStyle = rgb(windows[i].target);
      draw.fillRect(left, y, Math.max(1, right - left - 1), h);
      draw.save();
      draw.beginPath();
      draw.rect(left, y, right - left - 2, h);
      draw.clip();
      draw.fillStyle = dark(drawing.classes[windows[i].target % drawing.classes.length]) ? "#fff" : "#000";
      if (right - left > 16) draw.fillText(windows[i].target_name, left + 4, y + h - 7);
      draw.restore();
      i = j + 1;
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
    const words = { probability: task === "regression" ? "value" : "probability", when: "when", region: "locked region" };
    draw.font = "11px system-ui, sans-serif";
    for (const [name, [y]] of Object.entries(lanes)) {
      if (!words[name]) continue;
      const wide = draw.measureText(words[name]).width;
      draw.fillStyle = style.getPropertyValue("--paper");
      draw.fillRect(2, y + 2, wide + 6, 14);
      draw.fillStyle = ink;
      draw.fillText(words[name], 5, y + 13);
    }
  }

  /** Bars a frame; negative sums stand below the middle. */
  drawWhen(draw, [y, h], mark) {
    draw.fillStyle = mark;
    for (const [index, curve] of this.curves) {
      const { times, end } = this.summary.windows[index];
      const low = Math.min(0, ...curve);
      const range = Math.max(0, ...curve) - low || 1;
      const zero = y + h + (low / range) * h;
      curve.forEach((value, t) => {
        const left = this.x(times[t]);
        const right = this.x(times[t + 1] ?? end);
        const tall = (value / range) * h;
        draw.fillRect(left, Math.min(zero, zero - tall), Math.max(1, right - left - 0.5), Math.max(1, Math.abs(tall)));
      });
    }
  }

  /** Moments worth a look: where the class changes, and the highest frames of the windows that were seen. */
  peaks() {
    const { windows } = this.summary;
    const found = windows.filter((one, i) => i && one.target !== windows[i - 1].target).map((one) => one.begin);
    for (const [index, curve] of this.curves) {
      const { times } = windows[index];
      const best = curve.indexOf(Math.max(...curve));
      if (times[best] !== undefined) found.push(times[best]);
    }
    return [...new Set(found)].sort((a, b) => a - b);
  }
}

function dark([red, green, blue]) {
  return 0.299 * red + 0.587 * green + 0.114 * blue < 130;
}
