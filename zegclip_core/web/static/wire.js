// What travels over the socket: JSON, and arrays behind it. The other side is wire.py.

const RETRY = [500, 1000, 2000, 5000];

async function inflated(bytes, dtype) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
  const buffer = await new Response(stream).arrayBuffer();
  return dtype === 'uint16' ? new Uint16Array(buffer) : new Uint8Array(buffer);
}

/** Return the JSON of a message. */
function read(data) {
  if (typeof data === 'string') return JSON.parse(data);
  const length = new DataView(data).getUint32(0, true);
  return { ...JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length))), start: 4 + length };
}

/** Add the parts of a message to its JSON. */
async function unpacked(fields, buffer) {
  let at = fields.start;
  for (const part of fields.parts ?? []) {
    const bytes = new Uint8Array(buffer, at, part.bytes);
    at += part.bytes;
    fields[part.name] = part.dtype
      ? { values: await inflated(bytes, part.dtype), height: part.shape[0], width: part.shape[1] }
      : new Blob([bytes]);
  }
  return fields;
}

export class Socket {
  /** `handlers` has a function for each type of message, and `lost` for a broken connection. */
  constructor(handlers) {
    this.handlers = handlers;
    this.tries = 0;
    this.waiting = new Map();
    this.working = false;
    this.connect();
  }

  connect() {
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    const session = sessionStorage.getItem('session') || '';
    this.socket = new WebSocket(`${scheme}://${location.host}/socket?session=${session}`);
    this.socket.binaryType = 'arraybuffer';
    this.socket.onmessage = ({ data }) => this.put(read(data), data);
    this.socket.onclose = () => {
      this.handlers.lost();
      setTimeout(() => this.connect(), RETRY[Math.min(this.tries++, RETRY.length - 1)]);
    };
  }

  /** Have a message wait: of each kind the newest alone, however slow this browser is. */
  put(fields, data) {
    const kind = `${fields.type} ${fields.box ?? ''}`;
    this.waiting.delete(kind); // Newer messages lie behind older ones, as in the server's outbox.
    this.waiting.set(kind, [fields, data]);
    if (!this.working) this.work();
  }

  /** Take what waits, one after the other: arrays are unpacked in the background. */
  async work() {
    this.working = true;
    while (this.waiting.size) {
      const [kind, message] = this.waiting.entries().next().value;
      this.waiting.delete(kind);
      await this.take(...message).catch((error) => { console.error(error); });
    }
    this.working = false;
  }

  async take(fields, data) {
    await unpacked(fields, data);
    if (fields.type === 'hello') {
      this.tries = 0;
      this.session = fields.session;
      sessionStorage.setItem('session', fields.session);
    }
    await this.handlers[fields.type]?.(fields);
  }

  get open() {
    return this.socket.readyState === WebSocket.OPEN && Boolean(this.session);
  }

  send(fields) {
    if (this.open) this.socket.send(JSON.stringify(fields));
  }

  async sendFrame(number, seconds, blob) {
    const head = new DataView(new ArrayBuffer(12));
    head.setUint32(0, number, true);
    head.setFloat64(4, seconds, true);
    if (this.open) this.socket.send(await new Blob([head, blob]).arrayBuffer());
  }
}
