// Views and filters. The page's address holds the choices, so that a view can be kept and shared.

const form = one(".filters");
const FIELDS = ["q", "model", "status", "flag", "order", "size"];

const fill = (name, values) => form.elements[name].append(...values.map((value) => el("option", { value }, value)));
fill("model", data.lanes);
fill("status", ["succeeded", "failed", "rejected"].filter((status) => data.jobs.some((job) => job.status === status)));
// A flag that every job has filters nothing.
const flags = new Set(data.jobs.flatMap((job) => job.flags));
fill("flag", [...flags].filter((flag) => !data.jobs.every((job) => job.flags.includes(flag))).sort());
for (const name of ["model", "status", "flag"]) form.elements[name].closest("label").hidden = form.elements[name].length < (name === "flag" ? 2 : 3);

const choice = () => Object.fromEntries(FIELDS.map((name) => [name, form.elements[name].value]));

const show = () => {
  const asked = choice();
  const found = chosen(asked);
  sheet.show(found, asked.size);
  const images = found.filter((item) => item.picture?.src).length;
  const without = found.length - images;
  form.elements.count.value = `${counted(images, "image")}${without ? `, ${number(without)} without` : ""}`;
  one(".nothing").hidden = found.length > 0;
  one("[type=reset]", form).hidden = !FIELDS.some((name) => name !== "size" && asked[name]);
  address.set(asked);
};

form.addEventListener("input", () => {
  show();
  const top = one("#images").getBoundingClientRect().top;
  if (top < 0) window.scrollBy(0, top);
});
form.addEventListener("submit", (event) => event.preventDefault());
const clear = (event) => {
  event.preventDefault();
  for (const name of FIELDS) if (name !== "size") form.elements[name].value = "";
  show();
  form.elements.q.focus();
};
form.addEventListener("reset", clear);
one(".nothing button").addEventListener("click", clear);

const tabs = [...document.querySelectorAll("[role=tab]")];
const turnTo = (tab) => {
  for (const other of tabs) {
    const isIt = other === tab;
    other.setAttribute("aria-selected", isIt);
    other.tabIndex = isIt ? 0 : -1;
    one(`#${other.getAttribute("aria-controls")}`).hidden = !isIt;
  }
  tab.scrollIntoView({ block: "nearest", inline: "nearest" });
  if (tab.id === "tab-images") sheet.place();
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
turnTo(tabs.find((tab) => !tab.hidden && tab.getAttribute("aria-controls") === asked.view) ?? tabs[0]);
show();
if (asked.job && sheet.find(asked.job) >= 0) sheet.open(sheet.find(asked.job));
