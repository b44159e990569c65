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
    const text = running ? `running, ${of}` : pending ? `not running, ${of}; ${number(pending)} left` : of && `not running, ${of}`;
    line.hidden = false;
    line.textContent = isLost ? "no connection to venice-batch view; trying again" : text || "not running";
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
    const count = items.length;
    const hasReplaced = takeJobs(jobs);
    fillAll();
    problemsView.draw();
    one("#tab-images .number").textContent = number(items.filter((item) => item.picture).length);
    document.documentElement.classList.add("grown");
    const { order } = choice();
    const found = chosen(choice());
    const there = new Set(sheet.list());
    const ids = new Set(jobs.map((job) => job.request.id));
    const added = found.filter((item) => !there.has(item) && ids.has(item.id));
    if (hasReplaced) sheet.change(order || blind.isOn() ? [...sheet.list().filter((item) => itemsOfJobs.get(item.job)?.includes(item)), ...added] : found);
    else if (!order && !blind.isOn()) sheet.append(added);
    if (items.length !== count || hasReplaced) tell(sheet.list());
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
    source.addEventListener("state", (event) => {
      state = JSON.parse(event.data);
      drawState();
    });
  };
  connect();
})();
