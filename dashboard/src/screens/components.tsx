// The uploaded components with their versions, functions and states.
import type { Component } from '../api/types.ts';
import { bytes, count } from '../format.ts';
import { useResource } from '../resource.ts';
import { query, setQuery } from '../router.ts';
import { Badge, Cli, Empty, Facts, ProblemNote, Time } from '../ui/basics.tsx';

function Card({ component }: { component: Component }) {
  return (
    <li class="panel">
      <div class="heading">
        <h2>{component.names.at(-1) ?? `sha256:${component.sha256.slice(0, 12)}`}</h2>
        {component.names.slice(0, -1).toReversed().map((name) => <Badge key={name} tone="quiet">{name}</Badge>)}
        {component.names_hidden ? <span class="muted">and {component.names_hidden} older names</span> : null}
      </div>
      <Facts facts={[
        ['Size', bytes(component.bytes)],
        ['Uploaded', <Time ms={component.uploaded_at_ms} />],
        ['SDK', component.sdk],
        ['SHA-256', <span class="mono">{component.sha256.slice(0, 16)}…</span>],
      ]} />
      <div class="table" tabIndex={0} role="region" aria-label={`Functions of ${component.names.at(-1) ?? component.sha256.slice(0, 12)}`}>
        <table class="dense">
          <thead>
            <tr>
              <th scope="col">Function</th>
              <th scope="col">Kind</th>
              <th scope="col">Reads</th>
              <th scope="col">Emits</th>
              <th scope="col">State</th>
            </tr>
          </thead>
          <tbody>
            {component.functions.map((one) => (
              <tr key={one.name}>
                <th scope="row" class="mono">{one.name}</th>
                <td>{one.kind}</td>
                <td class="mono">{one.inputs.map((port) => <div key={port.name}>{port.schema ?? port.codec}</div>)}</td>
                <td class="mono">{one.outputs.map((port) => <div key={port.name}>{port.name === 'main' ? '' : `${port.name}: `}{port.schema ?? port.codec}</div>)}</td>
                <td>{one.states.length ? one.states.map((state) => <div key={state.name}>{state.name} <span class="muted">{state.kind}</span></div>) : '–'}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </li>
  );
}

export function ComponentsScreen() {
  const list = useResource<Component[]>('/v1/components?limit=1000', 5);
  const text = (query.value.get('q') ?? '').toLowerCase();
  const all = list.value ?? [];
  const shown = all
    .filter((one) => `${one.names.join(' ')} ${one.sha256} ${one.functions.map((f) => f.name).join(' ')}`.toLowerCase().includes(text))
    .sort((a, b) => b.uploaded_at_ms - a.uploaded_at_ms);
  return (
    <>
      <div class="heading">
        <h1>Components</h1>
        {list.value && <span class="muted">{count(all.length)}</span>}
        <Cli command="cofferdam component list" />
      </div>
      <ProblemNote problem={list.problem} />
      {list.value && all.length === 0 && (
        <Empty title="No component yet" command="cofferdam component push target/component/NAME.wasm --name NAME@1">
          A component holds functions. Build one with <code>cofferdam build</code>.
        </Empty>
      )}
      {all.length > 0 && (
        <div class="filters" role="search">
          <input type="search" id="search" placeholder="Filter by name, function or hash  ( / )" aria-label="Filter by name, function or hash" value={query.value.get('q') ?? ''} onInput={(event) => setQuery({ q: event.currentTarget.value })} />
        </div>
      )}
      <ul class="cards">
        {shown.map((component) => <Card key={component.sha256} component={component} />)}
      </ul>
    </>
  );
}
