// Places the nodes of a job with dagre. The result depends on the graph and the direction only.
import dagre from '@dagrejs/dagre';
import type { GraphEdge, JobGraph } from '../api/types.ts';

export const NODE_WIDTH = 194;
export const NODE_HEIGHT = 132;
const LABEL_WIDTH = 68;
const LABEL_HEIGHT = 38;
const CHAIN_PADDING = 10;

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface PlacedEdge {
  edge: GraphEdge;
  path: string;
  label: { x: number; y: number };
}

export interface Layout {
  width: number;
  height: number;
  nodes: Map<string, Box>;
  chains: Box[];
  edges: PlacedEdge[];
}

export type Direction = 'LR' | 'TB';

/** A line through points, with round corners. */
export function roundedPath(points: { x: number; y: number }[], radius = 14): string {
  const [first, ...rest] = points;
  let path = `M${first.x} ${first.y}`;
  rest.forEach((point, i) => {
    const next = rest[i + 1];
    if (!next) {
      path += `L${point.x} ${point.y}`;
      return;
    }
    const from = i === 0 ? first : rest[i - 1];
    const towards = (other: { x: number; y: number }) => {
      const length = Math.hypot(other.x - point.x, other.y - point.y) || 1;
      const step = Math.min(radius, length / 2);
      return `${(point.x + ((other.x - point.x) / length) * step).toFixed(1)} ${(point.y + ((other.y - point.y) / length) * step).toFixed(1)}`;
    };
    path += `L${towards(from)}Q${point.x} ${point.y} ${towards(next)}`;
  });
  return path;
}

export function layOut(graph: JobGraph, direction: Direction): Layout {
  const g = new dagre.graphlib.Graph({ compound: true, multigraph: true });
  g.setGraph({ rankdir: direction, nodesep: 30, ranksep: 30, edgesep: 20, marginx: 20, marginy: 22 });
  g.setDefaultEdgeLabel(() => ({}));
  const sizes = new Map<number, number>();
  for (const node of graph.nodes) sizes.set(node.chain, (sizes.get(node.chain) ?? 0) + 1);
  for (const node of graph.nodes) {
    g.setNode(node.id, { width: NODE_WIDTH, height: NODE_HEIGHT });
    if (sizes.get(node.chain)! > 1) {
      g.setNode(`chain ${node.chain}`, {});
      g.setParent(node.id, `chain ${node.chain}`);
    }
  }
  graph.edges.forEach((edge, i) => {
    const isChained = edge.partition === 'chained';
    g.setEdge(edge.from, edge.to, { width: isChained ? 4 : LABEL_WIDTH, height: isChained ? 4 : LABEL_HEIGHT, labelpos: 'c' }, String(i));
  });
  dagre.layout(g);
  const boxOf = (id: string): Box => {
    const { x, y, width, height } = g.node(id) as Box;
    return { x: x - width / 2, y: y - height / 2, width, height };
  };
  const nodes = new Map(graph.nodes.map((node) => [node.id, boxOf(node.id)]));
  const chains = [...sizes].filter(([, size]) => size > 1).map(([chain]) => {
    const boxes = graph.nodes.filter((node) => node.chain === chain).map((node) => nodes.get(node.id)!);
    const left = Math.min(...boxes.map((box) => box.x)) - CHAIN_PADDING;
    const top = Math.min(...boxes.map((box) => box.y)) - CHAIN_PADDING;
    const right = Math.max(...boxes.map((box) => box.x + box.width)) + CHAIN_PADDING;
    const bottom = Math.max(...boxes.map((box) => box.y + box.height)) + CHAIN_PADDING;
    return { x: left, y: top, width: right - left, height: bottom - top };
  });
  const edges = graph.edges.map((edge, i) => {
    const placed = g.edge({ v: edge.from, w: edge.to, name: String(i) }) as { points: { x: number; y: number }[]; x?: number; y?: number };
    const middle = placed.points[placed.points.length >> 1];
    return { edge, path: roundedPath(placed.points), label: { x: placed.x ?? middle.x, y: placed.y ?? middle.y } };
  });
  const { width = 0, height = 0 } = g.graph() as { width?: number; height?: number };
  return { width, height, nodes, chains, edges };
}
