// The newest checkpoints as a strip of bars, and one of them as a Gantt chart of its phases.
import type { CheckpointDetail, CheckpointStats, CheckpointSummary, JobDetail, StoredSavepoint } from '../api/types.ts';
import { jobPath } from '../api/client.ts';
import { ago, bytes, duration } from '../format.ts';
import { now } from '../live.ts';
import { useResource, type Resource } from '../resource.ts';
import { query, setQuery } from '../router.ts';
import { Badge, Cli, Empty, Facts, Foreign, ProblemNote, Time } from '../ui/basics.tsx';

const BARS = 60;
/** Subtasks of an operator that are drawn: the slowest ones. */
const SUBTASKS_SHOWN = 8;

const TONE = { completed: 'ok', failed: 'bad', 'in-progress': 'info' } as const;

const PHASES: [keyof CheckpointStats, string, string][] = [
  ['start_delay_ms', 'start', 'Start delay'],
  ['alignment_ms', 'align', 'Alignment'],
  ['sync_ms', 'sync', 'Synchronous'],
  ['async_ms', 'async', 'Asynchronous'],
];

function Strip({ checkpoints, chosen }: { checkpoints: CheckpointSummary[]; chosen: number | null }) {
  const shown = checkpoints.slice(0, BARS);
  const max = Math.max(...shown.map((one) => one.duration_ms ?? 0), 1);
  return (
    <ol class="strip" aria-label={`The newest ${shown.length} checkpoints, newest first. A bar's height is its duration.`}>
      {shown.map((one) => {
        const took = one.status === 'in-progress' ? now.value - one.triggered_at_ms : (one.duration_ms ?? 0);
        const label = `${one.kind} ${one.id}, ${one.status}, ${duration(took)}, ${bytes(one.bytes)}`;
        return (
          <li key={one.id}>
            <button type="button" class={`${one.status} ${one.kind}`} aria-pressed={chosen === one.id} aria-label={label} title={label} onClick={() => setQuery({ checkpoint: String(one.id) })}>
              <span style={{ height: `${Math.max(4, Math.min(1, took / max) * 100)}%` }} />
            </button>
          </li>
        );
      })}
    </ol>
  );
}

function GanttRow({ name, stats, scale, isTotal }: { name: string; stats: CheckpointStats; scale: number; isTotal?: boolean }) {
  let at = 0;
  const text = PHASES.map(([key, , label]) => `${label} ${duration(stats[key] as number)}`).join(', ');
  return (
    <tr class={isTotal ? 'total' : ''}>
      <th scope="row">{name}</th>
      <td class="gantt">
        <div class="lane" role="img" aria-label={text} title={text}>
          {PHASES.map(([key, css]) => {
            const left = at;
            at += stats[key] as number;
            return <span key={key} class={css} style={{ left: `${(left / scale) * 100}%`, width: `${((stats[key] as number) / scale) * 100}%` }} />;
          })}
        </div>
      </td>
      <td class="num">{duration(stats.end_to_end_ms)}</td>
      <td class="num">{bytes(stats.bytes)}</td>
      <td class="num">{bytes(stats.bytes_uploaded)}</td>
      <td class="num">{stats.in_flight_bytes ? bytes(stats.in_flight_bytes) : '–'}</td>
    </tr>
  );
}

