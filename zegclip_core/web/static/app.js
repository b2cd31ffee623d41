// The page: what is typed goes out, what is found comes back.

import { Legend, element, showDiagnostics, showTaken, showValue } from './panels.js';
import { Sources } from './sources.js';
import { Past, START, fromLink, toLink } from './state.js';
import { View } from './view.js';
import { Socket } from './wire.js';

const PAUSE = 250; // Milliseconds after the last key before the words are sent.
const SUGGESTED = { 'coffee.png': 'cup, spoon, table', 'chelsea.png': 'cat, cushion',
  'astronaut.png': 'person, helmet, flag', 'rocket.jpg': 'rocket, tower, sky' };
const RATED = 10; // Frames that the rate is a mean over.
const at = (id) => document.getElementById(id);
const state = fromLink();
const past = new Past();
let about;
let socket;
let sources;
let result = null;
let maps = new Map();
let hovered = null;
let asked = START;
let kept = null;
let timer = 0;
let pointing = false;
let wanted = null;
let frames = [];
let told = null;

const view = new View(at('view'), ask);
const legend = new Legend(at('legend'), hover);

function say(text, mood = '') {
  at('status').textContent = text;
  at('status').className = mood;
}

function fail(box, text) {
  const line = at(`error-${box}`);
  if (!line) return;
  line.textContent = text;
  at(box)?.classList.toggle('wrong', Boolean(text));
  at(box)?.setAttribute('aria-invalid', String(Boolean(text)));
}

function suggestions() {
  return Object.values(SUGGESTED);
}

/* What is asked for */

function threshold() {
  return state.threshold ?? about.threshold;
}

function thresholdText() {
  return about.kind === 'node' && state.threshold === null ? 'own' : threshold().toFixed(2);
}

function controls() {
  if (document.activeElement !== at('words') || at('words').value !== state.words) at('words').value = state.words;
  at('negatives').value = state.negatives;
  at('opacity').value = state.opacity;
  at('smoothing').value = state.smoothing;
  at('threshold').value = threshold();
  figures();
}

function figures() {
  at('opacity-value').textContent = state.opacity.toFixed(2);
  at('smoothing-value').textContent = state.smoothing.toFixed(2);
  at('threshold-value').textContent = thresholdText();
  at('threshold-reset').disabled = state.threshold === null;
  at('undo').disabled = !past.states.length;
}

/** Change what is looked for; a row of quick changes is taken back as one. */
function change(changes, pause = PAUSE) {
  kept ??= { ...state };
  Object.assign(state, changes);
  view.opacity = state.opacity;
  if ('opacity' in changes) view.draw();
  figures();
  clearTimeout(timer);
  timer = setTimeout(settle, pause);
}

function settle() {
  if (kept && JSON.stringify(kept) !== JSON.stringify(state)) past.keep(kept);
  const looks = kept && ['words', 'negatives', 'threshold', 'smoothing'].some((name) => kept[name] !== state[name]);
  kept = null;
  toLink(state);
  figures();
  if (looks) send();
}

function travel(found) {
  if (!found) return;
  clearTimeout(timer);
  kept = null;
  const before = { ...state };
  Object.assign(state, found);
  view.opacity = state.opacity;
  controls();
  toLink(state);
  view.draw();
  if (state.photo !== before.photo && state.photo) pick(state.photo);
  send();
}

function send() {
  for (const box of ['words', 'negatives', 'threshold', 'smoothing']) fail(box, '');
  if (!state.words.trim()) {
    say('Type what to look for.');
    return;
  }
  asked += 1;
  say('looking', 'busy');
  socket.send({ type: 'settings', number: asked, words: state.words, negatives: state.negatives,
    threshold: state.threshold, smoothing: state.smoothing });
  if (sources?.live && at('video').paused) sources.grab();
}

/* What comes back */

async function show(fields) {
  if (about.kind === 'node') await showFrame(fields);
  else if (!await sources.fits(fields.image)) return;
  if (fields.asked < asked && !fields.live) return;
  result = fields;
  maps = new Map();
  if (about.kind === 'model') view.label(fields.labels, fields.classes);
  legend.show(fields);
  if (about.kind === 'model') at('warning').textContent = fields.warning;
  if (fields.map) maps.set(fields.row, fields.map);
  if (hovered !== null) heat();
  if (wanted || view.place) ask(view.place);
  count(fields);
  document.body.dataset.asked = fields.asked;
  document.body.dataset.image = fields.image;
}

async function showFrame(fields) {
  if (!fields.photo) return;
  view.show(await createImageBitmap(fields.photo), fields.width, fields.height);
  view.label(fields.labels, fields.classes);
}

/** Put the words that a node uses into the box: its own as they were typed, or somebody else's. */
function follow({ text }) {
  if (text === told) return;
  const opened = told === null;
  told = text;
  // Words of a link stay, and those that are being typed: they go out next.
  if ((opened && state.words) || (kept && kept.words !== state.words) || text === state.words) return;
  if (state.words) past.keep(state);
  state.words = text;
  toLink(state);
  controls();
}

