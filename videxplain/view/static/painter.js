// Draws an explanation over a frame on the graphics card, as videxplain.render does in Python.

const VERTEX = `#version 300 es
const vec2 corners[3] = vec2[](vec2(-1, -1), vec2(3, -1), vec2(-1, 3));
void main() { gl_Position = vec4(corners[gl_VertexID], 0, 1); }`;

const FRAGMENT = `#version 300 es
precision highp float;
precision highp int;
precision highp usampler2D;
uniform sampler2D frame;
uniform usampler2D labels;   // ids of regions on the network's grid; 65535 where a crumb is left out
uniform sampler2D inks;      // a colour for each id
uniform usampler2D ranks;    // for each id: its rank if it is drawn, else 0; and whether it is chosen
uniform vec2 canvas, size;   // of what is drawn, and of the source's frames
uniform ivec2 grid;
uniform vec2 scale, offset;  // grid = scale * source + offset
uniform float dimmed, grey, lift, tint, opacity, split, edgeScale, fillScale;
uniform vec3 hatching;       // what a stripe keeps and adds, and its width
uniform float period;        // from stripe to stripe, in widths of a stripe
uniform bool filled, overFrame;
uniform uint locked;
out vec4 colour;

const int MOST = 8;
uint ids[MOST];
float shares[MOST];
int count = 0;

ivec2 place(uint id) { return ivec2(int(id % 256u), int(id / 256u)); }

// How much of a pixel is in each region: bilinear, and smoothed where the grid is finer than the frame.
void measure(vec2 at) {
  vec2 reach = max(vec2(1), scale);
  ivec2 low = ivec2(floor(at - reach)) + 1, high = ivec2(ceil(at + reach)) - 1;
  float sum = 0.0;
  for (int y = max(low.y, high.y - 7); y <= high.y; y++) {
    for (int x = max(low.x, high.x - 7); x <= high.x; x++) {
      vec2 near = max(vec2(0), 1.0 - abs(at - vec2(x, y)) / reach);
      float weight = near.x * near.y;
      if (weight <= 0.0) continue;
      sum += weight;
      uint id = texelFetch(labels, clamp(ivec2(x, y), ivec2(0), grid - 1), 0).r;
      if (id == 65535u) continue;
      uvec2 about = texelFetch(ranks, place(id), 0).rg;
      if (about.r == 0u && about.g == 0u && id != locked) continue;
      int i = 0;
      while (i < count && ids[i] != id) i++;
      if (i == MOST) continue;
      if (i == count) { ids[i] = id; shares[i] = 0.0; count++; }
      shares[i] += weight;
    }
  }
  for (int i = 0; i < count; i++) shares[i] /= max(sum, 1e-6);
}

void main() {
  vec2 pixel = vec2(gl_FragCoord.x, canvas.y - gl_FragCoord.y) * size / canvas;
  vec2 at = pixel * scale + offset - 0.5;
  vec3 before = overFrame ? texture(frame, vec2(pixel / size)).rgb : vec3(0);
  if (pixel.x < split * size.x) {
    colour = overFrame ? vec4(before, 1) : vec4(0);
    return;
  }
  // the picture is own * frame + level * its lightness + over
  float own = dimmed, level = grey;
  vec3 over = vec3(lift);
  bool seen = all(greaterThan(at, vec2(-0.5))) && all(lessThan(at, vec2(grid) - 0.5));
  if (seen) {
    measure(at);
    uint last = 0u;
    for (int turn = 0; turn < MOST; turn++) {
      int next = -1;
      uint best = 0xFFFFFFFFu;
      for (int i = 0; i < count; i++) {
        uint rank = texelFetch(ranks, place(ids[i]), 0).r;
        if (rank > last && rank < best) { best = rank; next = i; }
      }
      if (next < 0) break;
      last = best;
      float inside = floor(255.0 * shares[next] + 0.5);
      if (inside < 1.0) continue;
      float depth = inside / 255.0 - 0.5;
      float fill = filled ? clamp(depth * fillScale + 0.5, 0.0, 1.0) : 0.0;
      float edge = inside > 254.0 ? 0.0 : clamp(1.5 - abs(depth) * edgeScale, 0.0, 1.0);
      vec3 ink = texelFetch(inks, place(ids[next]), 0).rgb;
      own += fill * (1.0 - tint - own);
      level -= fill * level;
      over += fill * (tint * ink - over);
      own -= edge * own;
      level -= edge * level;
      over += edge * (ink - over);
    }
    own = mix(1.0, own, opacity);
    level *= opacity;
    over *= opacity;
    for (int i = 0; i < count; i++) {
      float depth = shares[i] - 0.5;
      bool chosen = texelFetch(ranks, place(ids[i]), 0).g > 0u;
      if (chosen && depth > 0.0 && mod(pixel.x - pixel.y, 8.0) < 2.0) { own *= 0.2; level *= 0.2; over = over * 0.2 + 0.75; }
      if (ids[i] == locked) {
        float rim = clamp(2.2 - abs(depth) * edgeScale, 0.0, 1.0);
        own -= rim * own; level -= rim * level; over += rim * (1.0 - over);
      }
    }
  } else {
    own = mix(1.0, own, opacity);
    level *= opacity;
    over *= opacity;
    if (mod(floor(pixel.x) + floor(pixel.y), hatching.z * period) < hatching.z) {
      own *= hatching.x;
      level *= hatching.x;
      over = over * hatching.x + hatching.y;
    }
  }
  if (overFrame) {
    float lightness = dot(before, vec3(0.299, 0.587, 0.114));
    colour = vec4(own * before + level * lightness + over, 1);
  } else {
    colour = vec4(over, 1.0 - own - level);
  }
}`;

