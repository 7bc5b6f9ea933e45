// All jobs, and what needs attention among them.
import { signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { get, jobPath } from '../api/client.ts';
import type { CheckpointSummary, JobSummary } from '../api/types.ts';
import { byUrgency, findingsOf } from '../attention.ts';
import { ago, bytes, count, duration, END_OF_TIME, percent, rate } from '../format.ts';
import { ratesOf } from '../history.ts';
import { beat, jobs, liveJobs, now, WATCHED_MAX, watchJob, type LiveJob } from '../live.ts';
import { query, setQuery } from '../router.ts';
import { Cli, Empty, isEnded, ShareBar, StatusBadge, Time } from '../ui/basics.tsx';
import { Findings } from '../ui/findings.tsx';
import { Spark } from '../ui/spark.tsx';

const CHECKPOINT_BEATS = 5;

const checkpoints = signal<ReadonlyMap<string, CheckpointSummary[]>>(new Map());

function Watch({ id }: { id: string }) {
  useEffect(() => watchJob(id), [id]);
  const at = beat.value;
  useEffect(() => {
    if (at % CHECKPOINT_BEATS !== 1) return;
    get<CheckpointSummary[]>(jobPath(id, '/checkpoints'))
      .then((list) => (checkpoints.value = new Map(checkpoints.value).set(id, list)))
      .catch(() => {});
  }, [id, at]);
  return null;
}

function worst(live: LiveJob | undefined) {
  const operators = live?.metrics.operators ?? [];
  return operators.reduce((max, one) => (one.shares && one.shares.backpressured > (max?.shares?.backpressured ?? -1) ? one : max), null as (typeof operators)[number] | null);
}

export function lagOf(live: LiveJob | undefined): number | null {
  const marks = (live?.metrics.operators ?? []).map((one) => one.watermark_ms).filter((ms) => ms !== null && ms < END_OF_TIME);
  return marks.length ? live!.metrics.at_ms - Math.min(...(marks as number[])) : null;
}

function Row({ job }: { job: JobSummary }) {
  const live = liveJobs.value.get(job.id);
  const last = checkpoints.value.get(job.id)?.find((one) => one.status === 'completed');
  const rates = isEnded(job.status) ? [] : ratesOf(job.id, job.records_in, now.value);
  const pressed = worst(live);
  const bottleneck = live?.metrics.bottleneck;
  const bad = job.records_dead_lettered + job.records_skipped;
  return (
    <tr>
      <th scope="row">
        <a href={`/jobs/${encodeURIComponent(isEnded(job.status) ? job.id : job.name)}`}>{job.name}</a>
        <span class="sub mono">{job.id}</span>
      </th>
      <td>
        <StatusBadge status={job.status} restoring={job.restoring} />
        <span class="sub">
          {isEnded(job.status) ? <>ended <Time ms={job.ended_at_ms} /></> : <>for {duration(now.value - job.submitted_at_ms)}</>}
          {job.restarts > 0 && `, ${job.restarts} ${job.restarts > 1 ? 'restarts' : 'restart'}`}
        </span>
      </td>
      <td class="num">
        {isEnded(job.status) ? '–' : rate(rates.at(-1))}
        <span class="sub">{count(job.records_in)} read</span>
      </td>
      <td class="only-wide">
        <Spark values={rates} label="records per second in the last minute" />
      </td>
      <td>
        {!isEnded(job.status) && pressed?.shares ? (
          <>
            <ShareBar shares={pressed.shares} worst={pressed.worst} />
            <span class="sub">
              {bottleneck ? <>bottleneck <b>{bottleneck}</b></> : <>{percent(pressed.shares.backpressured)} backpressured</>}
            </span>
          </>
        ) : (
          '–'
        )}
      </td>
      <td class="num">{isEnded(job.status) ? '–' : duration(lagOf(live))}</td>
      <td>
        {last ? (
          <>
            {ago(last.triggered_at_ms, now.value)}
            <span class="sub">
              {duration(last.duration_ms)}, {bytes(last.bytes)}
            </span>
          </>
        ) : job.last_checkpoint !== null ? (
          `no. ${job.last_checkpoint}`
        ) : (
          '–'
        )}
      </td>
      <td class="num">{bad > 0 ? <a href={`/jobs/${encodeURIComponent(job.name)}/dead-letters`}>{count(bad)}</a> : '0'}</td>
    </tr>
  );
}

const SHOWN = [
  ['all', 'All', () => true],
  ['running', 'Running', (job: JobSummary) => !isEnded(job.status)],
  ['ended', 'Ended', (job: JobSummary) => isEnded(job.status)],
  ['failed', 'Failed', (job: JobSummary) => job.status === 'FAILED' || job.status === 'RESTARTING' || job.status === 'FAILING'],
] as const;

function Filters({ all }: { all: JobSummary[] }) {
  const shown = query.value.get('show') ?? 'all';
  return (
    <div class="filters" role="search">
      <div class="choices" role="group" aria-label="Status">
        {SHOWN.map(([id, label, matches]) => (
          <button key={id} type="button" aria-pressed={shown === id} onClick={() => setQuery({ show: id === 'all' ? null : id })}>
            {label} <span class="muted">{all.filter(matches).length}</span>
          </button>
        ))}
      </div>
      <input
        type="search"
        id="search"
        placeholder="Filter by name or id  ( / )"
        aria-label="Filter by name or id"
        value={query.value.get('q') ?? ''}
        onInput={(event) => setQuery({ q: event.currentTarget.value })}
      />
    </div>
  );
}

export function JobsScreen() {
  const all = jobs.value;
  if (all === null) return <p class="loading">Reading the jobs…</p>;
  const matches = SHOWN.find(([id]) => id === query.value.get('show'))?.[2] ?? (() => true);
  const text = (query.value.get('q') ?? '').toLowerCase();
  const shown = all.filter((job) => matches(job) && (`${job.name} ${job.id}`.toLowerCase().includes(text)));
  const isAlive = (job: JobSummary) => !isEnded(job.status) || job.status === 'FAILED';
  const watched = all.filter(isAlive).slice(0, WATCHED_MAX);
  const newest = new Set<string>();
  const findings = all
    .filter((job) => !newest.has(job.name) && newest.add(job.name))
    .flatMap((job) => findingsOf(job, liveJobs.value.get(job.id), checkpoints.value.get(job.id) ?? [], now.value))
    .sort(byUrgency);
  return (
    <>
      {watched.map((job) => (
        <Watch key={job.id} id={job.id} />
      ))}
      <div class="heading">
        <h1>Jobs</h1>
        <Cli command="cofferdam jobs" />
      </div>
      {all.length === 0 ? (
        <Empty title="No job yet" command="cofferdam submit pipeline.toml">
          Submit a pipeline, and its job appears here. <code>cofferdam new</code> creates a project to begin with.
        </Empty>
      ) : (
        <>
          <section aria-labelledby="attention">
            <h2 id="attention">
              Needs attention {findings.length > 0 && <span class="count">{findings.length}</span>}
            </h2>
            {findings.length ? <Findings findings={findings.slice(0, 12)} showJob /> : <p class="calm">Nothing. All jobs run as they should.</p>}
          </section>
          <section aria-labelledby="all-jobs">
            <div class="heading">
              <h2 id="all-jobs">All jobs</h2>
            </div>
            <Filters all={all} />
            <div class="table" tabIndex={0} role="region" aria-label="Table of jobs">
              <table class="jobs">
                <thead>
                  <tr>
                    <th scope="col">Job</th>
                    <th scope="col">Status</th>
                    <th scope="col" class="num">Records read</th>
                    <th scope="col" class="only-wide">Last minute</th>
                    <th scope="col">Most backpressured</th>
                    <th scope="col" class="num">Event-time lag</th>
                    <th scope="col">Last checkpoint</th>
                    <th scope="col" class="num">Bad records</th>
                  </tr>
                </thead>
                <tbody>
                  {shown.map((job) => (
                    <Row key={job.id} job={job} />
                  ))}
                </tbody>
              </table>
              {shown.length === 0 && <p class="calm">No job matches the filter.</p>}
            </div>
          </section>
        </>
      )}
    </>
  );
}