function count(fields) {
  if (!fields.live) {
    say(fields.asked >= asked ? `${Math.round(1000 * fields.seconds)} ms` : 'looking', fields.asked >= asked ? '' : 'busy');
    return;
  }
  const now = performance.now();
  frames = [...frames.slice(-RATED), now];
  const rate = frames.length > 1 ? (1000 * (frames.length - 1)) / (now - frames[0]) : 0;
  at('rate').textContent = `${rate.toFixed(1)} frames/s`;
  say(fields.seconds ? `${Math.round(1000 * fields.seconds)} ms a frame` : `${rate.toFixed(1)} frames/s`);
}

function hover(row) {
  if (row === hovered) return;
  hovered = row;
  socket.send({ type: 'hover', row }); // Of maps that are here, too: the next frame's is sent.
  heat();
}

function heat() {
  const map = hovered === null ? null : maps.get(hovered);
  at('scale').hidden = !map;
  if (hovered === null) view.score(null);
  if (!map) return;
  const word = at('legend').querySelector(`[data-row="${hovered}"]`);
  at('scale').querySelector('span').textContent = word?.title ?? '';
  const isClass = hovered < result.classes.length;
  view.score(map, isClass ? result.thresholds?.[hovered] ?? result.threshold ?? null : null);
}

function ask(place) {
  wanted = place;
  if (!place) {
    at('value').hidden = true;
    return;
  }
  if (pointing || !result) return;
  pointing = true;
  wanted = null;
  socket.send({ type: 'point', ...place });
}

function value(fields) {
  pointing = false;
  if (view.place && fields.ranking?.length && result) {
    showValue(at('value'), fields, result.classes, view.onScreen(view.place));
  }
  if (wanted) ask(wanted);
}

/* Pictures */

async function pick(name) {
  state.photo = name;
  toLink(state);
  press(name);
  const answer = await fetch(`/photos/${encodeURIComponent(name)}`);
  if (answer.ok) await sources.photo(await answer.blob(), name);
  else fail('image', 'There is no such photo.');
}

function press(name) {
  for (const button of at('photos').children) {
    button.setAttribute('aria-pressed', String(button.dataset.name === name));
  }
}

function thumbnail(name, address, chosen) {
  const button = element('button');
  button.dataset.name = name;
  button.setAttribute('aria-pressed', 'false');
  const image = new Image();
  image.src = address;
  image.alt = name.replace(/\.\w+$/, '');
  button.append(image);
  button.addEventListener('click', chosen);
  return button;
}

function gallery() {
  at('photos').replaceChildren(...about.photos.map((name) => thumbnail(name, `/photos/${name}`, () => {
    const before = { ...state };
    if (suggestions().includes(state.words) || !state.words) {
      state.words = SUGGESTED[name] ?? state.words;
      controls();
      if (state.words !== before.words) send();
    }
    if (before.photo !== name || before.words !== state.words) past.keep(before);
    figures();
    fail('image', '');
    pick(name);
  })));
}

function listed(files) {
  at('photos').replaceChildren(...files.slice(0, 200).map((file) => {
    const address = URL.createObjectURL(file);
    const button = thumbnail(file.name, address, () => {
      fail('image', '');
      press(file.name);
      sources.photo(file, file.name);
    });
    for (const end of ['load', 'error']) { // Else the browser keeps the files.
      button.firstChild.addEventListener(end, () => URL.revokeObjectURL(address));
    }
    return button;
  }));
  press(files[0].name);
}

function own(files) {
  if (!files.length) return;
  fail('image', '');
  state.photo = null;
  toLink(state);
  press(null);
  sources.open(files);
}

function playing(video) {
  at('player').hidden = !video;
  at('seek').hidden = Boolean(video?.srcObject);
  at('play').hidden = Boolean(video?.srcObject);
  at('play').textContent = 'Pause';
  at('camera').setAttribute('aria-pressed', String(Boolean(video?.srcObject)));
  frames = [];
  at('why').hidden = Boolean(video);
  if (video) {
    state.photo = null;
    toLink(state);
    press(null);
    fail('image', '');
  }
}

