// New jobs, the run's state and marks made elsewhere, as `venice-batch view` sends them.

const live = (() => {
  if (!isLive) return;
  const AGAIN_MS = 2000;
  const line = one(".state");
  const button = one(".fresh");
  let fresh = [];
  let state = null;
  let isLost = false;

  const drawState = () => {
    const { running, done, jobs, pending } = state ?? {};
    const of = jobs ? `${number(done ?? 0)} of ${counted(jobs, "job")}` : done ? counted(done, "job") : "";
    const left = !running && pending ? `; ${number(pending)} left` : "";
    const text = [running ? "running" : "not running", of].filter(Boolean).join(", ") + left;
    line.hidden = false;
    line.textContent = isLost ? "no connection to venice-batch view; trying again" : text;
    line.className = isLost ? "state lost" : running ? "state running" : "state";
  };

  const drawFresh = () => {
    fresh = fresh.filter((item) => !sheet.list().includes(item) || !sheet.isAbove(item));
    button.hidden = !fresh.length;
    button.textContent = `${counted(fresh.length, "new image")}`;
  };
  button.addEventListener("click", () => {
    const [first] = fresh;
    fresh = [];
    const inOrder = sheet.list().includes(first);
    if (!inOrder) {
      sheet.change(chosen(choice()));
      tell(sheet.list());
    }
    sheet.focusItem(first);
    drawFresh();
  });
  let isDue = false;
  window.addEventListener("scroll", () => {
    if (isDue || !fresh.length) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      drawFresh();
    });
  }, { passive: true });

  const takeNew = (jobs) => {
    const taken = takeJobs(jobs);
    if (!taken.fresh.length) return;
    fillAll();
    problemsView.draw();
    one("#tab-images .number").textContent = number(items.filter((item) => item.picture).length);
    document.documentElement.classList.add("grown");
    const isInOrder = !choice().order && !choice().group && !blind.isOn();
    const found = chosen(choice());
    const isFound = new Set(found);
    const added = taken.fresh.filter((item) => isFound.has(item));
    if (taken.hasReplaced) {
      // Those that were replaced leave their places: the images of a job that failed before come with the new ones.
      const left = sheet.list().filter((item) => itemsOfJobs.get(item.job)?.includes(item));
      sheet.change(isInOrder ? found : left);
    } else if (isInOrder) sheet.append(added);
    tell(sheet.list());
    fresh.push(...added.filter((item) => item.picture));
    drawFresh();
  };

  const connect = () => {
    const source = new EventSource("events");
    source.addEventListener("open", () => {
      isLost = false;
      drawState();
      saving.retry();
    });
    source.addEventListener("error", () => {
      isLost = true;
      drawState();
      // The browser tries again by itself, unless the server refused.
      if (source.readyState !== EventSource.CLOSED) return;
      source.close();
      setTimeout(connect, AGAIN_MS);
    });
    source.addEventListener("jobs", (event) => takeNew(JSON.parse(event.data)));
    source.addEventListener("marks", (event) => marks.take(JSON.parse(event.data).filter((mark) => !saving.isWaiting(markKey(mark)))));
    source.addEventListener("annotations", (event) => annotations.take(JSON.parse(event.data)));
    source.addEventListener("state", (event) => {
      state = JSON.parse(event.data);
      drawState();
    });
  };
  connect();
})();
