// What would be placed, as a difference to confirm; and the run of the workflow that places it.

import {$, ask, counted, make, show} from "./dom.js";

const STATES = {
  running: ["Running", "fair"], done: ["Done", "good"], failed: ["Failed", "bad"], stopped: ["Stopped", "fair"],
};

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
    $("dialog").addEventListener("close", () => { this.isWatched = false; });
    $("run-pill").addEventListener("click", () => this.watch());
  }

  /** Show what would change, of all sessions; nothing happens before it is confirmed. */
  async propose() {
    openDialog("What would change", [make("p", {class: "soft"}, "All sessions are planned …")], [closer("Cancel")]);
    let changes;
    try {
      changes = await ask("changes");
    } catch (error) {
      return openDialog("Nothing can be placed", [make("p", {class: "reason bad"}, error.message)], [closer()]);
    }
    if (!$("dialog").open) return undefined; // cancelled meanwhile
    const text = {class: "main", id: "confirm"};
    return openDialog("What would change", this.#changes(changes), [
      closer("Cancel"), button("Apply: run snakemake", () => this.#start(changes.digest), text)]);
  }

  #changes({sessions, unchanged, waiting}) {
    const all = sessions.flatMap((one) => one.changes), number = (kind) => all.filter((one) => one.kind === kind).length;
    const counts = [["renamed", "renamed"], ["named", "new"], ["left without a name", "removed"]]
      .filter(([kind]) => number(kind)).map(([kind, word]) => `${number(kind)} ${word}`).join(", ");
    const of = sessions.filter((one) => one.changes.length).length;
    return [
      make("p", {}, counts ? `${counts}, in ${counted(of, "session")}. ` : "No name changes. ",
        unchanged ? `${counted(unchanged, "session")} ${unchanged === 1 ? "stays" : "stay"} as ${unchanged === 1 ? "it is" : "they are"}. ` : "",
        waiting.length ? `${counted(waiting.length, "session")} not indexed yet. ` : "",
        make("span", {class: "soft"}, "This runs snakemake, as you would: what else is due is done, too; then the dataset is checked.")),
      make("div", {class: "changes"}, sessions.map((one) => [
        make("h3", {}, one.key),
        one.error ? make("div", {class: "bar bad"}, `stays as it is: ${one.error}`) : "",
        one.changes.map((change) => make("div", {class: `change ${change.kind.split(" ")[0]}`},
          make("div", {}, change.label),
          make("div", {},
            change.before.length ? make("div", {class: "was"}, make("s", {}, change.before.join(", "))) : "",
            change.after.map((name) => make("div", {class: "file"}, name)),
            change.after.length ? "" : make("div", {class: "reason"}, `no name: ${change.why}`))))])),
    ];
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
