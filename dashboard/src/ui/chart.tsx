// A chart of the recent values of one operator. A table says the same to those who cannot see a canvas.
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { clock } from '../format.ts';
import { beat } from '../live.ts';
import { isDark } from '../settings.ts';

export interface Line {
  label: string;
  color: string;
  values: (number | null)[];
  dash?: number[];
}

const HEIGHT = 132;
/** The shortest time that a chart spans. */
const SECONDS_MIN = 60;

const css = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function Chart({ title, at, lines, show, max }: { title: string; at: number[]; lines: Line[]; show: (n: number) => string; max?: number }) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  void beat.value;
  const dark = isDark();
  const data = () => [at.map((ms) => ms / 1000), ...lines.map((line) => line.values)] as uPlot.AlignedData;

  useEffect(() => {
    const element = box.current!;
    const axis = { stroke: css('--muted'), grid: { stroke: css('--line'), width: 1 }, ticks: { show: false }, font: `11px ${css('--sans')}` };
    plot.current = new uPlot(
      {
        width: element.clientWidth,
        height: HEIGHT,
        cursor: { y: false, points: { size: 6 } },
        legend: { show: false },
        scales: { x: { range: (_plot, from, to) => [Math.min(from, to - SECONDS_MIN), to] }, y: { range: (_plot, _min, top) => [0, max ?? Math.max(top * 1.15, 1e-3)] } },
        axes: [
          { ...axis, size: 24, space: 80, values: (_plot, splits) => splits.map((at) => clock(at * 1000)) },
          { ...axis, size: 58, space: 30, values: (_plot, splits) => splits.map(show) },
        ],
        series: [
          {},
          ...lines.map((line) => ({ label: line.label, stroke: css(line.color), width: 1.6, dash: line.dash, points: { show: false } })),
        ],
      },
      data(),
      element,
    );
    const observer = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height: HEIGHT }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [dark, title, lines.length]);

  useEffect(() => plot.current?.setData(data()));

  const last = (values: (number | null)[]) => values.findLast((value) => value !== null) ?? null;
  const known = (values: (number | null)[]) => values.filter((value) => value !== null);
  return (
    <figure class="chart">
      <figcaption>
        <span class="title">{title}</span>
        {lines.map((line) => (
          <span key={line.label} class="key">
            <span class={`stroke${line.dash ? ' dashed' : ''}`} style={{ color: `var(${line.color})` }} />
            {line.label} <b>{last(line.values) === null ? '–' : show(last(line.values)!)}</b>
          </span>
        ))}
      </figcaption>
      <div ref={box} aria-hidden="true" />
      <table class="visually-hidden">
        <caption>{title}</caption>
        <thead>
          <tr>
            <th scope="col">series</th>
            <th scope="col">smallest</th>
            <th scope="col">largest</th>
          </tr>
        </thead>
        <tbody>
          {lines.map((line) => (
            <tr key={line.label}>
              <th scope="row">{line.label}</th>
              <td>{known(line.values).length ? show(Math.min(...known(line.values))) : '–'}</td>
              <td>{known(line.values).length ? show(Math.max(...known(line.values))) : '–'}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </figure>
  );
}
