// What is looked for and how: kept in the address, and taken back step by step.

const DEFAULTS = {
  words: '', negatives: '', threshold: null, opacity: 0.5, smoothing: 0, photo: null,
};
/** Where counts begin: above those of the page before it was reloaded. */
export const START = Math.floor(Date.now() / 10) % 2 ** 30;
const NUMBERS = ['threshold', 'opacity', 'smoothing'];
const LONGEST = 100;

export function fromLink() {
  const fields = new URLSearchParams(location.hash.slice(1));
  const state = { ...DEFAULTS };
  for (const [name, text] of fields) {
    if (!(name in DEFAULTS)) continue;
    const value = Number(text);
    if (!NUMBERS.includes(name)) state[name] = text;
    else if (text !== '' && value >= 0 && value <= 1) state[name] = value;
  }
  return state;
}

export function toLink(state) {
  const fields = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (value !== DEFAULTS[name] && value !== null && value !== '') fields.set(name, value);
  }
  history.replaceState(null, '', `#${fields}`);
}

export class Past {
  constructor() {
    this.states = [];
    this.undone = [];
  }

  keep(state) {
    this.states.push({ ...state });
    if (this.states.length > LONGEST) this.states.shift();
    this.undone = [];
  }

  back(state) {
    if (!this.states.length) return null;
    this.undone.push({ ...state });
    return this.states.pop();
  }

  again(state) {
    if (!this.undone.length) return null;
    this.states.push({ ...state });
    return this.undone.pop();
  }
}
