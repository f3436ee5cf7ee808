// What would be placed, as a difference to confirm; and the run of the workflow that places it.

import {$, ask, counted, make, show} from "./dom.js";

const STATES = {
  running: ["Running", "fair"], done: ["Done", "good"], failed: ["Failed", "bad"], stopped: ["Stopped", "fair"],
};

const MOST_OPEN = 10; // sessions whose changes are all shown; of more, what changes alike is told first
const MOST_ALIKE = 60;

export function openDialog(title, body, buttons) {
  $("dialog-title").textContent = title;
  $("dialog-body").replaceChildren(...body);
  $("dialog-buttons").replaceChildren(...buttons);
  if (!$("dialog").open) $("dialog").showModal();
}

export const button = (text, onclick, attributes = {}) => make("button", {...attributes, onclick}, text);

export const closer = (text = "Close") => button(text, () => $("dialog").close(), {id: "dialog-close"});

/** Lines of a unified diff. */
export function difference(lines) {
  const tone = (line) => ({"+": "plus", "-": "minus", "@": "head"})[line[0]];
  return make("div", {class: "difference"}, lines.map((line) => make("div", {class: tone(line)}, line || " ")));
}

export class Applying {
  constructor() {
    this.run = {state: "idle", lines: []};
    this.isWatched = false;
    this.bar = null; // how far the plan of all sessions is, while it is waited for
    $("dialog").addEventListener("close", () => this.#closed());
    $("run-pill").addEventListener("click", () => this.watch());
  }

  #closed() {
    this.isWatched = false;
    if (this.bar) {
      this.bar.waiting.abort();
      ask("cancel").catch(() => {});
    }
    this.bar = null;
  }

