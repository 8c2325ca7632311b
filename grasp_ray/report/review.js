"use strict";
// Collects decisions, keeps them in this browser until they are downloaded, and writes decisions.csv. No network.
(() => {
  const COLUMNS = ["visit_id", "image_id", "decision", "value", "reviewer", "decided_at", "comment"];
  const body = document.body;
  const visits = [...document.querySelectorAll(".visit")];
  if (!visits.length) return;
  document.documentElement.classList.add("js");
  const bar = document.querySelector(".bar");
  const reviewer = document.getElementById("reviewer");
  const progress = document.getElementById("progress");
  const storeKey = "grasp_ray_review_" + body.dataset.queue;
  const decidedAt = new Map(); // fieldset → when its decision was last changed

  const chosen = (set) => set.querySelector("input[type=radio]:checked");
  const setsOf = (visit) => [...visit.querySelectorAll(".choices")];
  const pasiOf = (visit) => visit.querySelector(".pasi");
  const now = () => new Date().toISOString().replace(/\.\d+Z$/, "Z");

  function pasiIsRight(visit) {
    const text = pasiOf(visit).value.trim().replace(",", ".");
    return /^\d+(\.\d+)?$/.test(text) && Number(text) <= 72;
  }

  // A cell that a spreadsheet could take for a formula gets an apostrophe; reading takes it off again.
  function cell(text) {
    const safe = /^[=+\-@\t\r']/.test(text) ? "'" + text : text;
    return /[",;\r\n]/.test(safe) ? '"' + safe.replaceAll('"', '""') + '"' : safe;
  }

  function rowsOf(visit) {
    return setsOf(visit).filter(chosen).map((set) => {
      const decision = chosen(set).value;
      const value = decision === "new_pasi" ? pasiOf(visit).value.trim().replace(",", ".") : "";
      const comment = visit.querySelector("textarea").value.trim();
      return [visit.dataset.visit, set.dataset.image, decision, value, reviewer.value.trim(), decidedAt.get(set), comment];
    });
  }

  function show() {
    const decided = visits.filter((visit) => setsOf(visit).some(chosen));
    visits.forEach((visit) => visit.classList.toggle("decided", decided.includes(visit)));
    progress.classList.remove("problem");
    progress.textContent = `${decided.length} of ${visits.length} visits decided`;
  }

  function keep() {
    const state = { reviewer: reviewer.value, visits: {} };
    for (const visit of visits) {
      const sets = {};
      for (const set of setsOf(visit)) {
        if (chosen(set)) sets[set.dataset.image] = [chosen(set).value, decidedAt.get(set)];
      }
      const pasi = pasiOf(visit) ? pasiOf(visit).value : "";
      state.visits[visit.dataset.visit] = { sets, pasi, comment: visit.querySelector("textarea").value };
    }
    try { localStorage.setItem(storeKey, JSON.stringify(state)); } catch { /* private mode: nothing is kept */ }
    show();
  }

  function restore() {
    let state = null;
    try { state = JSON.parse(localStorage.getItem(storeKey)); } catch { return; }
    if (!state) return;
    reviewer.value = state.reviewer || "";
    for (const visit of visits) {
      const known = state.visits[visit.dataset.visit];
      if (!known) continue;
      visit.querySelector("textarea").value = known.comment;
      if (pasiOf(visit)) pasiOf(visit).value = known.pasi;
      for (const set of setsOf(visit)) {
        const [value, when] = known.sets[set.dataset.image] || [];
        for (const radio of set.querySelectorAll("input[type=radio]")) radio.checked = radio.value === value;
        if (when) decidedAt.set(set, when);
      }
    }
  }

  function refuse(field, text) {
    field.classList.add("wrong");
    field.focus();
    field.scrollIntoView({ block: "center" });
    progress.classList.add("problem");
    progress.textContent = text;
  }

  for (const visit of visits) {
    for (const set of setsOf(visit)) {
      let before = null;
      set.addEventListener("pointerdown", () => { before = chosen(set); });
      set.addEventListener("click", (event) => { // a second tap takes the choice back
        if (event.target.type !== "radio") return;
        if (event.target === before) {
          event.target.checked = false;
          keep();
        }
        before = null;
      });
      set.addEventListener("change", (event) => {
        if (event.target.type !== "radio") return;
        decidedAt.set(set, now());
        if (event.target.value === "new_pasi") pasiOf(visit).focus();
        keep();
      });
    }
    if (pasiOf(visit)) {
      pasiOf(visit).addEventListener("input", () => { // typing a PASI is choosing to give one
        const radio = visit.querySelector("input[value=new_pasi]");
        radio.checked = true;
        pasiOf(visit).classList.remove("wrong");
        decidedAt.set(radio.closest("fieldset"), now());
        keep();
      });
    }
    visit.querySelector("textarea").addEventListener("input", keep);
  }
  reviewer.addEventListener("input", () => { reviewer.classList.remove("wrong"); keep(); });

  document.addEventListener("click", (event) => {
    const photo = event.target.closest(".photos figure img");
    if (!photo) return;
    const zoomed = document.createElement("button");
    zoomed.className = "zoomed";
    zoomed.setAttribute("aria-label", "close");
    zoomed.append(photo.cloneNode());
    zoomed.addEventListener("click", () => zoomed.remove());
    body.append(zoomed);
    zoomed.focus();
  });

  bar.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!reviewer.value.trim()) return refuse(reviewer, "Please give your name.");
    for (const visit of visits) {
      const wantsPasi = setsOf(visit).some((set) => chosen(set) && chosen(set).value === "new_pasi");
      if (wantsPasi && !pasiIsRight(visit)) {
        return refuse(pasiOf(visit), `${visit.dataset.visit}: a PASI lies between 0 and 72.`);
      }
    }
    const rows = visits.flatMap(rowsOf);
    if (!rows.length) return refuse(reviewer, "Nothing has been decided yet.");
    const text = [COLUMNS, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(["\ufeff" + text], { type: "text/csv" }));
    link.download = `decisions_${body.dataset.run}_${body.dataset.queue.slice(0, 8)}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    progress.classList.remove("problem");
    progress.textContent = `${rows.length} decision${rows.length === 1 ? "" : "s"} downloaded`;
  });

  restore();
  show();
})();
