// The items that the page shows one by one: every image, and every job without one.

const data = JSON.parse(one("#data").textContent);

const reasonOf = (job, picture) => {
  if (job.error) return `${job.error.message}`;
  if (picture) return picture.state === "missing" ? "The file is no longer in the folder." : "";
  return "The job has no image.";
};

const itemOf = (job, picture, place) => {
  const { request } = job;
  const [width, height] = picture ? [picture.width, picture.height] : [request.width, request.height];
  const hasSize = width > 0 && height > 0;
  return {
    job,
    picture,
    place,
    id: String(request.id),
    prompt: typeof request.prompt === "string" ? request.prompt : "",
    ratio: hasSize ? width / height : 1,
    reason: reasonOf(job, picture),
    text: [...Object.values(request).map(plain), job.lane, job.error ? job.error.message : ""].join("\n").toLowerCase(),
  };
};

const items = data.jobs.flatMap((job) => {
  job.request = JSON.parse(job.line);
  job.flags ??= [];
  job.attempts ??= [];
  const pictures = job.pictures ?? [];
  return pictures.length ? pictures.map((picture, place) => itemOf(job, picture, place)) : [itemOf(job, null, 0)];
});

/** The items of each job. */
const itemsOfJobs = new Map();
for (const item of items) {
  if (!itemsOfJobs.has(item.job)) itemsOfJobs.set(item.job, []);
  itemsOfJobs.get(item.job).push(item);
}

/** Return an item's alternative text. */
const describe = (item) => {
  const many = itemsOfJobs.get(item.job).length;
  const which = many > 1 ? ` (image ${item.place + 1} of ${many})` : "";
  const what = item.prompt || item.id;
  return item.picture?.src ? `${what}${which}` : `${what}: ${item.job.status}, no image. ${item.reason}`;
};

const ORDERS = {
  latest: (a, b) => (a.job.at < b.job.at ? 1 : a.job.at > b.job.at ? -1 : 0),
  id: (a, b) => a.id.localeCompare(b.id, "en", { numeric: true }),
  model: (a, b) => a.job.lane.localeCompare(b.job.lane),
  slow: (a, b) => b.job.total_s - a.job.total_s,
  cost: (a, b) => (b.job.cost_usd ?? b.job.at_most_usd ?? 0) - (a.job.cost_usd ?? a.job.at_most_usd ?? 0),
};

/** Return the items that contain every word and have the chosen model, status and flag. */
const chosen = ({ q, model, status, flag, order }) => {
  const words = q.toLowerCase().split(/\s+/u).filter(Boolean);
  const found = items.filter(
    (item) =>
      (!model || item.job.lane === model) &&
      (!status || item.job.status === status) &&
      (!flag || item.job.flags.includes(flag)) &&
      words.every((word) => item.text.includes(word)),
  );
  return order in ORDERS ? found.sort(ORDERS[order]) : found;
};
