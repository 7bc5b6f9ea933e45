// The subtasks of a node as a heat map and as a table that can be sorted.
import { useSignal } from '@preact/signals';
import type { OperatorMetrics, SubtaskMetrics } from '../api/types.ts';
import { skewOf } from '../attention.ts';
import { bytes, count, duration, END_OF_TIME, percent, rate } from '../format.ts';
import { ShareBar } from '../ui/basics.tsx';

type Column = [id: string, label: string, value: (one: SubtaskMetrics) => number, show: (one: SubtaskMetrics, at: number) => string];

const lag = (one: SubtaskMetrics, at: number) =>
  one.event_time_idle ? 'idle' : one.watermark_ms === null ? 'none' : one.watermark_ms >= END_OF_TIME ? 'ended' : duration(Math.max(0, at - one.watermark_ms));

const COLUMNS: Column[] = [
  ['subtask', 'No.', (one) => -one.subtask, (one) => String(one.subtask)],
  ['busy', 'Busy', (one) => one.shares?.busy ?? 0, (one) => percent(one.shares?.busy)],
  ['backpressured', 'Backpr.', (one) => one.shares?.backpressured ?? 0, (one) => percent(one.shares?.backpressured)],
  ['in', 'In', (one) => one.records_in_per_second ?? 0, (one) => rate(one.records_in_per_second)],
  ['out', 'Out', (one) => one.records_out_per_second ?? 0, (one) => rate(one.records_out_per_second)],
  ['records', 'Records', (one) => one.totals.records_in, (one) => count(one.totals.records_in || one.totals.records_out)],
  ['lag', 'Lag', (one) => -(one.watermark_ms ?? 0), lag],
  ['state', 'State', (one) => one.state_bytes, (one) => bytes(one.state_bytes)],
];

const MAPS: [string, string, (one: SubtaskMetrics) => number | null, (n: number) => string, boolean][] = [
  ['busy', 'Busy', (one) => one.shares?.busy ?? null, percent, true],
  ['backpressured', 'Backpressured', (one) => one.shares?.backpressured ?? null, percent, true],
  ['in', 'Records in', (one) => one.records_in_per_second, rate, false],
  ['state', 'State', (one) => one.state_bytes, bytes, false],
];

export function Subtasks({ metrics, at }: { metrics: OperatorMetrics; at: number }) {
  const by = useSignal('subtask');
  const shown = useSignal('busy');
  const subtasks = metrics.subtasks ?? [];
  if (subtasks.length === 0) return <p class="muted">No subtask is running.</p>;
  const column = COLUMNS.find(([id]) => id === by.value) ?? COLUMNS[0];
  const sorted = [...subtasks].sort((a, b) => column[2](b) - column[2](a));
  const [, label, valueOf, show, isShare] = MAPS.find(([id]) => id === shown.value) ?? MAPS[0];
  const max = isShare ? 1 : Math.max(...subtasks.map((one) => valueOf(one) ?? 0), 1e-9);
  const skew = skewOf(metrics);
  return (
    <>
      <div class="choices" role="group" aria-label="Heat map of">
        {MAPS.map(([id, name]) => (
          <button key={id} type="button" aria-pressed={shown.value === id} onClick={() => (shown.value = id)}>
            {name}
          </button>
        ))}
      </div>
      <ul class="heat" aria-label={`${label} of each subtask`}>
        {subtasks.map((one) => {
          const value = valueOf(one);
          const step = value === null ? 0 : Math.round((value / max) * 9);
          return (
            <li key={one.subtask} class={`h${step}`} title={`subtask ${one.subtask}: ${value === null ? 'not running' : show(value)}`}>
              <span class="n">{one.subtask}</span>
              <span>{value === null ? '–' : show(value)}</span>
            </li>
          );
        })}
      </ul>
      {skew !== null && (
        <p class={skew > 2 ? 'warn-text' : 'muted'}>
          Skew {skew.toFixed(1)}×: the busiest subtask gets {skew.toFixed(1)} times the mean.
        </p>
      )}
      <div class="table" tabIndex={0} role="region" aria-label="Table of subtasks">
        <table class="dense">
          <thead>
            <tr>
              {COLUMNS.map(([id, name]) => (
                <th key={id} scope="col" class="num" aria-sort={by.value === id ? 'descending' : undefined}>
                  <button type="button" class="plain" onClick={() => (by.value = id)}>
                    {name}
                    {by.value === id && ' ↓'}
                  </button>
                </th>
              ))}
              <th scope="col">Time</th>
            </tr>
          </thead>
          <tbody>
            {sorted.map((one) => (
              <tr key={one.subtask}>
                {COLUMNS.map(([id, , , text]) => (
                  <td key={id} class="num">{text(one, at)}</td>
                ))}
                <td>
                  <ShareBar shares={one.shares} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}
