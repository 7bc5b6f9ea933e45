// What the server reports over one stream of the page: the list of jobs, and each job that a screen watches.
//
// The stream is closed while the page is hidden. `staleSince` is set while there is none although there should be.
import { batch, effect, signal } from '@preact/signals';
import { needsToken, part, Problem, token } from './api/client.ts';
import { readEvents, type SseEvent } from './api/sse.ts';
import type { JobDetail, JobMetrics, JobSummary } from './api/types.ts';
import { remember } from './history.ts';

/** Jobs that one stream can follow beside the list. */
export const WATCHED_MAX = 15;
/** Topics that change together lead to one new stream. */
const SETTLE_MS = 30;
const RETRY_MS = 1000;
/** The server sends something at least every 15 seconds. */
const SILENCE_MAX_MS = 20_000;
const BEAT_MS = 1000;

export interface LiveJob {
  job: JobDetail;
  metrics: JobMetrics;
}

export const jobs = signal<JobSummary[] | null>(null);
/** The watched jobs by the id or name by which they are watched. */
export const liveJobs = signal<ReadonlyMap<string, LiveJob>>(new Map());
/** Watched jobs that do not exist. */
export const goneJobs = signal<ReadonlySet<string>>(new Set());
/** When the last data came, if none comes now. */
export const staleSince = signal<number | null>(null);
/** Increases about once per second while data comes. Screens read their own resources again when it does. */
export const beat = signal(0);
/** The time of the page, once per second. */
export const now = signal(Date.now());

const watched = new Map<string, number>();
let lastData = Date.now();
let lastBeat = 0;
let stream: AbortController | null = null;
let timer: ReturnType<typeof setTimeout> | undefined;

/** Watches a job by its id or name until the returned function is called. */
export function watchJob(id: string): () => void {
  watched.set(id, (watched.get(id) ?? 0) + 1);
  if (watched.get(id) === 1) reopen(SETTLE_MS);
  return () => {
    const left = (watched.get(id) ?? 1) - 1;
    if (left > 0) watched.set(id, left);
    // The next stream leaves it out.
    else watched.delete(id);
  };
}

function take({ event, data }: SseEvent): void {
  if (event === 'jobs') jobs.value = JSON.parse(data);
  if (event === 'gone') goneJobs.value = new Set(goneJobs.value).add(JSON.parse(data).id);
  if (event !== 'job') return;
  const { id, job, metrics } = JSON.parse(data) as LiveJob & { id: string };
  remember(job.id, metrics);
  liveJobs.value = new Map(liveJobs.value).set(id, { job, metrics });
}

/** Notes that data came, of which `events` are complete. */
function receive(events: SseEvent[]): void {
  lastData = Date.now();
  batch(() => {
    staleSince.value = null;
    events.forEach(take);
    if (lastData - lastBeat < BEAT_MS * 0.8) return;
    lastBeat = lastData;
    beat.value++;
  });
}

function reopen(delay: number): void {
  clearTimeout(timer);
  timer = setTimeout(open, delay);
}

async function open(): Promise<void> {
  stream?.abort();
  stream = null;
  if (document.hidden || needsToken.value) return;
  const own = new AbortController();
  stream = own;
  goneJobs.value = new Set();
  const topics = ['jobs', ...[...watched.keys()].slice(0, WATCHED_MAX).map((id) => `job:${id}`)];
  try {
    await readEvents(`/v1/stream?topics=${topics.map(part).join(',')}`, own.signal, receive);
  } catch (error) {
    if (own.signal.aborted && stream !== own) return;
    if (error instanceof Problem && error.status === 401) return;
  }
  if (stream !== own) return;
  stream = null;
  staleSince.value = lastData;
  reopen(RETRY_MS);
}

function tick(): void {
  now.value = Date.now();
  if (stream && !document.hidden && now.value - lastData > SILENCE_MAX_MS) {
    staleSince.value = lastData;
    lastData = now.value;
    reopen(0);
  }
}

export function startLive(): void {
  setInterval(tick, 1000);
  document.addEventListener('visibilitychange', () => {
    lastData = Date.now();
    reopen(0);
  });
  effect(() => {
    void token.value;
    if (!needsToken.value) reopen(0);
  });
}
