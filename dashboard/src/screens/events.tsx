// The history of a job. It outlives the server.
import type { JobDetail, EventPage, JobEvent } from '../api/types.ts';
import { jobPath } from '../api/client.ts';
import { bytes, duration } from '../format.ts';
import { useResource } from '../resource.ts';
import { query, setQuery } from '../router.ts';
import { Badge, Cli, CodeLink, Empty, Foreign, ProblemNote, Time, type Tone } from '../ui/basics.tsx';

const SHOWN: [string, string, (event: JobEvent) => boolean][] = [
  ['all', 'All', () => true],
  ['failures', 'Failures', (event) => event.kind.includes('fail')],
  ['life', 'Status and attempts', (event) => event.kind === 'status' || event.kind === 'attempt' || event.kind === 'stop-requested'],
  ['snapshots', 'Checkpoints', (event) => event.kind.startsWith('checkpoint') || event.kind.startsWith('savepoint')],
  ['warnings', 'Warnings', (event) => event.kind === 'warning'],
];

const toneOf = (event: JobEvent): Tone =>
  event.kind.includes('fail') || event.status === 'FAILED' ? 'bad' : event.kind === 'warning' ? 'warn' : event.kind === 'status' || event.kind === 'attempt' ? 'info' : 'quiet';

export function EventsScreen({ job }: { job: JobDetail }) {
  const page = useResource<EventPage>(jobPath(job.id, '/events?limit=500'), 2);
  const shown = query.value.get('show') ?? 'all';
  const text = (query.value.get('q') ?? '').toLowerCase();
  const all = page.value?.events ?? [];
  const matches = SHOWN.find(([id]) => id === shown)?.[2] ?? (() => true);
  const events = all.filter((event) => matches(event) && `${event.kind} ${event.message} ${event.operator ?? ''} ${event.code ?? ''}`.toLowerCase().includes(text));
  return (
    <section aria-labelledby="events">
      <div class="heading">
        <h2 id="events">Events</h2>
        <Cli command={`cofferdam events ${job.name}`} />
      </div>
      <div class="filters" role="search">
        <div class="choices" role="group" aria-label="Kind">
          {SHOWN.map(([id, label, is]) => (
            <button key={id} type="button" aria-pressed={shown === id} onClick={() => setQuery({ show: id === 'all' ? null : id })}>
              {label} <span class="muted">{all.filter(is).length}</span>
            </button>
          ))}
        </div>
        <input type="search" id="search" placeholder="Filter by text  ( / )" aria-label="Filter by text" value={query.value.get('q') ?? ''} onInput={(event) => setQuery({ q: event.currentTarget.value })} />
      </div>
      <ProblemNote problem={page.problem} />
      {page.value && events.length === 0 && <Empty title="No events">None of the newest {all.length} events matches the filter.</Empty>}
      <ol class="timeline">
        {events.toReversed().map((event) => (
          <li key={event.number} class={toneOf(event)}>
            <Time ms={event.at_ms} />
            <Badge tone={toneOf(event)}>{event.kind.replaceAll('-', ' ')}</Badge>
            <span class="what">
              <Foreign text={event.message} />
              <span class="muted">
                {event.operator && <> {event.operator}{event.subtask !== undefined && `/${event.subtask}`}</>}
                {event.duration_ms !== undefined && <> {duration(event.duration_ms)}</>}
                {event.bytes !== undefined && <>, {bytes(event.bytes)}</>}
              </span>
              {event.code && <CodeLink code={event.code} />}
            </span>
          </li>
        ))}
      </ol>
    </section>
  );
}