function Gantt({ job, summary }: { job: JobDetail; summary: CheckpointSummary }) {
  const detail = useResource<CheckpointDetail>(summary.status === 'completed' ? jobPath(job.id, `/checkpoints/details/${summary.id}`) : null);
  const end = (stats: CheckpointStats) => PHASES.reduce((sum, [key]) => sum + (stats[key] as number), 0);
  const operators = detail.value?.operators ?? [];
  const scale = Math.max(...operators.flatMap((one) => one.subtasks.map(end)), 0.001);
  return (
    <section class="panel" aria-labelledby="one-checkpoint">
      <div class="heading">
        <h3 id="one-checkpoint">
          {summary.kind.charAt(0).toUpperCase() + summary.kind.slice(1)} {summary.id}
        </h3>
        <Badge tone={TONE[summary.status]} icon={summary.status === 'failed' ? 'alert' : summary.status === 'completed' ? 'check' : 'clock'}>
          {summary.status}
        </Badge>
        {summary.unaligned && <Badge tone="info">unaligned</Badge>}
        <Cli command={`cofferdam checkpoints ${job.name} ${summary.id}`} />
      </div>
      <Facts facts={[
        ['Triggered', <Time ms={summary.triggered_at_ms} />],
        ['Duration', duration(summary.duration_ms ?? now.value - summary.triggered_at_ms)],
        ['Size', bytes(summary.bytes)],
        ['Uploaded', bytes(summary.bytes_uploaded)],
        ['Records in flight', bytes(summary.in_flight_bytes)],
        ['Location', summary.location ? <span class="mono">{summary.location}</span> : null],
      ]} />
      {summary.failure && <Foreign text={summary.failure} block />}
      <ProblemNote problem={detail.problem} />
      {operators.length > 0 && (
        <>
          <ul class="legend" aria-label="Phases">
            {PHASES.map(([, css, label]) => (
              <li key={css}>
                <span class={`swatch ${css}`} />
                {label}
              </li>
            ))}
          </ul>
          <div class="table" tabIndex={0} role="region" aria-label="Phases of each subtask">
            <table class="dense">
              <thead>
                <tr>
                  <th scope="col">Subtask</th>
                  <th scope="col" class="gantt">Phases, 0 to {duration(scale)}</th>
                  <th scope="col" class="num">End to end</th>
                  <th scope="col" class="num">Size</th>
                  <th scope="col" class="num">Uploaded</th>
                  <th scope="col" class="num">In flight</th>
                </tr>
              </thead>
              <tbody>
                {operators.flatMap((operator) => {
                  const subtasks = operator.subtasks.map((stats, i) => ({ stats, i })).sort((a, b) => b.stats.end_to_end_ms - a.stats.end_to_end_ms);
                  const hidden = subtasks.length - SUBTASKS_SHOWN;
                  return [
                    ...subtasks.slice(0, SUBTASKS_SHOWN).map(({ stats, i }) => <GanttRow key={`${operator.id}/${i}`} name={`${operator.id}/${i}`} stats={stats} scale={scale} />),
                    hidden > 0 ? <tr key={operator.id}><th scope="row" class="muted">and {hidden} faster ones</th><td colSpan={5} /></tr> : null,
                  ];
                })}
              </tbody>
            </table>
          </div>
        </>
      )}
    </section>
  );
}

function Savepoints({ job }: { job: JobDetail }) {
  const list = useResource<StoredSavepoint[]>(jobPath(job.id, '/savepoints'), 5);
  return (
    <section aria-labelledby="savepoints">
      <div class="heading">
        <h2 id="savepoints">Savepoints</h2>
        <Cli command={`cofferdam savepoints ${job.name}`} />
      </div>
      <ProblemNote problem={list.problem} />
      {list.value && list.value.length === 0 && <Empty title="No savepoint" command={`cofferdam savepoint ${job.name}`}>A savepoint is kept until you remove it. A new job can start from it.</Empty>}
      {list.value && list.value.length > 0 && (
        <div class="table" tabIndex={0} role="region" aria-label="Table of savepoints">
          <table>
            <thead>
              <tr>
                <th scope="col">No.</th>
                <th scope="col">Taken</th>
                <th scope="col" class="num">Size</th>
                <th scope="col">Location</th>
              </tr>
            </thead>
            <tbody>
              {list.value.map((one) => (
                <tr key={one.location}>
                  <th scope="row">{one.id}</th>
                  <td>{one.failure ? <Foreign text={one.failure} /> : <Time ms={one.taken_at_ms} />}</td>
                  <td class="num">{bytes(one.bytes)}</td>
                  <td class="mono">{one.location}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

export function CheckpointsScreen({ job, checkpoints }: { job: JobDetail; checkpoints: Resource<CheckpointSummary[]> }) {
  const list = checkpoints.value ?? [];
  const asked = query.value.get('checkpoint');
  const chosen = list.find((one) => String(one.id) === asked) ?? list.find((one) => one.status === 'completed') ?? list[0];
  const complete = list.filter((one) => one.status === 'completed');
  const failed = list.filter((one) => one.status === 'failed').length;
  const durations = complete.map((one) => one.duration_ms ?? 0).sort((a, b) => a - b);
  return (
    <>
      <section aria-labelledby="checkpoints">
        <div class="heading">
          <h2 id="checkpoints">Checkpoints</h2>
          <Cli command={`cofferdam checkpoints ${job.name}`} />
        </div>
        <ProblemNote problem={checkpoints.problem} />
        {checkpoints.value && list.length === 0 ? (
          <Empty title="No checkpoint since the server started" command={`cofferdam checkpoint ${job.name}`}>
            The pipeline file sets how often one is taken: <code>[checkpoint] interval</code>.
          </Empty>
        ) : (
          <>
            <Facts facts={[
              ['Newest complete', complete[0] ? ago(complete[0].triggered_at_ms, now.value) : 'none'],
              ['Median duration', durations.length ? duration(durations[durations.length >> 1]) : null],
              ['Longest', durations.length ? duration(durations.at(-1)) : null],
              ['Failed', `${failed} of ${list.length}`],
            ]} />
            <Strip checkpoints={list} chosen={chosen?.id ?? null} />
          </>
        )}
      </section>
      {chosen && <Gantt key={chosen.id} job={job} summary={chosen} />}
      <Savepoints job={job} />
    </>
  );
}
