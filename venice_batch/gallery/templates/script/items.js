// The items that the page shows one by one: every image, and every job without one.

const data = JSON.parse(one("#data").textContent);

const reasonOf = (job, picture) => {
  if (job.error) return `${job.error.message}`;
  if (picture) return { missing: "The file is no longer in the folder.", pruned: "Rejected and removed." }[picture.state] ?? "";
  return "The job has no image.";
};

const jobsById = new Map();

/** Return the words that made a job's image: its own, those of the job that it was derived from, or for an edit both. */
const promptOf = (job, depth = 0) => {
  if (job.prompt) return job.prompt;
  const { prompt, parent, metadata, image, images } = job.request;
  const own = typeof prompt === "string" ? prompt : "";
  const from = parent && depth < 20 ? jobsById.get(parent.id) : undefined;
  const theirs = from && !metadata?.prompt ? promptOf(from, depth + 1) : "";
  return own && theirs && own !== theirs && (image || images) ? `${theirs} → ${own}` : own || theirs;
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
    prompt: promptOf(job),
    ratio: hasSize ? width / height : 1,
    reason: reasonOf(job, picture),
    text: [...Object.values(request).map(plain), promptOf(job), job.lane, job.error?.message ?? ""].join("\n").toLowerCase(),
  };
};

for (const job of data.jobs) {
  job.request = JSON.parse(job.line);
  jobsById.set(String(job.request.id), job);
}

const allItems = data.jobs.flatMap((job) => {
  job.marks ??= [];
  job.attempts ??= [];
  const pictures = job.pictures ?? [];
  return pictures.length ? pictures.map((picture, place) => itemOf(job, picture, place)) : [itemOf(job, null, 0)];
});

/** The items of each job. */
const itemsOfJobs = new Map();
for (const item of allItems) {
  if (!itemsOfJobs.has(item.job)) itemsOfJobs.set(item.job, []);
  itemsOfJobs.get(item.job).push(item);
}

/** The items without those that a person has rejected and removed. */
const items = allItems.filter((item) => item.picture?.state !== "pruned");

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
      (!flag || item.job.marks.includes(flag)) &&
      words.every((word) => item.text.includes(word)),
  );
  return order in ORDERS ? found.sort(ORDERS[order]) : found;
};
