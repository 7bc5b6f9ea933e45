// Finds what a person should look at, with the next step. The rules read what the API reports and keep nothing.
import type { CheckpointSummary, JobGraph, JobSummary, OperatorMetrics } from './api/types.ts';
import { count, duration, END_OF_TIME, percent } from './format.ts';
import type { LiveJob } from './live.ts';

export interface Finding {
  tone: 'bad' | 'warn' | 'info';
  job: string;
  /** The operator that it is about. */
  operator?: string;
  title: string;
  text: string;
  code?: string;
  next: string;
  /** Where the next step begins, relative to the job. */
  href: string;
}

const SKEW_MAX = 2;
const SKEW_RATE_MIN = 50;
const THROTTLED_MAX = 0.3;
const CHECKPOINT_AGE_MIN_MS = 15_000;
const RECENT_MS = 10 * 60_000;

/** How unevenly the records are spread over the subtasks: the busiest one against the mean. */
export function skewOf(operator: OperatorMetrics): number | null {
  const rates = (operator.subtasks ?? []).map((subtask) => subtask.records_in_per_second ?? subtask.records_out_per_second ?? 0);
  const sum = rates.reduce((total, rate) => total + rate, 0);
  if (rates.length < 2 || sum < SKEW_RATE_MIN) return null;
  return Math.max(...rates) / (sum / rates.length);
}

export function bottleneckText(live: LiveJob, graph?: JobGraph | null): string {
  const operators = live.metrics.operators;
  const slow = operators.find((operator) => operator.id === live.metrics.bottleneck);
  const before = graph ? graph.edges.filter((edge) => edge.to === slow?.id).map((edge) => edge.from) : null;
  const waiting = operators.filter((one) => (one.shares?.backpressured ?? 0) > 0.3 && (!before || before.includes(one.id)));
  const names = waiting.map((one) => `${one.id} (${percent(one.shares?.backpressured)})`).join(', ');
  return `It is busy ${percent(slow?.shares?.busy)} of the time${names ? `, and backpressures ${names}` : ''}.`;
}

function checkpointFindings(live: LiveJob, checkpoints: CheckpointSummary[], now: number): Finding[] {
  const job = live.job;
  const ended = checkpoints.filter((one) => one.status !== 'in-progress');
  if (ended[0]?.status === 'failed') {
    const row = ended.findIndex((one) => one.status !== 'failed');
    return [
      {
        tone: 'bad',
        job: job.name,
        title: `${row < 0 ? ended.length : row} checkpoints in a row have failed`,
        text: ended[0].failure ?? '',
        next: 'See which phase fails',
        href: '/checkpoints',
      },
    ];
  }
  const complete = ended.filter((one) => one.status === 'completed');
  if (complete.length < 3) return [];
  const gaps = complete.slice(1).map((one, i) => complete[i].triggered_at_ms - one.triggered_at_ms).sort((a, b) => a - b);
  const usual = gaps[gaps.length >> 1];
  const age = now - complete[0].triggered_at_ms;
  if (age < Math.max(3 * usual, CHECKPOINT_AGE_MIN_MS)) return [];
  return [
    {
      tone: 'warn',
      job: job.name,
      title: `The last checkpoint is ${duration(age)} old`,
      text: `Usually one is taken every ${duration(usual)}. A restart would process everything since then again.`,
      next: 'See the checkpoints',
      href: '/checkpoints',
    },
  ];
}

