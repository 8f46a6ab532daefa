// Filters of the scorecard, kept in the address. Without this script all claims are shown.
document.addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector(".claim-filters");
  if (!form) return;
  const rows = [...document.querySelectorAll(".claim")];
  const dots = document.querySelectorAll(".dot");
  const openAll = form.querySelector(".open-all");

  function show() {
    const asked = [...new FormData(form)].filter(([, value]) => value);
    const fits = (item) => asked.every(([name, value]) => item.dataset[name] === value);
    for (const row of rows) row.hidden = !fits(row);
    for (const dot of dots) dot.classList.toggle("passed-over", !fits(dot));
    for (const group of document.querySelectorAll(".claims")) {
      group.closest("section").hidden = !group.querySelector(".claim:not([hidden])");
    }
    const shown = rows.filter((row) => !row.hidden).length;
    form.querySelector("output").value = `${shown} of ${rows.length} claims`;
    return new URLSearchParams(asked).toString();
  }

  function read() {
    const hash = decodeURIComponent(location.hash.slice(1));
    const claim = document.getElementById(hash)?.closest(".claim");
    if (claim) {
      if (claim.hidden) fill(new URLSearchParams());
      claim.open = true;
      document.getElementById(hash).scrollIntoView();
      return;
    }
    fill(new URLSearchParams(hash));
  }

  function fill(asked) {
    for (const select of form.querySelectorAll("select")) {
      const wanted = asked.get(select.name) ?? "";
      select.value = [...select.options].some((o) => o.value === wanted) ? wanted : "";
    }
    show();
  }

  form.addEventListener("change", () => history.replaceState(null, "", `#${show()}`));
  form.addEventListener("reset", () =>
    setTimeout(() => history.replaceState(null, "", `#${show()}`)),
  );
  openAll.addEventListener("click", () => {
    const open = rows.some((row) => !row.open);
    for (const row of rows) row.open = open;
    openAll.textContent = open ? "Close all" : "Open all";
  });
  addEventListener("hashchange", read);
  form.hidden = false;
  read();
});
