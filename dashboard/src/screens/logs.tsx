// The newest log lines of a job's functions, followed while the screen is open.
import { jobPath, part } from '../api/client.ts';
import type { JobDetail, LogPage } from '../api/types.ts';
import { count } from '../format.ts';
import { useResource } from '../resource.ts';
import { query, setQuery } from '../router.ts';
import { Cli, CodeLink, Empty, Foreign, ProblemNote, Time } from '../ui/basics.tsx';

const LINES = 300;
const LEVELS = ['error', 'warn', 'info', 'debug', 'trace'];

export function LogLines({ job, operator, level, text }: { job: JobDetail; operator: string | null; level: string | null; text: string }) {
  const choice = [operator && `operator=${part(operator)}`, level && `level=${level}`, `limit=${LINES}`].filter(Boolean).join('&');
  const page = useResource<LogPage>(jobPath(job.id, `/logs?${choice}`), 1);
  const lines = (page.value?.lines ?? []).filter((line) => line.message.toLowerCase().includes(text.toLowerCase()));
  return (
    <>
      <ProblemNote problem={page.problem} />
      {page.value && lines.length === 0 && (
        <Empty title="No log lines">{text || level ? 'No kept line matches the filter.' : 'Functions write them with the log macros of the SDK.'}</Empty>
      )}
      {page.value && page.value.suppressed > 0 && <p class="muted">{count(page.value.suppressed)} lines were suppressed because of a limit.</p>}
      {lines.length > 0 && (
        <div class="log" tabIndex={0} role="log" aria-label="Log lines, newest first">
        <ol>
          {lines.toReversed().map((line) => (
            <li key={line.number} class={line.level}>
              <span class="meta">
                <Time ms={line.at_ms} />
                <b class="level">{line.level}</b>
                {line.operator && !operator && <span>{line.operator}{line.subtask !== undefined && `/${line.subtask}`}</span>}
                {operator && line.subtask !== undefined && <span>/{line.subtask}</span>}
                {line.code && <CodeLink code={line.code} />}
              </span>
              <Foreign text={line.message} block />
            </li>
          ))}
        </ol>
        </div>
      )}
    </>
  );
}

export function LogsScreen({ job }: { job: JobDetail }) {
  const operator = query.value.get('operator');
  const level = query.value.get('level');
  const text = query.value.get('q') ?? '';
  return (
    <section aria-labelledby="logs">
      <div class="heading">
        <h2 id="logs">Logs</h2>
        <Cli command={`cofferdam logs ${job.name}${operator ? ` ${operator}` : ''} -f`} />
      </div>
      <div class="filters" role="search">
        <label>
          Operator{' '}
          <select value={operator ?? ''} onChange={(event) => setQuery({ operator: event.currentTarget.value })}>
            <option value="">all</option>
            {job.operators.map((one) => (
              <option key={one.id} value={one.id}>{one.id}</option>
            ))}
          </select>
        </label>
        <label>
          Level{' '}
          <select value={level ?? ''} onChange={(event) => setQuery({ level: event.currentTarget.value })}>
            <option value="">all</option>
            {LEVELS.map((one) => (
              <option key={one} value={one}>{one} and above</option>
            ))}
          </select>
        </label>
        <input type="search" id="search" placeholder="Filter by text  ( / )" aria-label="Filter by text" value={text} onInput={(event) => setQuery({ q: event.currentTarget.value })} />
      </div>
      <LogLines job={job} operator={operator} level={level} text={text} />
    </section>
  );
}