export class Painter {
  constructor(canvas, summary) {
    this.canvas = canvas;
    this.summary = summary;
    const [height, width] = summary.size;
    const shrink = Math.min(1, 1920 / width);
    canvas.width = Math.round(width * shrink);
    canvas.height = Math.round(height * shrink);
    const gl = canvas.getContext("webgl2", { premultipliedAlpha: true, preserveDrawingBuffer: true });
    if (!gl) throw new Error("This browser has no WebGL 2, which draws the explanation.");
    this.gl = gl;
    this.program = program(gl);
    this.places = {};
    for (const [unit, name] of ["frame", "labels", "inks", "ranks"].entries()) {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
      const filter = name === "frame" && shrink < 1 ? gl.LINEAR : gl.NEAREST;
      for (const key of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, key, filter);
      for (const key of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, key, gl.CLAMP_TO_EDGE);
      gl.uniform1i(this.at(name), unit);
    }
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.uniform2f(this.at("canvas"), canvas.width, canvas.height);
    gl.uniform2f(this.at("size"), width, height);
    gl.uniform2i(this.at("grid"), summary.grid[1], summary.grid[0]);
    gl.uniform2f(this.at("scale"), summary.x[0], summary.y[0]);
    gl.uniform2f(this.at("offset"), summary.x[1], summary.y[1]);
    this.overFrame = true;
  }

  at(name) {
    return (this.places[name] ??= this.gl.getUniformLocation(this.program, name));
  }

