// Where pictures come from: photos, folders, videos and the browser's camera.

import { START } from './state.js';

const FRAME_SIDE = 640;
const QUALITY = 0.85;
const STALE = 5000;
const RETRY = 1000; // Milliseconds before the next frame after one that failed.
const HEIC = /\.(heic|heif)$/i;

export class Sources {
  /**
   * `hooks`: `shown(image, width, height)` when there is a picture to show,
   * `failed(text)`, `playing(video or null)`, `session()`, `frame(number, seconds, blob)`,
   * `listed(files)` when a folder was opened.
   */
  constructor(limits, hooks) {
    this.limits = limits;
    this.hooks = hooks;
    this.number = START;
    this.name = 'picture';
    this.file = null;
    this.waiting = new Map();
    this.video = document.getElementById('video');
    this.live = false;
    this.shown = 0;
    this.missed = false;
    this.cameras = 0;
    this.coming = Promise.resolve();
    this.sent = 0;
    this.video.addEventListener('error', () => {
      if (this.live) this.hooks.failed('This browser does not play that video: convert it to MP4 (H.264) or WebM.');
      this.stop();
    });
    this.video.addEventListener('seeked', () => this.grab());
  }

  next() {
    this.number = (this.number + 1) % 2 ** 31;
    return this.number;
  }

  /** Open files that were picked, dropped or pasted: a video, a photo, or several of them. */
  async open(files) {
    const fits = [...files].filter((file) => file.size >= 0 && !file.name.startsWith('.'));
    const pictures = fits.filter((file) => !this.isVideo(file)
      && (file.type.startsWith('image/') || /\.(jp2|tiff?|bmp|ppm|pgm|avif)$/i.test(file.name)));
    if (fits.length > 1 && pictures.length) {
      pictures.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
      this.hooks.listed(pictures);
      return this.photo(pictures[0], pictures[0].name);
    }
    if (!fits.length) return this.hooks.failed('There is no picture and no video in it.');
    const [file] = fits;
    if (this.isVideo(file)) return this.play(URL.createObjectURL(file), file.name);
    return this.photo(file, file.name);
  }

  isVideo(file) {
    return file.type.startsWith('video/') || /\.(mp4|webm|mkv|mov|m4v|avi|ogv)$/i.test(file.name);
  }

  /** Send a photo, and show the copy that comes back. */
  photo(blob, name) {
    this.coming = this.upload(blob, name);
    return this.coming;
  }

  async upload(blob, name) {
    this.stop();
    this.cameras += 1;
    this.file = blob;
    const number = this.next();
    if (blob.size > this.limits.upload) {
      const most = Math.round(this.limits.upload / 2 ** 20);
      return this.hooks.failed(`Expected a file of at most ${most} MB, but got ${(blob.size / 2 ** 20).toFixed(1)} MB.`);
    }
    if (HEIC.test(name)) return this.hooks.failed('HEIC is not read: convert it to JPEG or PNG.');
    let answer;
    try {
      const query = `session=${this.hooks.session()}&number=${number}`;
      answer = await fetch(`/photo?${query}`, { method: 'POST', body: blob });
    } catch {
      return this.hooks.failed('The photo could not be sent: the connection was lost.');
    }
    if (number !== this.number) return undefined;
    if (!answer.ok) {
      const { error } = await answer.json().catch(() => ({ error: `refused (${answer.status})` }));
      return this.hooks.failed(error);
    }
    this.name = name;
    return this.display(await answer.blob(), number);
  }

  /** Show the photo that the other side still has after this page was reloaded. */
  async again() {
    const answer = await fetch(`/photo?session=${this.hooks.session()}`);
    if (answer.status !== 200) return false;
    this.number = Number(answer.headers.get('X-Number'));
    await this.display(await answer.blob(), this.number);
    return true;
  }

  async display(blob, number) {
    const image = await createImageBitmap(blob);
    if (number !== this.number) return;
    this.shown = number;
    this.hooks.shown(image, image.width, image.height);
  }

  /** Return whether labels are of the picture that is shown, or of one that comes with them. */
  async fits(number) {
    if (this.back(number)) return true;
    if (number === this.number) await this.coming; // They may be here before the copy is.
    return number === this.shown;
  }

  /** Send it again after the connection was lost. */
  async resend() {
    if (this.live) {
      this.waiting.clear();
      this.grab();
    } else if (this.file) await this.photo(this.file, this.name);
  }

  async camera() {
    this.stop();
    const turn = ++this.cameras;
    if (!navigator.mediaDevices?.getUserMedia) {
      return this.hooks.failed('Browsers give a camera to pages of this machine (127.0.0.1) or with https only: take a photo with Open.');
    }
    try {
      const stream = await navigator.mediaDevices.getUserMedia({
        video: { width: { ideal: FRAME_SIDE }, facingMode: 'environment' }, audio: false,
      });
      if (turn !== this.cameras) { // Something else was chosen while the browser asked.
        stream.getTracks().forEach((track) => track.stop());
        return undefined;
      }
      this.video.srcObject = stream;
    } catch (error) {
      return this.hooks.failed(`The camera cannot be used: ${error.name}.`);
    }
    return this.begin('camera');
  }

  async play(address, name) {
    this.stop();
    this.cameras += 1;
    this.video.srcObject = null;
    this.video.src = address;
    this.video.loop = true;
    return this.begin(name);
  }

  async begin(name) {
    this.live = true;
    this.waiting.clear();
    this.file = null;
    this.name = name;
    this.hooks.playing(this.video);
    try {
      await this.video.play();
    } catch {
      return; // The error event says why.
    }
    this.grab();
  }

  stop() {
    if (!this.live) return;
    this.live = false;
    this.video.pause();
    this.video.srcObject?.getTracks().forEach((track) => track.stop());
    if (this.video.src) URL.revokeObjectURL(this.video.src);
    this.video.srcObject = null;
    this.video.removeAttribute('src');
    this.video.load();
    this.hooks.playing(null);
  }

  /** Send the frame that is seen now, unless one is still on its way. */
  async grab() {
    const { videoWidth: width, videoHeight: height } = this.video;
    if (!this.live || !width) return;
    this.missed = this.waiting.size > 0 && performance.now() - this.sent < STALE;
    if (this.missed) return;
    const scale = Math.min(1, FRAME_SIDE / Math.max(width, height));
    const image = document.createElement('canvas');
    image.width = Math.max(1, Math.round(width * scale));
    image.height = Math.max(1, Math.round(height * scale));
    image.getContext('2d').drawImage(this.video, 0, 0, image.width, image.height);
    const number = this.next();
    this.waiting.clear();
    this.waiting.set(number, image);
    this.sent = performance.now();
    const blob = await new Promise((done) => { image.toBlob(done, 'image/jpeg', QUALITY); });
    if (blob && this.live) this.hooks.frame(number, this.video.currentTime, blob);
  }

  /** Take note that a frame came back; return whether it is one of ours. */
  back(number) {
    const image = this.waiting.get(number);
    if (!image || number < this.shown) return false;
    this.waiting.delete(number);
    this.shown = number;
    this.hooks.shown(image, image.width, image.height);
    if (!this.video.paused || this.missed) requestAnimationFrame(() => this.grab());
    return true;
  }

  /** Go on after a frame that failed, though not at once, as the next one may fail too. */
  retry() {
    this.waiting.clear();
    setTimeout(() => { if (!this.video.paused) this.grab(); }, RETRY);
  }
}
