// The server itself: its version, its process, its tokens and its audit log.
import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { part, post, send, type Problem } from '../api/client.ts';
import type { AuditEntry, Caller, Token } from '../api/types.ts';
import { bytes, count, duration } from '../format.ts';
import { beat, now } from '../live.ts';
import { asProblem, useResource } from '../resource.ts';
import { Badge, Cli, Empty, Facts, Foreign, ProblemNote, Time } from '../ui/basics.tsx';
import { Dialog, type Question } from '../ui/dialog.tsx';

const METRIC_BEATS = 5;

/** Returns the samples of Prometheus text: name with labels, and value. */
export function parseMetrics(text: string): Map<string, number> {
  const lines = text.split('\n').filter((line) => line && !line.startsWith('#'));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]));
}

function Process() {
  const samples = useSignal<Map<string, number>>(new Map());
  const problem = useSignal<Problem | null>(null);
  const last = useSignal<{ at: number; cpu: number } | null>(null);
  const cpu = useSignal<number | null>(null);
  const at = beat.value;
  useEffect(() => {
    if (samples.value.size > 0 && at % METRIC_BEATS !== 0) return;
    send('GET', '/metrics')
      .then((response) => response.text())
      .then((text) => {
        samples.value = parseMetrics(text);
        const used = samples.value.get('process_cpu_seconds_total') ?? 0;
        if (last.value) cpu.value = Math.max(0, (used - last.value.cpu) / ((Date.now() - last.value.at) / 1000));
        last.value = { at: Date.now(), cpu: used };
      })
      .catch((error) => (problem.value = asProblem(error)));
  }, [at]);
  const value = (name: string) => samples.value.get(name);
  const started = value('process_start_time_seconds');
  const jobs = [...samples.value].filter(([name, n]) => name.startsWith('cofferdam_jobs{') && n > 0);
  const build = [...samples.value.keys()].find((name) => name.startsWith('cofferdam_build_info'));
  return (
    <>
      <ProblemNote problem={problem.value} />
      <Facts facts={[
        ['Version', build ? /version="([^"]*)"/.exec(build)?.[1] : null],
        ['Up for', started ? duration(now.value - started * 1000) : '–'],
        ['Processors in use', cpu.value === null ? '–' : cpu.value.toFixed(2)],
        ['Memory', bytes(value('process_resident_memory_bytes'))],
        ['Open files', `${count(value('process_open_fds') ?? 0)} of ${count(value('process_max_fds') ?? 0)}`],
        ['Jobs', jobs.length ? jobs.map(([name, n]) => `${n} ${/status="([^"]*)"/.exec(name)?.[1].toLowerCase()}`).join(', ') : 'none'],
      ]} />
    </>
  );
}

