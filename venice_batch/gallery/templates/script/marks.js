// Marks: what a person says of an image. Picked or rejected, and one to five stars. The last mark of an image counts.

const UNMARKED = Object.freeze({ mark: null, rating: null });

const marks = (() => {
  const known = new Map(data.marks.map((mark) => [markKey(mark), mark]));
  const listeners = [];
  const done = [];
  const undone = [];
  let exported = true;

  const tell = (keys, made) => listeners.forEach((listener) => listener(keys, made));

  /** Take `steps` of [item, before, after]; forth, or back. */
  const apply = (steps, way) => {
    const at = new Date().toISOString();
    const made = steps.map(({ item, before, after }) => {
      const { mark, rating } = way === "forth" ? after : before;
      return { sha256: item.picture.sha256, id: item.id, image: item.place + 1, mark, rating, at };
    });
    for (const mark of made) known.set(markKey(mark), mark);
    exported = false;
    tell(new Set(made.map(markKey)), made);
  };

  const of = (item) => known.get(item.key) ?? UNMARKED;

  /** Return a mark in words. */
  const words = ({ mark, rating }) => [mark, rating && counted(rating, "star")].filter(Boolean).join(", ") || "unmarked";

  const sentence = (steps, state) => {
    const what = words(state);
    const which = steps.length === 1 ? describe(steps[0].item) : counted(steps.length, "image");
    return `${what[0].toUpperCase()}${what.slice(1)}: ${which}`;
  };

  return {
    of,
    words,
    /** Change marks as `change` says, such as { rating: 3 }. Return a sentence about it, "" if no item is an image. */
    make(list, change) {
      const steps = list
        .filter((item) => item.picture)
        .map((item) => {
          const { mark, rating } = of(item);
          return { item, before: { mark, rating }, after: { mark, rating, ...change } };
        });
      if (!steps.length) return "";
      done.push(steps);
      undone.length = 0;
      apply(steps, "forth");
      return sentence(steps, steps[0].after);
    },
    /** Undo the last change; return the items that it was about. */
    undo() {
      const steps = done.pop();
      if (!steps) return { items: [], text: "Nothing to undo" };
      undone.push(steps);
      apply(steps, "back");
      return { items: steps.map(({ item }) => item), text: `Undone. ${sentence(steps, steps[0].before)}` };
    },
    redo() {
      const steps = undone.pop();
      if (!steps) return { items: [], text: "Nothing to redo" };
      done.push(steps);
      apply(steps, "forth");
      return { items: steps.map(({ item }) => item), text: `Redone. ${sentence(steps, steps[0].after)}` };
    },
    canUndo: () => done.length > 0,
    /** Take marks that others made. */
    take(list) {
      const news = list.filter((mark) => {
        const { mark: was, rating } = known.get(markKey(mark)) ?? UNMARKED;
        return was !== mark.mark || rating !== mark.rating;
      });
      for (const mark of news) known.set(markKey(mark), mark);
      if (news.length) tell(new Set(news.map(markKey)), null);
    },
    /** Call `listener` with the keys of images whose marks changed, and the marks if they were made here. */
    listen: (listener) => listeners.push(listener),
    tally() {
      const sums = { picked: 0, rejected: 0, rated: 0 };
      for (const { mark, rating } of known.values()) {
        if (mark) sums[mark] += 1;
        if (rating) sums.rated += 1;
      }
      return sums;
    },
    /** Offer all marks as a file, one JSON object a line. */
    save() {
      const lines = [...known.values()].map((mark) => `${JSON.stringify(mark)}\n`);
      const link = el("a", { href: URL.createObjectURL(new Blob(lines, { type: "application/jsonl" })), download: "marks.jsonl" });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      exported = true;
      return `${counted(lines.length, "mark")} written to marks.jsonl`;
    },
    isExported: () => exported,
  };
})();