  /** Which regions are drawn, in which colours. `look`: topK, style, signed, largest (of the scale), chosen ids. */
  regions(layer, look) {
    const gl = this.gl;
    const count = layer.scores.length;
    const rows = Math.max(1, Math.ceil(count / 256));
    const inks = new Uint8Array(rows * 256 * 4);
    const ranks = new Uint16Array(rows * 256 * 2);
    const { colours, signs } = this.summary.drawing;
    const shown = (look.signed ? layer.bySize : layer.order)
      .slice(0, look.topK)
      .filter((id) => (look.signed ? layer.scores[id] !== 0 : layer.scores[id] > 0));
    const largest = look.largest || Math.max(...shown.map((id) => Math.abs(layer.scores[id])), 1e-30);
    shown.forEach((id, place) => {
      const part = Math.min(1, Math.abs(layer.scores[id]) / largest);
      const ink = look.signed ? signs[layer.scores[id] > 0 ? 0 : 1] : colours[Math.round(255 * part)];
      inks.set([...ink, 255], 4 * id);
      ranks[2 * id] = place + 1;
    });
    for (const id of look.chosen) ranks[2 * id + 1] = 1;
    gl.activeTexture(gl.TEXTURE2);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, 256, rows, 0, gl.RGBA, gl.UNSIGNED_BYTE, inks);
    gl.activeTexture(gl.TEXTURE3);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RG16UI, 256, rows, 0, gl.RG_INTEGER, gl.UNSIGNED_SHORT, ranks);
    this.shown = new Set(shown);
  }

  /** The picture of one frame, whose map of ids may be null. */
  draw(picture, map, look) {
    const gl = this.gl;
    const { drawing, grid, size } = this.summary;
    const style = map ? look.style : "plain";
    gl.activeTexture(gl.TEXTURE0);
    if (this.overFrame) {
      try {
        gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, picture);
      } catch (error) {
        if (error.name !== "SecurityError") throw error;
        this.overFrame = false; // a video beside a page without a server may be shown, not read
      }
    }
    gl.activeTexture(gl.TEXTURE1);
    const ids = map ? this.withoutCrumbs(map) : new Uint16Array(grid[0] * grid[1]).fill(65535);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.R16UI, grid[1], grid[0], 0, gl.RED_INTEGER, gl.UNSIGNED_SHORT, ids);
    const dimmed = drawing.dimmed[style] ?? 1;
    const greyer = dimmed < 1 ? 0.5 : 0;
    const finest = Math.max(1, 1 / this.summary.y[0], 1 / this.summary.x[0]);
    const thickness = Math.max(1, Math.min(...size) / 240);
    gl.uniform1f(this.at("dimmed"), dimmed * (1 - greyer));
    gl.uniform1f(this.at("grey"), dimmed * greyer);
    gl.uniform1f(this.at("lift"), (drawing.lift[style] ?? 0) / 255);
    const stripe = 2 * Math.max(1, Math.round(Math.min(...size) / 480));
    gl.uniform3f(this.at("hatching"), drawing.hatch.keep, drawing.hatch.add / 255, stripe);
    gl.uniform1f(this.at("period"), drawing.hatch.period);
    gl.uniform1f(this.at("tint"), drawing.tint[style] ?? 0);
    gl.uniform1i(this.at("filled"), style !== "outline");
    gl.uniform1f(this.at("fillScale"), finest);
    gl.uniform1f(this.at("edgeScale"), (2 * finest) / thickness);
    gl.uniform1f(this.at("opacity"), look.opacity);
    gl.uniform1f(this.at("split"), look.split);
    gl.uniform1ui(this.at("locked"), look.locked ?? 65534);
    gl.uniform1i(this.at("overFrame"), this.overFrame);
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  /** A frame's map without pieces of drawn regions that are only a few pixels, but for each region's largest. */
  withoutCrumbs(map) {
    const [height, width] = this.summary.grid;
    const least = this.summary.drawing.crumb * this.summary.scale ** 2;
    const pieces = new Map(); // id -> lists of places
    const visited = new Uint8Array(map.length);
    const stack = [];
    for (let start = 0; start < map.length; start++) {
      const id = map[start];
      if (visited[start] || !this.shown.has(id)) continue;
      const piece = [];
      stack.push(start);
      visited[start] = 1;
      while (stack.length) {
        const place = stack.pop();
        piece.push(place);
        const x = place % width;
        for (const [near, inside] of [
          [place - 1, x > 0], [place + 1, x < width - 1], [place - width, place >= width],
          [place + width, place < width * (height - 1)],
        ]) {
          if (inside && !visited[near] && map[near] === id) {
            visited[near] = 1;
            stack.push(near);
          }
        }
      }
      if (!pieces.has(id)) pieces.set(id, []);
      pieces.get(id).push(piece);
    }
    let ids = map;
    for (const several of pieces.values()) {
      const most = Math.max(...several.map((piece) => piece.length));
      for (const piece of several) {
        if (piece.length >= Math.min(least, most)) continue;
        if (ids === map) ids = map.slice();
        for (const place of piece) ids[place] = 65535;
      }
    }
    return ids;
  }

  /** The id at a place of the canvas, given in shares of its width and height; null where the network saw nothing. */
  idAt(map, right, down) {
    const { grid, size, x, y } = this.summary;
    const column = Math.floor(right * size[1] * x[0] + x[1]);
    const row = Math.floor(down * size[0] * y[0] + y[1]);
    return row < 0 || column < 0 || row >= grid[0] || column >= grid[1] ? null : map[row * grid[1] + column];
  }
}

function program(gl) {
  const made = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  gl.useProgram(made);
  return made;
}
