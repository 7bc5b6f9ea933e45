// Records on which a function failed: look at them, try them on a version, and replay them.
import { useSignal } from '@preact/signals';
import { jobPath, part, post, send, type Problem } from '../api/client.ts';
import type { Component, DeadLetterPage, JobDetail, Replay, Trial } from '../api/types.ts';
import { bytes, count } from '../format.ts';
import { asProblem, useResource } from '../resource.ts';
import { query, setQuery } from '../router.ts';
import { Badge, Cli, CodeLink, Empty, Foreign, ProblemNote, Time } from '../ui/basics.tsx';
import { Dialog, type Question } from '../ui/dialog.tsx';

const TRIED_MAX = 100;

function Letter({ job, id }: { job: JobDetail; id: string }) {
  const detail = useResource<{ letter: Record<string, unknown> }>(jobPath(job.id, `/dead-letters/${part(id)}`));
  return (
    <>
      <ProblemNote problem={detail.problem} />
      {detail.value && <Foreign text={JSON.stringify(detail.value.letter, null, 2)} block />}
    </>
  );
}

function Trials({ trial }: { trial: Trial }) {
  return (
    <section class="panel" aria-labelledby="trial" aria-live="polite">
      <div class="heading">
        <h3 id="trial">Trial</h3>
        <Badge tone="ok" icon="check">{trial.succeeded} succeed</Badge>
        <Badge tone={trial.failed ? 'bad' : 'quiet'} icon={trial.failed ? 'alert' : undefined}>{trial.failed} fail again</Badge>
      </div>
      <p class="muted">
        {trial.component && <>Component {trial.component.slice(0, 12)}, </>}
        {trial.checkpoint === null ? 'without state' : `with the state of checkpoint ${trial.checkpoint}`}. Nothing has taken effect.
      </p>
      <ol class="records">
        {trial.letters.map((letter) => (
          <li key={letter.id}>
            <span class="meta">
              <span class="mono">{letter.id}</span>
              {letter.code ? <><Badge tone="bad">fails</Badge> <CodeLink code={letter.code} /></> : <Badge tone="ok">succeeds</Badge>}
            </span>
            {letter.message && <Foreign text={letter.message} block />}
            {letter.outputs.map((output, i) => <Foreign key={i} text={`${output.output}: ${output.value}`} block />)}
          </li>
        ))}
      </ol>
    </section>
  );
}

