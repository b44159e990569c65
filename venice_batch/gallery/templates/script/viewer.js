// One image as large as the window allows, with everything known about its job.

const KINDS = {
  queued_s: "in the queue",
  rate_wait_s: "for quota or slot",
  backoff_s: "between attempts",
  in_vain_s: "in failed attempts",
  server_s: "at the server",
  download_s: "downloading",
  write_s: "writing",
};

const pairs = (title, entries) =>
  entries.length > 0 &&
  el(
    "section",
    {},
    el("h3", {}, title),
    el("dl", { class: "pairs" }, ...entries.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
  );

const SVG = "http://www.w3.org/2000/svg";

/** Make a bar of the parts of a job's time; the same figures stand as text below it. */
const timeBar = (spent) => {
  const parts = Object.keys(KINDS).map((kind) => [kind, spent[kind] ?? 0]);
  const total = parts.reduce((sum, [, value]) => sum + value, 0);
  const bar = document.createElementNS(SVG, "svg");
  bar.setAttribute("class", "time");
  bar.setAttribute("aria-hidden", "true");
  let x = 0;
  for (const [kind, value] of parts) {
    const part = document.createElementNS(SVG, "rect");
    const share = total ? (100 * value) / total : 0;
    part.setAttribute("class", `t-${kind.slice(0, -2).replaceAll("_", "-")}`);
    part.setAttribute("x", `${x}%`);
    part.setAttribute("width", `${share}%`);
    part.setAttribute("height", "8");
    bar.append(part);
    x += share;
  }
  return bar;
};

const times = ({ spent, total_s: total, server, at }) => {
  const parts = Object.entries(KINDS).filter(([kind]) => spent[kind] > 0);
  return el(
    "section",
    {},
    el("h3", {}, `${duration(total)} in all`),
    timeBar(spent),
    el(
      "dl",
      { class: "pairs" },
      ...parts.map(([kind, name]) =>
        el("div", {}, el("dt", {}, el("i", { class: `swatch t-${kind.slice(0, -2).replaceAll("_", "-")}` }), name), el("dd", {}, duration(spent[kind]))),
      ),
      ...Object.entries(server ?? {})
        .filter(([, value]) => typeof value === "number")
        .map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, duration(value / 1000)))),
      el("div", {}, el("dt", {}, "from"), el("dd", {}, new Date(at).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" }))),
    ),
  );
};

const attempts = (job) =>
  job.attempts.length > 0 &&
  el(
    "section",
    {},
    el("h3", {}, counted(job.attempts.length, "attempt")),
    el(
      "ol",
      { class: "attempts" },
      ...job.attempts.map((attempt) => {
        const waits = [
          attempt.retry_after_s != null && `asked to wait ${duration(attempt.retry_after_s)}`,
          attempt.wait_s > 0 && `waited ${duration(attempt.wait_s)}`,
        ].filter(Boolean);
        return el(
          "li",
          {},
          el("strong", {}, attempt.status ?? "no answer"),
          ` after ${duration(attempt.duration_s)}${waits.length ? `, ${waits.join(", ")}` : ""}`,
          attempt.error && el("span", { class: "reason" }, attempt.error),
          attempt.ray && attempt.error && el("span", { class: "ray" }, `ray ${attempt.ray}`),
        );
      }),
    ),
  );

const copy = async (text, shown) => {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // A page loaded over plain HTTP has no access to the clipboard.
    getSelection().selectAllChildren(shown);
    document.execCommand("copy");
  }
};

const jobLine = (job) => {
  const shown = el("pre", { tabindex: 0, "aria-label": "Line of a jobs file" }, job.line);
  const button = el("button", { type: "button", name: "copy" }, "Copy");
  const note = el("span", { role: "status" });
  button.addEventListener("click", async () => {
    await copy(job.line, shown);
    note.textContent = "Copied";
  });
  return el(
    "section",
    {},
    el("h3", {}, "Job line ", job.is_cut ? el("span", {}, "shortened here; complete in manifest.jsonl") : button, note),
    shown,
  );
};

/** Return an image's share of its job's cost, in words. */
const costText = (item) => {
  const { cost_usd: cost, at_most_usd: most, pictures = [] } = item.job;
  const all = (amount) => (pictures.length > 1 ? `, of ${usd(amount)} for ${counted(pictures.length, "image")}` : "");
  if (cost != null) return `${usd(costOf(item))}${all(cost)}`;
  return most != null ? `at most ${usd(costOf(item))}${all(most)}, possibly billed` : "not known";
};