  /** Show what would change, of all sessions; nothing happens before it is confirmed. */
  async propose() {
    const bar = make("progress", {max: 1, value: 0, "aria-label": "Sessions planned"});
    const said = make("p", {class: "soft"}, "All sessions are planned …");
    const waiting = new AbortController();
    this.bar = {bar, said, waiting};
    openDialog("What would change", [said, bar], [closer("Cancel")]);
    let changes;
    try {
      changes = await ask("changes", {}, {signal: waiting.signal});
    } catch (error) {
      if (this.bar?.bar !== bar) return undefined; // cancelled meanwhile
      this.bar = null;
      return openDialog("Nothing can be placed", [make("p", {class: "reason bad"}, error.message)], [closer()]);
    }
    if (this.bar?.bar !== bar) return undefined;
    this.bar = null;
    const text = {class: "main", id: "confirm"};
    return openDialog("What would change", this.#changes(changes), [
      closer("Cancel"), button("Apply: run snakemake", () => this.#start(changes.digest), text)]);
  }

  /** How far the plan of all sessions is. */
  planned({done, sessions}) {
    if (!this.bar || !sessions) return;
    this.bar.bar.value = done / sessions;
    this.bar.said.textContent = `All sessions are planned: ${done.toLocaleString("en")} of ${counted(sessions, "session")} …`;
  }

  #changes({sessions, unchanged, waiting}) {
    const all = sessions.flatMap((one) => one.changes), number = (kind) => all.filter((one) => one.kind === kind).length;
    const counts = [["renamed", "renamed"], ["named", "new"], ["left without a name", "removed"]]
      .filter(([kind]) => number(kind)).map(([kind, word]) => `${number(kind).toLocaleString("en")} ${word}`).join(", ");
    const of = sessions.filter((one) => one.changes.length).length;
    return [
      make("p", {}, counts ? `${counts}, in ${counted(of, "session")}. ` : "No name changes. ",
        unchanged ? `${counted(unchanged, "session")} ${unchanged === 1 ? "stays" : "stay"} as ${unchanged === 1 ? "it is" : "they are"}. ` : "",
        waiting.length ? `${counted(waiting.length, "session")} not indexed yet. ` : "",
        make("span", {class: "soft"}, "This runs snakemake, as you would: what else is due is done, too; then the dataset is checked.")),
      sessions.length > MOST_OPEN ? this.#summary(sessions) : "",
      make("div", {class: "changes"}, sessions.map((one) => this.#session(one, sessions.length <= MOST_OPEN))),
    ].filter(Boolean);
  }

  /** What changes alike, each once: names without what is of a session alone. */
  #summary(sessions) {
    const kinds = new Map();
    for (const one of sessions) {
      if (one.error) add(`stays as it is: ${one.error.replaceAll(one.key, "…")}`, null, one.key);
      for (const change of one.changes) {
        const alike = {...change, label: "", before: change.before.map(without), after: change.after.map(without)};
        add(JSON.stringify(alike), alike, one.key);
        function without(name) { return name.replaceAll(`${one.key}_`, ""); }
      }
    }
    function add(word, change, key) {
      const there = kinds.get(word) ?? {word, change, keys: new Set()};
      kinds.set(word, there);
      there.keys.add(key);
    }
    const sorted = [...kinds.values()].sort((one, other) => other.keys.size - one.keys.size);
    return make("div", {class: "changes alike"},
      sorted.slice(0, MOST_ALIKE).map(({word, change, keys}) => (change
        ? this.#change({...change, label: `in ${counted(keys.size, "session")}`})
        : make("div", {class: "change left"}, make("div", {}, `in ${counted(keys.size, "session")}`), make("div", {class: "reason bad"}, word)))),
      sorted.length > MOST_ALIKE ? make("p", {class: "soft"}, `and ${sorted.length - MOST_ALIKE} more kinds of change`) : "");
  }

  #session(one, isOpen) {
    const drawn = () => [
      one.error ? make("div", {class: "bar bad"}, `stays as it is: ${one.error}`) : "",
      ...one.changes.map((change) => this.#change(change)),
    ].filter(Boolean);
    const head = make("summary", {}, make("b", {}, one.key), " ",
      make("span", {class: "soft"}, one.error ? "stays as it is" : counted(one.changes.length, "name")));
    const details = make("details", {open: isOpen}, head, isOpen ? drawn() : []);
    if (!isOpen) details.addEventListener("toggle", () => details.append(...drawn()), {once: true});
    return details;
  }

  #change(change) {
    return make("div", {class: `change ${change.kind.split(" ")[0]}`},
      make("div", {}, change.label),
      make("div", {},
        change.before.length ? make("div", {class: "was"}, make("s", {}, change.before.join(", "))) : "",
        change.after.map((name) => make("div", {class: "file"}, name)),
        change.after.length ? "" : make("div", {class: "reason"}, `no name: ${change.why}`)));
  }

  async #start(digest) {
    try {
      await ask("apply", {base: digest});
    } catch (error) {
      return openDialog("Nothing was started", [make("p", {class: "reason bad"}, error.message)], [closer()]);
    }
    return this.watch();
  }

  /** Follow the run in the dialog. */
  watch() {
    this.isWatched = true;
    this.told(this.run);
  }

  told(run) {
    this.run = run;
    const [word, tone] = STATES[run.state] ?? ["", ""], pill = $("run-pill"), isRunning = run.state === "running";
    pill.textContent = isRunning ? "Running …" : `Last run: ${word.toLowerCase()}`;
    pill.className = `badge ${tone}`;
    show(pill, Boolean(word));
    $("apply").disabled = isRunning;
    if (!this.isWatched) return;
    const log = make("div", {class: "log", role: "log"}, run.lines.join("\n") || "snakemake starts …");
    openDialog(isRunning ? "Running snakemake" : `snakemake: ${word.toLowerCase()}`, [log],
      [isRunning ? button("Stop", () => ask("stop"), {class: "danger"}) : "", closer(isRunning ? "Go on in the background" : "Close")]
        .filter(Boolean));
    log.scrollTop = log.scrollHeight;
  }
}