function Replays({ replays }: { replays: Replay[] }) {
  if (replays.length === 0) return null;
  return (
    <section aria-labelledby="replays">
      <h2 id="replays">Replays</h2>
      <div class="table" tabIndex={0} role="region" aria-label="Table of replays">
        <table>
          <thead>
            <tr>
              <th scope="col">No.</th>
              <th scope="col">Requested</th>
              <th scope="col">Operator</th>
              <th scope="col" class="num">Letters</th>
              <th scope="col">Result</th>
            </tr>
          </thead>
          <tbody>
            {replays.toReversed().map((one) => (
              <tr key={one.id}>
                <th scope="row">{one.id}</th>
                <td><Time ms={one.requested_at_ms} /></td>
                <td>{one.operator}</td>
                <td class="num">{count(one.letters)}</td>
                <td>{one.completed_in === null ? <Badge tone="info" icon="clock">running</Badge> : <Badge tone="ok" icon="check">durable since checkpoint {one.completed_in}</Badge>}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

export function DeadLettersScreen({ job }: { job: JobDetail }) {
  const operator = query.value.get('operator');
  const page = useResource<DeadLetterPage>(jobPath(job.id, `/dead-letters?limit=200${operator ? `&operator=${part(operator)}` : ''}`), 2);
  const components = useResource<Component[]>('/v1/components');
  const open = useSignal<string | null>(null);
  const question = useSignal<Question | null>(null);
  const version = useSignal('');
  const trial = useSignal<Trial | null>(null);
  const problem = useSignal<Problem | null>(null);
  const letters = page.value?.letters ?? [];
  const nodes = [...new Set([...letters.map((one) => one.node), ...(operator ? [operator] : [])])];
  const tried = operator ?? (nodes.length === 1 ? nodes[0] : null);

  const tryLetters = async () => {
    problem.value = null;
    try {
      const wanted = { operator: tried, limit: TRIED_MAX, ...(version.value ? { component: version.value } : {}) };
      trial.value = await post<Trial>(jobPath(job.id, '/dead-letters/try'), wanted);
    } catch (error) {
      problem.value = asProblem(error);
    }
  };
  const of = operator ? ` of ${operator}` : '';
  const replay: Question = {
    title: `Replay the letters${of}?`,
    text: 'The running job processes their records once more, exactly once. Records that fail again become letters again.',
    action: 'Replay',
    run: async () => void (await post(jobPath(job.id, '/dead-letters/replay'), operator ? { operator } : {})),
  };
  const discard: Question = {
    title: `Discard the letters${of}?`,
    text: 'They are removed for good.',
    action: 'Discard',
    confirm: job.name,
    danger: true,
    run: async () => void (await send('DELETE', jobPath(job.id, `/dead-letters${operator ? `?operator=${part(operator)}` : ''}`))),
  };
  const isEmpty = page.value !== null && page.value.total === 0;
  return (
    <>
      <section aria-labelledby="letters">
        <div class="heading">
          <h2 id="letters">Dead letters</h2>
          {page.value && !isEmpty && <span class="muted">{count(page.value.total)}, {bytes(page.value.bytes)}</span>}
          <Cli command={`cofferdam dead-letter list ${job.name}`} />
        </div>
        <ProblemNote problem={page.problem ?? problem.value} />
        {isEmpty ? (
          <Empty title="No dead letters">
            Records on which a function fails are kept here if the operator has <code>on_fault = "dead-letter"</code> and nothing reads that output.
          </Empty>
        ) : (
          <>
            <div class="filters">
              <label>
                Operator{' '}
                <select value={operator ?? ''} onChange={(event) => setQuery({ operator: event.currentTarget.value })}>
                  <option value="">all</option>
                  {nodes.map((one) => <option key={one} value={one}>{one}</option>)}
                </select>
              </label>
              <label>
                Version{' '}
                <select value={version.value} onChange={(event) => (version.value = event.currentTarget.value)}>
                  <option value="">that of the job</option>
                  {(components.value ?? []).flatMap((one) => one.names).map((name) => <option key={name} value={name}>{name}</option>)}
                </select>
              </label>
              <button type="button" onClick={tryLetters} disabled={tried === null} title={tried === null ? 'Choose an operator first.' : undefined}>
                Try {Math.min(TRIED_MAX, page.value?.total ?? 0)}
              </button>
              <button type="button" class="primary" onClick={() => (question.value = replay)}>Replay all{of}</button>
              <button type="button" class="danger quiet" onClick={() => (question.value = discard)}>Discard</button>
            </div>
            {trial.value && <Trials trial={trial.value} />}
            <div class="table" tabIndex={0} role="region" aria-label="Table of dead letters">
              <table class="letters">
                <thead>
                  <tr>
                    <th scope="col">Letter</th>
                    <th scope="col">Operator</th>
                    <th scope="col">Why</th>
                    <th scope="col">Key</th>
                    <th scope="col">Record</th>
                    <th scope="col" class="num">Attempts</th>
                  </tr>
                </thead>
                <tbody>
                  {letters.map((one) => [
                    <tr key={one.id}>
                      <th scope="row">
                        <button type="button" class="link mono" aria-expanded={open.value === one.id} onClick={() => (open.value = open.value === one.id ? null : one.id)}>
                          {one.id}
                        </button>
                      </th>
                      <td>{one.node}</td>
                      <td>
                        <CodeLink code={one.code} />
                        <span class="sub"><Foreign text={one.message} /></span>
                      </td>
                      <td>{one.key === null ? '–' : <Foreign text={one.key} />}</td>
                      <td class="mono"><Foreign text={one.value} /></td>
                      <td class="num">{one.attempt}</td>
                    </tr>,
                    open.value === one.id && (
                      <tr key={`${one.id} open`}>
                        <td colSpan={6}><Letter job={job} id={one.id} /></td>
                      </tr>
                    ),
                  ])}
                </tbody>
              </table>
            </div>
          </>
        )}
      </section>
      <Replays replays={page.value?.replays ?? []} />
      {question.value && <Dialog question={question.value} close={() => { question.value = null; page.reload(); }} />}
    </>
  );
}