async function download(file) {
  fail('download', '');
  const answer = await fetch(`/download/${file}?session=${socket.session}&alpha=${state.opacity}`)
    .catch(() => null);
  if (!answer?.ok) {
    const told = await answer?.json().catch(() => null);
    fail('download', told?.error ?? 'The connection was lost.');
    return;
  }
  const link = element('a');
  link.href = URL.createObjectURL(await answer.blob());
  link.download = `${sources.name.replace(/\.\w+$/, '')}_${file === 'result.json' ? '' : file}`.replace(/_$/, '.json');
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

async function copyLink() {
  toLink(state);
  try {
    await navigator.clipboard.writeText(location.href);
    at('link').textContent = 'Copied';
  } catch {
    at('link').textContent = 'It is in the address bar';
  }
  setTimeout(() => { at('link').textContent = 'Copy link'; }, 2000);
}

/* The start */

function listen() {
  const words = at('words');
  words.addEventListener('input', () => change({ words: words.value }));
  words.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      clearTimeout(timer);
      settle();
    }
  });
  at('negatives').addEventListener('input', () => change({ negatives: at('negatives').value }));
  for (const name of ['threshold', 'opacity', 'smoothing']) {
    at(name).addEventListener('input', () => change({ [name]: Number(at(name).value) }, 80));
  }
  at('threshold-reset').addEventListener('click', () => {
    change({ threshold: null }, 0);
    controls();
  });
  at('undo').addEventListener('click', () => travel(past.back(state)));
  at('link').addEventListener('click', copyLink);
  for (const input of [at('open'), at('folder')]) {
    input.addEventListener('change', () => {
      const files = [...input.files];
      input.value = ''; // Else the same file could not be opened again.
      own(files);
    });
  }
  at('camera').addEventListener('click', () => (at('video').srcObject ? sources.stop() : sources.camera()));
  at('stop').addEventListener('click', () => sources.stop());
  at('play').addEventListener('click', () => {
    const video = at('video');
    if (video.paused) video.play().then(() => sources.grab());
    else video.pause();
    at('play').textContent = video.paused ? 'Play' : 'Pause';
  });
  at('seek').addEventListener('input', () => {
    at('video').currentTime = at('seek').value * (at('video').duration || 0);
  });
  at('video').addEventListener('timeupdate', () => {
    at('seek').value = at('video').currentTime / (at('video').duration || 1);
  });
  for (const button of at('downloads').querySelectorAll('button')) {
    button.addEventListener('click', () => download(button.dataset.file));
  }
  for (const label of document.querySelectorAll('label.button')) {
    label.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' || event.key === ' ') {
        event.preventDefault();
        label.querySelector('input').click();
      }
    });
  }
  document.addEventListener('keydown', keys);
  document.addEventListener('paste', (event) => {
    if (event.clipboardData?.files.length && about.kind === 'model') own(event.clipboardData.files);
  });
  document.addEventListener('dragover', (event) => {
    event.preventDefault();
    at('drop').hidden = about.kind !== 'model';
  });
  document.addEventListener('dragleave', (event) => {
    if (!event.relatedTarget) at('drop').hidden = true;
  });
  document.addEventListener('drop', (event) => {
    event.preventDefault();
    at('drop').hidden = true;
    if (about.kind === 'model') own(event.dataTransfer.files);
  });
  addEventListener('hashchange', () => travel(fromLink()));
}

function keys(event) {
  const typing = ['TEXTAREA', 'INPUT'].includes(event.target.tagName) && event.target.type !== 'range';
  if (event.key === '/' && !typing) {
    event.preventDefault();
    at('words').focus();
    at('words').select();
  }
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'z' && !typing) {
    event.preventDefault();
    travel(event.shiftKey ? past.again(state) : past.back(state));
  }
}

async function hello() {
  say('connected');
  pointing = false;
  if (sources?.file || sources?.live) await sources.resend();
  else if (about.kind === 'model') await first();
  hovered = null;
  // A robot's words are changed by typing, not by opening a page.
  if (about.kind === 'model') send();
}

async function first() {
  if (!state.photo && await sources.again()) return;
  const [one] = about.photos;
  if (!state.photo && one && !state.words) state.words = SUGGESTED[one];
  controls();
  if (state.photo || one) pick(about.photos.includes(state.photo) ? state.photo : one);
}

async function start() {
  about = await (await fetch('/about')).json();
  at('about').textContent = about.kind === 'node' ? `node ${about.model}`
    : `${about.model}, short side ${about.short_side}`;
  at('negatives').placeholder = about.negatives.join(', ') || (about.kind === 'node' ? 'its own' : 'none');
  document.body.dataset.kind = about.kind;
  const isNode = about.kind === 'node';
  at('node').hidden = !isNode;
  for (const id of ['sources', 'why', 'smoothing-field']) at(id).hidden = isNode;
  view.opacity = state.opacity;
  sources = new Sources(about.limits, {
    shown: (image, width, height) => view.show(image, width, height),
    failed(text) { fail('image', text); },
    playing,
    listed,
    session: () => socket.session,
    frame: (number, seconds, blob) => socket.sendFrame(number, seconds, blob),
  });
  gallery();
  controls();
  listen();
  socket = new Socket({
    hello,
    result: show,
    map(fields) {
      if (result?.image !== fields.image || result.asked !== fields.asked) return;
      maps.set(fields.row, fields.map);
      heat();
    },
    explanation(fields) {
      if (fields.asked === asked) showTaken(at('taken'), fields);
      if (result) result.thresholds = fields.rows.map(({ threshold: least }) => least);
    },
    point: value,
    idle: ({ image }) => sources.back(image),
    answer(fields) {
      if (fields.text === undefined) return;
      at('answer').textContent = fields.text;
      at('answer').className = fields.refused ? 'error' : '';
    },
    diagnostics: ({ rows }) => showDiagnostics(at('diagnostics'), rows),
    words: follow,
    error(fields) {
      if (fields.asked && fields.asked < asked) return;
      fail(fields.box, fields.text);
      say('');
      if (fields.box === 'image') sources?.retry();
    },
    lost() { say('The connection was lost; trying again.', 'lost'); },
  });
}

start().catch((error) => say(`The page cannot start: ${error.message}`, 'lost'));
