// Records as they pass a node. The job is not delayed.
import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { jobPath, part, type Problem } from '../api/client.ts';
import { readEvents } from '../api/sse.ts';
import type { GraphNode, JobDetail, TapRecord } from '../api/types.ts';
import { count } from '../format.ts';
import { asProblem } from '../resource.ts';
import { Cli, Foreign, ProblemNote, Time } from '../ui/basics.tsx';

const RECORDS_MAX = 200;

const text = (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value));

export function TapPanel({ job, node }: { job: JobDetail; node: GraphNode }) {
  const side = useSignal<'in' | 'out'>(node.kind === 'sink' ? 'in' : 'out');
  const isOpen = useSignal(false);
  const records = useSignal<TapRecord[]>([]);
  const passed = useSignal(0);
  const problem = useSignal<Problem | null>(null);

  useEffect(() => {
    if (!isOpen.value) return;
    const abort = new AbortController();
    problem.value = null;
    records.value = [];
    const path = jobPath(job.id, `/tap/${part(node.id)}?side=${side.value}&rate=10`);
    readEvents(path, abort.signal, (events) => {
      const taken: TapRecord[] = events.filter(({ event }) => event === 'record').map(({ data }) => JSON.parse(data));
      if (taken.length) records.value = [...taken.reverse(), ...records.value].slice(0, RECORDS_MAX);
      const summary = events.findLast(({ event }) => event !== 'record');
      if (summary) passed.value = JSON.parse(summary.data).passed;
    })
      .catch((error) => {
        if (!abort.signal.aborted) problem.value = asProblem(error);
      })
      .finally(() => {
        if (!abort.signal.aborted) isOpen.value = false;
      });
    return () => abort.abort();
  }, [isOpen.value, side.value, job.id, node.id]);

  return (
    <>
      <div class="filters">
        {node.kind === 'operator' && (
          <div class="choices" role="group" aria-label="Side">
            {(['in', 'out'] as const).map((one) => (
              <button key={one} type="button" aria-pressed={side.value === one} onClick={() => (side.value = one)}>
                {one === 'in' ? 'Input' : 'Output'}
              </button>
            ))}
          </div>
        )}
        <button type="button" class={isOpen.value ? '' : 'primary'} onClick={() => (isOpen.value = !isOpen.value)}>
          {isOpen.value ? 'Pause' : 'Show records'}
        </button>
        {passed.value > 0 && <span class="muted">{count(passed.value)} passed</span>}
      </div>
      <ProblemNote problem={problem.value} />
      {records.value.length === 0 && <p class="muted">{isOpen.value ? 'Waiting for a record…' : 'A sample of at most ten records per second. The job is not delayed.'}</p>}
      <ol class="records">
        {records.value.map((record, i) => (
          <li key={records.value.length - i}>
            <span class="meta">
              <span>subtask {record.subtask}</span>
              {record.timestamp_ms !== undefined && <Time ms={record.timestamp_ms} />}
              {record.key !== undefined && <span>key <Foreign text={record.key} /></span>}
              {record.output && record.output !== 'main' && <span>{record.output}</span>}
            </span>
            <Foreign text={text(record.value) + (record.is_cut ? '…' : '')} block />
          </li>
        ))}
      </ol>
      <p class="foot"><Cli command={`cofferdam tap ${job.name} ${node.id} --${side.value}`} /></p>
    </>
  );
}
