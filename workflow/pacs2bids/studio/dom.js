// Elements, and questions to the server. Texts become text nodes: nothing that a header says is markup.

export const $ = (id) => document.getElementById(id);

/** make("td", {class: "n", onclick: ...}, "text", element, [more]) */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

export function show(element, isShown) {
  element.hidden = !isShown;
}

export const counted = (number, thing, things = `${thing}s`) =>
  `${number.toLocaleString("en")} ${number === 1 ? thing : things}`;

export class Refused extends Error {
  constructor(answer) {
    super(answer.error);
    this.answer = answer;
  }
}

/** Ask the server; throws Refused with what it says. `options`: of fetch. */
export async function ask(question, words = {}, options = {}) {
  let answered;
  try {
    answered = await fetch(question, {
      method: "POST",
      headers: {"Content-Type": "application/json"},
      body: JSON.stringify(words),
      ...options,
    });
  } catch {
    throw new Refused({error: "pacs2bids studio does not answer; was it ended?"});
  }
  const answer = await answered.json();
  if (!answered.ok) throw new Refused(answer);
  return answer;
}
