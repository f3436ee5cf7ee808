// A textarea over a painted copy of its text: the browser's own undo, selection and input, with colours and marks.

import {make, show} from "./dom.js";

const PYTHON = new RegExp(
  [
    /(?<comment>#[^\n]*)/,
    /(?<string>\b[rbfuRBFU]{0,2}(?:"""[\s\S]*?(?:"""|$)|'''[\s\S]*?(?:'''|$)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?))/,
    /(?<triple>"""[\s\S]*?(?:"""|$)|'''[\s\S]*?(?:'''|$)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?)/,
    /(?<=\b(?:def|class)\s+)(?<name>\w+)/,
    /\b(?<word>False|None|True|and|as|assert|break|class|continue|def|del|elif|else|except|finally|for|from|global|if|import|in|is|lambda|nonlocal|not|or|pass|raise|return|try|while|with|yield)\b/,
    /\b(?<number>\d[\w.]*)\b/,
  ].map((one) => one.source).join("|"), "g");
const RULES = new RegExp(
  [
    /(?<=^|\s)(?<comment>#[^\n]*)/,
    /(?<string>"(?:\\.|[^"\\\n])*"?|'(?:''|[^'\n])*'?)/,
    /(?<name>[\w.-]+)(?=\s*:(?:\s|$))/,
    /(?<=[\s[{,:])(?<word>true|false|null)\b/,
    /(?<=[\s[{,:])(?<number>-?\d[\d.]*)(?=[\s\]},]|$)/,
  ].map((one) => one.source).join("|"), "gm");

/** Lines, each a list of [kind, text]; a string of several lines is parted at them. */
export function painted(text, kind) {
  const lines = [[]];
  const add = (sort, piece) => {
    piece.split("\n").forEach((part, number) => {
      if (number) lines.push([]);
      if (part) lines.at(-1).push([sort, part]);
    });
  };
  let end = 0;
  for (const found of text.matchAll(kind === "rules" ? RULES : PYTHON)) {
    const [sort] = Object.entries(found.groups).find(([, piece]) => piece !== undefined) ?? [""];
    add("", text.slice(end, found.index));
    add(sort === "triple" ? "string" : sort, found[0]);
    end = found.index + found[0].length;
  }
  add("", text.slice(end));
  return lines;
}

export class Editor {
  /** `changed`: is called when a person has changed the text. */
  constructor(root, changed) {
    this.root = root;
    this.area = root.querySelector("textarea");
    this.paint = root.querySelector(".paint");
    this.gutter = root.querySelector(".gutter");
    this.kind = "python";
    this.marks = [];
    this.found = 0;
    this.area.addEventListener("input", () => { this.found = 0; this.draw(); changed(); });
    this.area.addEventListener("keydown", (event) => this.#key(event));
  }

  get text() { return this.area.value; }

  /** Another text, as after another program wrote the file: the caret stays where it was. */
  set(text, kind, isEditable) {
    const {selectionStart, selectionEnd} = this.area;
    this.kind = kind;
    this.area.readOnly = !isEditable;
    if (text !== this.text) {
      this.area.value = text;
      this.area.setSelectionRange(selectionStart, selectionEnd);
    }
    this.draw();
  }

  /** Another text, as if typed: what stood there can be had back by the browser's undo. */
  replace(text) {
    this.area.focus({preventScroll: true});
    this.area.select();
    this.#insert(text);
    this.area.setSelectionRange(0, 0);
  }

  mark(marks) {
    this.marks = marks;
    this.draw();
  }

  draw() {
    const marks = new Map();
    for (const mark of this.marks) {
      const there = marks.get(mark.line);
      marks.set(mark.line, there ? {...there, what: `${there.what}\n${mark.what}`} : mark);
    }
    const numbers = [], lines = [];
    painted(this.text, this.kind).forEach((pieces, index) => {
      const mark = marks.get(index + 1);
      const tone = mark && (mark.is_error ? "bad" : "fair");
      numbers.push(make("div", {class: tone, title: mark?.what}, String(index + 1)));
      const said = mark && make("span", {class: "said"}, mark.what.split("\n")[0]);
      const spans = pieces.map(([sort, piece]) => (sort ? make("span", {class: `t-${sort}`}, piece) : piece));
      lines.push(make("span", {class: `line ${tone ?? ""}`}, spans, said));
    });
    this.gutter.replaceChildren(...numbers);
    this.paint.replaceChildren(...lines);
    this.markFound(this.found);
  }

  /** Show a line (from 1), and put the caret there. */
  go(line) {
    const lines = this.text.split("\n");
    const start = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
    this.area.focus({preventScroll: true});
    this.area.setSelectionRange(start, start);
    this.#reveal(line);
    const painted = this.paint.children[line - 1];
    painted?.classList.add("here");
    setTimeout(() => painted?.classList.remove("here"), 1800);
  }

  /** Select the next (step 1) or the previous (-1) place of `needle`; returns [which, how many]. */
  find(needle, step) {
    const text = this.text.toLowerCase(), places = [];
    needle = needle.toLowerCase();
    for (let at = text.indexOf(needle); needle && at >= 0; at = text.indexOf(needle, at + needle.length)) places.push(at);
    if (!places.length) return [0, 0];
    const here = this.area.selectionStart;
    const next = step > 0
      ? places.findIndex((at) => at > here || (step > 1 && at === here))
      : places.findLastIndex((at) => at < here);
    const which = next >= 0 ? next : step > 0 ? 0 : places.length - 1;
    this.area.setSelectionRange(places[which], places[which] + needle.length);
    const line = this.text.slice(0, places[which]).split("\n").length;
    this.#reveal(line);
    this.markFound(line);
    return [which + 1, places.length];
  }

  /** Show the line that was found, or none (0): a selection is not seen while the focus is elsewhere. */
  markFound(line) {
    this.found = line;
    this.paint.querySelector(".hit")?.classList.remove("hit");
    this.paint.children[line - 1]?.classList.add("hit");
  }

  #reveal(line) {
    const top = (line - 1) * 20 + 8, {scrollTop, clientHeight} = this.root;
    if (top < scrollTop + 40 || top > scrollTop + clientHeight - 60) this.root.scrollTop = top - clientHeight / 3;
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || this.area.readOnly) return;
    const {selectionStart: start, selectionEnd: end} = this.area;
    const line = this.text.slice(this.text.lastIndexOf("\n", start - 1) + 1, start);
    const width = this.kind === "rules" ? 2 : 4;
    if (event.key === "Tab" && start === end && !event.shiftKey) {
      event.preventDefault();
      this.#insert(" ".repeat(width - (line.length % width)));
    } else if (event.key === "Tab" && !(event.shiftKey && start === end && !/^\s/.test(line))) {
      event.preventDefault();
      this.#shift(start, end, width, event.shiftKey);
    } else if (event.key === "Enter") {
      event.preventDefault();
      const deeper = /[:([{]\s*$/.test(line) && this.kind === "python" ? " ".repeat(width) : "";
      this.#insert(`\n${/^\s*/.exec(line)[0]}${deeper}`);
      this.#reveal(this.text.slice(0, this.area.selectionStart).split("\n").length);
    } else if (event.key === "Escape") {
      this.area.blur(); // Tab leaves the editor then
    }
  }

  /** Move the lines of a selection to the right, or back. */
  #shift(start, end, width, isBack) {
    const first = this.text.lastIndexOf("\n", start - 1) + 1;
    const next = this.text.indexOf("\n", Math.max(start, end - 1));
    const last = next < 0 ? this.text.length : next;
    const pad = " ".repeat(width);
    const moved = this.text.slice(first, last).split("\n")
      .map((line) => (isBack ? line.replace(new RegExp(`^ {1,${width}}`), "") : line && pad + line)).join("\n");
    this.area.setSelectionRange(first, last);
    this.#insert(moved);
    this.area.setSelectionRange(first, first + moved.length);
  }

  /** As if typed, so that the browser can undo it; there is no newer way that it can. */
  #insert(text) {
    if (!document.execCommand("insertText", false, text)) {
      this.area.setRangeText(text, this.area.selectionStart, this.area.selectionEnd, "end");
      this.area.dispatchEvent(new Event("input"));
    }
  }
}

/** The list below the editor. */
export function listMarks(list, marks, go) {
  list.replaceChildren(...marks.map((mark) => make("li", {}, make("button", {onclick: () => mark.line && go(mark.line)},
    make("span", {class: `badge ${mark.is_error ? "bad" : "fair"}`}, mark.line ? `line ${mark.line}` : "file"),
    make("span", {}, mark.what, mark.hint ? make("span", {class: "hint", title: mark.hint}, mark.hint) : "")))));
  show(list, marks.length > 0);
}
