// One node of the graph: what it is, where its time goes, and what passes it.
import type { ComponentChildren } from 'preact';
import type { GraphNode, OperatorMetrics, Shares } from '../api/types.ts';
import { skewOf } from '../attention.ts';
import { bytes, componentName, count, duration, END_OF_TIME, percent, rate } from '../format.ts';
import { ShareBar, SHARES } from '../ui/basics.tsx';
import { Icon } from '../ui/icons.tsx';
import type { Box } from './layout.ts';

const DAY_MS = 86_400_000;

/** The event time of a node in a few words. */
export function eventTime(operator: OperatorMetrics | undefined, at: number): string {
  if (!operator) return '–';
  if (operator.event_time_idle_subtasks > 0 && operator.event_time_idle_subtasks === operator.parallelism) return 'idle';
  if (operator.watermark_ms === null) return 'none';
  if (operator.watermark_ms >= END_OF_TIME) return 'ended';
  const lag = at - operator.watermark_ms;
  // Old data, such as a file of last year.
  if (lag > 2 * DAY_MS) return new Date(operator.watermark_ms).toISOString().slice(0, 10);
  return duration(Math.max(0, lag));
}

export const faultsOf = (operator: OperatorMetrics | undefined) => Object.values(operator?.faults_by_code ?? {}).reduce((sum, n) => sum + n, 0);

/** What the node does most of the time, and how busy it is. */
function mainShare(shares: Shares): ComponentChildren {
  const { key, label } = SHARES.reduce((most, one) => (shares[one.key] > shares[most.key] ? one : most));
  return (
    <>
      <b class={`share-text ${key}-text`}>
        {percent(shares[key])} {label}
      </b>
      {key === 'idle' && shares.busy >= 0.005 && <span>{percent(shares.busy)} busy</span>}
    </>
  );
}

export interface NodeCardProps {
  node: GraphNode;
  metrics: OperatorMetrics | undefined;
  at: number;
  box: Box;
  isBottleneck: boolean;
  isSelected: boolean;
  select: () => void;
}

export function NodeCard({ node, metrics, at, box, isBottleneck, isSelected, select }: NodeCardProps) {
  const skew = metrics ? skewOf(metrics) : null;
  const faults = faultsOf(metrics);
  const health = metrics?.health && metrics.health.state !== 'healthy' ? metrics.health.state : null;
  const shares = metrics?.shares ?? null;
  const time = eventTime(metrics, at);
  const what = node.function ? `${node.function} @ ${componentName(node.component)}` : node.kind;
  return (
    <button
      type="button"
      class={`node ${node.kind}${isBottleneck ? ' bottleneck' : ''}${isSelected ? ' selected' : ''}`}
      style={{ left: `${box.x}px`, top: `${box.y}px`, width: `${box.width}px`, height: `${box.height}px` }}
      aria-pressed={isSelected}
      data-node={node.id}
      onClick={select}
    >
      {isBottleneck && <span class="flag">Bottleneck</span>}
      <span class="head">
        <Icon name={node.kind} size={14} />
        <b>{node.id}</b>
        <span class="parallelism" title={`${node.parallelism} subtasks`}>
          × {node.parallelism}
        </span>
      </span>
      <span class="what mono">{what}</span>
      <ShareBar shares={shares} worst={metrics?.worst} />
      <span class="main-share">{shares ? mainShare(shares) : 'not running'}</span>
      <span class="rates">
        {node.kind === 'source' ? (
          <b>{rate(metrics?.records_out_per_second)}</b>
        ) : node.kind === 'sink' ? (
          <b>{rate(metrics?.records_in_per_second)}</b>
        ) : (
          <>
            <b>{rate(metrics?.records_in_per_second)}</b>
            <Icon name="arrow" size={13} />
            <b>{rate(metrics?.records_out_per_second)}</b>
          </>
        )}
        <span class="visually-hidden">{node.kind === 'source' ? 'emitted' : node.kind === 'sink' ? 'received' : 'received and emitted'}</span>
      </span>
      <span class="chips">
        {health && <span class="bad">{health}</span>}
        {skew !== null && skew > 1.2 && <span class={skew > 2 ? 'warn' : ''}>skew {skew.toFixed(1)}×</span>}
        {faults > 0 && <span class="bad">{count(faults)} {faults > 1 ? 'faults' : 'fault'}</span>}
        {time !== 'none' && time !== '–' && <span>{/^\d{4}-/.test(time) ? `at ${time}` : /\d/.test(time) ? `lag ${time}` : `time ${time}`}</span>}
        {metrics && metrics.state_bytes > 0 && <span>state {bytes(metrics.state_bytes)}</span>}
      </span>
    </button>
  );
}
