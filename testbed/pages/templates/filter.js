// Shows those rows that have all words of the search field, and none of a status that is not ticked.
// The choice is kept behind the `#` of the address, so that a link shows the same rows.
addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector("form.filter");
  if (!form) return;
  const search = form.querySelector("input[type=search]");
  const boxes = [...form.querySelectorAll("input[type=checkbox]")];
  const rows = [...document.querySelectorAll("[data-row]")];
  const shown = form.querySelector("output");
  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const off = new Set(boxes.filter((box) => !box.checked).map((box) => box.value));
    let count = 0;
    for (const row of rows) {
      const text = row.dataset.row.toLowerCase();
      row.hidden = off.has(row.dataset.kind) || !words.every((word) => text.includes(word));
      count += !row.hidden;
    }
    shown.textContent = count === rows.length ? `${count}` : `${count} of ${rows.length}`;
    document.body.classList.toggle("filtered", count !== rows.length);
  };
  const save = () => {
    const choice = new URLSearchParams();
    if (search.value) choice.set("q", search.value);
    const off = boxes.filter((box) => !box.checked).map((box) => box.value);
    if (off.length) choice.set("without", off.join(","));
    history.replaceState(null, "", `#${choice}`);
  };
  const load = () => {
    const choice = new URLSearchParams(location.hash.slice(1));
    search.value = choice.get("q") ?? "";
    const off = (choice.get("without") ?? "").split(",");
    for (const box of boxes) box.checked = !off.includes(box.value);
    apply();
  };
  form.addEventListener("input", () => { apply(); save(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", load);
  load();
});
