// Where the page's data come from: the exported file itself, or the local server. And what of it is kept in memory.

const KEPT_WINDOWS = 12;

/** The bytes of a base64 text. */
export function bytes(text) {
  const binary = atob(text);
  const array = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) array[i] = binary.charCodeAt(i);
  return array;
}

/** Label maps as they are kept: deflated uint16, little-endian. */
async function inflate(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint16Array(await new Response(stream).arrayBuffer());
}

/** Data inside an exported page. `data` holds summary, windows, labels and frames or video. */
export function embedded(data) {
  return {
    summary: async () => data.summary,
    window: async (index) => data.windows[index],
    labels: async (index, layer) => bytes(data.labels[index][layer]),
    frame: async (t) => new Blob([bytes(data.frames[t].data)], { type: data.frames[t].type }),
    video: data.video
      ? data.video.name ?? URL.createObjectURL(new Blob([bytes(data.video.data)], { type: data.video.type }))
      : null,
    shares: async (number, index) => data.windows.map(({ layers: { [index]: layer } }) => {
      const id = layer.numbers.indexOf(number);
      if (id < 0) return null;
      return Math.abs(layer.scores[id]) / (layer.scores.reduce((sum, score) => sum + Math.abs(score), 0) || 1);
    }),
    ask: null,
  };
}

/** Data of the local server, which wants its token with every question. */
export function served(token) {
  const address = (path) => `${path}?token=${encodeURIComponent(token)}`;
  const get = async (path) => {
    const response = await fetch(address(path));
    if (!response.ok) throw new Error(await response.text());
    return response;
  };
  const post = async (path, question) => {
    const response = await fetch(address(path), { method: "POST", body: JSON.stringify(question) });
    const text = await response.text();
    if (!response.ok) throw new Error(text);
    return JSON.parse(text);
  };
  return {
    summary: async () => (await get("data")).json(),
    window: async (index) => (await get(`window/${index}`)).json(),
    labels: async (index, layer) => new Uint8Array(await (await get(`labels/${index}/${layer}`)).arrayBuffer()),
    frame: async (t) => (await get(`frame/${t}`)).blob(),
    video: address("video"),
    shares: async (number, layer) => (await get(`shares/${number}/${layer}`)).json(),
    ask: { hide: (question) => post("hide", question), explain: (question) => post("explain", question) },
  };
}

/** Keeps the last few of what `read` gives, by key. */
export class Cache {
  constructor(read, size = KEPT_WINDOWS) {
    this.read = read;
    this.size = size;
    this.kept = new Map();
  }

  get(key, ...args) {
    const kept = this.kept.get(key) ?? this.read(...args);
    this.kept.delete(key);
    this.kept.set(key, kept);
    kept.catch(() => this.kept.delete(key)); // so that it can be asked for again
    for (const old of [...this.kept.keys()].slice(0, Math.max(0, this.kept.size - this.size))) this.kept.delete(old);
    return kept;
  }
}

/** Windows with their layers and label maps, of which only the last few are in memory. */
export class Windows {
  constructor(source) {
    this.source = source;
    this.cache = new Cache(async (index) => {
      const first = source.labels(index, 0); // asked for together: one way to the server and back less
      first.catch(() => {}); // told where it is awaited
      const { layers } = await source.window(index);
      return layers.map((layer, number) => new Layer(layer, () => (number ? source.labels(index, number) : first)));
    });
  }

  layers(index) {
    return this.cache.get(index, index);
  }
}

/** One method's scores for one class, with the regions that they are of. */
export class Layer {
  constructor(values, readLabels) {
    Object.assign(this, values);
    this.readLabels = readLabels;
    this.total = this.scores.reduce((sum, score) => sum + Math.abs(score), 0) || 1;
    const byScore = this.scores.map((_, id) => id).sort((a, b) => this.scores[b] - this.scores[a] || a - b);
    this.order = byScore; // best first
    this.rank = new Array(this.scores.length);
    byScore.forEach((id, place) => { this.rank[id] = place + 1; });
    this.bySize = [...byScore].sort((a, b) => Math.abs(this.scores[b]) - Math.abs(this.scores[a]) || a - b);
  }

  share(id) {
    return Math.abs(this.scores[id]) / this.total;
  }

  name(id) {
    return this.names[id] || `region ${this.numbers[id]}`;
  }

  /** Label maps (T * h * w) of the window. */
  maps() {
    this.mapped ??= this.readLabels().then(inflate);
    return this.mapped;
  }

  /** The ids of frame t. */
  async map(t) {
    const [, height, width] = this.labels_shape;
    return (await this.maps()).subarray(t * height * width, (t + 1) * height * width);
  }

  /** Each frame's sum of scores, a region's shared equally among its voxels. */
  async when() {
    if (!this.curve) {
      const [frames, height, width] = this.labels_shape;
      const each = this.scores.map((score, id) => score / (this.regions.voxels[id] || 1));
      const maps = await this.maps();
      this.curve = Array.from({ length: frames }, (_, t) => {
        let sum = 0;
        for (let i = t * height * width; i < (t + 1) * height * width; i++) sum += each[maps[i]];
        return sum;
      });
    }
    return this.curve;
  }
}
