// What stands beside the picture: legend, explanation, values, what a node says.

export function element(kind, text = '', className = '') {
  const made = document.createElement(kind);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

function swatch(color) {
  const made = element('i');
  if (color) made.style.background = `rgb(${color.join(',')})`;
  return made;
}

export class Legend {
  /** `onHover(row or null)` is called as words are pointed at, focused, or kept by a click. */
  constructor(list, onHover) {
    this.list = list;
    this.onHover = onHover;
    this.pinned = null;
    this.key = '';
    list.addEventListener('keydown', (event) => this.arrows(event));
  }

  show({ classes, negatives, unlabelled }) {
    const key = JSON.stringify([classes.map(({ name, color }) => [name, color]), negatives]);
    if (key !== this.key) this.build(classes, negatives);
    this.key = key;
    classes.forEach(({ share }, row) => this.fill(row, share));
    this.rest.textContent = percent(unlabelled);
  }

  fill(row, share) {
    const button = this.buttons[row];
    button.querySelector('meter').value = share;
    button.querySelector('b').textContent = percent(share);
  }

  build(classes, negatives) {
    this.pinned = null;
    this.onHover(null); // What was pointed at is gone, and so no event says that it is left.
    this.buttons = [];
    this.list.replaceChildren();
    classes.forEach(({ name, color }, row) => this.add(row, name, color));
    const item = element('li');
    const line = element('button');
    line.disabled = true;
    this.rest = element('b');
    line.append(swatch(null), element('span', 'none of these', 'wide'), this.rest);
    item.append(line);
    this.list.append(item);
    negatives.forEach((name, place) => this.add(classes.length + place, name, null));
  }

  add(row, name, color) {
    const item = element('li');
    const button = element('button', '', color ? 'word' : 'word rival');
    button.dataset.row = row;
    button.setAttribute('aria-pressed', 'false');
    const meter = element('meter');
    meter.max = 1;
    meter.setAttribute('aria-hidden', 'true');
    button.append(swatch(color), element('span', name));
    button.append(...(color ? [meter, element('b')] : [element('span'), element('b', 'competes')]));
    button.title = name;
    button.addEventListener('pointerenter', (event) => {
      if (event.pointerType === 'mouse') this.onHover(row);
    });
    button.addEventListener('pointerleave', () => this.onHover(this.pinned));
    button.addEventListener('focus', () => {
      if (button.matches(':focus-visible')) this.onHover(row);
    });
    button.addEventListener('blur', () => this.onHover(this.pinned));
    button.addEventListener('click', () => this.pin(this.pinned === row ? null : row));
    this.buttons[row] = button;
    item.append(button);
    this.list.append(item);
  }

  pin(row) {
    this.pinned = row;
    this.buttons.forEach((button, at) => button.setAttribute('aria-pressed', String(at === row)));
    this.onHover(row);
  }

  arrows(event) {
    const steps = { ArrowDown: 1, ArrowUp: -1 };
    if (event.key === 'Escape') this.pin(null);
    if (!(event.key in steps)) return;
    const buttons = [...this.list.querySelectorAll('.word')];
    const place = buttons.indexOf(document.activeElement) + steps[event.key];
    event.preventDefault();
    buttons[Math.min(Math.max(place, 0), buttons.length - 1)]?.focus();
  }
}

/** Show who took pixels from whom, as `zegclip explain` prints it. */
export function showTaken(list, { rows, taken, low }) {
  list.replaceChildren();
  for (const one of taken) {
    const item = element('li');
    item.append(element('em', rows[one.winner].name), ` took ${percent(one.share)} from `,
      element('em', rows[one.loser].name),
      `: ${one.score.toFixed(2)} against ${one.rival.toFixed(2)}, by ${one.margin.toFixed(2)}`);
    list.append(item);
  }
  if (!taken.length) list.append(element('li', 'No word comes close to the one that won.'));
  if (low > 0.0005) list.append(element('li', `${percent(low)} stay unlabelled: the best word is under its threshold.`));
}

/** Show the ranking at a place beside the pointer. */
export function showValue(note, answer, classes, at) {
  note.replaceChildren();
  const { ranking, label } = answer;
  for (const { name, score } of ranking.slice(0, 4)) {
    const line = element('div');
    line.append(element('span', name), element('span', score.toFixed(2)));
    note.append(line);
  }
  note.append(element('small', answer.why ?? verdict(answer, classes)));
  note.dataset.label = label === null ? '' : classes[label]?.name ?? '';
  note.hidden = false;
  const board = note.parentElement.getBoundingClientRect();
  const x = parseFloat(at.left);
  const y = parseFloat(at.top);
  const left = x + 16 + note.offsetWidth > board.width ? x - 16 - note.offsetWidth : x + 16;
  const top = y + 16 + note.offsetHeight > board.height ? y - 16 - note.offsetHeight : y + 16;
  note.style.left = `${Math.max(left, 4)}px`;
  note.style.top = `${Math.max(top, 4)}px`;
}

function verdict({ ranking, label }, classes) {
  const [first, second] = ranking;
  if (label === null) {
    if (first.threshold === null) return 'none of these: a word that competes wins';
    return `none of these: ${first.score.toFixed(2)} is under ${first.threshold.toFixed(2)}`;
  }
  const name = classes[label]?.name ?? '';
  return second ? `${name}, by ${(first.score - second.score).toFixed(2)}` : name;
}

/** Show what a node says of itself, rows of name and value. */
export function showDiagnostics(list, rows) {
  list.replaceChildren(...rows.flatMap(([name, value]) => [element('dt', name), element('dd', value)]));
}
