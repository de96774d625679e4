// Marks on the highlighted regions, as videxplain.drawing.marks has them: ranks with shares, and how centres move.

const SMOOTH = 5; // frames over which a centre is averaged: outlines tremble
const LEAST_WAY = 0.05; // of the frame's shorter side, that a centre has to go to have a trail
const MOST_TRAILS = 3;
const LONGEST_STEP = 2.5; // of a way, in mean steps, and
const LONGEST_WAY = 2.5; // in extents: else the outline jumps, and nothing moves
const WAYS = [[0, 0], [-0.8, 0], [0.8, 0], [0, 0.5], [0, -0.5]]; // where text goes that has no room, in its own size

export class Marks {
  constructor(canvas, summary) {
    this.canvas = canvas;
    this.summary = summary;
    const [height, width] = summary.size;
    this.size = summary.size;
    this.thickness = Math.max(1.3, Math.min(height, width) / 240);
    this.points = Math.max(9, Math.round(Math.min(height, width) / 26));
  }

  /** Where the regions that are drawn have their centres. `maps` are those of all frames, without crumbs. */
  regions(layer, shown, maps, signed) {
    const [height, width] = this.summary.grid;
    const place = new Map(shown.map((id, k) => [id, k]));
    const frames = maps.length;
    const sums = shown.map(() => Array.from({ length: frames }, () => [0, 0, 0]));
    maps.forEach((map, t) => {
      for (let i = 0; i < map.length; i++) {
        const k = place.get(map[i]);
        if (k === undefined) continue;
        const sum = sums[k][t];
        sum[0]++;
        sum[1] += Math.floor(i / width) + 0.5;
        sum[2] += (i % width) + 0.5;
      }
    });
    const { x, y } = this.summary;
    const cell = 1 / (x[0] * y[0]); // pixels of the source
    this.width = width;
    this.height = height;
    this.maps = maps;
    this.marked = shown.map((id, k) => {
      const areas = sums[k].map(([count]) => count).filter(Boolean).sort((a, b) => a - b);
      const middle = areas.length ? (areas[(areas.length - 1) >> 1] + areas[areas.length >> 1]) / 2 : 0;
      const share = layer.share(id);
      const sign = signed ? (layer.scores[id] < 0 ? "-" : "+") : "";
      const words = share > 0 && share < 0.005 ? "<1%" : `${Math.round(100 * share)}%`;
      return {
        id, area: cell * middle, texts: [`${k + 1}  ${sign}${words}`, String(k + 1)],
        centres: smooth(sums[k].map(([count, down, right]) => (count
          ? [(down / count - y[1]) / y[0], (right / count - x[1]) / x[0]] : null))),
      };
    });
    this.moving = this.marked.map(({ centres }) => way(centres, this.size)).map((places, k) => ({ places, k }))
      .filter(({ places }) => places.length).slice(0, MOST_TRAILS);
  }

  /** Draws the marks of frame t, right of `split`; both kinds can be left out. */
  draw(t, { ranks, trails, split }) {
    const { canvas, size } = this;
    const draw = canvas.getContext("2d");
    draw.setTransform(1, 0, 0, 1, 0, 0);
    draw.clearRect(0, 0, canvas.width, canvas.height);
    if (t === null || !this.marked) return;
    draw.setTransform(canvas.width / size[1], 0, 0, canvas.height / size[0], 0, 0);
    draw.save();
    draw.beginPath();
    draw.rect(split * size[1], 0, size[1], size[0]);
    draw.clip();
    const moving = trails && this.maps.length > 1 ? this.moving : [];
    for (const rim of [true, false]) moving.forEach(({ places }) => this.trail(draw, places, rim));
    for (const { k } of moving) {
      const centre = this.marked[k].centres[t];
      if (centre) this.dot(draw, ...centre);
    }
    if (ranks) this.ranks(draw, t, new Set(moving.map(({ k }) => k)));
    draw.restore();
  }

  trail(draw, places, rim) {
    const { thickness } = this;
    const wide = (rim ? 3.2 : 1.2) * thickness;
    draw.strokeStyle = draw.fillStyle = rim ? "rgb(0 0 0 / 0.6)" : "#fff";
    draw.lineWidth = wide;
    draw.lineJoin = "round";
    draw.beginPath();
    places.forEach(([y, x]) => draw.lineTo(x, y));
    draw.stroke();
    const [y, x] = places.at(-1);
    const [y0, x0] = places.at(Math.max(-places.length, -4));
    const long = Math.hypot(x - x0, y - y0) || 1;
    const [dx, dy] = [(x - x0) / long, (y - y0) / long];
    const margin = (wide - 1.2 * thickness) / 2;
    const [ahead, back, side] = [4.5 * thickness + 1.5 * margin, 1.5 * thickness + margin, 3 * thickness + 1.5 * margin];
    draw.beginPath();
    draw.moveTo(x + ahead * dx, y + ahead * dy);
    draw.lineTo(x - back * dx - side * dy, y - back * dy + side * dx);
    draw.lineTo(x - back * dx + side * dy, y - back * dy - side * dx);
    draw.fill();
  }

