// Buttons for marks, for fingers and mice; keys do the same.

/** Make the buttons; they show the marks of `items()` and change them through `mark(change)`. */
const markBar = (items, mark) => {
  const choices = [];
  const button = (change, label, text) => {
    const made = el("button", { type: "button", class: "mark", "aria-label": label, title: label }, text);
    made.addEventListener("click", () => mark(change(made.getAttribute("aria-pressed") === "true")));
    return made;
  };
  const choice = (name, value, label, text) => {
    const made = button((isSet) => ({ [name]: isSet ? null : value }), label, text);
    choices.push([made, (found) => (name === "rating" ? found.rating >= value : found.mark === value), name, value]);
    return made;
  };
  const bar = el(
    "span",
    { class: "markbar", role: "group", "aria-label": "Marks" },
    choice("mark", "picked", "Pick", "✓"),
    choice("mark", "rejected", "Reject", "✕"),
    ...[1, 2, 3, 4, 5].map((stars) => choice("rating", stars, counted(stars, "star"), STAR)),
    button(() => ({ mark: null, rating: null }), "Unmark", "○"),
  );
  const draw = () => {
    const found = items().filter((item) => item.picture).map(marks.of);
    for (const part of bar.children) part.disabled = !found.length;
    for (const [made, isSet, name, value] of choices) {
      const is = found.length > 0 && found.every((one) => one[name] === value);
      made.setAttribute("aria-pressed", is);
      made.classList.toggle("lit", found.length > 0 && found.every(isSet));
    }
  };
  marks.listen(draw);
  return { bar, draw };
};
