// One job: its head, its actions, and the screens below it.
import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { post, send, jobPath } from '../api/client.ts';
import type { Caller, CheckpointSummary, JobDetail, JobGraph } from '../api/types.ts';
import { bottleneckText, findingsOf } from '../attention.ts';
import { bytes, count, duration } from '../format.ts';
import { Graph } from '../graph/graph.tsx';
import { goneJobs, liveJobs, now, watchJob, type LiveJob } from '../live.ts';
import { useResource } from '../resource.ts';
import { go, query, setQuery } from '../router.ts';
import { Badge, Cli, Empty, Facts, isEnded, ProblemNote, StatusBadge, Time } from '../ui/basics.tsx';
import { Dialog, type Question } from '../ui/dialog.tsx';
import { Findings } from '../ui/findings.tsx';
import { Tabs } from '../ui/tabs.tsx';
import { CheckpointsScreen } from './checkpoints.tsx';
import { DeadLettersScreen } from './dead-letters.tsx';
import { Drawer } from './drawer.tsx';
import { EventsScreen } from './events.tsx';
import { FailurePanel } from './failure.tsx';
import { LogsScreen } from './logs.tsx';
import { StateScreen } from './state.tsx';

const SCREENS: [string, string][] = [
  ['', 'Graph'],
  ['checkpoints', 'Checkpoints'],
  ['dead-letters', 'Dead letters'],
  ['state', 'State'],
  ['events', 'Events'],
  ['logs', 'Logs'],
  ['pipeline', 'Pipeline file'],
];

export function questionsOf(job: JobDetail): { label: string; question: Question; ended: boolean }[] {
  const path = (rest: string) => jobPath(job.id, rest);
  return [
    { label: 'Checkpoint', ended: false, question: { title: 'Take a checkpoint now?', text: 'The job keeps running.', action: 'Take checkpoint', run: async () => void (await post(path('/checkpoints'))) } },
    { label: 'Savepoint', ended: false, question: { title: 'Take a savepoint?', text: 'It is stored in its own folder and kept until it is removed. The job keeps running.', action: 'Take savepoint', run: async () => void (await post(path('/savepoints'))) } },
    { label: 'Stop', ended: false, question: { title: `Stop ${job.name}?`, text: 'The job takes a savepoint, from which a new job can start, and ends.', action: 'Stop with savepoint', confirm: job.name, danger: true, run: async () => void (await post(path('/stop'))) } },
    { label: 'Cancel', ended: false, question: { title: `Cancel ${job.name}?`, text: 'The job ends at once and takes no savepoint. What it has done since the last checkpoint is lost.', action: 'Cancel the job', confirm: job.name, danger: true, run: async () => void (await post(path('/cancel'))) } },
    {
      label: 'Remove', ended: true,
      question: { title: `Remove ${job.name}?`, text: 'The job and its checkpoints are removed. Its savepoints are kept.', action: 'Remove the job', confirm: job.name, danger: true, run: async () => { await send('DELETE', path('')); go('/'); } },
    },
  ];
}

function Actions({ job }: { job: JobDetail }) {
  const question = useSignal<Question | null>(null);
  const caller = useResource<Caller>('/v1/caller');
  const mayChange = caller.value !== null && caller.value.role !== 'read';
  return (
    <div class="actions">
      {questionsOf(job)
        .filter((one) => one.ended === isEnded(job.status))
        .map((one) => (
          <button key={one.label} type="button" class={one.question.danger ? 'danger quiet' : ''} disabled={!mayChange}
            title={mayChange ? undefined : 'The token of this page may only read.'} onClick={() => (question.value = one.question)}>
            {one.label}
          </button>
        ))}
      {question.value && <Dialog question={question.value} close={() => (question.value = null)} />}
    </div>
  );
}

