// Views and filters. The page's address holds the choices, so that a view can be kept and shared.

const form = one(".filters");
const FIELDS = ["q", "model", "status", "flag", "marked", "order", "group", "size"];

const fill = (name, values) => {
  const field = form.elements[name];
  const known = new Set([...field.options].map((option) => option.value));
  field.append(...values.filter((value) => !known.has(value)).map((value) => el("option", { value }, value)));
};
/** Offer the annotations to sort and to group by. */
const fillAnnotations = () => {
  const names = annotations.names().filter(annotations.isOrdered);
  const { order, group, q } = form.elements;
  const add = (field, entries, label) => {
    const known = new Set([...field.options].map((option) => option.value));
    const fresh = entries.filter(([value]) => !known.has(value));
    if (!fresh.length) return;
    let holder = one("optgroup", field);
    if (!holder) field.append((holder = el("optgroup", { label })));
    holder.append(...fresh.map(([value, text]) => el("option", { value }, text)));
  };
  const ends = (name) => (annotations.kind(name) === "string" ? ["A – Z", "Z – A"] : annotations.kind(name) === "boolean" ? ["no first", "yes first"] : ["lowest first", "highest first"]);
  add(order, names.flatMap((name) => [[`low:${name}`, `${name}, ${ends(name)[0]}`], [`high:${name}`, `${name}, ${ends(name)[1]}`]]), "Annotations");
  add(group, names.map((name) => [`by:${name}`, `By ${name}`]), "Annotations");
  one("[value=model]", group).hidden = data.lanes.length < 2;
  group.closest("label").hidden = !names.length;
  const example = names.find((name) => annotations.kind(name) === "number") ?? names[0];
  const shown = /\s/u.test(example ?? "") ? `"${example}"` : example;
  if (example) q.placeholder = `Search words, ${shown}${annotations.kind(example) === "number" ? "<0.5" : "=…"}`;
};
const fillAll = () => {
  fill("model", data.lanes);
  fill("status", ["succeeded", "failed", "rejected"].filter((status) => data.jobs.some((job) => job.status === status)));
  // A flag that every job has filters nothing.
  const flags = new Set(data.jobs.flatMap((job) => job.flags));
  fill("flag", [...flags].filter((flag) => !data.jobs.every((job) => job.flags.includes(flag))).sort());
  fillAnnotations();
  for (const name of ["model", "status", "flag"]) form.elements[name].closest("label").hidden = form.elements[name].length < (name === "flag" ? 2 : 3);
};
fillAll();

const choice = () => Object.fromEntries(FIELDS.map((name) => [name, form.elements[name].value]));

const tell = (found) => {
  const asked = choice();
  const images = found.filter((item) => item.picture?.src).length;
  const without = found.length - images;
  form.elements.count.value = `${counted(images, "image")}${without ? `, ${number(without)} without` : ""}`;
  one(".nothing").hidden = found.length > 0;
  one("[type=reset]", form).hidden = !FIELDS.some((name) => name !== "size" && asked[name]);
};

const show = () => {
  const asked = choice();
  sheet.show(chosen(asked), asked.size);
  sweepsView.show(sheet.list(), asked.size);
  tell(sheet.list());
  address.set({ ...asked, blind: blind.seed() });
};

form.addEventListener("input", () => {
  show();
  const top = form.parentElement.getBoundingClientRect().top;
  if (top < 0) window.scrollBy(0, top);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!one("#images").hidden) sheet.focus(0);
});
const clear = (event) => {
  event.preventDefault();
  for (const name of FIELDS) if (name !== "size") form.elements[name].value = "";
  show();
  form.elements.q.focus();
};
form.addEventListener("reset", clear);
one(".nothing button").addEventListener("click", clear);

// Marks.
const drawTally = () => {
  const { picked, rejected, rated } = marks.tally();
  const parts = [picked && `${number(picked)} picked`, rejected && `${number(rejected)} rejected`, rated && `${number(rated)} rated`];
  one(".tally").textContent = parts.filter(Boolean).join(", ");
  one("[name=undo]").disabled = !marks.canUndo();
  one("[name=save]").hidden = !(picked || rejected || rated);
};
marks.listen(() => {
  drawTally();
  if (form.elements.marked.value) {
    sheet.change(chosen(choice()));
    sweepsView.show(sheet.list(), choice().size);
    tell(sheet.list());
  }
});
annotations.listen((hasChanged) => {
  fillAnnotations();
  sheet.change(chosen(choice()));
  sweepsView.show(sheet.list(), choice().size);
  tell(sheet.list());
  if (viewer.isOpen() && hasChanged(viewer.current())) viewer.refresh();
});
one("[name=undo]").addEventListener("click", () => revert(marks.undo));
one("[name=save]").addEventListener("click", () => say(marks.save()));
drawTally();

// What is chosen, and the buttons for it.
const chosenBar = markBar(() => selection.among(sheet.list()), (change) => mark(change));
one(".chosen .number").after(chosenBar.bar);
selection.listen(() => {
  one(".chosen").hidden = !selection.count();
  one(".chosen .number").textContent = `${number(selection.count())} selected`;
  chosenBar.draw();
});
one("[name=compare]").addEventListener("click", () => board.open("Compare", sheet.current()));
one("[name=survey]").addEventListener("click", () => board.open("Survey", sheet.current()));
one("[name=deselect]").addEventListener("click", () => {
  selection.clear();
  sheet.enter();
});

// Blind.
const setBlind = (on) => {
  const item = sheet.current();
  blind.set(on);
  drawBlind();
  show();
  if (on) turnTo(tabs[0]);
  else if (sheet.list().includes(item)) sheet.focusItem(item);
  viewer.refresh();
  say(on ? "Blind: models, seeds and ids are hidden, the order is shuffled" : "No longer blind");
};
const drawBlind = () => {
  document.documentElement.classList.toggle("blind", blind.isOn());
  one("[name=blind]").checked = blind.isOn();
};
one("[name=blind]").addEventListener("change", (event) => setBlind(event.target.checked));
drawBlind();

const tabs = [...document.querySelectorAll("[role=tab]")];
const turnTo = (tab) => {
  for (const other of tabs) {
    const isIt = other === tab;
    other.setAttribute("aria-selected", isIt);
    other.tabIndex = isIt ? 0 : -1;
    const panel = one(`#${other.getAttribute("aria-controls")}`);
    panel.hidden = !isIt;
    // The search and the filters are about both views.
    if (isIt && ["images", "sweeps"].includes(panel.id) && form.parentElement !== panel) panel.prepend(form);
  }
  tab.scrollIntoView({ block: "nearest", inline: "nearest" });
  if (tab.id === "tab-images") sheet.place();
  if (tab.id === "tab-sweeps") sweepsView.place();
  address.set({ view: tab.id === "tab-images" ? "" : tab.getAttribute("aria-controls") });
};
for (const tab of tabs) {
  tab.addEventListener("click", () => turnTo(tab));
  tab.addEventListener("keydown", (event) => {
    const there = tabs.filter((one) => !one.hidden);
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = there[(there.indexOf(tab) + step + there.length) % there.length];
    turnTo(next);
    next.focus();
  });
}

const asked = address.all();
for (const name of FIELDS) if (asked[name]) form.elements[name].value = asked[name];
document.documentElement.classList.add("ready");
turnTo(tabs.find((tab) => !tab.hidden && !blind.isOn() && tab.getAttribute("aria-controls") === asked.view) ?? tabs[0]);
show();
const linked = asked.job ? sheet.find(asked.job, Number(asked.image) || 1) : -1;
if (linked >= 0) sheet.open(linked);
