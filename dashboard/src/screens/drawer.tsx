// Everything about one node of the graph.
import { useEffect, useRef } from 'preact/hooks';
import type { Component, GraphNode, JobGraph, OperatorMetrics } from '../api/types.ts';
import { jobPath, part } from '../api/client.ts';
import { bytes, componentName, count, percent, rate } from '../format.ts';
import { eventTime } from '../graph/node-card.tsx';
import { follow, historyOf, timesOf, type JobSeries } from '../history.ts';
import { beat, type LiveJob } from '../live.ts';
import { useResource } from '../resource.ts';
import { query, setQuery } from '../router.ts';
import { Badge, Cli, CodeLink, Facts, Foreign, ProblemNote, ShareBar, sharesText } from '../ui/basics.tsx';
import { Chart } from '../ui/chart.tsx';
import { Icon } from '../ui/icons.tsx';
import { Tabs } from '../ui/tabs.tsx';
import { LogLines } from './logs.tsx';
import { StateBrowser } from './state.tsx';
import { Subtasks } from './subtasks.tsx';
import { TapPanel } from './tap.tsx';

/** The charts of an operator, over the last minutes or hours. */
function Charts({ job, id }: { job: string; id: string }) {
  const isLong = query.value.get('range') === '4h';
  const long = useResource<JobSeries>(isLong ? jobPath(job, `/series?step=10000&operator=${part(id)}`) : null, 10);
  useEffect(() => void follow(job).catch(() => {}), [job]);
  // The history is not a signal: it grows with each beat.
  void beat.value;
  const history = historyOf(job);
  const at = isLong ? (long.value ? timesOf(long.value) : []) : (history?.at ?? []);
  const series = isLong ? long.value?.operators[id] : history?.operators.get(id);
  return (
    <>
      <div class="choices" role="group" aria-label="Time range">
        <button type="button" aria-pressed={!isLong} onClick={() => setQuery({ range: null })}>15 minutes</button>
        <button type="button" aria-pressed={isLong} onClick={() => setQuery({ range: '4h' })}>4 hours</button>
      </div>
      {series && (
        <div class="charts">
          <Chart title="Records per second" at={at} show={rate} lines={[
            { label: 'in', color: '--busy', values: series.records_in_per_s },
            { label: 'out', color: '--accent', values: series.records_out_per_s, dash: [4, 3] },
          ]} />
          <Chart title="Shares of time" at={at} show={percent} max={1} lines={[
            { label: 'busy', color: '--busy', values: series.busy },
            { label: 'backpressured', color: '--backpressured', values: series.backpressured, dash: [4, 3] },
          ]} />
          {series.channel_fill.some((fill) => fill !== null) && <Chart title="Channels to it" at={at} show={percent} max={1} lines={[{ label: 'full', color: '--backpressured', values: series.channel_fill }]} />}
          {series.state_bytes.some((size) => size) && <Chart title="State" at={at} show={bytes} lines={[{ label: 'bytes', color: '--throttled', values: series.state_bytes }]} />}
        </div>
      )}
    </>
  );
}

function Overview({ live, metrics }: { live: LiveJob; metrics: OperatorMetrics }) {
  const faults = Object.entries(metrics.faults_by_code ?? {});
  const own = [
    ...Object.entries(metrics.counters ?? {}).map(([name, value]) => [name, count(value)] as const),
    ...Object.entries(metrics.gauges ?? {}).map(([name, { min, max, mean }]) => [name, min === max ? String(mean) : `${min} to ${max}, mean ${mean.toFixed(2)}`] as const),
    ...Object.entries(metrics.histograms ?? {}).map(([name, { count: n, sum }]) => [name, `${count(n)} observations, mean ${n ? (sum / n).toPrecision(3) : '–'}`] as const),
  ];
  return (
    <>
      <div class="about">
        <ShareBar shares={metrics.shares} worst={metrics.worst} />
        <p class="muted">{sharesText(metrics.shares)}</p>
      </div>
      <Charts job={live.job.id} id={metrics.id} />
      <Facts facts={[
        ['Records in', count(metrics.totals.records_in)],
        ['Records out', count(metrics.totals.records_out)],
        ['Event time', eventTime(metrics, live.metrics.at_ms)],
        ['Waiting in its channels', bytes(metrics.queued_bytes)],
        ['State', metrics.state_entries ? `${bytes(metrics.state_bytes)}, ${count(metrics.state_entries)} entries` : 'none'],
        ['Late records', count(metrics.totals.records_late)],
        ['Skipped', count(metrics.totals.records_skipped)],
        ['Dead letters', count(metrics.totals.records_dead_lettered)],
        ['Connector', metrics.health ? `${metrics.health.state}${metrics.health.message ? `: ${metrics.health.message}` : ''}` : null],
      ]} />
      {faults.length > 0 && (
        <>
          <h3>Faults</h3>
          <Facts facts={faults.map(([code, n]) => [code, <>{count(n)} <CodeLink code={code} /></>])} />
        </>
      )}
      {own.length > 0 && (
        <>
          <h3>Metrics of the function</h3>
          <Facts facts={own.map(([name, value]) => [name, value])} />
        </>
      )}
    </>
  );
}