  dot(draw, y, x) {
    for (const [radius, colour] of [[3.2, "#000"], [2.2, "#fff"]]) {
      draw.beginPath();
      draw.arc(x, y, radius * this.thickness, 0, 2 * Math.PI);
      draw.fillStyle = colour;
      draw.fill();
    }
  }

  ranks(draw, t, moving) {
    const { points, size } = this;
    draw.font = `${0.88 * points}px system-ui, sans-serif`; // as wide as the narrow letters of `render`
    draw.textAlign = "center";
    draw.textBaseline = "middle";
    draw.lineJoin = "round";
    const rim = 2 * Math.max(1, Math.round(points / 9));
    const taken = [];
    this.marked.forEach((one, k) => {
      if (!one.centres[t]) return;
      const [y, x] = this.inside(one, t);
      const shift = moving.has(k) ? 7 * this.thickness : 0;
      for (const text of one.texts) {
        const wide = draw.measureText(text).width + rim;
        const tall = 0.8 * points + rim;
        if (wide * tall > 1.1 * one.area || wide > size[1] || tall > size[0]) continue;
        for (const [dy, dx] of WAYS) {
          const top = Math.min(Math.max(y + dy * tall + (shift && (tall + shift) / 2) - tall / 2, 0), size[0] - tall);
          const left = Math.min(Math.max(x + dx * wide - wide / 2, 0), size[1] - wide);
          const box = [top, left, top + tall, left + wide];
          if (taken.some((other) => overlap(box, other))) continue;
          taken.push(box);
          const at = [text, left + wide / 2, top + tall / 2];
          draw.lineWidth = rim;
          draw.strokeStyle = "#000";
          draw.strokeText(...at);
          draw.fillStyle = "#fff";
          draw.fillText(...at);
          return;
        }
      }
    });
  }

  /** The centre of a region, or, where that lies outside of it, the place in it that is next to its centre. */
  inside({ id, centres }, t) {
    const { width, height, summary: { x, y } } = this;
    const map = this.maps[t];
    const centre = centres[t];
    const [row, column] = [Math.trunc(centre[0] * y[0] + y[1]), Math.trunc(centre[1] * x[0] + x[1])];
    if (row >= 0 && row < height && column >= 0 && column < width && map[row * width + column] === id) return centre;
    let nearest = null;
    let least = Infinity;
    for (let i = 0; i < map.length; i++) {
      if (map[i] !== id) continue;
      const far = (Math.floor(i / width) - row) ** 2 + ((i % width) - column) ** 2;
      if (far < least) [least, nearest] = [far, i];
    }
    if (nearest === null) return centre;
    return [(Math.floor(nearest / width) + 0.5 - y[1]) / y[0], ((nearest % width) + 0.5 - x[1]) / x[0]];
  }
}

/** Centres averaged over a few frames, to both sides alike, so that ends stay where they are. */
function smooth(centres) {
  const places = centres.map((centre, t) => (centre ? t : -1)).filter((t) => t >= 0);
  const smoothed = centres.map(() => null);
  places.forEach((t, i) => {
    const near = Math.min(SMOOTH >> 1, i, places.length - 1 - i);
    const few = places.slice(i - near, i + near + 1).map((other) => centres[other]);
    smoothed[t] = [0, 1].map((axis) => few.reduce((sum, centre) => sum + centre[axis], 0) / few.length);
  });
  return smoothed;
}

/** The places of a centre that moves; none where it stays, or jumps as outlines change. */
function way(centres, size) {
  const places = centres.filter(Boolean);
  if (places.length < 3) return [];
  const steps = places.slice(1).map(([y, x], i) => Math.hypot(y - places[i][0], x - places[i][1]));
  const whole = steps.reduce((sum, step) => sum + step, 0);
  const extent = Math.hypot(...[0, 1].map((axis) => {
    const values = places.map((place) => place[axis]);
    return Math.max(...values) - Math.min(...values);
  }));
  const moves = extent >= LEAST_WAY * Math.min(...size);
  const steady = Math.max(...steps) <= (LONGEST_STEP * whole) / steps.length && whole <= LONGEST_WAY * extent;
  return moves && steady ? places : [];
}

function overlap(one, other) {
  return one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3];
}
