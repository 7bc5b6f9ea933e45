// The graph of a job. Nodes are buttons over a drawing of the edges; arrow keys move between them.
import { useSignal } from '@preact/signals';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import type { JobGraph, JobMetrics } from '../api/types.ts';
import { percent } from '../format.ts';
import { Legend } from '../ui/basics.tsx';
import { layOut, type Box } from './layout.ts';
import { NodeCard } from './node-card.tsx';

const NARROW = 720;
const ZOOM_MIN = 0.25;
const ZOOM_MAX = 1.25;
/** The zoom below which the graph is scrolled instead. */
const FIT_MIN = 0.5;
const HEIGHT_MAX = 620;

const PARTITION: Record<string, string> = { keyed: 'by key', rebalance: 'rebalance', broadcast: 'broadcast', forward: 'forward' };

export interface GraphProps {
  graph: JobGraph;
  metrics: JobMetrics | null;
  selected: string | null;
  select: (id: string | null) => void;
}

/** Returns the nearest node in the direction of an arrow key. */
export function neighbour(nodes: Map<string, Box>, from: string, key: string): string | null {
  const at = nodes.get(from);
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key] ?? [0, 0];
  if (!at || (dx === 0 && dy === 0)) return null;
  let best: string | null = null;
  let bestDistance = Infinity;
  for (const [id, box] of nodes) {
    const x = box.x - at.x;
    const y = box.y - at.y;
    const along = x * dx + y * dy;
    const across = Math.abs(x * dy) + Math.abs(y * dx);
    if (along < 10 || along + 2 * across >= bestDistance) continue;
    best = id;
    bestDistance = along + 2 * across;
  }
  return best;
}

export function Graph({ graph, metrics, selected, select }: GraphProps) {
  const frame = useRef<HTMLDivElement>(null);
  const width = useSignal(0);
  const chosenZoom = useSignal<number | null>(null);
  const direction = width.value > 0 && width.value < NARROW ? 'TB' : 'LR';
  const layout = useMemo(() => layOut(graph, direction), [graph, direction]);

  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => (width.value = entry.contentRect.width));
    observer.observe(frame.current!);
    return () => observer.disconnect();
  }, []);

  const fitted = Math.min(1, width.value ? width.value / layout.width : 1, direction === 'LR' ? HEIGHT_MAX / layout.height : 1);
  const zoom = chosenZoom.value ?? Math.max(FIT_MIN, fitted);
  const change = (by: number) => (chosenZoom.value = Math.min(ZOOM_MAX, Math.max(ZOOM_MIN, zoom * by)));
  const byId = new Map(metrics?.operators.map((one) => [one.id, one]));
  const onKey = (event: KeyboardEvent) => {
    const from = (event.target as HTMLElement).dataset.node;
    const to = from ? neighbour(layout.nodes, from, event.key) : null;
    if (!to) return;
    event.preventDefault();
    frame.current!.querySelector<HTMLElement>(`[data-node="${CSS.escape(to)}"]`)?.focus();
  };
  return (
    <div class="graph-panel">
      <div class="graph-tools">
        <Legend />
        <div class="choices" role="group" aria-label="Zoom">
          <button type="button" onClick={() => change(1 / 1.25)} aria-label="Zoom out">−</button>
          <button type="button" onClick={() => (chosenZoom.value = null)}>Fit</button>
          <button type="button" onClick={() => change(1.25)} aria-label="Zoom in">+</button>
        </div>
      </div>
      <div class="graph-frame" ref={frame} onKeyDown={onKey} role="group" aria-label="Graph of the job. Arrow keys move between nodes.">
        <div class="graph-size" style={{ width: `${layout.width * zoom}px`, height: `${layout.height * zoom}px` }}>
          <div class="graph" style={{ width: `${layout.width}px`, height: `${layout.height}px`, transform: `scale(${zoom})` }}>
            <svg width={layout.width} height={layout.height} aria-hidden="true">
              <defs>
                <marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="10" markerHeight="10" markerUnits="userSpaceOnUse" orient="auto-start-reverse">
                  <path d="M0 0 8 4 0 8Z" />
                </marker>
              </defs>
              {layout.chains.map((box) => (
                <g key={`${box.x},${box.y}`}>
                  <rect class="chain" x={box.x} y={box.y} width={box.width} height={box.height} rx="14" />
                  <text class="chain-label" x={box.x + 12} y={box.y + box.height + 13}>chained</text>
                </g>
              ))}
              {layout.edges.map(({ edge, path }) => (
                <path key={path} class={`edge ${edge.partition} ${edge.output === 'main' ? '' : 'side'}`} d={path} marker-end="url(#arrow)" />
              ))}
            </svg>
            {layout.edges
              .filter(({ edge }) => edge.partition !== 'chained')
              .map(({ edge, label }) => {
                const fill = byId.get(edge.to)?.channel_fill ?? null;
                return (
                  <span key={`${edge.from} ${edge.to} ${edge.output} ${edge.input}`} class="edge-label" style={{ left: `${label.x}px`, top: `${label.y}px` }}>
                    <span>
                      {edge.output !== 'main' && <b>{edge.output}<br /></b>}
                      {PARTITION[edge.partition] ?? edge.partition}
                    </span>
                    {fill !== null && (
                      <span class="fill" title={`Its channels are ${percent(fill)} full`}>
                        <span class="meter"><span style={{ width: `${fill * 100}%` }} /></span>
                        {percent(fill)}
                      </span>
                    )}
                  </span>
                );
              })}
            {graph.nodes.map((node) => (
              <NodeCard
                key={node.id}
                node={node}
                metrics={byId.get(node.id)}
                at={metrics?.at_ms ?? Date.now()}
                box={layout.nodes.get(node.id)!}
                isBottleneck={metrics?.bottleneck === node.id}
                isSelected={selected === node.id}
                select={() => select(selected === node.id ? null : node.id)}
              />
            ))}
          </div>
        </div>
      </div>
    </div>
  );
}