function Head({ job, reference, screen }: { job: JobDetail; reference: string; screen: string }) {
  const base = `/jobs/${encodeURIComponent(reference)}`;
  const bad = job.records_dead_lettered;
  return (
    <>
      <p class="crumbs">
        <a href="/">Jobs</a> / <span class="mono">{job.id}</span>
      </p>
      <div class="heading">
        <h1>{job.name}</h1>
        <StatusBadge status={job.status} restoring={job.restoring} />
        {job.stop?.status === 'in-progress' && <Badge tone="warn" icon="clock">Stopping</Badge>}
        <Actions job={job} />
      </div>
      <Facts
        facts={[
          isEnded(job.status) ? ['Ended', <Time ms={job.ended_at_ms} />] : ['Running for', duration(now.value - job.submitted_at_ms)],
          ['Records read', count(job.records_in)],
          ['State', job.state_entries ? `${bytes(job.state_bytes)}, ${count(job.state_entries)} entries` : 'none'],
          ['Restarts', String(job.restarts)],
          ['Last checkpoint', job.last_checkpoint === null ? 'none' : `no. ${job.last_checkpoint}`],
          ['Guarantee', job.guarantee],
          ['Savepoint', job.stop?.location ? <span class="mono">{job.stop.location}</span> : null],
        ]}
      />
      <Tabs
        label="Screens of the job"
        tabs={SCREENS.map(([id, label]) => ({
          href: id ? `${base}/${id}` : base,
          label,
          isCurrent: id === screen,
          badge: id === 'dead-letters' && bad > 0 ? <span class="count">{count(bad)}</span> : undefined,
        }))}
      />
    </>
  );
}

function GraphScreen({ live, checkpoints }: { live: LiveJob; checkpoints: CheckpointSummary[] }) {
  const graph = useResource<JobGraph>(jobPath(live.job.id, '/graph'));
  const selected = query.value.get('node');
  const select = (id: string | null) => setQuery({ node: id, tab: null }, false);
  const { bottleneck } = live.metrics;
  const findings = findingsOf(live.job, live, checkpoints, now.value).filter((one) => one.title !== `${bottleneck} is the bottleneck` && one.title !== 'Warning' && !one.title.startsWith('The job '));
  const urgent = findings.filter((one) => one.tone === 'bad');
  const others = findings.filter((one) => one.tone !== 'bad');
  return (
    <>
      {live.job.failure && (isEnded(live.job.status) || live.job.status !== 'RUNNING') && <FailurePanel job={live.job} />}
      {bottleneck && live.job.status === 'RUNNING' && (
        <p class="verdict">
          <Badge tone="warn" icon="alert">Bottleneck</Badge>
          <span>
            <b>{bottleneck}</b> slows the job down. {bottleneckText(live, graph.value)}
          </span>
        </p>
      )}
      {urgent.length > 0 && <Findings findings={urgent} />}
      <ProblemNote problem={graph.problem} />
      <div class="split">
        {graph.value && <Graph graph={graph.value} metrics={live.metrics} selected={selected} select={select} />}
        {selected && graph.value && <Drawer live={live} graph={graph.value} id={selected} close={() => select(null)} />}
      </div>
      {others.length > 0 && <Findings findings={others} />}
      {live.job.warnings.length > 0 && (
        <ul class="warnings" aria-label="Warnings">
          {live.job.warnings.map((warning) => (
            <li key={warning}>{warning}</li>
          ))}
        </ul>
      )}
      <p class="foot">
        <Cli command={`cofferdam top ${live.job.name}`} />
      </p>
    </>
  );
}

export function JobScreen({ reference, screen }: { reference: string; screen: string }) {
  useEffect(() => watchJob(reference), [reference]);
  const live = liveJobs.value.get(reference);
  const checkpoints = useResource<CheckpointSummary[]>(live ? jobPath(reference, '/checkpoints') : null, 2);
  if (goneJobs.value.has(reference)) {
    return (
      <Empty title={`There is no job ${reference}`} command="cofferdam jobs">
        It was removed, or the address is mistyped. <a href="/">All jobs</a>
      </Empty>
    );
  }
  if (!live) return <p class="loading">Reading the job…</p>;
  const { job } = live;
  return (
    <>
      <Head job={job} reference={reference} screen={screen} />
      {screen === '' && <GraphScreen live={live} checkpoints={checkpoints.value ?? []} />}
      {screen === 'checkpoints' && <CheckpointsScreen job={job} checkpoints={checkpoints} />}
      {screen === 'dead-letters' && <DeadLettersScreen job={job} />}
      {screen === 'state' && <StateScreen job={job} />}
      {screen === 'events' && <EventsScreen job={job} />}
      {screen === 'logs' && <LogsScreen job={job} />}
      {screen === 'pipeline' && (
        <section>
          <pre class="file" tabIndex={0}>{job.manifest}</pre>
        </section>
      )}
    </>
  );
}
