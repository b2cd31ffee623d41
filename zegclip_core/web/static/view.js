// The picture, its labels, score maps and the pointer.

const VIRIDIS = ['440154', '482878', '3e4a89', '31688e', '26828e', '1f9e89', '35b779', '6dcd59',
  'b4de2c', 'fde725'].map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));
const HEAT = 0.8;

function packed(red, green, blue, alpha = 255) {
  return ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

const HEAT_COLORS = Uint32Array.from({ length: 256 }, (_, level) => {
  const place = (level / 255) * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(place), VIRIDIS.length - 2);
  const mix = (channel) => Math.round(
    VIRIDIS[low][channel] + (VIRIDIS[low + 1][channel] - VIRIDIS[low][channel]) * (place - low));
  return packed(mix(0), mix(1), mix(2));
});

function painted(canvas, width, height, paint) {
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  paint(new Uint32Array(image.data.buffer));
  canvas.getContext('2d').putImageData(image, 0, 0);
}

export class View {
  constructor(canvas, onPoint) {
    this.canvas = canvas;
    this.pointer = document.getElementById('pointer');
    this.overlay = document.createElement('canvas');
    this.heat = document.createElement('canvas');
    this.line = document.createElement('canvas');
    this.opacity = 0.5;
    this.image = null;
    this.labelled = false;
    this.heated = false;
    this.place = null;
    this.onPoint = onPoint;
    canvas.addEventListener('pointermove', (event) => this.moved(event));
    canvas.addEventListener('pointerdown', (event) => this.moved(event));
    canvas.addEventListener('pointerleave', (event) => {
      if (event.pointerType === 'mouse') this.point(null);
    });
    canvas.addEventListener('keydown', (event) => this.key(event));
    canvas.addEventListener('blur', () => this.point(null));
  }

  /** Show another picture; its labels come later unless `keep` says that these still fit. */
  show(image, width, height) {
    this.image = image;
    this.canvas.width = width;
    this.canvas.height = height;
    this.canvas.style.setProperty('--aspect', width / height);
    this.labelled = this.heated = false;
    this.draw();
  }

  label(labels, classes) {
    const { values, width, height } = labels;
    const none = values instanceof Uint16Array ? 65535 : 255;
    const palette = new Uint32Array(none + 1);
    classes.forEach(({ color }, place) => { palette[place] = packed(...color); });
    palette[none] = 0;
    painted(this.overlay, width, height, (out) => {
      for (let at = 0; at < values.length; at++) out[at] = palette[values[at]];
    });
    this.labelled = true;
    this.draw();
  }

  /** Show a score map, with a white line where it reaches the threshold; null for the labels. */
  score(map, threshold) {
    this.heated = map !== null;
    if (map) {
      const { values, width, height } = map;
      painted(this.heat, width, height, (out) => {
        for (let at = 0; at < values.length; at++) out[at] = HEAT_COLORS[values[at]];
      });
      const level = threshold === null ? 256 : threshold * 255;
      const over = (at) => values[at] >= level;
      painted(this.line, width, height, (out) => {
        for (let y = 0, at = 0; y < height; y++) {
          for (let x = 0; x < width; x++, at++) {
            const edge = (x + 1 < width && over(at) !== over(at + 1))
              || (y + 1 < height && over(at) !== over(at + width));
            if (edge) out[at] = 0xffffffff;
          }
        }
      });
    }
    this.draw();
  }

  draw() {
    const context = this.canvas.getContext('2d');
    const { width, height } = this.canvas;
    context.globalAlpha = 1;
    context.filter = this.heated ? 'grayscale(1)' : 'none';
    context.clearRect(0, 0, width, height);
    if (this.image) context.drawImage(this.image, 0, 0, width, height);
    context.filter = 'none';
    if (this.heated) {
      context.globalAlpha = HEAT;
      context.imageSmoothingEnabled = true;
      context.drawImage(this.heat, 0, 0, width, height);
      context.globalAlpha = 1;
      context.drawImage(this.line, 0, 0, width, height);
    } else if (this.labelled) {
      context.globalAlpha = this.opacity;
      context.imageSmoothingEnabled = false;
      context.drawImage(this.overlay, 0, 0, width, height);
    }
  }

  moved(event) {
    const box = this.canvas.getBoundingClientRect();
    this.point({
      x: (event.clientX - box.left) / box.width,
      y: (event.clientY - box.top) / box.height,
    });
  }

  key(event) {
    const step = event.shiftKey ? 0.1 : 0.02;
    const steps = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step],
      ArrowDown: [0, step] };
    if (event.key === 'Escape') this.point(null);
    if (!(event.key in steps)) return;
    event.preventDefault();
    const { x, y } = this.place || { x: 0.5, y: 0.5 };
    const [right, down] = steps[event.key];
    this.point({ x: x + right, y: y + down });
  }

  /** Ask what is at a place, in parts of width and height. */
  point(place) {
    const within = (value) => Math.min(Math.max(value, 0), 0.9999);
    this.place = place && { x: within(place.x), y: within(place.y) };
    this.pointer.hidden = !this.place;
    if (this.place) Object.assign(this.pointer.style, this.onScreen(this.place));
    this.onPoint(this.place);
  }

  /** Return where a place is on the board, as style. */
  onScreen({ x, y }) {
    const box = this.canvas.getBoundingClientRect();
    const board = this.canvas.parentElement.getBoundingClientRect();
    return {
      left: `${box.left - board.left + x * box.width}px`,
      top: `${box.top - board.top + y * box.height}px`,
    };
  }
}
