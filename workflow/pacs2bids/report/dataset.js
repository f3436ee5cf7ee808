"use strict";
// Tables of a thousand sessions: fifty rows at a time, searched and filtered. Without it, all rows are there.
for (const table of document.querySelectorAll("table.paged")) {
  const size = 50, rows = [...table.tBodies], words = rows.map(row => row.textContent.toLowerCase());
  if (rows.length <= 10) continue;
  const { things, look } = table.dataset;
  const bar = document.createElement("div");
  bar.className = "bar";
  const make = (tag, properties) => Object.assign(document.createElement(tag), properties);
  const search = make("input", { type: "search", placeholder: `Search ${things}`, ariaLabel: `Search ${things}` });
  const only = make("input", { type: "checkbox" });
  const label = make("label", {});
  label.append(only, ` ${look}`);
  const back = make("button", { textContent: "‹", ariaLabel: "Earlier" });
  const on = make("button", { textContent: "›", ariaLabel: "Later" });
  const where = make("span", { className: "soft where", role: "status" });
  const pager = make("span", { className: "pager" });
  pager.append(where, back, on);
  if (rows.length <= size) back.hidden = on.hidden = true;
  bar.append(search, label, pager);
  table.parentElement.before(bar);
  let first = 0;
  const show = () => {
    const wanted = search.value.trim().toLowerCase();
    const found = rows.filter((row, index) =>
      words[index].includes(wanted) && (!only.checked || row.classList.contains("look")));
    first = Math.max(0, Math.min(first, Math.floor((found.length - 1) / size) * size));
    const page = new Set(found.slice(first, first + size));
    for (const row of rows) row.hidden = !page.has(row);
    const end = Math.min(first + size, found.length);
    where.textContent = found.length ? `${first + 1}–${end} of ${found.length}` : "none";
    back.disabled = first === 0;
    on.disabled = end >= found.length;
  };
  const again = () => { first = 0; show(); };
  search.addEventListener("input", again);
  only.addEventListener("change", again);
  back.addEventListener("click", () => { first -= size; show(); });
  on.addEventListener("click", () => { first += size; show(); });
  show();
}
// what a sign means is in its title, which a finger cannot reach
document.querySelector("table.matrix")?.addEventListener("click", event => {
  const cell = event.target.closest("td");
  if (!cell) return;
  const key = cell.closest("table").tHead.rows[0].cells[cell.cellIndex].textContent;
  const session = cell.parentElement.cells[0].textContent;
  document.querySelector(".told").textContent = `${session}, ${key}: ${cell.title || "present"}`;
});
