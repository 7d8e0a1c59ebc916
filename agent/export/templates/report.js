// The table of labels: searched as one types, sorted by its heads; a link to a feature opens it.
(() => {
  const table = document.querySelector(".labels");
  const rows = [...table.tBodies[0].rows];
  const search = document.getElementById("search");
  const count = document.getElementById("count");

  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    count.textContent = `${shown} of ${rows.length}`;
  });

  // Numbers before words, 8:5 before 8:121, and what is empty last, whichever way.
  const compare = (a, b, sign) => {
    if (!a || !b) return !a - !b;
    return sign * (isNaN(a) || isNaN(b) ? isNaN(a) - isNaN(b) || a.localeCompare(b, undefined, { numeric: true }) : a - b);
  };
  table.tHead.addEventListener("click", (event) => {
    const head = event.target.closest("th");
    if (!head) return;
    const sign = head.ariaSort === "ascending" ? -1 : 1;
    for (const other of head.parentNode.cells) other.ariaSort = null;
    head.ariaSort = sign > 0 ? "ascending" : "descending";
    const text = (row) => row.cells[head.cellIndex].textContent.trim();
    rows.sort((a, b) => compare(text(a), text(b), sign));
    table.tBodies[0].append(...rows);
  });

  const open = () => {
    const target = document.getElementById(location.hash.slice(1));
    const fold = target && target.closest("details");
    if (fold) {
      fold.open = true;
      fold.scrollIntoView();
    }
  };
  addEventListener("hashchange", open);
  open();
})();
