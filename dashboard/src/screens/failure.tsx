// Why a job failed: the function's message, its call stack, and the record.
import type { JobDetail } from '../api/types.ts';
import { CodeLink, Facts, Foreign, Time } from '../ui/basics.tsx';
import { Icon } from '../ui/icons.tsx';

export function FailurePanel({ job }: { job: JobDetail }) {
  const failure = job.failure!;
  const record = failure.record;
  const last = job.failures.at(-1);
  const place = record?.file ? `${record.file}${record.line ? `:${record.line}` : ''}` : record?.origin;
  return (
    <section class="failure" aria-labelledby="failure">
      <h2 id="failure">
        <Icon name="alert" /> {job.status === 'FAILED' ? 'The job failed' : 'The last attempt failed'}
        {failure.operator && ` in ${failure.operator}`} <CodeLink code={failure.code} />
      </h2>
      <Foreign text={failure.fault?.message ?? failure.message} block />
      <Facts
        facts={[
          ['When', last ? <Time ms={last.at_ms} /> : null],
          ['Attempt', last ? String(last.attempt) : null],
          ['Subtask', failure.subtask === null ? null : String(failure.subtask)],
          ['Key', record?.key ? <Foreign text={record.key} /> : null],
          ['Event time', record?.timestamp_ms ? <Time ms={record.timestamp_ms} /> : null],
          ['Read from', place ? <span class="mono">{place}</span> : null],
        ]}
      />
      {record?.value && (
        <>
          <h3>Record</h3>
          <Foreign text={record.value} block />
        </>
      )}
      {failure.fault && failure.fault.backtrace.length > 0 && (
        <>
          <h3>Call stack of the function</h3>
          <ol class="stack">
            {failure.fault.backtrace.map((frame, i) => (
              <li key={i}>
                <Foreign text={frame} />
              </li>
            ))}
          </ol>
        </>
      )}
    </section>
  );
}