const factsOf = (item) => {
  const { job, picture } = item;
  const { id, prompt, metadata, parent, ...rest } = job.request;
  const which = placeOf(item);
  const words = item.prompt || (prompt === undefined ? "" : plain(prompt));
  const shown = words && el("p", { class: "prompt" }, words);
  if (blind.isOn()) return [el("h2", { id: "viewer-title" }, "Blind"), shown].filter(Boolean);
  return [
    el("h2", { id: "viewer-title" }, id, which && el("span", { class: "which" }, `image ${which}`)),
    shown,
    (job.error || !picture?.src) && el("p", { class: "reason" }, el("strong", {}, job.error ? `${job.status}, ${job.error.kind}: ` : ""), item.reason),
    picture?.state === "changed" && el("p", { class: "reason" }, "The size of the file is not the one in its record."),
    job.flags.length > 0 && el("ul", { class: "flags" }, ...job.flags.map((flag) => el("li", {}, flag))),
    pairs("Annotations", Object.entries(annotations.of(item)).map(([name, value]) => [name, annotations.format(value)])),
    job.enhanced_prompt && pairs("Enhanced prompt", [["used", job.enhanced_prompt]]),
    job.deprecated && pairs("Deprecated", [["model", job.deprecated]]),
    pairs("Request", Object.entries(rest).map(([name, value]) => [name, value?.path ?? plain(value)])),
    parent && pairs("Made from", [["job", parent.id], ["image", parent.variant], ["sha256", parent.sha256]]),
    metadata && typeof metadata === "object" && pairs("Metadata", Object.entries(metadata).map(([name, value]) => [name, plain(value)])),
    pairs("Result", [
      ...(picture
        ? [
            ["file", picture.name],
            ["size", `${picture.width} × ${picture.height}, ${fileSize(picture.bytes)}, ${picture.format}`],
            ["sha256", picture.sha256],
          ]
        : []),
      ["cost", costText(item)],
    ]),
    times(job),
    attempts(job),
    jobLine(job),
  ].filter(Boolean);
};

const viewer = (() => {
  const dialog = one(".viewer");
  const frame = one(".frame", dialog);
  const link = one(".open", dialog);
  let list = [];
  let at = 0;
  let back = () => {};

  const current = () => list[at];
  const bar = markBar(() => (dialog.open && current() ? [current()] : []), (change) => mark(change));
  one(".bar", dialog).after(bar.bar);

  const show = (next) => {
    at = next;
    const item = list[at];
    const picture = pictureOf(item, { large: true });
    picture.classList.add("pane");
    frame.replaceChildren(picture);
    zoom.reset();
    one(".text", dialog).replaceChildren(...factsOf(item));
    one(".facts", dialog).scrollTop = 0;
    one("[name=previous]", dialog).disabled = at === 0;
    drawPlace();
    link.hidden = !item.picture?.src || blind.isOn();
    if (item.picture?.src) link.href = item.picture.src;
    bar.draw();
    address.set(blind.isOn() ? { job: "", image: "" } : { job: item.id, image: placeOf(item) && String(item.place + 1) });
  };
  const drawPlace = () => {
    one(".place", dialog).textContent = `${number(at + 1)} of ${number(list.length)}`;
    one("[name=next]", dialog).disabled = at === list.length - 1;
  };
  const step = (by) => {
    if (list[at + by]) show(at + by);
  };
  const zoom = zoomable(one(".stage", dialog), { onSwipe: step });

  one("[name=previous]", dialog).addEventListener("click", () => step(-1));
  one("[name=next]", dialog).addEventListener("click", () => step(1));
  one("[name=close]", dialog).addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    // The second click of a double click that opened the dialog does nothing in it.
    if (zoom.wasDragged() || event.detail > 1) return;
    if (event.target.matches(".pane img")) zoom.toggle(event);
    else if (event.target.matches(".viewer, .frame, .pane")) dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by === undefined || event.altKey || event.metaKey || event.ctrlKey || event.target.closest("pre")) return;
    event.preventDefault();
    step(by);
  });
  dialog.addEventListener("close", () => {
    frame.replaceChildren();
    address.set({ job: "", image: "" });
    back(at);
  });

  return {
    /** Show `shown[at]`; `whenClosed` is called with the last one shown. */
    open(shown, first, whenClosed) {
      list = shown;
      back = whenClosed;
      dialog.showModal();
      dialog.focus();
      show(first);
    },
    close: () => dialog.close(),
    isOpen: () => dialog.open,
    current,
    step,
    zoom,
    /** Show the current image again: what may be known of it has changed. */
    refresh: () => dialog.open && show(at),
    /** Go on with `next` if `before` is shown. The image stays, or the one in its place is shown. */
    follow(before, next) {
      if (!dialog.open || list !== before) return;
      const item = list[at];
      list = next;
      if (!next.length) dialog.close();
      else if (next.includes(item)) {
        at = next.indexOf(item);
        one("[name=previous]", dialog).disabled = at === 0;
        drawPlace();
      } else show(Math.min(at, next.length - 1));
    },
  };
})();
