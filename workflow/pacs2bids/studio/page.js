// The page: events of the server on the one hand, what a person does on the other.

import {Applying, button, closer, difference, openDialog} from "./apply.js";
import {$, ask, counted, make, show} from "./dom.js";
import {Editor, listMarks} from "./editor.js";
import {PlanView} from "./plan.js";

const PAUSE_MS = 350; // after the last key, before what was typed is planned

let saved = null; // the document as it is on disk, as far as its text is what was edited
let theirs = null; // another, while there is a draft of ours
let stage = {sessions: []};
let timer = 0;
let sending = null; // what is being saved: it may come back as news before the answer does

const editor = new Editor($("editor"), changed);
const plan = new PlanView((line) => editor.go(line));
const applying = new Applying();
const isDirty = () => saved !== null && editor.text !== saved.text;

function changed() {
  drawState();
  clearTimeout(timer);
  timer = setTimeout(() => attempt(() => ask("draft", {text: editor.text})), PAUSE_MS);
}

function drawState() {
  show($("dirty"), isDirty());
  $("save").disabled = !isDirty() || theirs !== null;
  show($("conflict"), theirs !== null);
  if (theirs) $("conflict-text").textContent = `Another program changed ${theirs.name}; yours is not saved.`;
  if (plan.plan) drawWork();
  document.title = `${isDirty() ? "● " : ""}${saved?.name ?? ""} – pacs2bids studio`;
}

/** Do what may be refused; says so if it is. Returns whether it was done. */
async function attempt(work) {
  try {
    await work();
    return true;
  } catch (error) {
    if (error.answer?.digest) return false; // a conflict: told by its own bar
    openDialog("That did not work", [make("p", {class: "reason bad"}, error.message)], [closer()]);
    return false;
  }
}

async function save() {
  if (!isDirty()) return true;
  if (theirs) return false;
  clearTimeout(timer);
  sending = editor.text;
  try {
    return await attempt(async () => {
      saved = await ask("save", {text: sending, base: saved.digest});
      drawState();
    });
  } finally {
    sending = null;
  }
}

// ---------------------------------------------------------------------------------------- news of the server

function documentCame(document) {
  const isOther = saved && document.path !== saved.path;
  if (!saved || isOther || !isDirty() || document.text === editor.text) {
    theirs = null;
    saved = document;
    editor.set(document.text, document.kind, document.is_editable);
  } else if (document.text === sending) { // and typed on meanwhile
    saved = document;
  } else if (document.digest !== saved.digest) {
    theirs = document;
  } else {
    theirs = null;
  }
  $("file").textContent = document.name;
  const path = document.path === document.name ? "" : document.path;
  // cut on its left, where it is set from right to left: the mark keeps a "../" or "/" that it begins with there
  $("path").textContent = `\u200e${document.is_editable ? path : "built in: it cannot be edited"}`;
  plan.file = document.name;
  drawState();
}

function stageCame(news) {
  stage = news;
  $("place").textContent = `${news.folder} / ${news.config.split("/").at(-1)}`;
  $("trouble").textContent = news.trouble;
  show($("trouble"), Boolean(news.trouble));
  plan.isWaiting = news.sessions.every((one) => !one.is_indexed);
  if (plan.isWaiting) plan.draw();
  drawSessions();
}

function planCame(news) {
  plan.show(news);
  editor.mark(news.marks);
  listMarks($("marks"), news.marks, (line) => editor.go(line));
  drawWork();
  if (isDirty() && !news.is_draft) changed(); // a tab that was closed took its draft along
}

function drawWork() {
  const {is_draft: isOther, digest, error, took_s: took} = plan.plan, isDraft = isOther && digest !== saved?.digest;
  const what = !isDraft ? "planned" : isDirty() ? "draft planned" : "draft of another tab planned";
  $("work").textContent = error ? "the plan shown is an earlier one" : `${what} in ${took.toFixed(1)} s`;
}

function busyCame({done, sessions}) {
  show($("progress"), sessions > 0);
  $("progress").firstElementChild.style.width = `${sessions ? (100 * (done + 0.5)) / sessions : 0}%`;
}

const news = new EventSource("events");
const listeners = {
  document: documentCame, stage: stageCame, plan: planCame, busy: busyCame,
  run: (run) => applying.told(run), proposal: (busy) => applying.planned(busy),
};
for (const [topic, heed] of Object.entries(listeners)) {
  news.addEventListener(topic, (event) => heed(JSON.parse(event.data)));
}
news.onerror = () => { $("work").textContent = "pacs2bids studio does not answer"; };
news.onopen = () => { if (isDirty()) changed(); };

