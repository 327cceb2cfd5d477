// The table of all claims: sorted by its columns, filtered by words, paper, verdict and notebook. A record is made when
// it is opened.
document.addEventListener("DOMContentLoaded", () => {
  const element = document.querySelector("table.claims");
  const column = { claim: 0, verdict: 2, measured: 3, notebook: 4, record: 5 };
  const table = new DataTable(element, {
    autoWidth: false,
    columnDefs: [{ targets: [column.measured, column.record], orderable: false }],
    info: true,
    language: { info: "_TOTAL_ claims", infoEmpty: "no claim", infoFiltered: "of _MAX_", search: "Filter by words" },
    layout: { topStart: filters, topEnd: "search", bottomStart: "info", bottomEnd: null },
    order: [],
    paging: false,
  });

  function filters() {
    const box = document.createElement("div");
    box.className = "claims-filters";
    box.append(
      select("paper", column.claim, ".paper"),
      select("verdict", column.verdict, ".verdict:first-child"),
      select("notebook", column.notebook, "a"),
    );
    return box;
  }

  // A choice among the texts that a column has; a row stays if it has the chosen one.
  function select(name, index, what) {
    const textOf = (row) => row.cells[index].querySelector(what)?.textContent ?? "";
    const choice = document.createElement("select");
    choice.setAttribute("aria-label", `Filter by ${name}`);
    choice.add(new Option(`every ${name}`, ""));
    const texts = new Set([...element.tBodies[0].rows].map(textOf).filter(Boolean));
    texts.forEach((text) => choice.add(new Option(text)));
    const chosen = (settings, data, number) => {
      return !choice.value || textOf(table.row(number).node()) === choice.value;
    };
    DataTable.ext.search.push(chosen);
    choice.addEventListener("change", () => table.draw());
    return choice;
  }

  // What chooses stays where it is, above what scrolls.
  element.closest(".claims-scroll").before(element.closest(".dt-container").querySelector(".dt-layout-row"));

  function make(details) {
    const text = details.querySelector("noscript");
    if (!text) return;
    const record = document.createElement("div");
    record.innerHTML = text.textContent;
    text.replaceWith(record);
    MathJax.startup.promise = MathJax.startup.promise.then(() => MathJax.typesetPromise([record]));
  }
  element.addEventListener("toggle", (event) => make(event.target), true);

  // Who follows a link to a claim wants its record.
  function open() {
    const row = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const record = row?.closest("table.claims") && row.querySelector("details");
    if (record) {
      make(record);
      record.open = true;
      row.scrollIntoView({ block: "start" });
    }
  }
  window.addEventListener("hashchange", open);
  open();
});