function operatorFindings(live: LiveJob): Finding[] {
  const found: Finding[] = [];
  const job = live.job.name;
  for (const operator of live.metrics.operators) {
    const at = { job, operator: operator.id, href: `?node=${encodeURIComponent(operator.id)}` };
    const skew = skewOf(operator);
    if (operator.health && operator.health.state !== 'healthy') {
      const tone = operator.health.state === 'down' ? 'bad' : 'warn';
      found.push({ ...at, tone, title: `${operator.id} is ${operator.health.state}`, text: operator.health.message, next: 'Look at the connector' });
    }
    if (skew !== null && skew > SKEW_MAX) {
      const text = `Its busiest subtask gets ${skew.toFixed(1)} times the mean. Few keys hold most of the records.`;
      found.push({ ...at, tone: 'warn', title: `${operator.id} is skewed`, text, next: 'Compare its subtasks', href: `${at.href}&tab=subtasks` });
    }
    if ((operator.shares?.throttled ?? 0) > THROTTLED_MAX) {
      const text = `It waits ${percent(operator.shares!.throttled)} of the time for a processor that another job uses.`;
      found.push({ ...at, tone: 'warn', title: `${operator.id} is throttled`, text, next: 'Look at its shares of time' });
    }
    const idle = operator.event_time_idle_subtasks;
    if (operator.kind === 'source' && idle > 0 && idle === operator.parallelism && operator.watermark_ms !== END_OF_TIME) {
      const text = 'It has had no records for so long that it does not hold back event time any more.';
      found.push({ ...at, tone: 'info', title: `${operator.id} is idle`, text, next: 'Check what feeds it' });
    }
  }
  return found;
}

/** Returns what needs attention in a job, most urgent first. */
export function findingsOf(summary: JobSummary, live: LiveJob | undefined, checkpoints: CheckpointSummary[], now: number): Finding[] {
  const found: Finding[] = [];
  const job = summary.name;
  const failure = live?.job.failure;
  if (summary.status === 'FAILED') {
    const where = failure?.operator ? ` in ${failure.operator}` : '';
    found.push({ tone: 'bad', job, operator: failure?.operator ?? undefined, title: `The job failed${where}`, text: failure?.message ?? '', code: failure?.code, next: 'Read the failure', href: '' });
  }
  if (summary.status === 'RESTARTING' || summary.status === 'FAILING') {
    found.push({ tone: 'bad', job, title: `The job restarts, for the ${ordinal(summary.restarts + 1)} time`, text: failure?.message ?? '', code: failure?.code, next: 'Read the failure', href: '' });
  }
  if (!live || summary.status !== 'RUNNING') return found;
  const recent = live.job.failures.filter((one) => now - one.at_ms < RECENT_MS);
  if (recent.length) {
    const last = recent.at(-1)!;
    found.push({ tone: 'warn', job, operator: last.operator ?? undefined, title: `${count(recent.length)} ${recent.length > 1 ? 'restarts' : 'restart'} in 10 minutes`, text: last.message, code: last.code, next: 'Read the history', href: '/events' });
  }
  if (live.metrics.bottleneck) {
    const id = live.metrics.bottleneck;
    found.push({ tone: 'warn', job, operator: id, title: `${id} is the bottleneck`, text: bottleneckText(live), next: 'Raise its parallelism, or see where its time goes', href: `?node=${encodeURIComponent(id)}&tab=subtasks` });
  }
  found.push(...checkpointFindings(live, checkpoints, now), ...operatorFindings(live));
  if (summary.records_dead_lettered > 0) {
    found.push({ tone: 'warn', job, title: `${count(summary.records_dead_lettered)} dead letters`, text: 'Records on which a function failed were set aside.', next: 'Try and replay them', href: '/dead-letters' });
  }
  if (summary.records_skipped > 0) {
    found.push({ tone: 'warn', job, title: `${count(summary.records_skipped)} records skipped`, text: 'Records on which a function failed, or that could not be decoded, were dropped.', next: 'See the counts', href: '' });
  }
  for (const warning of live.job.warnings) {
    found.push({ tone: 'info', job, title: 'Warning', text: warning, next: 'Open the job', href: '' });
  }
  return found.sort(byUrgency);
}

const ORDER = { bad: 0, warn: 1, info: 2 };

export const byUrgency = (a: Finding, b: Finding) => ORDER[a.tone] - ORDER[b.tone];

export function ordinal(n: number): string {
  const suffix = n % 100 > 10 && n % 100 < 14 ? 'th' : (['th', 'st', 'nd', 'rd'][n % 10] ?? 'th');
  return `${n}${suffix}`;
}
