// The keys, as photographers know them from Lightroom.

const zoomOpen = (act) => () => {
  if (board.isOpen()) act(board.zoom);
  else if (viewer.isOpen()) act(viewer.zoom);
};
const isSheetShown = () => !one("dialog[open]") && !one("#images").hidden;

const enlarge = () => {
  if (board.isOpen()) board.enlarge();
  else if (isSheetShown()) {
    sheet.enter();
    sheet.open();
  } else if (!one("dialog[open]")) document.activeElement.closest(".shot")?.click();
};
const toSheet = () => {
  if (board.isOpen()) board.close();
  if (viewer.isOpen()) viewer.close();
  if (one("#images").hidden) turnTo(tabs[0]);
  sheet.enter();
};
const sideBySide = (kind) => () => {
  if (board.isOpen() && board.kind() === kind) return board.close();
  const [item] = targets();
  if (viewer.isOpen()) viewer.close();
  if (item) board.open(kind, item);
};

const help = one(".help");

/** Keys, with `run` where they are handled here; `label` is how the help shows them. */
const SHORTCUTS = [
  ["Look", [
    { label: "← → ↑ ↓", does: "the image beside, above or below" },
    { keys: ["e"], label: "e or space", does: "one image as large as the window", run: enlarge },
    { keys: [" "], run: () => (board.isOpen() || viewer.isOpen() ? zoomOpen((zoom) => zoom.toggle())() : enlarge()) },
    { keys: ["g"], does: "all images", run: toSheet },
    { keys: ["c"], does: "compare 2 to 4: those selected, or the images of this job", run: sideBySide("Compare") },
    { keys: ["n"], does: "survey of those selected, or of this job", run: sideBySide("Survey") },
    { label: "Page ↑ ↓", does: "compare or survey the job before or after" },
    { keys: ["z"], label: "z or space", does: "zoom to the pixels, in one or in all compared", run: zoomOpen((zoom) => zoom.toggle()) },
    { keys: ["+", "="], label: "+ −", does: "zoom in, out", run: zoomOpen((zoom) => zoom.by(1)) },
    { keys: ["-"], run: zoomOpen((zoom) => zoom.by(-1)) },
    { keys: ["i"], does: "the facts beside the image, or not", run: () => viewer.isOpen() && one(".viewer").classList.toggle("bare") },
    { keys: ["b"], does: "blind: models, seeds and ids hidden, the order shuffled", run: () => !board.isOpen() && setBlind(!blind.isOn()) },
    { keys: ["/"], does: "search", run: () => { if (one("#sweeps").hidden) toSheet(); form.elements.q.focus(); form.elements.q.select(); } },
  ]],
  ["Mark", [
    { keys: ["p"], does: "pick", change: { mark: "picked" } },
    { keys: ["x"], does: "reject", change: { mark: "rejected" } },
    { keys: ["u"], does: "neither picked nor rejected", change: { mark: null } },
    { keys: ["1"], label: "1 – 5", does: "rate", change: { rating: 1 } },
    ...[2, 3, 4, 5].map((rating) => ({ keys: [String(rating)], change: { rating } })),
    { keys: ["0"], does: "no rating", change: { rating: null } },
    { label: "Caps Lock", does: "while it is on, each mark moves on to the next image" },
    { label: "Ctrl-Z", does: "undo; Ctrl-Shift-Z does it again" },
  ]],
  ["Select", [
    { label: "Shift-click, -arrow", does: "everything up to there" },
    { label: "Ctrl-click", does: "one more, or one less" },
    { keys: ["s"], does: "this one too, or not", run: () => isSheetShown() && (sheet.enter(), selection.toggle(sheet.current())) },
    { label: "Ctrl-A", does: "all images that the filters leave" },
    { label: "Esc", does: "select none; close" },
    { label: "Delete", does: "take an image out of the survey" },
  ]],
];
const shortcuts = new Map(SHORTCUTS.flatMap(([, list]) => list.flatMap((one) => (one.keys ?? []).map((key) => [key, one]))));

one(".lists", help).append(
  ...SHORTCUTS.map(([title, list]) =>
    el(
      "section",
      {},
      el("h3", {}, title),
      el("dl", {}, ...list.filter(({ does }) => does).map(({ keys, label, does }) => el("div", {}, el("dt", {}, el("kbd", {}, label ?? keys[0])), el("dd", {}, does)))),
    ),
  ),
);
one("[name=close]", help).addEventListener("click", () => help.close());
one("[name=help]").addEventListener("click", () => help.showModal());

/** Return the key as the table has it; on keyboards without Latin letters, the letter in its place. */
const keyOf = ({ key, code }) => {
  if (/^[\x20-\x7e]$/u.test(key)) return key.toLowerCase();
  return /^Key[A-Z]$/u.test(code) ? code.at(3).toLowerCase() : key;
};

const WITH_CTRL = {
  z: (event) => revert(event.shiftKey ? marks.redo : marks.undo),
  y: () => revert(marks.redo),
  a: () => selection.all(sheet.list()),
};

const onKey = (event) => {
  const { target } = event;
  if (event.defaultPrevented || event.isComposing || event.altKey || help.open) return;
  if (target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]")) return;
  const key = keyOf(event);
  if (event.ctrlKey || event.metaKey) {
    if (!(key in WITH_CTRL) || (key === "a" && !isSheetShown())) return;
    event.preventDefault();
    WITH_CTRL[key](event);
    return;
  }
  const isLetter = /^[a-z]$/u.test(key);
  if (event.shiftKey && isLetter) return;
  if (key === "?") help.showModal();
  else if (key === "Escape" && isSheetShown() && selection.count()) selection.clear();
  else if (key.startsWith("Arrow") && isSheetShown() && target === document.body) {
    // Without a focus, the first arrow only shows where one is.
    sheet.enter();
  } else if (shortcuts.has(key)) {
    // Space presses the button that has the focus.
    if (key === " " && target.closest("button, a, [role=checkbox], input, pre")) return;
    const { change, run } = shortcuts.get(key);
    if (!event.repeat) {
      if (change) mark(change, { isLocked: event.getModifierState("CapsLock") });
      else run();
    }
  } else return;
  event.preventDefault();
};
document.addEventListener("keydown", onKey);
one("[name=q]").addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.target.value) sheet.enter();
});
