// The items that the page shows one by one: every image, and every job without one.

const data = JSON.parse(one("#data").textContent);

/** Whether `venice-batch view` serves the page: then marks are saved, and new jobs arrive. */
const isLive = document.body.dataset.live === "1";

const reasonOf = (job, picture) => {
  if (job.error) return `${job.error.message}`;
  if (picture) return { missing: "The file is no longer in the folder.", pruned: "Rejected and removed." }[picture.state] ?? "";
  return "The job has no image.";
};

/** Return the words that made a job's image: its own, those of the job that it was derived from, or for an edit both. */
const promptOf = (job, depth = 0) => {
  if (job.prompt) return job.prompt;
  const { prompt, parent, metadata, image, images } = job.request;
  const own = typeof prompt === "string" ? prompt : "";
  const from = parent && depth < 20 ? data.jobs[jobNumbers.get(parent.id)] : undefined;
  const theirs = from && !metadata?.prompt ? promptOf(from, depth + 1) : "";
  return own && theirs && own !== theirs && (image || images) ? `${theirs} → ${own}` : own || theirs;
};

const textOf = (job) =>
  [...Object.values(job.request).map(plain), promptOf(job), job.lane, job.error ? job.error.message : ""].join("\n").toLowerCase();

const itemOf = (job, picture, place) => {
  const { request } = job;
  const [width, height] = picture ? [picture.width, picture.height] : [request.width, request.height];
  const hasSize = width > 0 && height > 0;
  const id = String(request.id);
  return {
    job,
    picture,
    place,
    id,
    /** The image that a mark is about; a job that made another image has no mark. */
    key: picture ? markKey({ id, sha256: picture.sha256, image: place + 1 }) : "",
    /** Its parent may be one of the jobs that follow. */
    get prompt() {
      return promptOf(job);
    },
    ratio: hasSize ? width / height : 1,
    reason: reasonOf(job, picture),
    /** The words that a search looks at, made when they are first needed. */
    get text() {
      return (job.text ??= textOf(job));
    },
  };
};

const markKey = ({ id, sha256, image }) => `${sha256} ${image} ${id}`;

const items = [];

/** The items of each job. */
const itemsOfJobs = new Map();

/** The number of each job on the page, by its id. */
const jobNumbers = new Map();

const addJob = (job, at) => {
  job.request ??= JSON.parse(job.line);
  job.flags ??= [];
  job.attempts ??= [];
  const pictures = job.pictures ?? [];
  const made = pictures.length ? pictures.map((picture, place) => itemOf(job, picture, place)) : [itemOf(job, null, 0)];
  itemsOfJobs.delete(data.jobs[at]);
  itemsOfJobs.set(job, made);
  jobNumbers.set(job.request.id, at);
  data.jobs[at] = job;
  return made;
};

/** Whether a person has rejected and removed the image: the page does not show it. */
const isPruned = (item) => item.picture?.state === "pruned";

const collect = (made) => {
  for (const item of made) if (!isPruned(item)) items.push(item);
};

/** Whether a job is the one that the page has: the server may send one twice. */
const isSame = (job, known) => known !== undefined && job.at === known.at && job.status === known.status && job.line === known.line && JSON.stringify(job.pictures) === JSON.stringify(known.pictures);

/** Add jobs that have just ended; those with a known id replace the earlier ones. Return the new items, and whether
    they replace any. */
const takeJobs = (jobs) => {
  let hasReplaced = false;
  const fresh = [];
  for (const job of jobs) {
    job.request = JSON.parse(job.line);
    const at = jobNumbers.get(job.request.id);
    if (isSame(job, data.jobs[at])) continue;
    if (!data.lanes.includes(job.lane)) data.lanes.push(job.lane);
    if (at !== undefined) hasReplaced = true;
    const made = addJob(job, at ?? data.jobs.length);
    fresh.push(...made);
    if (at === undefined) collect(made);
  }
  if (hasReplaced) {
    items.length = 0;
    for (const job of data.jobs) collect(itemsOfJobs.get(job));
  }
  return { fresh, hasReplaced };
};

data.jobs.forEach((job, at) => collect(addJob(job, at)));

/** Return which of its job's images an item is, as "3 of 4"; "" if it is the only one. */
const placeOf = (item) => {
  const many = itemsOfJobs.get(item.job)?.length ?? 1;
  return many > 1 ? `${item.place + 1} of ${many}` : "";
};

/** Return an item's alternative text. */
const describe = (item) => {
  const which = placeOf(item) && ` (image ${placeOf(item)})`;
  const what = item.prompt || (blind.isOn() ? "An image" : item.id);
  return item.picture?.src ? `${what}${which}` : `${what}: ${item.job.status}, no image. ${item.reason}`;
};

/** Return an image's share of its job's cost. */
const costOf = ({ job }) => (job.cost_usd ?? job.at_most_usd ?? 0) / Math.max(1, job.pictures?.length ?? 1);

const ORDERS = {
  latest: (a, b) => (a.job.at < b.job.at ? 1 : a.job.at > b.job.at ? -1 : 0),
  id: (a, b) => a.id.localeCompare(b.id, "en", { numeric: true }),
  model: (a, b) => a.job.lane.localeCompare(b.job.lane),
  rating: (a, b) => (marks.of(b).rating ?? 0) - (marks.of(a).rating ?? 0),
  slow: (a, b) => b.job.total_s - a.job.total_s,
  cost: (a, b) => costOf(b) - costOf(a),
};

const MARKED = {
  picked: ({ mark }) => mark === "picked",
  rejected: ({ mark }) => mark === "rejected",
  kept: ({ mark }) => mark !== "rejected",
  unmarked: ({ mark, rating }) => !mark && !rating,
};

/** Whether an item has the mark, or at least the number of stars, that the filter asks for. */
const isMarked = (item, asked) => {
  if (!asked) return true;
  if (!item.picture) return false;
  const found = marks.of(item);
  return asked in MARKED ? MARKED[asked](found) : found.rating >= Number(asked);
};

/** Return the items that contain every word, meet every condition and have the chosen model, status, flag and marks. */
const chosen = ({ q, model, status, flag, marked, order, group }) => {
  const { words, conditions } = annotations.parse(q);
  annotations.ask({ q, order, group });
  const found = items.filter(
    (item) =>
      (!model || item.job.lane === model) &&
      (!status || item.job.status === status) &&
      (!flag || item.job.flags.includes(flag)) &&
      isMarked(item, marked) &&
      conditions.every((isMet) => isMet(item)) &&
      words.every((word) => item.text.includes(word) || (!blind.isOn() && annotations.textOf(item).includes(word))),
  );
  if (blind.isOn()) return groups.arrange(blind.shuffled(found), "");
  const by = ORDERS[order] ?? annotations.order(order);
  return groups.arrange(by ? found.sort(by) : found, group);
};