function Tokens({ caller }: { caller: Caller }) {
  const list = useResource<Token[]>('/v1/tokens');
  const question = useSignal<Question | null>(null);
  const made = useSignal<string | null>(null);
  const name = useSignal('');
  const role = useSignal<Caller['role']>('read');
  const problem = useSignal<Problem | null>(null);
  const create = async (event: Event) => {
    event.preventDefault();
    problem.value = null;
    try {
      made.value = (await post<{ token: string }>('/v1/tokens', { name: name.value, role: role.value }))!.token;
      list.reload();
    } catch (error) {
      problem.value = asProblem(error);
    }
  };
  const revoke = (token: Token): Question => ({
    title: `Revoke ${token.name || token.id}?`,
    text: 'It is refused from the next request on.',
    action: 'Revoke',
    danger: true,
    run: async () => {
      await send('DELETE', `/v1/tokens/${part(token.id)}`);
      list.reload();
    },
  });
  return (
    <section aria-labelledby="tokens">
      <div class="heading">
        <h2 id="tokens">Tokens</h2>
        <Cli command="cofferdam token list" />
      </div>
      <ProblemNote problem={list.problem ?? problem.value} />
      {list.value && list.value.length === 0 && (
        <Empty title="No tokens" command="cofferdam token create --role admin --data-dir DATA">
          Everyone who reaches this server may do everything. The first token is created on its machine.
        </Empty>
      )}
      {list.value && list.value.length > 0 && (
        <>
          <div class="table" tabIndex={0} role="region" aria-label="Table of tokens">
            <table>
              <thead>
                <tr>
                  <th scope="col">Token</th>
                  <th scope="col">Role</th>
                  <th scope="col">Namespace</th>
                  <th scope="col">Created</th>
                  <th scope="col">Ends</th>
                  <th scope="col"><span class="visually-hidden">Actions</span></th>
                </tr>
              </thead>
              <tbody>
                {list.value.map((token) => (
                  <tr key={token.id}>
                    <th scope="row"><Foreign text={token.name || '(no name)'} /> <span class="sub mono">{token.id}</span></th>
                    <td>{token.role}</td>
                    <td>{token.namespace}</td>
                    <td><Time ms={token.created_at_ms} /></td>
                    <td>{token.expires_at_ms === null ? 'never' : <Time ms={token.expires_at_ms} />}</td>
                    <td>{token.id === caller.token ? <Badge tone="info">this page</Badge> : <button type="button" class="danger quiet" onClick={() => (question.value = revoke(token))}>Revoke</button>}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
          <form class="filters" onSubmit={create}>
            <label>Name <input required maxLength={100} autocomplete="off" value={name.value} onInput={(event) => (name.value = event.currentTarget.value)} /></label>
            <label>
              Role{' '}
              <select value={role.value} onChange={(event) => (role.value = event.currentTarget.value as Caller['role'])}>
                <option value="read">read</option>
                <option value="submit">submit</option>
                <option value="admin">admin</option>
              </select>
            </label>
            <button type="submit">Create token</button>
          </form>
        </>
      )}
      {made.value && <div class="note ok" role="status"><div><p>The new token. It is shown only once.</p><p class="mono">{made.value}</p></div></div>}
      {question.value && <Dialog question={question.value} close={() => (question.value = null)} />}
    </section>
  );
}

function Audit() {
  const page = useResource<{ entries: AuditEntry[] }>('/v1/audit?limit=100', 5);
  const entries = page.value?.entries ?? [];
  return (
    <section aria-labelledby="audit">
      <div class="heading">
        <h2 id="audit">Audit log</h2>
        <Cli command="cofferdam audit" />
      </div>
      <ProblemNote problem={page.problem} />
      {page.value && entries.length === 0 && <Empty title="Nothing yet">Each change and each refused request is listed here.</Empty>}
      {entries.length > 0 && (
        <div class="table" tabIndex={0} role="region" aria-label="Table of changes and refusals">
          <table class="dense">
            <thead>
              <tr>
                <th scope="col">Time</th>
                <th scope="col">Who</th>
                <th scope="col">What</th>
                <th scope="col">Result</th>
                <th scope="col">Address</th>
              </tr>
            </thead>
            <tbody>
              {entries.map((one) => (
                <tr key={one.number}>
                  <td><Time ms={one.at_ms} /></td>
                  <td>{one.token_name ?? one.token ?? 'without a token'}</td>
                  <td class="mono"><Foreign text={`${one.method} ${one.target}`} /></td>
                  <td><Badge tone={one.status >= 400 ? 'bad' : 'ok'}>{one.status}</Badge> {one.code}</td>
                  <td class="mono">{one.address}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

export function ServerScreen() {
  const caller = useResource<Caller>('/v1/caller');
  return (
    <>
      <div class="heading">
        <h1>Server</h1>
        <Cli command="cofferdam doctor" />
      </div>
      <section aria-label="Process">
        <Process />
      </section>
      <section aria-labelledby="you">
        <h2 id="you">You</h2>
        <ProblemNote problem={caller.problem} />
        {caller.value && (
          <Facts facts={[
            ['Token', caller.value.token_name || caller.value.token || 'none: this server asks for no token'],
            ['Role', caller.value.role],
            ['Namespace', caller.value.namespace === '*' ? 'all' : caller.value.namespace],
            ['Ends', caller.value.expires_at_ms === null ? null : <Time ms={caller.value.expires_at_ms} />],
          ]} />
        )}
      </section>
      {caller.value?.role === 'admin' && (
        <>
          <Tokens caller={caller.value} />
          <Audit />
        </>
      )}
    </>
  );
}
