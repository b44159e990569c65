// Sends marks to `venice-batch view`. A mark waits here until the server has answered that it is on disk.

const saving = (() => {
  const AT_ONCE = 10_000;
  const REFUSED = [400, 413, 415, 422];
  const LONGEST_WAIT_S = 8;
  const PATIENCE_MS = 1000;

  const waiting = new Map();
  let isSending = false;
  let failures = 0;
  let timer = 0;
  let atOnce = AT_ONCE;
  let trouble = "";
  let sentence = "";
  let isSlow = false;

  const draw = () => {
    const shown = waiting.size > 0 && (failures > 0 || isSlow);
    const lost = trouble || "the server does not answer";
    const text = shown ? `${counted(waiting.size, "mark")} not saved${failures ? `: ${lost}. Trying again.` : " yet"}` : trouble;
    for (const place of document.querySelectorAll(".unsaved")) {
      place.hidden = !text;
      if (place.textContent !== text) place.textContent = text;
    }
  };

  const post = async (batch) => {
    const body = JSON.stringify(batch.map(([, { sha256, id, image, mark, rating }]) => ({ sha256, id, image, mark, rating })));
    const answer = await fetch("marks", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body,
      keepalive: body.length < 60_000,
      signal: AbortSignal.timeout(15_000),
    });
    const error = answer.status === 204 ? "" : (await answer.json().catch(() => ({}))).error;
    return { status: answer.status, error: error || `the server answered ${answer.status}` };
  };

  const settle = (batch) => {
    const settled = batch.filter(([key, mark]) => waiting.get(key) === mark).map(([key]) => key);
    for (const key of settled) waiting.delete(key);
    redrawBadges(new Set(settled));
  };

  const again = () => {
    failures += 1;
    timer = setTimeout(send, 1000 * Math.min(LONGEST_WAIT_S, 0.25 * 2 ** failures));
  };

  const send = async () => {
    clearTimeout(timer);
    if (isSending || !waiting.size) return;
    isSending = true;
    const batch = [...waiting].slice(0, atOnce);
    try {
      const { status, error } = await post(batch);
      if (status === 204) {
        settle(batch);
        failures = 0;
        trouble = "";
      } else if (REFUSED.includes(status) && batch.length > 1) {
        atOnce = 1;
      } else if (REFUSED.includes(status)) {
        settle(batch);
        // The folder does not know the image, so it has no mark there.
        marks.take(batch.map(([, mark]) => ({ ...mark, mark: null, rating: null })));
        trouble = `A mark was refused: ${error}`;
        sentence = trouble;
      } else {
        trouble = [403, 404].includes(status) ? "the server does not know this page; open the address that it printed" : error;
        again();
      }
    } catch {
      trouble = "";
      again();
    }
    isSending = false;
    if (!waiting.size) {
      atOnce = AT_ONCE;
      isSlow = false;
      say(sentence);
      sentence = "";
    } else if (!failures) send();
    draw();
  };

  marks.listen((keys, made) => {
    if (!isLive || !made) return;
    for (const mark of made) waiting.set(markKey(mark), mark);
    setTimeout(() => {
      isSlow = waiting.size > 0;
      draw();
    }, PATIENCE_MS);
    if (!failures) send();
    else draw();
  });

  window.addEventListener("online", () => send());
  window.addEventListener("beforeunload", (event) => {
    if (isLive ? waiting.size : !marks.isExported()) event.preventDefault();
  });

  return {
    isWaiting: (key) => waiting.has(key),
    /** Say `text` once all marks are on disk; at once in a page that saves none. */
    thenSay(text) {
      if (isLive && waiting.size) sentence = text;
      else say(text);
    },
    /** Try again now: the server is back. */
    retry: () => failures && send(),
  };
})();
