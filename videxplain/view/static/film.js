// What is shown: the frames of a clip as images, or a video that the browser plays. Both tell which moment is drawn.

/** A clip whose frames are images; times in seconds. */
export class ClipFilm {
  constructor(source, summary) {
    this.source = source;
    this.times = summary.windows[0].times;
    this.step = summary.step;
    this.begin = this.times[0];
    this.end = summary.windows[0].end;
    this.paused = true;
    this.onframe = () => {};
    this.index = 0;
    this.images = new Map();
  }

  get time() {
    return this.times[this.index];
  }

  async load() {
    await this.show(0);
  }

  image(t) {
    if (!this.images.has(t)) this.images.set(t, this.source.frame(t).then((blob) => createImageBitmap(blob)));
    return this.images.get(t);
  }

  async show(t) {
    this.index = Math.max(0, Math.min(this.times.length - 1, t));
    const index = this.index;
    const picture = await this.image(index);
    if (index === this.index) await this.onframe(this.time, picture);
  }

  seek(time) {
    let t = this.times.findIndex((other) => other > time + 1e-6);
    t = t < 0 ? this.times.length - 1 : Math.max(0, t - 1);
    return this.show(t);
  }

  stepBy(count) {
    this.pause();
    return this.show(this.index + count);
  }

  play() {
    if (this.times.length < 2) return;
    this.paused = false;
    const next = async () => {
      if (this.paused) return;
      await this.show((this.index + 1) % this.times.length);
      const now = this.times[this.index];
      const pause = (this.times[this.index + 1] ?? this.end) - now;
      this.timer = setTimeout(next, Math.max(20, 1000 * pause));
    };
    this.timer = setTimeout(next, 1000 * this.step);
  }

  pause() {
    this.paused = true;
    clearTimeout(this.timer);
  }
}

/** A video; a frame's time is its own time stamp. */
export class VideoFilm {
  constructor(source, summary) {
    this.video = document.createElement("video");
    this.video.muted = true;
    this.video.className = "film";
    this.video.setAttribute("aria-hidden", "true");
    this.video.playsInline = true;
    this.video.preload = "auto";
    this.video.src = source.video;
    this.step = summary.step;
    this.begin = 0;
    this.end = summary.windows.at(-1).end;
    this.time = 0;
    this.onframe = () => {};
  }

  get paused() {
    return this.video.paused;
  }

  load() {
    return new Promise((resolve, reject) => {
      const watch = (_, { mediaTime }) => {
        this.time = mediaTime;
        this.onframe(mediaTime, this.video);
        resolve();
        this.video.requestVideoFrameCallback(watch);
      };
      this.video.addEventListener("error", () => reject(new Error("This browser cannot play the video.")));
      this.video.addEventListener("loadeddata", () => {
        if (Number.isFinite(this.video.duration)) this.end = this.video.duration;
      });
      this.video.requestVideoFrameCallback(watch);
      this.video.load();
      this.video.currentTime = 0;
    });
  }

  /** The middle of a frame is meant, so that rounding does not show the one before it. */
  seek(time) {
    const at = Math.max(0, Math.min(this.end - this.step / 2, time));
    this.video.currentTime = at + this.step / 2 < this.end ? at + this.step / 4 : at;
  }

  stepBy(count) {
    this.pause();
    this.seek(this.time + count * this.step);
  }

  play() {
    this.video.play();
  }

  pause() {
    this.video.pause();
  }
}
