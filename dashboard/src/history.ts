// What operators did in the last minutes, for their charts: the series of the server, continued with what it reports.
import { get, jobPath } from './api/client.ts';
import type { JobMetrics, OperatorMetrics } from './api/types.ts';

/** Fifteen minutes, as long as the series of the server. */
const SAMPLES_MAX = 900;
const GAP_MS = 800;

export const SERIES = ['records_in_per_s', 'records_out_per_s', 'busy', 'backpressured', 'watermark_lag_ms', 'channel_fill', 'state_bytes'] as const;
export type OperatorSeries = Record<(typeof SERIES)[number], (number | null)[]>;

export interface JobSeries {
  step_ms: number;
  from: number;
  operators: Record<string, OperatorSeries>;
}

export interface JobHistory {
  at: number[];
  operators: Map<string, OperatorSeries>;
}

const followed = new Map<string, JobHistory>();
const rates = new Map<string, { at: number; records: number; rates: number[] }>();

/** Returns the times of a series. */
export const timesOf = (series: JobSeries): number[] =>
  Object.values(series.operators)[0]?.busy.map((_, i) => series.from + i * series.step_ms) ?? [];

/** Begins to keep the history of a job. */
export async function follow(job: string): Promise<void> {
  if (followed.has(job)) return;
  const history: JobHistory = { at: [], operators: new Map() };
  followed.set(job, history);
  const series = await get<JobSeries>(jobPath(job, '/series'));
  const first = history.at[0] ?? Infinity;
  const times = timesOf(series).filter((at) => at < first - GAP_MS);
  for (const [id, past] of Object.entries(series.operators)) {
    const since = history.operators.get(id) ?? emptySeries(history.at.length);
    for (const name of SERIES) since[name].unshift(...past[name].slice(0, times.length));
    history.operators.set(id, since);
  }
  history.at.unshift(...times);
}

export const historyOf = (job: string): JobHistory | undefined => followed.get(job);

const emptySeries = (length: number) => Object.fromEntries(SERIES.map((name) => [name, Array(length).fill(null)])) as unknown as OperatorSeries;

function sample(operator: OperatorMetrics, at: number): Record<(typeof SERIES)[number], number | null> {
  const watermark = operator.watermark_ms;
  return {
    records_in_per_s: operator.records_in_per_second,
    records_out_per_s: operator.records_out_per_second,
    busy: operator.shares?.busy ?? null,
    backpressured: operator.shares?.backpressured ?? null,
    watermark_lag_ms: watermark !== null && watermark < at + 1e12 ? at - watermark : null,
    channel_fill: operator.channel_fill,
    state_bytes: operator.state_bytes,
  };
}

/** Adds what a job reports to its history, if that is kept. */
export function remember(job: string, metrics: JobMetrics): void {
  const history = followed.get(job);
  if (!history || metrics.at_ms - (history.at.at(-1) ?? 0) < GAP_MS) return;
  history.at.push(metrics.at_ms);
  for (const operator of metrics.operators) {
    const series = history.operators.get(operator.id) ?? emptySeries(history.at.length - 1);
    history.operators.set(operator.id, series);
    const values = sample(operator, metrics.at_ms);
    for (const name of SERIES) series[name].push(values[name]);
  }
  if (history.at.length <= SAMPLES_MAX) return;
  history.at.shift();
  for (const series of history.operators.values()) for (const name of SERIES) series[name].shift();
}

/** Notes how many records a job has read, and returns its rates of the last minute. */
export function ratesOf(job: string, records: number, at: number): number[] {
  const known = rates.get(job);
  if (!known) {
    rates.set(job, { at, records, rates: [] });
    return [];
  }
  const seconds = (at - known.at) / 1000;
  if (seconds >= GAP_MS / 1000) {
    known.rates.push(Math.max(0, (records - known.records) / seconds));
    if (known.rates.length > 60) known.rates.shift();
    known.at = at;
    known.records = records;
  }
  return known.rates;
}
