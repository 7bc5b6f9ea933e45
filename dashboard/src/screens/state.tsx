// The state in the newest checkpoint: what there is, and the entries of one key.
import { useSignal } from '@preact/signals';
import { get, jobPath, part, type Problem } from '../api/client.ts';
import type { JobDetail, KeyState, StateListing } from '../api/types.ts';
import { ago, bytes, count } from '../format.ts';
import { now } from '../live.ts';
import { asProblem, useResource } from '../resource.ts';
import { query, setQuery } from '../router.ts';
import { Badge, Cli, Empty, Foreign, ProblemNote } from '../ui/basics.tsx';

interface Chosen {
  operator: string;
  state: string;
  kind: string;
}

function Lookup({ job, chosen }: { job: JobDetail; chosen: Chosen }) {
  const key = useSignal(query.value.get('key') ?? '');
  const mapKey = useSignal(query.value.get('map_key') ?? '');
  const found = useSignal<KeyState | null>(null);
  const problem = useSignal<Problem | null>(null);
  const isMap = chosen.kind === 'map';
  const look = async (event: Event) => {
    event.preventDefault();
    setQuery({ key: key.value, map_key: mapKey.value });
    problem.value = null;
    try {
      const more = isMap && mapKey.value ? `&map_key=${part(mapKey.value)}` : '';
      found.value = await get<KeyState>(jobPath(job.id, `/state/${part(chosen.operator)}/${part(chosen.state)}?key=${part(key.value)}${more}`));
    } catch (error) {
      found.value = null;
      problem.value = asProblem(error);
    }
  };
  const quoted = key.value ? `'${key.value.replaceAll("'", `'\\''`)}'` : 'KEY';
  return (
    <section class="panel" aria-labelledby="lookup">
      <div class="heading">
        <h3 id="lookup">{chosen.operator}: {chosen.state}</h3>
        <Badge tone="quiet">{chosen.kind}</Badge>
        <Cli command={`cofferdam state get ${job.name} ${chosen.operator} ${chosen.state} ${quoted}`} />
      </div>
      <form class="filters" onSubmit={look}>
        <label>
          {chosen.kind === 'broadcast' ? 'Map key' : 'Key'}{' '}
          <input required spellcheck={false} autocomplete="off" value={key.value} placeholder="text, or hex:00ff" onInput={(event) => (key.value = event.currentTarget.value)} />
        </label>
        {isMap && (
          <label>
            Map key{' '}
            <input spellcheck={false} autocomplete="off" value={mapKey.value} placeholder="all entries" onInput={(event) => (mapKey.value = event.currentTarget.value)} />
          </label>
        )}
        <button type="submit" class="primary">Look up</button>
      </form>
      <ProblemNote problem={problem.value} />
      <div aria-live="polite">
        {found.value && found.value.entries.length === 0 && <p class="muted">Checkpoint {found.value.checkpoint} has no entry with this key.</p>}
        {found.value && found.value.entries.length > 0 && (
          <>
            <p class="muted">{found.value.entries.length} {found.value.entries.length > 1 ? 'entries' : 'entry'} in checkpoint {found.value.checkpoint}</p>
            <ol class="records">
              {found.value.entries.map((entry, i) => {
                const { operator: _operator, state: _state, kind: _kind, key: _key, value, ...rest } = entry;
                const more = Object.entries(rest);
                return (
                  <li key={i}>
                    {more.length > 0 && <span class="meta">{more.map(([name, one]) => <span key={name}>{name.replaceAll('_', ' ')} <Foreign text={JSON.stringify(one)} /></span>)}</span>}
                    <Foreign text={JSON.stringify(value, null, 2)} block />
                  </li>
                );
              })}
            </ol>
          </>
        )}
      </div>
    </section>
  );
}

export function StateBrowser({ job, operator }: { job: JobDetail; operator?: string }) {
  const isCounted = useSignal(false);
  const listing = useResource<StateListing>(jobPath(job.id, `/state${isCounted.value ? '?count=true' : ''}`));
  const operators = (listing.value?.operators ?? []).filter((one) => !operator || one.operator === operator);
  const rows = operators.flatMap((one) => one.states.map((state) => ({ operator: one.operator, ...state })));
  const asked = query.value.get('state');
  const chosen = rows.find((one) => asked === `${one.operator}/${one.state}`) ?? rows[0];
  return (
    <>
      <ProblemNote problem={listing.problem} />
      {listing.value && (
        <div class="filters">
          <span class="muted">Checkpoint {listing.value.checkpoint}, taken {ago(listing.value.taken_at_ms, now.value)}</span>
          <button type="button" onClick={listing.reload}>Read the newest</button>
          {!isCounted.value && <button type="button" onClick={() => (isCounted.value = true)}>Count entries</button>}
        </div>
      )}
      {listing.value && rows.length === 0 && (
        <Empty title="No state">{operator ? 'This operator keeps none.' : 'No operator of this job keeps state.'}</Empty>
      )}
      {rows.length > 0 && (
        <div class="table" tabIndex={0} role="region" aria-label="Table of states">
          <table>
            <thead>
              <tr>
                {!operator && <th scope="col">Operator</th>}
                <th scope="col">State</th>
                <th scope="col">Kind</th>
                <th scope="col">Type</th>
                <th scope="col" class="num">Entries</th>
                <th scope="col" class="num">Bytes</th>
              </tr>
            </thead>
            <tbody>
              {rows.map((one) => (
                <tr key={`${one.operator}/${one.state}`} class={one === chosen ? 'chosen' : ''}>
                  {!operator && <td>{one.operator}</td>}
                  <th scope="row">
                    <button type="button" class="link" aria-pressed={one === chosen} onClick={() => setQuery({ state: `${one.operator}/${one.state}` })}>
                      {one.state}
                    </button>
                  </th>
                  <td>{one.kind}</td>
                  <td class="mono">{one.schema || one.codec}</td>
                  <td class="num">{one.entries === undefined ? '–' : count(one.entries)}</td>
                  <td class="num">{one.bytes === undefined ? '–' : bytes(one.bytes)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {chosen && <Lookup key={`${chosen.operator}/${chosen.state}`} job={job} chosen={chosen} />}
    </>
  );
}

export function StateScreen({ job }: { job: JobDetail }) {
  return (
    <section aria-labelledby="state">
      <div class="heading">
        <h2 id="state">State</h2>
        <Cli command={`cofferdam state list ${job.name}`} />
      </div>
      <StateBrowser job={job} />
    </section>
  );
}
