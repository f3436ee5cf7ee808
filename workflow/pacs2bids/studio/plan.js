// The plans of the chosen sessions, and the series that is looked at.

import {$, ask, counted, make, show} from "./dom.js";

const TONES = {renamed: "fair", named: "good", "left without a name": "bad"};
const WORDS = {renamed: "renamed", named: "new", "left without a name": "lost"};
/** A name, with what all names of its session share in grey. */
function named(name, key) {
  const [folder, file] = name.split("/");
  if (!file?.startsWith(`${key}_`)) return make("div", {class: "file"}, name);
  return make("div", {class: "file"}, make("span", {class: "common"}, `${folder}/${key}_`), file.slice(key.length + 1));
}

/** An old name beside a new one: without what both share. */
const short = (name, key) => name.replace(`/${key}_`, "/…_");

/** "TR 2.435 s, TE 30 ms", broken nowhere but behind a comma. */
const unbroken = (facts) => facts.split(", ").map((one) => one.replaceAll(" ", "\u00a0")).join(", ");

const sign = (kind) => make("span", {class: `badge ${TONES[kind]}`}, WORDS[kind]);

export class PlanView {
  /** `jump(line)`: shows a line of the heuristic. */
  constructor(jump) {
    this.jump = jump;
    this.plan = null;
    this.open = "";
    this.asked = 0;
    this.file = "";
    this.isWaiting = false; // for the first index
    $("row-filter").addEventListener("input", () => this.draw());
    $("only-changes").addEventListener("change", () => this.draw());
    $("plan").addEventListener("keydown", (event) => this.#key(event));
    $("detail").addEventListener("keydown", (event) => { if (event.key === "Escape") this.close(); });
  }

  show(plan) {
    this.plan = plan;
    this.draw();
    $("detail").classList.toggle("old", Boolean(plan.error));
    if (this.open && !plan.error) this.#ask();
  }

  draw() {
    if (!this.plan) return;
    const {error, sessions} = this.plan, place = $("plan"), {scrollTop} = place;
    const focused = document.activeElement?.closest?.("tr")?.dataset.key;
    $("error").replaceChildren(make("span", {}, this.#withLines(error)));
    show($("error"), Boolean(error));
    place.classList.toggle("old", Boolean(error));
    place.dataset.digest = this.plan.digest; // of the text that it is the plan of
    const drawn = sessions.map((one) => this.#session(one)).filter(Boolean);
    place.replaceChildren(...(drawn.length ? drawn : [make("p", {class: "empty"}, this.#emptiness())]));
    place.scrollTop = scrollTop;
    if (focused) this.#row(focused)?.focus({preventScroll: true});
    this.#count(sessions);
  }

  #emptiness() {
    if (this.isWaiting) return "No study is indexed yet. Run snakemake once: what it has indexed is shown here.";
    if (!this.plan.sessions.length) return "No session is chosen.";
    return $("only-changes").checked ? "Nothing changes." : "Nothing fits the filter.";
  }

  #count(sessions) {
    const kinds = sessions.flatMap((one) => one.rows.map((row) => row.change)).filter(Boolean);
    const drawn = Object.keys(TONES).map((kind) => [kind, kinds.filter((one) => one === kind).length])
      .filter(([, number]) => number)
      .map(([kind, number]) => make("span", {class: `badge ${TONES[kind]}`, title: "beside what stands there now"},
        `${number} ${WORDS[kind]}`));
    $("counts").replaceChildren(...drawn);
  }

  #session(one) {
    const words = $("row-filter").value.toLowerCase().split(/\s+/).filter(Boolean), only = $("only-changes").checked;
    const rows = one.rows.filter((row) => {
      const text = [one.key, row.number, row.stack, row.description, row.facts, row.reason, ...row.names].join(" ").toLowerCase();
      return words.every((word) => text.includes(word)) && (!only || row.change);
    });
    if ((words.length || only) && !rows.length && !one.error) return null;
    const named = one.rows.filter((row) => row.names.length).length;
    const state = {dataset: "", "last plan": "beside the last plan: not placed yet", "": "not placed yet"}[one.baseline];
    return make("section", {class: `session${one.error ? " old" : ""}`, "aria-label": one.key},
      make("h2", {}, one.key, make("span", {class: "soft"}, `${named} of ${one.rows.length} named`),
        make("span", {class: "space"}), state && make("span", {class: "badge"}, state)),
      one.error && make("div", {class: "bar bad", role: "alert"}, make("span", {}, this.#withLines(one.error))),
      this.#warnings(one.warnings),
      one.gone.map((name) => make("div", {class: "warning"}, `${name} is not in the studies any more`)),
      make("table", {}, make("colgroup", {}, make("col", {class: "n"}), make("col", {class: "what"}), make("col")),
        make("tbody", {}, rows.map((row) => this.#tr(one.key, row)))));
  }

  #warnings(warnings) {
    const lines = warnings.map((one) => make("div", {class: "warning"}, this.#withLines(one)));
    if (lines.length < 3) return lines;
    return make("details", {class: "warnings"}, make("summary", {}, counted(lines.length, "warning")), lines);
  }

  #tr(session, row) {
    const key = JSON.stringify([session, row.study, row.series]);
    const facts = [row.stack, row.dims, unbroken(row.facts), row.time].filter(Boolean).join(" · ");
    const name = row.names.map((one) => named(one, session));
    if (!row.names.length) name.push(make("div", {class: `reason${row.set_aside ? " bad" : ""}`}, row.reason));
    if (row.notes) name.push(make("div", {class: "note", title: row.notes}, row.notes));
    const old = row.before.length ? [" was ", make("s", {}, row.before.map((one) => short(one, session)).join(", "))] : "";
    if (row.change) name.unshift(make("div", {class: "was"}, sign(row.change), old));
    const line = row.line ? make("button", {class: "line at", title: "Show this line", onclick: () => this.jump(row.line)},
      `line ${row.line}`) : "";
    return make("tr", {
      class: `${row.change.split(" ")[0]}${key === this.open ? " open" : ""}`, tabindex: 0, "data-key": key,
      onclick: (event) => { if (!event.target.closest("button")) this.look(key); },
    },
    make("td", {class: "n"}, row.number),
    make("td", {}, make("div", {}, row.description || "—"), make("div", {class: "facts-line"}, facts)),
    make("td", {}, line, name));
  }

  /** Text with its mentions of lines of the heuristic as buttons that lead there. */
  #withLines(text) {
    const name = this.file.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    return text.split(new RegExp(`(${name}, line \\d+)`)).map((part, index) => index % 2
      ? make("button", {class: "line", onclick: () => this.jump(Number(/\d+$/.exec(part)[0]))}, part)
      : part);
  }

  // ------------------------------------------------------------------------------------------- one series

  look(key) {
    this.open = key;
    this.#rows().forEach((tr) => tr.classList.toggle("open", tr.dataset.key === key));
    this.#ask();
  }

  close() {
    const row = this.#row(this.open);
    this.open = "";
    show($("detail"), false);
    this.draw();
    row && this.#row(row.dataset.key)?.focus();
  }

  async #ask() {
    const number = ++this.asked, key = this.open, [session, study, series] = JSON.parse(key);
    let drawn;
    try {
      drawn = this.#detail(await ask("series", {session, study, series}), study);
    } catch (error) {
      drawn = [make("h2", {}, "This series", this.#closer()), make("p", {class: "why reason bad"}, this.#withLines(error.message))];
    }
    if (number !== this.asked || key !== this.open) return; // another was clicked meanwhile
    const place = $("detail"), isSame = place.dataset.key === key;
    const {scrollTop} = place;
    place.replaceChildren(...drawn);
    place.dataset.key = key;
    show(place, true);
    place.scrollTop = isSame ? scrollTop : 0;
    this.#row(key)?.scrollIntoView({block: "nearest"});
  }

  #closer() {
    return make("button", {class: "close", title: "Esc", "aria-label": "Close", onclick: () => this.close()}, "✕");
  }

  #detail(series, study) {
    return [
      make("h2", {}, series.label, make("span", {class: "soft"},
        [series.time, counted(series.instances, "instance")].filter(Boolean).join(" · ")), this.#closer()),
      series.why.map((line) => make("p", {class: "why"}, this.#withLines(line))),
      series.volumes.map((volume) => this.#volume(volume, study)),
      series.seen.length ? [make("h3", {}, "What the heuristic can ask"), make("div", {class: "seen"}, series.seen.map(
        ([stack, name, value]) => make("div", {}, stack && make("span", {}, `${stack} `), name, make("span", {}, " = "),
          this.#spelt(value))))] : "",
    ].flat(Infinity).filter(Boolean);
  }

  /** As the language of the heuristic writes it. */
  #spelt(value) {
    if (Array.isArray(value)) return `[${value.map((one) => this.#spelt(one)).join(", ")}]`;
    const words = this.file.endsWith(".py") ? {null: "None", true: "True", false: "False"} : {};
    return words[value] ?? JSON.stringify(value);
  }

  #volume(volume, study) {
    return make("div", {class: "volume"},
      make("div", {class: "about"},
        volume.stack ? make("span", {class: "soft"}, volume.stack) : "",
        volume.names.map((one) => make("span", {class: "file"}, one)),
        volume.names.length ? "" : make("span", {class: "reason"}, volume.reason)),
      volume.notes ? make("div", {class: "reason"}, volume.notes) : "",
      volume.warnings.map((one) => make("div", {class: "note"}, one)),
      make("div", {class: "looks"}, volume.is_drawable ? this.#pictures(study, volume.stack) : "",
        make("dl", {class: "facts"}, volume.facts.map((one) => make("div", {}, make("dt", {}, one.label), make("dd", {}, one.value))))),
      volume.tags.length ? make("div", {class: "tags"}, volume.tags.map((one) => make("span", {}, one))) : "");
  }

  /** As the report has them: of a series in time mean and deviation, of diffusion the weakest and the strongest. */
  #pictures(study, stack) {
    const picture = (number, caption) => make("figure", {},
      make("img", {
        src: `picture?study=${study}&stack=${encodeURIComponent(stack)}&number=${number}`,
        alt: [`planes through volume ${stack}`, caption].filter(Boolean).join(", "), width: 616, height: 200,
      }),
      caption ? make("figcaption", {class: "soft"}, caption) : "");
    const place = make("div", {class: "pictures soft"}, "drawing …");
    ask("pictures", {study, stack}).then(
      ({captions}) => place.replaceChildren(...captions.map((caption, number) => picture(number, caption))),
      (error) => place.replaceChildren(make("p", {class: "reason"}, error.message)));
    return place;
  }

  #rows() { return [...$("plan").querySelectorAll("tr[data-key]")]; }

  #row(key) { return this.#rows().find((tr) => tr.dataset.key === key); }

  #key(event) {
    const row = event.target.closest("tr");
    if (event.key === "Escape" && this.open) this.close();
    if (!row || event.target.closest("button")) return;
    const rows = this.#rows(), step = {ArrowDown: 1, ArrowUp: -1}[event.key];
    if (step) {
      event.preventDefault();
      const next = rows[rows.indexOf(row) + step];
      next?.focus();
      if (next && this.open) this.look(next.dataset.key);
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.look(row.dataset.key);
    }
  }
}