function Function({ live, node }: { live: LiveJob; node: GraphNode }) {
  const component = useResource<Component>(node.component_hash ? `/v1/components/${part(node.component_hash)}` : null);
  const detail = live.job.operators.find((one) => one.id === node.id);
  const view = component.value?.functions.find((one) => one.name === node.function);
  const port = ({ name, codec, schema, key_type }: { name: string; codec: string; schema?: string; key_type?: string }) => (
    <li key={name}>
      <b>{name}</b> <span class="mono">{schema ?? codec}</span>
      {key_type && <span class="muted"> keyed by {key_type}</span>}
    </li>
  );
  return (
    <>
      <ProblemNote problem={component.problem} />
      <Facts facts={[
        ['Function', node.function ? <span class="mono">{node.function}</span> : 'part of the host'],
        ['Component', node.component ? <a href={`/components?q=${part(componentName(node.component_hash))}`} class="mono">{componentName(node.component)}</a> : null],
        ['Hash', node.component_hash ? <span class="mono">{node.component_hash.slice(0, 23)}…</span> : null],
        ['SDK', component.value?.sdk],
        ['Kind', view?.kind],
        ['Subtasks', String(node.parallelism)],
        ['Grants', detail?.grants.length ? detail.grants.join(', ') : 'none: the function reaches nothing outside'],
        ['Log level', detail?.log_level],
      ]} />
      {view && (
        <>
          <h3>Inputs</h3>
          <ul class="ports">{view.inputs.map(port)}</ul>
          <h3>Outputs</h3>
          <ul class="ports">{view.outputs.map(port)}</ul>
          <h3>States</h3>
          {view.states.length === 0 ? <p class="muted">It keeps no state.</p> : (
            <ul class="ports">
              {view.states.map((state) => (
                <li key={state.name}>
                  <b>{state.name}</b> <Badge tone="quiet">{state.kind}</Badge> <span class="mono">{state.schema}</span>
                </li>
              ))}
            </ul>
          )}
        </>
      )}
    </>
  );
}

const TABS: [string, string, (node: GraphNode) => boolean][] = [
  ['overview', 'Overview', () => true],
  ['subtasks', 'Subtasks', () => true],
  ['function', 'Function', (node) => node.kind === 'operator'],
  ['logs', 'Logs', () => true],
  ['state', 'State', (node) => node.kind === 'operator'],
  ['tap', 'Tap', () => true],
];

export function Drawer({ live, graph, id, close }: { live: LiveJob; graph: JobGraph; id: string; close: () => void }) {
  const box = useRef<HTMLElement>(null);
  const node = graph.nodes.find((one) => one.id === id);
  const metrics = live.metrics.operators.find((one) => one.id === id);
  const tab = query.value.get('tab') ?? 'overview';

  useEffect(() => {
    const opener = document.activeElement as HTMLElement | null;
    box.current?.focus({ preventScroll: true });
    box.current?.scrollIntoView({ block: 'nearest' });
    return () => {
      if (opener?.isConnected) opener.focus({ preventScroll: true });
    };
  }, [id]);

  const onKey = (event: KeyboardEvent) => {
    if (event.key !== 'Escape') return;
    event.preventDefault();
    close();
  };
  if (!node) return null;
  const href = (to: string) => `?node=${part(id)}&tab=${to}`;
  return (
    <aside class="drawer" ref={box} tabIndex={-1} onKeyDown={onKey} aria-labelledby="drawer-title">
      <header>
        <h2 id="drawer-title">
          <Icon name={node.kind} /> {id}
        </h2>
        {live.metrics.bottleneck === id && <Badge tone="warn" icon="alert">Bottleneck</Badge>}
        <button type="button" class="plain" onClick={close} aria-label={`Close ${id}`}>
          <Icon name="cross" />
        </button>
      </header>
      <Tabs small label={`About ${id}`} tabs={TABS.filter(([, , has]) => has(node)).map(([to, label]) => ({ href: location.pathname + href(to), label, isCurrent: tab === to }))} />
      <div class="body">
        {tab === 'overview' && metrics && <Overview live={live} metrics={metrics} />}
        {tab === 'subtasks' && metrics && <Subtasks metrics={metrics} at={live.metrics.at_ms} />}
        {tab === 'function' && <Function live={live} node={node} />}
        {tab === 'logs' && (
          <>
            <LogLines job={live.job} operator={id} level={null} text="" />
            <p class="foot"><Cli command={`cofferdam logs ${live.job.name} ${id} -f`} /></p>
          </>
        )}
        {tab === 'state' && <StateBrowser job={live.job} operator={id} />}
        {tab === 'tap' && <TapPanel job={live.job} node={node} />}
        {tab === 'overview' && !metrics && <p class="muted"><Foreign text={id} /> has no metrics.</p>}
      </div>
    </aside>
  );
}