// ------------------------------------------------------------------------------------------------- sessions

function drawSessions() {
  const filter = $("session-filter").value.toLowerCase();
  const chosen = stage.sessions.filter((one) => one.is_chosen).length;
  $("chosen-count").textContent = `${chosen} of ${counted(stage.sessions.length, "session")}`;
  const shown = stage.sessions.filter((one) => one.key.toLowerCase().includes(filter)).slice(0, 300);
  $("session-list").replaceChildren(...shown.map((one) => make("li", {}, make("label", {},
    make("input", {type: "checkbox", value: one.key, checked: one.is_chosen, disabled: !one.is_indexed, onchange: choose}),
    one.key, one.is_indexed ? "" : make("span", {class: "soft"}, "not indexed yet")))));
}

function chosenKeys() {
  const boxes = [...$("session-list").querySelectorAll("input")], shown = new Set(boxes.map((box) => box.value));
  const beside = stage.sessions.filter((one) => one.is_chosen && !shown.has(one.key)).map((one) => one.key);
  return [...beside, ...boxes.filter((box) => box.checked).map((box) => box.value)];
}

function choose() {
  attempt(() => ask("choose", {keys: chosenKeys()}));
}

$("session-filter").addEventListener("input", drawSessions);
$("choose-shown").addEventListener("click", () => {
  $("session-list").querySelectorAll("input:not(:disabled)").forEach((box) => { box.checked = true; });
  choose();
});
$("choose-none").addEventListener("click", () => attempt(() => ask("choose", {keys: []})));
document.addEventListener("click", (event) => {
  if (!$("sessions").contains(event.target)) $("sessions").open = false;
});

// -------------------------------------------------------------------------------------------------- actions

$("save").addEventListener("click", save);
$("apply").addEventListener("click", async () => { if (await save()) applying.propose(); });
$("theirs").addEventListener("click", () => {
  saved = theirs;
  theirs = null;
  editor.replace(saved.text);
  changed();
});
$("mine").addEventListener("click", () => {
  saved = theirs;
  theirs = null;
  changed();
});
$("compare").addEventListener("click", () => {
  attempt(async () => {
    const {lines} = await ask("compare", {text: editor.text});
    openDialog("From theirs to yours", [difference(lines)], [
      button("Take theirs", () => { $("dialog").close(); $("theirs").click(); }),
      button("Keep mine", () => { $("dialog").close(); $("mine").click(); }), closer("Cancel")]);
  });
});

function find(step) {
  const [which, all] = editor.find($("needle").value, step);
  $("found").textContent = $("needle").value ? `${which} of ${all}` : "";
}

function closeFind() {
  show($("find"), false);
  editor.markFound(0);
  editor.area.focus();
}

$("find").addEventListener("submit", (event) => { event.preventDefault(); find(1); });
$("needle").addEventListener("input", () => find(2));
$("previous").addEventListener("click", () => find(-1));
$("find-close").addEventListener("click", closeFind);
$("needle").addEventListener("keydown", (event) => {
  if (event.key === "Escape") closeFind();
  if (event.key === "Enter" && event.shiftKey) { event.preventDefault(); find(-1); }
});

addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
  if (event.key === "s") {
    event.preventDefault();
    save();
  } else if (event.key === "f" && $("left").contains(document.activeElement)) {
    event.preventDefault();
    show($("find"), true);
    $("needle").focus();
    $("needle").select();
  }
});
addEventListener("beforeunload", (event) => { if (isDirty()) event.preventDefault(); });
addEventListener("pagehide", () => { if (isDirty()) ask("draft", {text: saved.text}, {keepalive: true}).catch(() => {}); });

// ------------------------------------------------------------------------------------------------- divider

function split(share) {
  document.documentElement.style.setProperty("--split", `${Math.min(Math.max(share, 20), 75)}%`);
}
$("divider").addEventListener("pointerdown", (down) => {
  down.preventDefault();
  $("divider").setPointerCapture(down.pointerId);
  const move = (event) => split((100 * event.clientX) / innerWidth);
  $("divider").addEventListener("pointermove", move);
  $("divider").addEventListener("pointerup", () => $("divider").removeEventListener("pointermove", move), {once: true});
});
$("divider").addEventListener("keydown", (event) => {
  const step = {ArrowLeft: -2, ArrowRight: 2}[event.key];
  if (step) split((100 * $("left").offsetWidth) / innerWidth + step);
});
